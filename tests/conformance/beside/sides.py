"""Two clouds that are asked the same: what each answered, reduced to what has to be equal, and where they differ."""

import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

HEADERS = ("content-type", "content-md5", "content-range", "accept-patch", "allow", "openstack-image-import-methods")
Json = Any


@dataclass(frozen=True)
class Step:
    """One request. `keep`: names → paths into the answer ("id", "images.0.id") for later steps' "{name}"."""

    method: str
    path: str
    body: Json = None
    headers: Mapping[str, str] = field(default_factory=dict)
    keep: Mapping[str, str] = field(default_factory=dict)
    who: str = "admin"  # or "nobody"


@dataclass(frozen=True)
class Seen:
    status: int
    headers: Mapping[str, str]
    body: Json  # decoded JSON, or the text


@dataclass
class Side:
    """One cloud: its image endpoint, a token, and what was kept of its answers."""

    name: str
    base: str
    token: str
    kept: dict[str, str] = field(default_factory=dict)

    def fill(self, value: Json) -> Json:
        if isinstance(value, str):
            return re.sub(r"\{(\w+)\}", lambda m: self.kept.get(m[1], m[0]), value)
        if isinstance(value, list):
            return [self.fill(v) for v in value]
        if isinstance(value, dict):
            return {k: self.fill(v) for k, v in value.items()}
        return value

    def ask(self, step: Step) -> Seen:
        data = step.body
        headers = {"Accept": "application/json", **step.headers}
        if not isinstance(data, bytes) and data is not None:
            data = json.dumps(self.fill(data)).encode()
            headers.setdefault("Content-Type", "application/json")
        if step.who != "nobody":
            headers["X-Auth-Token"] = self.token
        request = urllib.request.Request(self.base + self.fill(step.path), data, headers, method=step.method)
        try:
            with urllib.request.build_opener(NoRedirects()).open(request, timeout=60) as answer:
                return self._seen(step, answer.status, answer.headers, answer.read())
        except urllib.error.HTTPError as error:
            return self._seen(step, error.code, error.headers, error.read())

    def _seen(self, step: Step, status: int, headers: Any, raw: bytes) -> Seen:
        named = {k.lower(): v for k, v in headers.items()}
        body: Json = raw.decode("utf-8", "replace")
        if "json" in named.get("content-type", "") and raw:
            body = json.loads(raw)
        for name, path in step.keep.items():
            found = body
            for part in path.split("."):
                found = found[int(part)] if isinstance(found, list) else found.get(part, "")
            self.kept[name] = str(found)
        return Seen(status, named, body)


class NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *arguments: Any) -> None:
        return None


def sign_in(identity: str, user: str, password: str) -> str:
    scope = {"project": {"name": "admin", "domain": {"id": "default"}}}
    given = {"name": user, "domain": {"id": "default"}, "password": password}
    body = {"auth": {"identity": {"methods": ["password"], "password": {"user": given}}, "scope": scope}}
    request = urllib.request.Request(identity + "/v3/auth/tokens", json.dumps(body).encode())
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=60) as answer:
        return str(answer.headers["X-Subject-Token"])


def shape(value: Json) -> Json:
    """Names and kinds, not values; of a list its first member's."""
    if isinstance(value, dict):
        return {k: shape(v) for k, v in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return {bool: "boolean", int: "number", float: "number", str: "text", type(None): "null"}[type(value)]


def differences(ours: Seen, theirs: Seen) -> Iterator[str]:
    """What differs, in words."""
    if ours.status != theirs.status:
        yield f"status: ours {ours.status}, theirs {theirs.status}"
        return
    for name in HEADERS:
        one, other = ours.headers.get(name), theirs.headers.get(name)
        if name == "content-type" and one and other:
            one, other = (t.split(";")[0].strip().lower() for t in (one, other))
        if one != other and not (name == "content-type" and not theirs.body):
            yield f"header {name}: ours {one!r}, theirs {other!r}"
    if ("location" in ours.headers) != ("location" in theirs.headers):
        yield f"header location: only {'ours' if 'location' in ours.headers else 'theirs'}"
    if ours.status < 400:
        yield from _shapes("body", shape(ours.body), shape(theirs.body))


def _shapes(where: str, ours: Json, theirs: Json) -> Iterator[str]:
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for name in sorted({*ours, *theirs}):
            if name not in ours or name not in theirs:
                yield f"{where}.{name}: only {'ours' if name in ours else 'theirs'}"
            else:
                yield from _shapes(f"{where}.{name}", ours[name], theirs[name])
    elif isinstance(ours, list) and isinstance(theirs, list):
        if ours and theirs:
            yield from _shapes(f"{where}[]", ours[0], theirs[0])
        elif ours != theirs:
            yield f"{where}: ours {'has' if ours else 'has no'} members"
    elif ours != theirs:
        yield f"{where}: ours {ours}, theirs {theirs}"


def compare(steps: Sequence[Step], ours: Side, theirs: Side, known: Mapping[str, str]) -> tuple[int, int, int]:
    """Asks both; prints what differs. `known`: a regular expression for "METHOD /path: difference" → why it is so.

    (equal, explained, open).
    """
    counts = [0, 0, 0]
    for step in steps:
        lines = [f"{step.method} {step.path}: {one}" for one in differences(ours.ask(step), theirs.ask(step))]
        reasons = [next((why for pattern, why in known.items() if re.search(pattern, line)), "") for line in lines]
        counts[0 if not lines else 1 if all(reasons) else 2] += 1
        for line, why in zip(lines, reasons, strict=True):
            print(f"explained: {line} ({why})" if why else f"DIFFERS: {line} (body: {step.body!r:.80})")
    return counts[0], counts[1], counts[2]
