"""What a client is told when the engine, or the client itself, fails a request: the same by every API."""

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from nutshell.object_store.errors import EngineError, NoRoom
from nutshell.object_store.sockets import ClientSlow

log = logging.getLogger("nutshell.object_store")
A = TypeVar("A")


async def answered(work: Awaitable[A], refusal: Callable[[int], A], request_id: str, method: str) -> A:
    """What `work` comes to, or the refusal that has this status."""
    try:
        return await work
    except ClientSlow:
        return refusal(408)
    except NoRoom:
        return refusal(507)
    except EngineError as why:
        log.warning("%s %s: %s", request_id, method, why)
        return refusal(503)
