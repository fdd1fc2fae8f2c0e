"""Writes qcow2 images that hold no data but are valid (QEMU docs/interop/qcow2.txt, version 3)."""

import os
import struct
from pathlib import Path

_CLUSTER = 65_536
_PER_TABLE = _CLUSTER // 8  # entries of an L1, L2 or refcount table in one cluster
_PER_BLOCK = _CLUSTER // 2  # 16-bit counts in one refcount block


def write_empty_qcow2(path: Path, size: int) -> None:
    """A qcow2 of `size` bytes (rounded up to 512) that reads as zeros, by a temporary name and rename."""
    size = -(-size // 512) * 512
    l1_entries = max(1, -(-size // (_CLUSTER * _PER_TABLE)))
    l1_clusters = -(-l1_entries // _PER_TABLE)
    used = 3 + l1_clusters  # header, refcount table, one refcount block, L1
    if used > _PER_BLOCK:
        raise ValueError(f"a disk of {size} bytes is too large")
    header = struct.pack(
        ">4sIQIIQIIQQIIQQQQII",
        b"QFI\xfb", 3, 0, 0, 16, size, 0, l1_entries, 3 * _CLUSTER, _CLUSTER, 1, 0, 0, 0, 0, 0, 4, 104,
    )  # fmt: skip
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as out:
        out.write(header)
        out.seek(_CLUSTER)
        out.write(struct.pack(">Q", 2 * _CLUSTER))
        out.seek(2 * _CLUSTER)
        out.write(struct.pack(">H", 1) * used)
        out.truncate(used * _CLUSTER)
    temporary.replace(path)
