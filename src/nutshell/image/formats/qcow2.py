"""Writes a qcow2 version 3 file without any tool (QEMU's docs/interop/qcow2.txt)."""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

MAGIC = b"QFI\xfb"
HEADER_LENGTH = 112  # version 3 with the compression type byte, padded to a multiple of 8
COPIED = 1 << 63  # the cluster's reference count is exactly one
REFCOUNT_BYTES = 2


@dataclass(frozen=True)
class _Layout:
    """Where the tables lie, in clusters from the start of the file."""

    l1_start: int
    l1_clusters: int
    blocks_start: int
    blocks: int
    table_start: int
    table_clusters: int

    @property
    def end(self) -> int:
        return self.table_start + self.table_clusters


def write_qcow2(
    target: str | Path | BinaryIO, content: Iterable[bytes], virtual_size: int, *, cluster_bits: int = 16
) -> int:
    """The bytes written: a qcow2 whose guest sees `content` from its first byte on, and zeros after it.

    `target` is a path (replaced) or a seekable binary file at its start. Clusters of zeros take no room; memory held
    is a cluster and 8 bytes for each cluster of content. The same content gives the same file. ValueError when the
    content is longer than `virtual_size` or that is not a multiple of 512.
    """
    if virtual_size <= 0 or virtual_size % 512:
        raise ValueError(f"a virtual size must be a positive multiple of 512, not {virtual_size}")
    if not 9 <= cluster_bits <= 21:
        raise ValueError(f"cluster_bits must be from 9 to 21, not {cluster_bits}")
    if isinstance(target, str | Path):
        with open(target, "wb") as file:
            return _write(file, content, virtual_size, cluster_bits)
    return _write(target, content, virtual_size, cluster_bits)


def _write(file: BinaryIO, content: Iterable[bytes], virtual_size: int, cluster_bits: int) -> int:
    cluster = 1 << cluster_bits
    entries = cluster // 8
    l1_size = -(-virtual_size // (cluster * entries))
    file.write(bytes(cluster))  # the header comes last: a file cut off is no qcow2
    where: dict[int, int] = {}
    following = 1
    for index, data in enumerate(_clusters(content, virtual_size, cluster)):
        if data.count(0) != len(data):
            file.write(data)
            where[index] = following
            following += 1
    l1 = [0] * l1_size
    for number in sorted({index // entries for index in where}):
        l2 = [where.get(number * entries + i, 0) * cluster for i in range(entries)]
        file.write(struct.pack(f">{entries}Q", *(offset | COPIED if offset else 0 for offset in l2)))
        l1[number] = following * cluster | COPIED
        following += 1
    layout = _place(following, l1_size, cluster)
    file.write(struct.pack(f">{l1_size}Q", *l1).ljust(layout.l1_clusters * cluster, b"\0"))
    per_block = cluster // REFCOUNT_BYTES
    for number in range(layout.blocks):
        used = min(per_block, layout.end - number * per_block)
        file.write((b"\0\1" * used).ljust(cluster, b"\0"))
    offsets = [(layout.blocks_start + number) * cluster for number in range(layout.blocks)]
    file.write(struct.pack(f">{len(offsets)}Q", *offsets).ljust(layout.table_clusters * cluster, b"\0"))
    file.seek(0)
    file.write(_header(layout, virtual_size, l1_size, cluster_bits))
    file.seek(layout.end * cluster)
    return layout.end * cluster


def _clusters(content: Iterable[bytes], virtual_size: int, cluster: int) -> Iterator[bytes]:
    """The content cut into whole clusters, the last one padded with zeros."""
    held = bytearray()
    total = 0
    for chunk in content:
        total += len(chunk)
        if total > virtual_size:
            raise ValueError(f"the content is longer than the virtual size of {virtual_size} bytes")
        held += chunk
        while len(held) >= cluster:
            yield bytes(held[:cluster])
            del held[:cluster]
    if held:
        yield bytes(held).ljust(cluster, b"\0")


def _place(used: int, l1_size: int, cluster: int) -> _Layout:
    """The tables after `used` clusters. The reference counts count their own blocks too: grown until they fit."""
    l1_clusters = -(-l1_size * 8 // cluster)
    per_block = cluster // REFCOUNT_BYTES
    blocks = 1
    while True:
        table_clusters = -(-blocks * 8 // cluster)
        blocks_start = used + l1_clusters
        layout = _Layout(used, l1_clusters, blocks_start, blocks, blocks_start + blocks, table_clusters)
        needed = -(-layout.end // per_block)
        if needed <= blocks:
            return layout
        blocks = needed


def _header(layout: _Layout, virtual_size: int, l1_size: int, cluster_bits: int) -> bytes:
    fixed = struct.pack(
        ">4sIQIIQIIQQIIQQQQII",
        MAGIC,
        3,
        0,  # backing file: none
        0,
        cluster_bits,
        virtual_size,
        0,  # encryption: none
        l1_size,
        layout.l1_start << cluster_bits,
        layout.table_start << cluster_bits,
        layout.table_clusters,
        0,  # internal snapshots: none
        0,
        0,  # incompatible features: none
        0,  # compatible features: none
        0,  # features to clear when not understood: none
        4,  # reference counts are 1 << 4 bits wide
        HEADER_LENGTH,
    )
    # A byte of compression type (0 is zlib), padding, then the mark that ends the header extensions.
    return fixed.ljust(HEADER_LENGTH + 8, b"\0")
