"""Random work on stored objects through Swift's API, and what must hold of them after every kill.

Each worker has containers of its own, so what every request has to answer is known: any other status is a finding.
"""

import hashlib
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import quote

from nutshell.testing.client import Client

CONTAINERS, NAMES, PARTS = 2, 6, 3
SIZES = (0, 10, 4096, 60_000, 70_000, 1_500_000)  # in the log, in a file of its own, of several chunks
LABEL = "x-object-meta-label"


class Content(NamedTuple):
    """What is stored under a name."""

    md5: str
    label: str = ""
    parts: int = 0

    def labelled(self, label: str) -> "Content":
        return self._replace(label=label)


BROKEN = Content("broken")  # a large object whose parts are not all there any more
Possible = set[Content | None]  # one when it is certain; None: nothing


@dataclass
class Stored:
    """What was acknowledged: of each container whether it is there, of each (container, name) what is in it."""

    containers: dict[str, set[bool]] = field(default_factory=dict)
    objects: dict[tuple[str, str], Possible] = field(default_factory=dict)

    def inside(self, container: str) -> list[str]:
        return sorted(n for (c, n), possible in self.objects.items() if c == container and possible != {None})


Send = Callable[[str, str, bytes, dict[str, str]], tuple[int, bytes]]


class ObjectWork:
    """One worker's. `send` does a request below the account and raises when the cloud dies before it answers."""

    def __init__(self, number: int, moments: random.Random, stored: Stored, send: Send) -> None:
        self.mine = [f"fo{number}-{n}" for n in range(CONTAINERS)]
        self.random, self.stored, self._send = moments, stored, send
        self.wrong: list[str] = []

    def works(self) -> list[Callable[[], None]]:
        return [getattr(self, name) for name in sorted(dir(self)) if name.startswith("do_")]

    def ask(self, method: str, path: str, wanted: int, body: bytes = b"", **headers: str) -> bool:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        status, answer = self._send(method, path, body, named)
        if status != wanted:
            self.wrong.append(f"{method} {path}: {status}, not {wanted}: {answer[:200]!r}")
        return status == wanted

    def change(self, key: tuple[str, str], after: Content | None, work: Callable[[], bool]) -> None:
        """Send what makes the object `after`; until it is answered it may be the one or the other."""
        before = self.stored.objects.get(key, {None})
        self.stored.objects[key] = before | {after}
        self.stored.objects[key] = {after} if work() else before

    def there(self) -> list[str]:
        return [c for c in self.mine if self.stored.containers.get(c) == {True}]

    def some(self) -> tuple[str, str, Content] | None:
        """An object that is certainly there and whole; parts of large ones are left alone."""
        found = [
            (c, n, one)
            for (c, n), possible in self.stored.objects.items()
            for one in possible
            if c in self.mine and len(possible) == 1 and one and one != BROKEN and not n.startswith("part")
        ]
        return self.random.choice(sorted(found)) if found else None

    def data(self) -> bytes:
        return self.random.randbytes(self.random.choice(SIZES))

    # -- containers

    def do_make_container(self) -> None:
        name = self.random.choice(self.mine)
        known = self.stored.containers.get(name, {False})
        self.stored.containers[name] = known | {True}
        if self.ask("PUT", name, 202 if True in known else 201):
            self.stored.containers[name] = {True}

    def do_delete_container(self) -> None:
        if not (there := self.there()) or self.random.random() < 0.5:
            return
        name = self.random.choice(there)
        if self.stored.inside(name):
            self.ask("DELETE", name, 409)
            return
        self.stored.containers[name] = {True, False}
        self.stored.containers[name] = {not self.ask("DELETE", name, 204)}

    # -- objects

    def do_put(self) -> None:
        if not (there := self.there()):
            return
        key = (self.random.choice(there), f"o{self.random.randrange(NAMES)}")
        data, label = self.data(), self.random.choice(["", f"l{self.random.randrange(1000)}"])
        digest = hashlib.md5(data).hexdigest()
        said = {LABEL: label} if label else {}
        if self.random.random() < 0.5:
            said["etag"] = digest
        self.change(key, Content(digest, label), lambda: self.ask("PUT", "/".join(key), 201, data, **said))

    do_put_again = do_put  # twice as often
    do_put_once_more = do_put

    def do_refused(self) -> None:
        """An upload whose hash is another's is refused, and changes nothing."""
        if there := self.there():
            path = f"{self.random.choice(there)}/o{self.random.randrange(NAMES)}"
            self.ask("PUT", path, 422, self.data() + b"!", etag="0" * 32)

    def do_label(self) -> None:
        if found := self.some():
            container, name, content = found
            label = f"l{self.random.randrange(1000)}"
            path = f"{container}/{name}"
            self.change(
                (container, name), content.labelled(label), lambda: self.ask("POST", path, 202, **{LABEL: label})
            )

    def do_copy(self) -> None:
        if not (found := self.some()):
            return
        container, name, content = found
        key = (self.random.choice(self.there()), f"o{self.random.randrange(NAMES)}")
        source, target = f"{container}/{name}", "/".join(key)
        if (container, name) == key:
            return
        copied = content._replace(parts=0)
        if self.random.random() < 0.5:
            self.change(key, copied, lambda: self.ask("COPY", source, 201, destination=target))
        else:
            self.change(key, copied, lambda: self.ask("PUT", target, 201, x_copy_from=source))

    def do_delete(self) -> None:
        if not (found := self.some()):
            return
        container, name, content = found
        path = f"{container}/{name}"
        if content.parts and self.random.random() < 0.7:
            self._delete_with_parts(container, name, content)
        elif not content.parts:
            self.change((container, name), None, lambda: self.ask("DELETE", path, 204))

    # -- large objects

    def do_large(self) -> None:
        """Parts, then the manifest that makes one object of them; until then nothing has its name."""
        if not (there := self.there()):
            return
        container, name = self.random.choice(there), f"large{self.random.randrange(2)}"
        if self.stored.objects.get((container, name), {None}) != {None}:
            return
        manifest, whole = [], hashlib.md5()
        for number in range(PARTS):
            data = self.random.randbytes(self.random.choice(SIZES[1:]))
            digest = hashlib.md5(data).hexdigest()
            key = (container, f"part-{name}-{number}")
            path = "/".join(key)
            self.change(key, Content(digest), lambda p=path, d=data: self.ask("PUT", p, 201, d))  # type: ignore[misc]
            whole.update(data)
            manifest.append({"path": f"/{path}", "etag": digest, "size_bytes": len(data)})
        self.change(
            (container, name),
            Content(whole.hexdigest(), parts=PARTS),
            lambda: self.ask("PUT", f"{container}/{name}?multipart-manifest=put", 201, json.dumps(manifest).encode()),
        )

    def _delete_with_parts(self, container: str, name: str, content: Content) -> None:
        """The parts go one by one: killed meanwhile, the manifest may be left without some of them."""
        parts = [(container, f"part-{name}-{n}") for n in range(content.parts)]
        keys = [(container, name), *parts]
        before = {key: self.stored.objects.get(key, {None}) for key in keys}
        for key in keys:
            self.stored.objects[key] = before[key] | {None}
        self.stored.objects[container, name].add(BROKEN)
        done = self.ask("DELETE", f"{container}/{name}?multipart-manifest=delete", 200)
        for key in keys:
            self.stored.objects[key] = {None} if done else before[key]

    def do_mend(self) -> None:
        """What is left of a large object whose deletion was cut off goes."""
        for (container, name), possible in sorted(self.stored.objects.items()):
            if container in self.mine and possible == {BROKEN}:
                path = f"{container}/{name}"
                self.change((container, name), None, lambda p=path: self.ask("DELETE", p, 204))  # type: ignore[misc]

    def do_sweep(self) -> None:
        """Parts that belong to no large object go."""
        for (container, name), possible in sorted(self.stored.objects.items(), key=lambda item: item[0]):
            whole = name.removeprefix("part-").rpartition("-")[0]
            unused = self.stored.objects.get((container, whole), {None}) == {None}
            if container in self.mine and name.startswith("part-") and unused and possible != {None}:
                path = f"{container}/{name}"
                self.change((container, name), None, lambda p=path: self.ask("DELETE", p, 204))  # type: ignore[misc]


# -- the check


class Look:
    """The account as the API shows it."""

    def __init__(self, client: Client) -> None:
        self.client, self.root = client, f"/object-store/v1/AUTH_{client.project_id}"

    def call(self, method: str, path: str = "") -> tuple[int, dict[str, str], Any]:
        return self.client.call(method, f"{self.root}{path}")

    def listed(self, path: str = "") -> list[dict[str, Any]]:
        status, _, found = self.call("GET", f"{path}?format=json")
        assert status in (200, 204, 404), (path, status, found)
        return found if status == 200 and found else []

    def content(self, container: str, name: str) -> tuple[Content | None, int]:
        """What a GET and a HEAD say, and how many bytes came."""
        path = f"/{quote(container)}/{quote(name)}"
        status, headers, body = self.client.call("GET", self.root + path, decode=False)
        if status == 404:
            return None, 0
        if status != 200 or len(body) != int(headers["content-length"]):
            return BROKEN, 0
        said = self.client.call("HEAD", self.root + path, decode=False)[1]
        whole = hashlib.md5(body).hexdigest()
        parts = PARTS if "x-static-large-object" in headers else 0
        if not parts and (headers["etag"], said["etag"], said["content-length"]) != (whole, whole, str(len(body))):
            return Content(f"bytes of {whole}, ETag {headers['etag']}, HEAD {said['etag']}"), len(body)
        return Content(whole, headers.get(LABEL, ""), parts), len(body)


def check_objects(client: Client, stored: Stored) -> list[str]:
    """What is not as it must be; when all is well, what was open is certain from now on."""
    return list(_differences(Look(client), stored))


def _differences(look: Look, stored: Stored) -> Iterator[str]:
    containers = {one["name"]: one for one in look.listed()}
    for name, known in stored.containers.items():
        if (name in containers) not in known:
            yield f"container {name} is {'there' if name in containers else 'missing'}"
        stored.containers[name] = {name in containers}
    yield from (f"container {name} was made by nobody" for name in containers.keys() - stored.containers.keys())
    objects = size = 0
    for name, said in containers.items():
        rows = look.listed(f"/{name}")
        yield from _container(look, stored, name, rows)
        headers = look.call("HEAD", f"/{name}")[1]
        counted = (int(headers["x-container-object-count"]), int(headers["x-container-bytes-used"]))
        if counted != (said["count"], said["bytes"]) or counted[0] != len(rows):
            yield f"container {name}: counts {counted}, in its account {said}, {len(rows)} names are listed"
        objects, size = objects + counted[0], size + counted[1]
    headers = look.call("HEAD")[1]
    total = [int(headers[f"x-account-{what}"]) for what in ("container-count", "object-count", "bytes-used")]
    if total != [len(containers), objects, size]:
        yield f"the account counts {total}, its containers {[len(containers), objects, size]}"


def _container(look: Look, stored: Stored, container: str, rows: list[dict[str, Any]]) -> Iterator[str]:
    listed = {row["name"]: row for row in rows}
    known = {name for c, name in stored.objects if c == container}
    yield from (f"object {container}/{name} was made by nobody" for name in listed.keys() - known)
    total = 0
    for name in sorted(known):
        possible, row = stored.objects[container, name], listed.get(name)
        found, size = look.content(container, name)
        if found not in possible:
            yield f"object {container}/{name} is {found}, not {possible}"
        if (found is None) != (row is None):
            yield f"object {container}/{name} is {found}, and listed {row}"
        elif row is not None and found not in (None, BROKEN):
            assert found is not None
            total += size if not found.parts else 0
            if row["bytes"] != size or (not found.parts and row["hash"] != found.md5):
                yield f"object {container}/{name} is listed as {row}, and is {found} of {size} bytes"
        stored.objects[container, name] = {found}
    large = any(BROKEN in stored.objects[container, n] or "slo_etag" in listed.get(n, {}) for n in known)
    counted = int(look.call("HEAD", f"/{container}")[1]["x-container-bytes-used"])
    if not large and counted != total:
        yield f"container {container} counts {counted} bytes, its objects have {total}"
