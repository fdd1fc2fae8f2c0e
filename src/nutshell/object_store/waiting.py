"""Waiting with a limit, for what mostly is there already (PEP 492: a coroutine is driven by `send` and `throw`)."""

import asyncio
import types
import typing as t
from collections.abc import Coroutine
from functools import partial

T = t.TypeVar("T")


async def within(seconds: float, work: Coroutine[t.Any, t.Any, T]) -> T:
    """What it comes to, or TimeoutError. Costs nothing where there is nothing to wait for, as mostly."""
    try:
        waited_for = work.send(None)
    except StopIteration as done:
        return t.cast(T, done.value)
    async with asyncio.timeout(seconds):
        return t.cast(T, await _go_on(work, waited_for))


@types.coroutine
def _go_on(work: Coroutine[t.Any, t.Any, t.Any], waited_for: t.Any) -> t.Generator[t.Any, t.Any, t.Any]:
    """The rest of a coroutine that has been begun."""
    while True:
        try:
            came = yield waited_for
        except BaseException as why:
            step = partial(work.throw, why)
        else:
            step = partial(work.send, came)
        try:
            waited_for = step()
        except StopIteration as done:
            return done.value
