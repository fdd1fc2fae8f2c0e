"""Makes the corpus' first files with qemu-img and by hand: `python -m tests.image.fuzz.seeds FOLDER`."""

import io
import struct
import subprocess
import sys
import tarfile
import tempfile
import zlib
from pathlib import Path

from tests.image.fuzz.sparse import expand, pack

# name → what follows `qemu-img create`
MADE = {
    "qcow2-v3": ["-f", "qcow2", "-o", "cluster_size=4096"],
    "qcow2-v2": ["-f", "qcow2", "-o", "compat=0.10,cluster_size=512"],
    "qcow2-zstd": ["-f", "qcow2", "-o", "cluster_size=4096,compression_type=zstd"],
    "qcow2-extended": ["-f", "qcow2", "-o", "extended_l2=on,cluster_size=16384"],
    "qcow2-lazy": ["-f", "qcow2", "-o", "lazy_refcounts=on,cluster_size=4096,refcount_bits=1"],
    "qcow2-data": ["-f", "qcow2", "-o", "data_file=data.raw,cluster_size=4096"],
    "qcow2-luks": ["--object", "secret,id=s,data=x", "-f", "qcow2",
                   "-o", "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=200,cluster_size=4096"],
    "qcow2-backing": ["-f", "qcow2", "-b", "base.raw", "-F", "raw", "-o", "cluster_size=4096"],
    "qed": ["-f", "qed"],
    "vmdk-sparse": ["-f", "vmdk"],
    "vmdk-stream": ["-f", "vmdk", "-o", "subformat=streamOptimized"],
    "vmdk-flat": ["-f", "vmdk", "-o", "subformat=monolithicFlat"],
    "vmdk-split": ["-f", "vmdk", "-o", "subformat=twoGbMaxExtentSparse"],
    "vmdk-backing": ["-f", "vmdk", "-b", "base.vmdk", "-F", "vmdk"],
    "vdi": ["-f", "vdi"],
    "vdi-static": ["-f", "vdi", "-o", "static=on"],
    "vhd": ["-f", "vpc"],
    "vhd-fixed": ["-f", "vpc", "-o", "subformat=fixed,force_size=on"],
    "vhdx": ["-f", "vhdx"],
    "vhdx-fixed": ["-f", "vhdx", "-o", "subformat=fixed,block_size=1048576"],
    "luks": ["--object", "secret,id=s,data=x", "-f", "luks", "-o", "key-secret=s,iter-time=200"],
    "parallels": ["-f", "parallels"],
}  # fmt: skip


def made_by_qemu(folder: Path) -> dict[str, bytes]:
    """One small image of each format and kind."""
    run = {"cwd": folder, "check": True, "capture_output": True}
    subprocess.run(["qemu-img", "create", "-f", "raw", "base.raw", "64K"], **run)  # type: ignore[call-overload]
    subprocess.run(["qemu-img", "create", "-f", "vmdk", "base.vmdk", "64K"], **run)  # type: ignore[call-overload]
    found = {}
    for name, options in MADE.items():
        for _ in range(5):  # measuring how long a key slot takes to open fails now and then on a busy machine
            command = ["qemu-img", "create", *options, name, "64K"]
            if subprocess.run(command, cwd=folder, check=False, capture_output=True).returncode == 0:
                break
        found[name] = (folder / name).read_bytes()
    snapshot = folder / "qcow2-v3"
    subprocess.run(["qemu-img", "snapshot", "-c", "one", str(snapshot)], **run)  # type: ignore[call-overload]
    found["qcow2-snapshot"] = snapshot.read_bytes()
    return found


def made_by_hand() -> dict[str, bytes]:
    """Partition tables, file systems' signs, archives, and files that are two things at once."""
    mbr = bytearray(4096)
    mbr[446:462] = struct.pack("<BBBBBBBBII", 0x80, 0, 2, 0, 0x83, 0, 3, 0, 1, 6)
    mbr[510:512] = b"\x55\xaa"
    fat = bytearray(1024)
    fat[:3], fat[0x10], fat[0x15], fat[510:512] = b"\xeb\x3c\x90", 2, 0xF8, b"\x55\xaa"
    iso = _iso()
    qcow_iso = bytearray(iso)
    qcow_iso[:4] = b"QFI\xfb"
    descriptor = b'# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType="monolithicFlat"\n'
    descriptor += b'RW 128 FLAT "/etc/passwd" 0\nddb.adapterType = "ide"\n'
    return {
        "raw": b"\0" * 1024,
        "text": b"hello\n",
        "empty": b"",
        "mbr": bytes(mbr),
        "fat": bytes(fat),
        "gpt": _gpt(),
        "iso": iso,
        "qcow2-and-iso": bytes(qcow_iso),
        "vmdk-descriptor": descriptor,
        "ova": _ova(descriptor),
    }


def _gpt() -> bytes:
    """A protective MBR, the table at both ends, one partition; the checksums hold."""
    sectors = 80
    disk = bytearray(sectors * 512)
    disk[446:462] = struct.pack("<BBBBBBBBII", 0, 0, 2, 0, 0xEE, 255, 255, 255, 1, sectors - 1)
    disk[510:512] = b"\x55\xaa"
    entry = struct.pack("<16s16sQQQ72s", b"\x0f" * 16, b"\x01" * 16, 34, 40, 0, "data".encode("utf-16le"))
    entries = entry.ljust(128 * 128, b"\0")
    for here, other, table in ((1, sectors - 1, 2), (sectors - 1, 1, sectors - 33)):
        fields = [b"EFI PART", 0x10000, 92, 0, 0, here, other, 34, sectors - 34, b"\x02" * 16, table, 128, 128,
                  zlib.crc32(entries)]  # fmt: skip
        layout = "<8sIIIIQQQQ16sQIII"
        fields[3] = zlib.crc32(struct.pack(layout, *fields))
        disk[here * 512 : here * 512 + 92] = struct.pack(layout, *fields)
        disk[table * 512 : table * 512 + len(entries)] = entries
    return bytes(disk)


def _iso() -> bytes:
    disk = bytearray(20 * 2048)
    volume = bytearray(2048)
    volume[:7] = b"\x01CD001\x01"
    volume[80:88] = struct.pack("<I", 20) + struct.pack(">I", 20)
    volume[128:132] = struct.pack("<H", 2048) + struct.pack(">H", 2048)
    disk[16 * 2048 : 17 * 2048] = volume
    disk[17 * 2048 : 17 * 2048 + 7] = b"\xffCD001\x01"
    return bytes(disk)


def _ova(disk: bytes) -> bytes:
    ovf = b"""<?xml version="1.0"?><Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1"
 xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1"><References><File ovf:id="f1" ovf:href="disk.vmdk"/></References>
<DiskSection><Info/><Disk ovf:diskId="d1" ovf:fileRef="f1" ovf:capacity="64" ovf:capacityAllocationUnits="byte * 2^10"/>
</DiskSection><VirtualSystem ovf:id="vm"><Info/><VirtualHardwareSection><Info/></VirtualHardwareSection></VirtualSystem>
</Envelope>"""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in (("vm.ovf", ovf), ("disk.vmdk", disk)):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return file.getvalue()


def main(target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        found = made_by_qemu(Path(folder)) | made_by_hand()
    for name, content in found.items():
        if name.endswith("luks"):  # the key slots' material is 250 KiB of noise
            content = content[:16384].ljust(len(content), b"\0")
        packed = pack(content)
        assert expand(packed) == content, name
        (target / name).write_bytes(packed if len(packed) < len(content) else content)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
