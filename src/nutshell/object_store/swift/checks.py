"""Swift's limits on names and metadata, and times in headers (Object Storage API, "constraints")."""

import functools
import re
from collections.abc import Mapping
from email.utils import formatdate

from nutshell.object_store.numbers import count, whole
from nutshell.object_store.rows import TICKS
from nutshell.object_store.swift.messages import Refusal, Request

LIMITS: Mapping[str, int] = {
    "max_file_size": 5 * 2**30 + 2,
    "max_meta_name_length": 128,
    "max_meta_value_length": 256,
    "max_meta_count": 90,
    "max_meta_overall_size": 4096,
    "max_header_size": 8192,
    "max_object_name_length": 1024,
    "container_listing_limit": 10000,
    "account_listing_limit": 10000,
    "max_account_name_length": 256,
    "max_container_name_length": 256,
    "extra_header_count": 0,
}
MAX_HEADERS = LIMITS["max_meta_count"] + 36


def check_metadata(req: Request, kind: str) -> None:
    """400 for metadata headers beyond the limits. `kind`: account, container or object."""
    prefix = f"x-{kind}-meta-"
    count = size = 0
    for key, value in req.headers.items():
        if len(value) > LIMITS["max_header_size"]:
            raise Refusal(400, f"Header value too long: {key.title()[:128]}")
        if not key.startswith(prefix):
            continue
        name = key[len(prefix) :]
        if not name:
            raise Refusal(400, "Metadata name cannot be empty")
        if kind != "object" and not (_is_utf8(name) and _is_utf8(value)):
            raise Refusal(400, "Metadata must be valid UTF-8")
        count += 1
        size += len(name) + len(value)
        if len(name) > LIMITS["max_meta_name_length"]:
            raise Refusal(400, f"Metadata name too long: {prefix}{name}")
        if len(value) > LIMITS["max_meta_value_length"]:
            raise Refusal(400, f"Metadata value longer than {LIMITS['max_meta_value_length']}: {prefix}{name}")
    check_totals(count, size)


def check_totals(count: int, size: int) -> None:
    if count > LIMITS["max_meta_count"]:
        raise Refusal(400, f"Too many metadata items; max {LIMITS['max_meta_count']}")
    if size > LIMITS["max_meta_overall_size"]:
        raise Refusal(400, f"Total metadata too large; max {LIMITS['max_meta_overall_size']}")


def check_merged(meta: Mapping[str, str], kind: str) -> None:
    """The limits over everything an account or container then has."""
    prefix = f"x-{kind}-meta-"
    mine = [(k[len(prefix) :], v) for k, v in meta.items() if k.startswith(prefix)]
    check_totals(len(mine), sum(len(k) + len(v) for k, v in mine))


def _is_utf8(value: str) -> bool:
    if value.isascii():
        return True
    try:
        value.encode("latin1").decode()
    except UnicodeDecodeError:
        return False
    return True


def check_container_name(name: str) -> None:
    size = len(name.encode())
    if size > LIMITS["max_container_name_length"]:
        text = f"Container name length of {size} longer than {LIMITS['max_container_name_length']}"
        raise Refusal(400, text, {"content-type": "text/html; charset=UTF-8"})


def check_account_name(name: str) -> None:
    size = len(name.encode())
    if size > LIMITS["max_account_name_length"]:
        raise Refusal(400, f"Account name length of {size} longer than {LIMITS['max_account_name_length']}")


def check_object_name(name: str) -> None:
    size = len(name.encode())
    if size > LIMITS["max_object_name_length"]:
        raise Refusal(400, f"Object name length of {size} longer than {LIMITS['max_object_name_length']}")


LATEST = 9999999999  # ten digits, as the time of an object has them


def delete_at(headers: Mapping[str, str], now_s: float) -> int:
    """When a request wants the object deleted (seconds), 0 for never. 400 for the past and for no number."""
    after = headers.get("x-delete-after")
    if after is not None and after != "":
        seconds = _seconds(after.strip())
        if seconds is None:
            raise Refusal(400, "Non-integer X-Delete-After")
        at = int(now_s) + seconds
        if at <= int(now_s):
            raise Refusal(400, "X-Delete-After in past")
        return _bounded(at)
    text = headers.get("x-delete-at")
    if text is None or text == "":
        return 0
    moment = _seconds(text.strip())
    if moment is None:
        raise Refusal(400, "Non-integer X-Delete-At")
    if moment < now_s:
        raise Refusal(400, "X-Delete-At in past")
    return _bounded(moment)


def _seconds(text: str) -> int | None:
    """A number, however long: past the far future nothing is farther."""
    if re.fullmatch("-?[0-9]{15,}", text):
        return -LATEST if text[0] == "-" else LATEST
    return whole(text)


def _bounded(at: int) -> int:
    return min(at, LATEST)


def http_time(ticks: int) -> str:
    """Last-Modified: rounded up, so that it is never before the change."""
    return _date(-(-ticks // TICKS))


@functools.lru_cache(1024)
def _date(seconds: int) -> str:
    return formatdate(seconds, usegmt=True)


def iso_time(ticks: int) -> str:
    """As listings show times: "2026-11-22T10:00:00.000000"."""
    from nutshell.core.clock import iso_micros

    return iso_micros(ticks / TICKS)


def listing_limit(req: Request, most: int) -> int:
    text = req.query.get("limit", "")
    if not text.isdecimal():
        return most
    number = count(text)
    if number is None or number > most:
        raise Refusal(412, f"Maximum limit is {most}")
    return number
