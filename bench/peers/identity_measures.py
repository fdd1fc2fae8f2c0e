"""Identity and image: tokens, validation beside revocations, long lists, effective assignments, a large image.

Each takes seconds to set up (planted.py) and leaves nothing.
"""

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from planted import Planter
from side import Side
from timing import Taken, both, repeat, timed

SECRET = "bench-secret"
REVOCATIONS = 100_000


@contextmanager
def planted(side: Side) -> Iterator[Planter]:
    assert side.planter is not None
    try:
        yield side.planter
    finally:
        side.planter.clear()


@contextmanager
def users(side: Side, count: int) -> Iterator[list[str]]:
    """With a password that no process has seen: the hash is paid in full."""
    made = []
    for _ in range(count):
        user = {"name": f"bench-{uuid.uuid4().hex[:8]}", "password": SECRET, "domain_id": "default"}
        made.append(side.call("identity", "POST", "/users", {"user": user}).json()["user"]["id"])
    try:
        yield made
    finally:
        for user_id in made:
            side.call("identity", "DELETE", f"/users/{user_id}")


def first_logins(side: Side, made: list[str]) -> list[float]:
    taken = []
    for user_id in made:
        password = {"user": {"id": user_id, "password": SECRET}}
        body = {"auth": {"identity": {"methods": ["password"], "password": password}}}
        taken.append(timed(lambda body=body: side.call("identity", "POST", "/auth/tokens", body)))  # type: ignore[misc]
    return taken


def tokens(side: Side, _: int) -> Taken:
    """As shipped; at a hash of the same cost; without one."""
    assert side.planter is not None
    with users(side, 8) as made:
        shipped = first_logins(side, made)
    with users(side, 8) as made:
        how = side.planter.same_cost(made, SECRET)
        equal = first_logins(side, made)
    print(f"  {side.name}: hash of the same cost: {how}", flush=True)
    login = side.login_body()
    again = repeat(lambda i: side.call("identity", "POST", "/auth/tokens", login))
    proof = {"methods": ["token"], "token": {"id": side.token}}
    body = {"auth": {"identity": proof, "scope": login["auth"]["scope"]}}
    exchanged = repeat(lambda i: side.call("identity", "POST", "/auth/tokens", body))
    return [
        ("token, a user's first login, as shipped", "ms", shipped, False),
        *both("token, a user's first login, hash of the same cost", equal),
        *both("token, the same user again", again),
        *both("token by a token (no hash)", exchanged),
    ]


def validating(side: Side, what: str) -> Taken:
    """One token again and again; then tokens of which no process remembers anything."""
    subject = {"X-Subject-Token": side.token}
    known = repeat(lambda i: side.call("identity", "GET", "/auth/tokens", headers=subject))
    fresh = [
        side.call("identity", "POST", "/auth/tokens", side.login_body()).headers["X-Subject-Token"] for _ in range(20)
    ]
    with users(side, 1):  # made and deleted: what was remembered of tokens is forgotten
        pass
    side.call("identity", "HEAD", "/auth/tokens", headers=subject)
    first = [
        timed(lambda t=t: side.call("identity", "GET", "/auth/tokens", headers={"X-Subject-Token": t}))  # type: ignore[misc]
        for t in fresh
    ]
    return [*both(f"validate a token, {what}", known), (f"validate, its first time, {what}", "ms", first, False)]


def revocations(side: Side, _: int) -> Taken:
    """Validation has to cost the same with and without them."""
    rows = validating(side, "no revocations")
    with planted(side) as planter:
        planter.revocations(REVOCATIONS)
        side.login()
        return [*rows, *validating(side, f"{REVOCATIONS:,} revocations")]


def listing(side: Side, service: str, path: str) -> list[float]:
    return repeat(lambda i: side.call(service, "GET", path), least=2)


def people(side: Side, _: int) -> Taken:
    with planted(side) as planter:
        planter.people(1000)
        return [(f"GET 1,000 {n}", "ms", listing(side, "identity", f"/{n}"), False) for n in ("users", "projects")]


def image_lists(side: Side, _: int) -> Taken:
    with planted(side) as planter:
        planter.images(1000)
        found = side.call("image", "GET", "/images?limit=1000").json()["images"]
        assert len(found) == 1000, f"{side.name}: {len(found)} images"
        return [("GET 1,000 images", "ms", listing(side, "image", "/images?limit=1000"), False)]


def assignments(side: Side, _: int) -> Taken:
    """1,000 groups with an inherited role on projects five deep."""
    with planted(side) as planter:
        tree = planter.hierarchy(1000)
        lowest, top = tree.project_ids[-1], tree.project_ids[0]
        queries = {
            "effective, on the lowest project": f"scope.project.id={lowest}",
            "the same, with names": f"scope.project.id={lowest}&include_names",
            "effective, a user everywhere": f"user.id={tree.user_id}",
            "effective, a user on the lowest": f"user.id={tree.user_id}&scope.project.id={lowest}",
            "effective, on the top and below it": f"scope.project.id={top}&include_subtree=1",
        }
        rows: Taken = []
        for what, query in queries.items():
            path = f"/role_assignments?effective&{query}"
            began = timed(lambda path=path: side.call("identity", "GET", path))  # type: ignore[misc]
            lines = len(side.call("identity", "GET", path).json()["role_assignments"])
            # once is enough where one takes a minute
            taken = [began] if began > 5000 else listing(side, "identity", path)
            rows.append((f"{what} ({lines:,} lines)", "ms", taken, False))
        return rows


def images(side: Side, _: int) -> Taken:
    """Upload and download of 256 MiB."""
    up, down, data = [], [], os.urandom(1 << 20) * 256
    kind = {"Content-Type": "application/octet-stream"}
    for _n in range(3):
        body = {"name": "bench", "disk_format": "raw", "container_format": "bare"}
        made = side.call("image", "POST", "/images", body).json()["id"]
        path = f"/images/{made}/file"
        ms = timed(lambda path=path: side.call("image", "PUT", path, data, headers=kind))  # type: ignore[misc]
        up.append(256_000 / ms)
        ms = timed(lambda path=path: side.call("image", "GET", path))  # type: ignore[misc]
        down.append(256_000 / ms)
        side.call("image", "DELETE", f"/images/{made}")
    return [("upload of 256 MiB", "MiB/s", up, True), ("download of 256 MiB", "MiB/s", down, True)]


MEASURES: dict[str, Callable[[Side, int], Taken]] = {
    "tokens": tokens,
    "people": people,
    "revocations": revocations,
    "image-lists": image_lists,
    "assignments": assignments,
    "images": images,
}
