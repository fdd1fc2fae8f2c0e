"""A page costs what the page costs: steps of the database, counted, among a thousand names and among forty thousand."""

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from nutshell.object_store.engine.local import LocalEngine
from nutshell.object_store.rows import ContainerRow, ObjectRow
from nutshell.object_store.s3 import listings as s3
from nutshell.object_store.swift import listings, versions
from tests.objects.engine_rig import make_container, make_engine

FEW, MANY = 1000, 40_000
EVERY = 20  # steps between two counts


def name_of(number: int) -> str:
    return f"d{number // 10:05}/o{number:06}"


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LocalEngine, dict[int, ContainerRow]]]:
    engine = make_engine(tmp_path_factory.mktemp("names") / "s", durable=False)
    containers = {size: make_container(engine, f"c{size}") for size in (FEW, MANY)}

    def fill(index: Any, container: int, numbers: range) -> None:
        for n in numbers:
            row = ObjectRow(container, name_of(n), 1, 0, "e", "t", 0, {}, version=2)
            index.put_object(row, None)
            index.put_version(msgspec.structs.replace(row, version=1))

    for size, container in containers.items():
        for at in range(0, size, 2000):
            engine.change_now(lambda i, c=container.id, at=at, n=size: fill(i, c, range(at, min(at + 2000, n))))  # type: ignore[misc]
    yield engine, containers
    engine.close()


def request(**query: str) -> Any:
    return SimpleNamespace(query=query, version="v1", account="AUTH_a", container="c")


def swift(**query: str) -> Callable[[Any, ContainerRow], int]:
    return lambda site, row: len(listings.objects(site, request(**query), row, 50))


def s3_page(delimiter: str, after: str) -> Callable[[Any, ContainerRow], int]:
    def ask(site: Any, row: ContainerRow) -> int:
        bucket: Any = SimpleNamespace(row=row)
        page = site.engine.read(lambda i: s3.page_of(i, bucket, s3.Asked("", delimiter, 50, ""), after))
        assert page.truncated
        return page.count

    return ask


def s3_versions(site: Any, row: ContainerRow) -> int:
    bucket: Any = SimpleNamespace(row=row)
    page = site.engine.read(lambda i: s3._versions_page(i, bucket, s3.Asked("", "/", 50, ""), ("d00010/", "")))
    assert page.folders[0] == "d00011/"
    return len(page.folders)


def swift_versions(site: Any, row: ContainerRow) -> int:
    return len(versions._entries(site, request(delimiter="/"), row, ("d00010/", 0), 50))


PAGES: dict[str, Callable[[Any, ContainerRow], int]] = {
    "first": swift(),
    "marker": swift(marker="d00050/"),
    "prefix": swift(prefix="d0004", marker="d00042/"),
    "end_marker": swift(marker="d00030", end_marker="d00035"),
    "reverse": swift(reverse="true", marker="d00090"),
    "reverse with end_marker": swift(reverse="true", marker="d00090", end_marker="d00085"),
    "folders": swift(delimiter="/"),
    "folders from a marker": swift(delimiter="/", marker="d00040/"),
    "folders in reverse": swift(delimiter="/", reverse="true", marker="d00090"),
    "S3": s3_page("", "d00050/"),
    "S3's folders": s3_page("/", ""),
    "S3's versions": s3_versions,
    "Swift's versions": swift_versions,
}


def steps(engine: LocalEngine, work: Callable[[], int]) -> tuple[int, int]:
    """(what it answers, how many steps of the database it took)."""
    counted = 0

    def tick() -> int:
        nonlocal counted
        counted += EVERY
        return 0

    connection = engine.read(lambda i: i._sql.__self__)
    connection.set_progress_handler(tick, EVERY)
    try:
        return work(), counted
    finally:
        connection.set_progress_handler(None, 0)


@pytest.mark.parametrize("name", list(PAGES))
def test_a_page_costs_the_same_among_many_names(filled: tuple[LocalEngine, dict[int, ContainerRow]], name: str) -> None:
    engine, containers = filled
    site: Any = SimpleNamespace(engine=engine)
    taken = {}
    for size, container in containers.items():
        found, taken[size] = steps(engine, lambda c=container: PAGES[name](site, c))  # type: ignore[misc]
        assert found == 50, (name, size, found)
    assert taken[MANY] <= taken[FEW] * 1.2 + 100, taken
    assert taken[MANY] < 50 * 250, taken  # a folder is jumped over, not read through
