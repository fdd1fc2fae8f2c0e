"""Manifests of static large objects: what clients send, checked, and what is kept of it.

Source: Object Storage documentation, "Static large objects".
"""

import base64
import binascii
import hashlib
import json
from typing import Any
from urllib.parse import quote

from nutshell.object_store.swift import ranges
from nutshell.object_store.swift.concatenating import Part
from nutshell.object_store.swift.messages import Refusal, Response, is_true

MOST_BYTES, MOST_SEGMENTS = 8 << 20, 1000
KEYS = {"path": {"path", "etag", "size_bytes", "range"}, "data": {"data"}}


def parse(raw: bytes, own_path: str) -> list[dict[str, Any]]:
    """The client's list. 400 with a line for each entry that cannot be."""
    try:
        said = json.loads(raw)
    except (ValueError, RecursionError):
        raise Refusal(400, "Manifest must be valid JSON.\n") from None
    if not isinstance(said, list):
        raise Refusal(400, "Manifest must be a list.\n")
    wrong = []
    for i, entry in enumerate(said):
        problem = _problem(entry, own_path, i == len(said) - 1)
        if problem:
            wrong.append(f"Index {i}: {problem}")
    if said and not wrong and all("data" in entry for entry in said):
        wrong.append("Inline data segments require at least one object-backed segment.")
    if wrong:
        raise Refusal(400, "".join(w + "\n" for w in wrong))
    if sum(1 for entry in said if "path" in entry) > MOST_SEGMENTS:
        raise Refusal(413, f"Number of object-backed segments must be <= {MOST_SEGMENTS}")
    return said


def _problem(entry: Any, own_path: str, last: bool) -> str:
    if not isinstance(entry, dict):
        return "not a JSON object"
    kind = next((k for k in KEYS if k in entry), "")
    if not kind:
        return "expected keys to include one of b'path' or b'data'"
    more = sorted(k for k in entry if k not in KEYS[kind])
    if more:
        return "extraneous keys " + ", ".join(json.dumps(k) for k in more)
    return _data_problem(entry) if kind == "data" else _path_problem(entry, own_path, last)


def _data_problem(entry: dict[str, Any]) -> str:
    try:
        data = base64.b64decode(entry["data"], validate=True)
    except (ValueError, TypeError, binascii.Error):
        return "data must be valid base64"
    if not data:
        return "too small; each segment must be at least 1 byte."
    entry["data"] = base64.b64encode(data).decode()
    return ""


def _path_problem(entry: dict[str, Any], own_path: str, last: bool) -> str:
    path, etag, size = entry["path"], entry.get("etag"), entry.get("size_bytes")
    if not isinstance(path, str):
        return '"path" must be a string'
    if etag is not None and not isinstance(etag, str):
        return '"etag" must be a string or null (if provided)'
    if "/" not in path.strip("/"):
        return "path does not refer to an object. Path must be of the form /container/object."
    if size is not None:
        try:
            size = entry["size_bytes"] = int(size)
        except (TypeError, ValueError, OverflowError):
            return "invalid size_bytes"
        if size < 1 and not last:
            return "too small; each segment must be at least 1 byte."
    if path.lstrip("/") == own_path:
        return "manifest must not include itself as a segment"
    if entry.get("range"):
        asked = ranges.asked_ranges(f"bytes={entry['range']}")
        if asked is None:
            return "invalid range"
        if len(asked) > 1:
            return "multiple ranges (only one allowed)"
        if size is not None and len(ranges.ranges_in(f"bytes={entry['range']}", size) or []) != 1:
            return "unsatisfiable range"
    return ""


def keep(entry: dict[str, Any], head: Response, last: bool, wrong: list[tuple[str, str]]) -> tuple[int, dict[str, Any]]:
    """(bytes it adds, the entry as it is kept) after a look at the segment; what does not fit goes to `wrong`."""
    from nutshell.object_store.swift.messages import REASONS

    name = quote(entry["path"])
    if not head.good:
        wrong.append((name, f"{head.status} {REASONS[head.status][0]}"))
        return 0, {}
    size, etag = int(head.headers["content-length"]), head.headers["etag"].strip('"')
    length = size
    kept = {
        "name": "/" + entry["path"].lstrip("/"),
        "bytes": size,
        "hash": etag,
        "content_type": head.headers["content-type"],
        "last_modified": head.notes.get("iso", ""),
    }
    if entry.get("range"):
        found = ranges.ranges_in(f"bytes={entry['range']}", size)
        if not found:
            wrong.append((name, "Unsatisfiable Range"))
        elif found != [(0, size)]:
            kept["range"] = f"{found[0][0]}-{found[0][1] - 1}"
            length = found[0][1] - found[0][0]
    if length < 1 and not last:
        wrong.append((name, "Too small; each segment must be at least 1 byte."))
    if entry.get("size_bytes") is not None and entry["size_bytes"] != size:
        wrong.append((name, "Size Mismatch"))
    if entry.get("etag") is not None and entry["etag"].strip('"') != etag:
        wrong.append((name, "Etag Mismatch"))
    if is_true(head.headers.get("x-static-large-object", "")):
        kept["sub_slo"] = True
    return length, kept


def etag_of(kept: list[dict[str, Any]]) -> str:
    """The large object's ETag: a digest of its parts'."""
    digest = hashlib.md5(usedforsecurity=False)
    for entry in kept:
        if "data" in entry:
            data = base64.b64decode(entry["data"])
            digest.update(hashlib.md5(data, usedforsecurity=False).hexdigest().encode())
        elif entry.get("range"):
            digest.update(f"{entry['hash']}:{entry['range']};".encode())
        else:
            digest.update(entry["hash"].encode())
    return digest.hexdigest()


def parts_of(kept: list[dict[str, Any]]) -> list[Part]:
    found = []
    for entry in kept:
        if "data" in entry:
            found.append(Part("", "", 0, 0, 0, data=base64.b64decode(entry["data"])))
            continue
        container, _, obj = entry["name"].lstrip("/").partition("/")
        first, last = 0, entry["bytes"]
        if entry.get("range"):
            a, _, b = entry["range"].partition("-")
            first, last = int(a), int(b) + 1
        found.append(Part(container, obj, first, last, entry["bytes"], entry["hash"]))
    return found


def as_sent(kept: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The kept list in the form in which it can be sent again (format=raw)."""
    out = []
    for entry in kept:
        if "data" in entry:
            out.append({"data": entry["data"]})
            continue
        one = {"path": entry["name"], "size_bytes": entry["bytes"], "etag": entry["hash"]}
        if entry.get("range"):
            one["range"] = entry["range"]
        out.append(one)
    return out
