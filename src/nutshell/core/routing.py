"""Paths to routes: a tree of segments, literals before parameters."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote

from nutshell.core.service import Route, Service

PARAM = re.compile(r"^\{(\w+)(\*?)\}$")


@dataclass
class _Node:
    literals: dict[str, "_Node"] = field(default_factory=dict)
    param: "_Node | None" = None
    tail: "_Node | None" = None  # {name*}: everything that follows
    routes: list[tuple[Service, Route, tuple[str, ...]]] = field(default_factory=list)


@dataclass(frozen=True)
class Found:
    """The routes at one path; they differ in method, version or action."""

    service: Service
    routes: Sequence[Route]
    params: dict[str, str]


class Router:
    def __init__(self, services: Sequence[Service]) -> None:
        self._root = _Node()
        self.services = services
        for service in services:
            for route in service.routes:
                self._add(service, route)

    def _add(self, service: Service, route: Route) -> None:
        node, names = self._root, []
        for segment in _segments(service.mount + route.prefix + route.path):
            m = PARAM.match(segment)
            if m is None:
                node = node.literals.setdefault(segment, _Node())
            elif m[2]:
                node.tail = node.tail or _Node()
                node = node.tail
                names.append(m[1])
            else:
                node.param = node.param or _Node()
                node = node.param
                names.append(m[1])
        node.routes.append((service, route, tuple(names)))

    def find(self, raw_path: str) -> Found | None:
        """The routes at a path (percent-encoded), or None."""
        segments = [unquote(s) for s in _segments(raw_path)]
        for node, values in _walk(self._root, segments, 0):
            if node.routes:
                service, _, names = node.routes[0]
                mine = [r for s, r, _ in node.routes if s is service]
                if service.strict_slash and raw_path.endswith("/") and mine[0].path.strip("/") and mine[0].prefix:
                    return None
                return Found(service, mine, dict(zip(names, values, strict=True)))
        return None

    def service_at(self, raw_path: str) -> Service | None:
        """The service a path belongs to, for the form of its errors."""
        best = None
        for s in self.services:
            here = raw_path == s.mount or raw_path.startswith(s.mount + "/")
            if here and (best is None or len(s.mount) > len(best.mount)):
                best = s
        return best


def _segments(path: str) -> list[str]:
    parts = path.split("/")[1:]
    return parts[:-1] if parts and parts[-1] == "" else parts


def _walk(node: _Node, segments: list[str], i: int) -> Iterator[tuple[_Node, tuple[str, ...]]]:
    if i == len(segments):
        yield node, ()
        return
    literal = node.literals.get(segments[i])
    if literal is not None:
        yield from _walk(literal, segments, i + 1)
    if node.param is not None:
        for found, values in _walk(node.param, segments, i + 1):
            yield found, (segments[i], *values)
    if node.tail is not None:
        yield node.tail, ("/".join(segments[i:]),)
