"""Every service's OpenAPI document holds every route, and what the routes take."""

import json
import re
from typing import Any

import pytest

from nutshell import app
from nutshell.operator.openapi.document import BODIES, body_of, document, newest
from nutshell.operator.openapi.plain import plain_body
from nutshell.operator.openapi.shapes import Kinds, taken

SERVICES = [s for p in app.parts() for s in (p.service, *p.more) if s.routes]
named = pytest.mark.parametrize("service", SERVICES, ids=lambda s: s.name)


@named
def test_the_document_is_whole(service: Any) -> None:
    found = document(service, "http://cloud")
    text = json.dumps(found)
    known = set(found["components"]["schemas"])
    assert set(re.findall(r'"#/components/schemas/([^"]+)"', text)) <= known
    ids = [o["operationId"] for methods in found["paths"].values() for o in methods.values()]
    assert len(ids) == len(set(ids))
    for path, methods in found["paths"].items():
        for one in methods.values():
            in_path = {p["name"] for p in one["parameters"] if p["in"] == "path"}
            assert in_path >= set(re.findall(r"\{(\w+)\}", path)) - {"project_id"}, path


@named
def test_every_route_is_in_it_with_its_body(service: Any) -> None:
    paths = document(service)["paths"]
    for route in newest(service):
        one = paths[(route.prefix + route.path or "/").replace("*}", "}")][route.method.lower()]
        if route.method in BODIES:
            assert one["requestBody"], f"{route.method} {route.path}"


@named
def test_no_route_takes_something_untold(service: Any) -> None:
    for route in newest(service):
        if route.method in BODIES and not route.action and not route.streams and taken(service, route, Kinds()) is None:
            told = plain_body(service.name, route.method, route.path)
            assert told is not None, f"say in operator/openapi/plain.py what {route.method} {route.path} takes"


def test_what_is_refused_and_required_is_told() -> None:
    compute = next(s for s in SERVICES if s.name == "compute")
    resize = next(r for r in newest(compute) if r.action == "resize")
    told = body_of(compute, resize, Kinds())
    assert told["required"] == ["resize"]
    assert told["properties"]["resize"]["required"] == ["flavorRef"]
    assert told["properties"]["resize"]["additionalProperties"] is False
