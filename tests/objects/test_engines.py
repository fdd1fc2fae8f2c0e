"""What every engine promises (port.py), asked of the one on directories and of the one on dictionaries."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nutshell.object_store.port import ObjectEngine
from nutshell.object_store.rows import AccountRow, ContainerRow, ObjectRow, Usage
from tests.objects.engine_rig import get, make_container, make_engine, put, run
from tests.objects.memory_engine import MemoryEngine

NAMES = ["a", "a/", "a/b", "a/c", "ab", "b", "z", "ä", "\U0001f600"]
BIG = bytes(range(256)) * 1200


@pytest.fixture(params=["directories", "dictionaries"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    made: Any = MemoryEngine() if request.param == "dictionaries" else make_engine(tmp_path / "s", durable=False)
    yield made
    made.close()


def names(engine: ObjectEngine, container: ContainerRow, **more: Any) -> list[str]:
    asked = {"after": "", "until": "", "prefix": "", "limit": 100, "reverse": False, **more}
    return [r.name for r in engine.read(lambda i: i.list_objects(container.id, **asked))]


def test_bytes_come_back(engine: Any) -> None:
    c = make_container(engine)
    for name, content in (("small", b"x"), ("none", b""), ("large", BIG)):
        row = run(put(engine, c, name, [content[:100], content[100:]]))
        assert row.size == len(content)
        assert run(get(engine, c, name)) == content
    row, blob = engine.read(lambda i: i.stored(c.id, "large"))
    assert blob.size == row.size

    async def part() -> bytes:
        return b"".join([piece async for piece in engine.fetch(blob, 1000, 200_001)])

    assert run(part()) == BIG[1000:200_001]
    assert engine.read(lambda i: i.stored(c.id, "gone")) is None
    assert engine.read(lambda i: i.stored(c.id, "none"))[1] is None


def test_pages_are_cut_as_they_are_asked_for(engine: Any) -> None:
    c = make_container(engine)

    def fill(index: Any) -> None:
        for name in NAMES:
            index.put_object(ObjectRow(c.id, name, 1, 0, "e", "t", 0, {}), None)

    engine.change_now(fill)
    assert names(engine, c) == NAMES
    assert names(engine, c, reverse=True) == NAMES[::-1]
    assert names(engine, c, after="a/", limit=2) == ["a/b", "a/c"]
    assert names(engine, c, after="b", until="a", reverse=True) == ["ab", "a/c", "a/b", "a/"]
    assert names(engine, c, prefix="a/", after="a/b") == ["a/c"]
    assert names(engine, c, prefix="a/", until="a/c") == ["a/", "a/b"]
    assert names(engine, c, prefix="\U0001f600") == ["\U0001f600"]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[tuple[Any, ContainerRow]]]:
    """Each engine, and a container of it with all names."""
    made: list[Any] = [MemoryEngine(), make_engine(tmp_path_factory.mktemp("e") / "s", durable=False)]
    filled = [(one, make_container(one)) for one in made]
    for one, container in filled:
        for name in NAMES:
            row = ObjectRow(container.id, name, 1, 0, "e", "t", 0, {})
            one.change_now(lambda i, row=row: i.put_object(row, None))
    yield filled
    for one in made:
        one.close()


@settings(max_examples=200, deadline=None)
@given(
    after=st.sampled_from(["", *NAMES]), until=st.sampled_from(["", *NAMES]), prefix=st.sampled_from(["", "a", "a/"]),
    limit=st.integers(1, 5), reverse=st.booleans(),
)  # fmt: skip
def test_both_cut_alike(
    both: list[tuple[Any, ContainerRow]], after: str, until: str, prefix: str, limit: int, reverse: bool
) -> None:
    asked = {"after": after, "until": until, "prefix": prefix, "limit": limit, "reverse": reverse}
    one, other = (names(engine, container, **asked) for engine, container in both)
    assert one == other


def test_what_raises_changes_nothing(engine: Any) -> None:
    c = make_container(engine)
    run(put(engine, c, "kept", [b"1"]))

    def work(index: Any) -> None:
        index.drop_object(index.object(c.id, "kept"))
        raise KeyError("no")

    with pytest.raises(KeyError):
        engine.change_now(work)
    with pytest.raises(KeyError):
        asyncio.run(engine.change(work))
    assert run(get(engine, c, "kept")) == b"1"


def test_bytes_live_as_long_as_something_names_them(engine: Any) -> None:
    c = make_container(engine)
    first = run(put(engine, c, "first", [BIG]))

    def link(index: Any) -> None:
        index.share(first.blob)
        index.put_object(ObjectRow(c.id, "second", 2, first.size, first.etag, "t", first.blob, {}), None)

    engine.change_now(link)
    engine.change_now(lambda i: i.drop_object(i.object(c.id, "first")))
    assert run(get(engine, c, "second")) == BIG
    engine.change_now(lambda i: i.drop_object(i.object(c.id, "second")))
    assert engine.read(lambda i: i.blob(first.blob)) is None


def test_counters_follow_objects_and_their_past(engine: Any) -> None:
    c = make_container(engine)
    run(put(engine, c, "o", [b"12345"]))

    def bury(index: Any) -> None:
        row = index.object(c.id, "o")
        index.share(row.blob)
        index.put_version(ObjectRow(c.id, "o", 1, 5, row.etag, "t", row.blob, {}, version=7))
        index.drop_object(row)

    assert engine.read(lambda i: i.container_usage(c.id)) == Usage(1, 1, 5)
    engine.change_now(bury)
    assert engine.read(lambda i: i.container_usage(c.id)) == Usage(1, 0, 5)
    assert engine.read(lambda i: dict(i.account_usage(c.account_id))) == {0: Usage(1, 0, 5)}
    past = engine.read(lambda i: i.list_versions(c.id, after=("", 0), prefix="", limit=9))
    assert [(r.name, r.version) for r in past] == [("o", 7)]
    engine.change_now(lambda i: i.drop_version(i.version(c.id, "o", 7)))
    assert engine.read(lambda i: i.container_usage(c.id)) == Usage(1, 0, 0)
    engine.change_now(lambda i: i.drop_container(c))
    assert engine.read(lambda i: i.container_by_id(c.id)) is None
    assert engine.find("AUTH_a", "c")[1] is None


@pytest.mark.parametrize("reverse", [False, True])
def test_versions_are_listed_by_name_the_newest_first(engine: Any, reverse: bool) -> None:
    c = make_container(engine)

    def fill(index: Any) -> None:
        for name in ("a", "b"):
            for version in (1, 2, 3):
                index.put_version(ObjectRow(c.id, name, version, 0, "e", "t", 0, {}, version=version))

    engine.change_now(fill)
    everything = [("a", 3), ("a", 2), ("a", 1), ("b", 3), ("b", 2), ("b", 1)]
    everything = everything[::-1] if reverse else everything

    def ask(after: tuple[str, int], prefix: str = "", limit: int = 9) -> list[tuple[str, int]]:
        rows = engine.read(lambda i: i.list_versions(c.id, after=after, prefix=prefix, limit=limit, reverse=reverse))
        return [(r.name, r.version) for r in rows]

    assert ask(("", 0)) == everything
    for at, one in enumerate(everything):
        assert ask(one) == everything[at + 1 :]
    assert ask(("a", 0)) == ([] if reverse else everything[3:])
    assert ask(("", 0), "b", 2) == [v for v in everything if v[0] == "b"][:2]


def test_accounts_ids_and_what_is_due(engine: Any) -> None:
    c = make_container(engine)
    engine.change_now(lambda i: i.put_account(AccountRow(i.new_id(), "AUTH_b", 1, 1, {"x-account-meta-a": "ä"})))
    assert [a.name for a in engine.read(lambda i: i.list_accounts("", 9))] == ["AUTH_a", "AUTH_b"]
    assert [a.name for a in engine.read(lambda i: i.list_accounts("AUTH_a", 9))] == ["AUTH_b"]
    assert engine.find("AUTH_b", "")[0].meta == {"x-account-meta-a": "ä"}
    row = engine.find("AUTH_b", "")[0]
    engine.change_now(lambda i: i.drop_account(row.id))
    assert engine.find("AUTH_b", "")[0] is None
    one, two = engine.change_now(lambda i: (i.new_id(), i.new_id()))
    assert two > one > 0

    def fill(index: Any) -> None:
        for n, at in enumerate((0, 50, 40, 60)):
            index.put_object(ObjectRow(c.id, f"o{n}", 10 + n, 0, "e", "t", 0, {}, at), None)

    engine.change_now(fill)
    assert list(engine.read(lambda i: i.list_due(50, 9))) == [(c.id, "o2"), (c.id, "o1")]
    assert engine.read(lambda i: i.newest(c.id)) == (4, 13)
    assert list(engine.read(lambda i: i.list_synced())) == []
