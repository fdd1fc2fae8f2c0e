"""Changes a file's bytes at random; mends checksums half of the time, so that what lies behind is reached."""

import struct
import zlib
from collections.abc import Sequence
from random import Random

from tests.image.fuzz.sparse import MARK, RECORD, expand, pack

TELLING = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x1FF, 0x200, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF,
           1 << 40, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)  # fmt: skip
WORDS = (b"QFI\xfb", b"KDMV", b"conectix", b"cxsparse", b"vhdxfile", b"LUKS\xba\xbe", b"EFI PART", b"CD001",
         b"\x55\xaa", b"# Disk DescriptorFile\n", b"createType=\"streamOptimized\"", b"RW 1 SPARSE \"../x\"", b"DATA",
         b"ustar\0")  # fmt: skip
_CRC32C = 0x82F63B78


def mutate(data: bytes, random: Random, others: Sequence[bytes] = ()) -> bytes:
    """The data after one to six changes. The extents' frame mostly stays whole."""
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 3, 6))):
        _change(changed, random, others)
    if random.random() < 0.5:
        return mended(bytes(changed))
    return bytes(changed)


def _change(data: bytearray, random: Random, others: Sequence[bytes]) -> None:
    at = random.randrange(len(data) + 1)
    if random.random() < 0.3:
        at = min(len(data), len(MARK) + RECORD.size + random.randrange(128))
    match random.randrange(7):
        case 0 if at < len(data):
            data[at] ^= 1 << random.randrange(8)
        case 1 | 2:
            layout = random.choice(("<B", "<H", ">H", "<I", ">I", "<Q", ">Q"))
            size = struct.calcsize(layout)
            value = (random.choice(TELLING) + random.choice((0, 0, 1, -1))) % (1 << 8 * size)
            data[at : at + size] = struct.pack(layout, value)
        case 3:
            word = random.choice(WORDS)
            data[at : at + len(word)] = word
        case 4:
            data[at : at + random.randrange(1, 64)] = b""
        case 5:
            data[at:at] = random.randbytes(random.randrange(1, 16))
        case _ if others:
            other = random.choice(others)
            start = random.randrange(len(other) + 1)
            length = random.randrange(1, 600)
            data[at : at + length] = other[start : start + length]


def mended(data: bytes) -> bytes:
    """The same file with the checksums of VHD, VHDX and GPT made to hold."""
    content = bytearray(expand(data))
    for start in {0, max(0, len(content) - 512)}:
        if content[start : start + 8] == b"conectix":
            _put_sum(content, start, 64, 512)
    for start in (512, 1024, 1536):
        if content[start : start + 8] == b"cxsparse":
            _put_sum(content, start, 36, 1024)
    if content[512:520] == b"EFI PART":
        _mend_gpt(content)
    for start, size in ((65536, 4096), (131072, 4096), (196608, 65536), (262144, 65536)):
        if content[start : start + 4] in (b"head", b"regi"):
            block = content[start : start + size]
            block[4:8] = bytes(4)
            content[start + 4 : start + 8] = struct.pack("<I", crc32c(bytes(block)))
    return pack(bytes(content)) if data.startswith(MARK) else bytes(content)


def _put_sum(content: bytearray, start: int, offset: int, size: int) -> None:
    block = content[start : start + size]
    if len(block) == size:
        block[offset : offset + 4] = bytes(4)
        content[start + offset : start + offset + 4] = struct.pack(">I", ~sum(block) & 0xFFFFFFFF)


def _mend_gpt(content: bytearray) -> None:
    table, count, size = struct.unpack_from("<QII", content.ljust(1024, b"\0"), 512 + 72)
    if count * size <= 1 << 20 and len(content) >= 1024:
        entries = bytes(content[table * 512 : table * 512 + count * size])
        struct.pack_into("<I", content, 512 + 88, zlib.crc32(entries))
        struct.pack_into("<I", content, 512 + 16, 0)
        struct.pack_into("<I", content, 512 + 16, zlib.crc32(bytes(content[512 : 512 + 92])))


def crc32c(data: bytes) -> int:
    """Castagnoli's checksum (RFC 3720 appendix B.4), which zlib lacks. Runs of zeros at the end are quick."""
    rest = 0xFFFFFFFF
    for byte in data:
        rest = (rest >> 8) ^ _TABLE[(rest ^ byte) & 0xFF]
    return rest ^ 0xFFFFFFFF


def _table() -> tuple[int, ...]:
    found = []
    for n in range(256):
        for _ in range(8):
            n = (n >> 1) ^ (_CRC32C if n & 1 else 0)
        found.append(n)
    return tuple(found)


_TABLE = _table()
