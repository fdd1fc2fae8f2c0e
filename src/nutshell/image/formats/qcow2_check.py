"""Says why a qcow2 header must be refused (QEMU's docs/interop/qcow2.txt; limits as in QEMU's block/qcow2.h)."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace

from nutshell.image.formats.parse import VIRTUAL_SIZE_LIMIT, ImageRefused, Parse, Tail, Window

L1_LIMIT = 32 << 20
REFCOUNT_TABLE_LIMIT = 8 << 20
SNAPSHOT_LIMIT = 65536

# Incompatible features. Extended L2 entries (bit 4) are unknown to us as they are to Glance.
CORRUPT, DATA_FILE, COMPRESSION = 1 << 1, 1 << 2, 1 << 3
KNOWN_FEATURES = 1 | CORRUPT | DATA_FILE | COMPRESSION

EXTENSION_END = 0
EXTENSION_DATA_FILE = 0x44415441
EXTENSION_CRYPTO = 0x0537BE77


@dataclass(frozen=True)
class Header:
    """The fields of a header that are judged."""

    version: int
    backing_offset: int
    backing_length: int
    cluster_bits: int
    size: int
    crypt_method: int
    l1_size: int
    l1_offset: int
    refcount_offset: int
    refcount_clusters: int
    snapshots: int
    snapshots_offset: int
    features: int = 0
    refcount_order: int = 4
    length: int = 72
    compression: int = 0


HEAD_BYTES = 40 << 10  # of the first cluster: what follows the header's extensions is not looked at


def parse_qcow2() -> Parse:
    """A disk whose tables lie in the file and whose data is nowhere else."""
    head = (yield Window(0, HEAD_BYTES)).data
    header = parse(head)
    if isinstance(header, str):
        raise ImageRefused(header)
    why = refusal(header, head)
    if why is None:
        why = outside(header, (yield Tail(0)).size)
    if why is not None:
        raise ImageRefused(why)
    return header.size


def parse(head: bytes) -> Header | str:
    """The header, or why it cannot be read."""
    if len(head) < 72:
        return "the qcow2 header is cut off"
    (version,) = struct.unpack_from(">I", head, 4)
    if version not in (2, 3):
        return f"qcow2 version {version} is not supported"
    fields = struct.unpack_from(">QIIQIIQQIIQ", head, 8)
    if version == 2:
        return Header(version, *fields)
    if len(head) < 104:
        return "the qcow2 header is cut off"
    (features,) = struct.unpack_from(">Q", head, 72)
    order, length = struct.unpack_from(">II", head, 96)
    if length < 104 or length % 8 or length > len(head):
        return f"a qcow2 header of {length} bytes is not valid"
    compression = head[104] if length > 104 else 0
    plain = Header(version, *fields)
    return replace(plain, features=features, refcount_order=order, length=length, compression=compression)


def refusal(header: Header, head: bytes) -> str | None:
    """Why this header must not be accepted; None if it may, as far as its first bytes can tell."""
    for why in _refusals(header, head):
        return why
    return None


def _refusals(h: Header, head: bytes) -> Iterator[str]:
    if h.backing_offset or h.backing_length:
        yield "the qcow2 image has a backing file"
    if h.features & DATA_FILE:
        yield "the qcow2 image keeps its data in an external file"
    if h.features & ~KNOWN_FEATURES:
        yield f"the qcow2 image needs unknown features (0x{h.features & ~KNOWN_FEATURES:x})"
    if h.features & CORRUPT:
        yield "the qcow2 image is marked corrupt"
    if h.crypt_method:
        yield "the qcow2 image is encrypted"
    if not 9 <= h.cluster_bits <= 21:
        yield f"a qcow2 cluster of 2^{h.cluster_bits} bytes is not valid"
        return
    if h.compression not in (0, 1) or bool(h.compression) != bool(h.features & COMPRESSION):
        yield f"qcow2 compression type {h.compression} is not supported"
    if h.refcount_order > 6:
        yield f"qcow2 reference counts of 2^{h.refcount_order} bits are not valid"
    yield from _bad_tables(h)
    yield from _bad_extensions(h, head)


def _bad_tables(h: Header) -> Iterator[str]:
    cluster = 1 << h.cluster_bits
    if h.length > cluster:
        yield "the qcow2 header is longer than a cluster"
    if h.size > VIRTUAL_SIZE_LIMIT:
        yield f"a virtual size of {h.size} bytes is more than the limit of {VIRTUAL_SIZE_LIMIT}"
    if h.l1_size * 8 > L1_LIMIT:
        yield "the qcow2 L1 table is too large"
    if h.l1_size < -(-h.size // (cluster * (cluster // 8))):
        yield "the qcow2 L1 table is too small for the virtual size"
    if h.l1_size and (h.l1_offset % cluster or not h.l1_offset):
        yield "the qcow2 L1 table is not at a cluster"
    if h.refcount_offset % cluster or not h.refcount_offset or not h.refcount_clusters:
        yield "the qcow2 reference count table is missing or not at a cluster"
    if h.refcount_clusters * cluster > REFCOUNT_TABLE_LIMIT:
        yield "the qcow2 reference count table is too large"
    if h.snapshots > SNAPSHOT_LIMIT or (h.snapshots and (h.snapshots_offset % cluster or not h.snapshots_offset)):
        yield "the qcow2 snapshot table is not valid"


def _bad_extensions(h: Header, head: bytes) -> Iterator[str]:
    """Walks the header extensions, within the first cluster and what was kept of it."""
    offset, end = h.length, min(1 << h.cluster_bits, len(head))
    while offset + 8 <= end:
        kind, length = struct.unpack_from(">II", head, offset)
        if kind == EXTENSION_END:
            return
        if kind == EXTENSION_DATA_FILE:
            yield "the qcow2 image names an external data file"
        if kind == EXTENSION_CRYPTO:
            yield "the qcow2 image is encrypted"
        if length > end - offset - 8:
            yield "a qcow2 header extension reaches out of the first cluster"
            return
        offset += 8 + (length + 7) // 8 * 8
    if offset < 1 << h.cluster_bits and end < 1 << h.cluster_bits and end == len(head):
        yield "the qcow2 header extensions have no end"


def outside(h: Header, file_size: int) -> str | None:
    """Why the tables do not lie in a file of that size; None if they do."""
    if h.l1_offset + h.l1_size * 8 > file_size:
        return "the qcow2 L1 table lies outside the file"
    if h.refcount_offset + (h.refcount_clusters << h.cluster_bits) > file_size:
        return "the qcow2 reference count table lies outside the file"
    if h.snapshots and h.snapshots_offset >= file_size:
        return "the qcow2 snapshot table lies outside the file"
    return None
