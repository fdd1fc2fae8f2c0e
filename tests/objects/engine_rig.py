"""An engine on temporary directories, and shorthand for what tests do with it."""

import asyncio
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

from nutshell.object_store.engine.devices import Device, Policy, write_table
from nutshell.object_store.engine.local import EngineSettings, LocalEngine
from nutshell.object_store.rows import AccountRow, ContainerRow, ObjectRow, stamp

T = TypeVar("T")
ACCOUNT = "AUTH_a"


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


def make_engine(directory: Path, devices: int = 1, replicas: int = 1, **more: Any) -> LocalEngine:
    directory.mkdir(exist_ok=True)
    if devices > 1 and not (directory / "devices.json").exists():
        table = [Device(f"d{n}", str(directory / f"disk{n}"), f"zone{n}") for n in range(1, devices + 1)]
        write_table(directory / "devices.json", table)
    return LocalEngine(EngineSettings(directory, [Policy(0, "standard", replicas)], **more))


def make_container(engine: LocalEngine, name: str = "c") -> ContainerRow:
    def work(index: Any) -> ContainerRow:
        now = stamp()
        account = index.account(ACCOUNT)
        if account is None:
            account = AccountRow(index.new_id(), ACCOUNT, now, now, {})
            index.put_account(account)
        row = ContainerRow(index.new_id(), account.id, name, 0, now, now, {})
        index.put_container(row)
        return row

    return engine.change_now(work)


async def put(engine: LocalEngine, container: ContainerRow, name: str, pieces: Sequence[bytes]) -> ObjectRow:
    async with engine.upload(f"{ACCOUNT}/{container.name}/{name}", container.policy) as up:
        for piece in pieces:
            await up.feed(piece)
        staged = await up.finish()

        def work(index: Any) -> ObjectRow:
            old = index.object(container.id, name)
            row = ObjectRow(container.id, name, stamp(), staged.size, staged.md5, "text/plain", index.keep(staged), {})
            index.put_object(row, old)
            return row

        return await engine.change(work)


async def get(engine: LocalEngine, container: ContainerRow, name: str) -> bytes | None:
    row = engine.read(lambda i: i.object(container.id, name))
    if row is None:
        return None
    if not row.blob:
        return b""
    blob = engine.read(lambda i: i.blob(row.blob))
    assert blob is not None
    return b"".join([piece async for piece in engine.fetch(blob, 0, blob.size)])


def delete(engine: LocalEngine, container: ContainerRow, name: str) -> None:
    def work(index: Any) -> None:
        index.drop_object(index.object(container.id, name))

    engine.change_now(work)
