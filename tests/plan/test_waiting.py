"""Waiting with a limit: for what is there at once, what comes, what fails, what does not come."""

import asyncio

import pytest

from nutshell.object_store.waiting import within


async def at_once() -> int:
    return 1


async def later(steps: int) -> int:
    for _ in range(steps):
        await asyncio.sleep(0.001)
    return steps


async def failing(waits: bool) -> int:
    if waits:
        await asyncio.sleep(0)
    raise ValueError


async def never(ended: list[str]) -> int:
    try:
        await asyncio.Event().wait()
    finally:
        ended.append("ended")
    return 0


def test_what_comes_is_returned() -> None:
    assert asyncio.run(within(5, at_once())) == 1
    assert asyncio.run(within(5, later(3))) == 3


@pytest.mark.parametrize("waits", [False, True])
def test_what_fails_fails(waits: bool) -> None:
    with pytest.raises(ValueError):
        asyncio.run(within(5, failing(waits)))


def test_what_does_not_come_is_given_up() -> None:
    ended: list[str] = []
    with pytest.raises(TimeoutError):
        asyncio.run(within(0.01, never(ended)))
    assert ended == ["ended"]


def test_who_is_cancelled_ends_what_it_waits_for() -> None:
    ended: list[str] = []

    async def cancel() -> None:
        task = asyncio.create_task(within(5, never(ended)))
        await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    assert ended == ["ended"]
