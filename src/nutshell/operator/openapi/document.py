"""A service's OpenAPI document: its routes in their newest version, with bodies, parameters and answers."""

import re
from collections.abc import Sequence
from typing import Any

from nutshell import __version__
from nutshell.core.service import Route, Service
from nutshell.core.versions import NEVER, show
from nutshell.operator.openapi.plain import plain_body
from nutshell.operator.openapi.shapes import Kinds, Schema, answered, parameters, taken, version_of

SECURED: list[dict[str, list[str]]] = [{"token": []}]
BODIES = ("POST", "PUT", "PATCH")


def document(service: Service, base: str = "") -> dict[str, Any]:
    """The document, as JSON-able objects. `base`: where the cloud answers."""
    kinds = Kinds()
    paths: dict[str, dict[str, Any]] = {}
    grouped: dict[tuple[str, str], list[Route]] = {}
    for route in newest(service):
        grouped.setdefault((route.prefix + route.path or "/", route.method), []).append(route)
    for (path, method), routes in sorted(grouped.items(), key=lambda g: g[0]):
        paths.setdefault(path.replace("*}", "}"), {})[method.lower()] = operation(service, routes, kinds)
    at = version_of(service)
    headers: dict[str, Any] = {}
    if service.versions is not None:
        headers["x-microversion"] = {"header": f"OpenStack-API-Version: {service.versions.name} {show(at)}"}
    return {
        "openapi": "3.1.0",
        "info": {"title": f"Nutshell: {service.name}", "version": __version__, **headers},
        "servers": [{"url": base + service.mount}],
        "paths": paths,
        "components": {
            "schemas": kinds.components,
            "securitySchemes": {"token": {"type": "apiKey", "in": "header", "name": "X-Auth-Token"}},
        },
    }


def newest(service: Service) -> list[Route]:
    """Each route once: in its newest version, under the first prefix that names no project."""
    found: dict[tuple[str, str, str, str], Route] = {}
    prefixes = [p for p in service.prefixes if "{" not in p]
    for route in service.routes:
        if route.socket or "{" in route.prefix or (route.prefix in prefixes and route.prefix != prefixes[0]):
            continue
        key = (route.prefix, route.method, route.path, route.action)
        if key not in found or route.span.since > found[key].span.since:
            found[key] = route
    return list(found.values())


def operation(service: Service, routes: Sequence[Route], kinds: Kinds) -> dict[str, Any]:
    """One method of one path; its actions are alternatives."""
    first = routes[0]
    found: dict[str, Any] = {
        "operationId": operation_id(first),
        "summary": summary(first),
        "parameters": list(parameters(service, first)),
        "security": [] if first.public else SECURED,
        "x-policy": sorted({r.rule for r in routes if r.rule}),
        "responses": {str(first.http): {"description": "done"}, "default": {"description": "refused"}},
    }
    if first.span.until != NEVER:
        found["deprecated"] = True
        found["x-until"] = show(first.span.until)
    content = answered(service, first, kinds)
    if content is not None:
        found["responses"][str(first.http)]["content"] = {"application/json": {"schema": content}}
    if first.method in BODIES:
        found["requestBody"] = request_body(service, routes, kinds)
    return found


def request_body(service: Service, routes: Sequence[Route], kinds: Kinds) -> dict[str, Any]:
    if routes[0].streams:
        return {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}
    shapes: list[Schema] = [body_of(service, r, kinds) for r in routes]
    kind = "application/json"
    if service.name == "image" and routes[0].method == "PATCH":
        kind = "application/openstack-images-v2.1-json-patch"
    return {"content": {kind: {"schema": shapes[0] if len(shapes) == 1 else {"oneOf": shapes}}}}


def body_of(service: Service, route: Route, kinds: Kinds) -> Schema:
    """The schema of a route's body: declared, told by hand, or an action that takes nothing."""
    found = taken(service, route, kinds)
    if found is not None:
        return found
    if route.action:
        return {"type": "object", "properties": {route.action: {}}, "required": [route.action]}
    return plain_body(service.name, route.method, route.path) or {}


def operation_id(route: Route) -> str:
    path = (route.prefix + route.path).replace("/", " ").rstrip() + (" root" if route.path == "/" else "")
    return re.sub(r"[^\w.-]+", "_", f"{route.method.lower()} {path}").strip("_")


def summary(route: Route) -> str:
    """The handler's sentence, else its name."""
    said = (route.handler.__doc__ or "").strip().split("\n")[0]
    return said or route.handler.__name__.strip("_").replace("_", " ")
