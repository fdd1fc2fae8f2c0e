"""Whole machines in and out: sound OVAs become images, the others are refused with their reason."""

import hashlib
import io
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.wire.test_image_imports import begin, order, settle, tasks, until
from tests.wire.test_images import ADMIN, call, make, put_data

from nutshell import app
from nutshell.image.formats import write_qcow2
from nutshell.image.ova.archive import OvaRefused
from nutshell.image.ova.ovf import read_xml

CORPUS = Path(__file__).parents[1] / "image" / "fuzz" / "corpus"
VMDK = "http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"


def disk(size: int = 1 << 20) -> bytes:
    file = io.BytesIO()
    write_qcow2(file, [b"boot"], size, cluster_bits=12)
    return file.getvalue()


def descriptor(*disks: str, more: str = "", start: str = "") -> bytes:
    files = "".join(f'<File ovf:id="f{n}" ovf:href="{d}"/>' for n, d in enumerate(disks))
    listed = "".join(
        f'<Disk ovf:diskId="d{n}" ovf:fileRef="f{n}" ovf:capacity="3" ovf:capacityAllocationUnits="byte * 2^30"'
        f' ovf:format="{VMDK}"/>'
        for n in range(len(disks))
    )
    items = "".join(
        f"<Item><r:HostResource>ovf:/disk/d{n}</r:HostResource><r:InstanceID>{9 + n}</r:InstanceID>"
        "<r:Parent>5</r:Parent><r:ResourceType>17</r:ResourceType></Item>"
        for n in range(len(disks))
    )
    return f"""<?xml version="1.0"?>{start}<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1"
 xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1"
 xmlns:r="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData">
<References>{files}</References><DiskSection><Info/>{listed}</DiskSection>
<VirtualSystem ovf:id="vm"><Info/><Name>web &amp; mail</Name>
<OperatingSystemSection ovf:id="94"><Info/><Description>Ubuntu_64</Description></OperatingSystemSection>
<VirtualHardwareSection><Info/>
<Item><r:InstanceID>1</r:InstanceID><r:ResourceType>3</r:ResourceType><r:VirtualQuantity>2</r:VirtualQuantity></Item>
<Item><r:AllocationUnits>MegaBytes</r:AllocationUnits><r:InstanceID>2</r:InstanceID><r:ResourceType>4</r:ResourceType>
<r:VirtualQuantity>2048</r:VirtualQuantity></Item>
<Item><r:InstanceID>5</r:InstanceID><r:ResourceSubType>lsilogic</r:ResourceSubType><r:ResourceType>6</r:ResourceType></Item>
<Item><r:InstanceID>6</r:InstanceID><r:ResourceSubType>E1000</r:ResourceSubType><r:ResourceType>10</r:ResourceType></Item>
{items}{more}</VirtualHardwareSection></VirtualSystem></Envelope>""".encode()


def archive(*files: tuple[str, bytes], kind: bytes = tarfile.REGTYPE) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for n, (name, content) in enumerate(files):
            one = tarfile.TarInfo(name)
            one.size, one.type = len(content), kind if n else tarfile.REGTYPE
            tar.addfile(one, io.BytesIO(content))
    return out.getvalue()


def manifest(*files: tuple[str, bytes]) -> tuple[str, bytes]:
    return "vm.mf", "".join(f"SHA256({n})= {hashlib.sha256(d).hexdigest()}\n" for n, d in files).encode()


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[app.Running]:
    running = begin(tmp_path)
    yield running
    running.close()


def bring_in(cloud: app.Running, content: bytes) -> dict[str, Any]:
    image_id = make(cloud, disk_format="vmdk", container_format="ova")["id"]
    assert put_data(cloud, image_id, content, where="stage").status_code == 204
    assert order(cloud, image_id, method={"name": "glance-direct"}) == 202
    return settle(cloud, image_id)


def test_a_machine_becomes_images_and_a_flavor(cloud: app.Running, tmp_path: Path) -> None:
    parts = ("vm.ovf", descriptor("a.img", "b.img")), ("a.img", disk()), ("b.img", disk(2 << 20))
    found = bring_in(cloud, archive(parts[0], manifest(*parts), *parts[1:]))
    assert (found["status"], found["name"], found["container_format"]) == ("active", "web & mail", "bare")
    assert (found["disk_format"], found["virtual_size"]) == ("qcow2", 1 << 20)
    assert found["ova_suggested_flavor"] == "vcpus=2,ram=2048,disk=3"
    wanted = {"hw_disk_bus": "scsi", "hw_scsi_model": "lsilogic", "hw_vif_model": "e1000", "os_type": "linux"}
    assert {k: found[k] for k in wanted} == wanted
    assert call(cloud, "GET", f"/v2/images/{found['id']}/file").content == disk()
    others = call(cloud, "GET", f"/v2/images?ova_disk_of={found['id']}", ADMIN).json()["images"]
    assert [(o["status"], o["virtual_size"], o["owner"]) for o in others] == [("active", 2 << 20, found["owner"])]
    until(lambda: not [p.name for p in (tmp_path / "images").iterdir() if "." in p.name])


GOOD = ("a.img", disk())
LAUGHS = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]>'


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"no archive at all" * 100, "no tar archive"),
        (b"", "no end"),
        (archive(GOOD), "no OVF descriptor"),
        (archive(("vm.ovf", descriptor("a.img"))), "not in it"),
        (archive(("vm.ovf", descriptor("/etc/passwd")), GOOD), "not in it"),
        (archive(("vm.ovf", descriptor("a.img")), ("../a.img", disk())), "no plain file name"),
        (archive(("vm.ovf", descriptor("a.img")), ("/a.img", disk())), "no plain file name"),
        (archive(("vm.ovf", descriptor("a.img")), GOOD, kind=tarfile.SYMTYPE), "no plain file"),
        (archive(("vm.ovf", descriptor("a.img")), GOOD, GOOD), "twice"),
        (archive(("vm.ovf", descriptor("a.img")), GOOD)[:4096], "cut off"),
        (archive(("vm.ovf", descriptor("a.img")), ("a.img", b"is no disk")), "raw"),
        (archive(("vm.ovf", descriptor("a.img")), manifest(("vm.ovf", b""), GOOD), GOOD), "not what the manifest says"),
        (archive(("vm.ovf", descriptor("a.img")), manifest(("vm.ovf", descriptor("a.img"))), GOOD), "same files"),
        (archive(("vm.ovf", descriptor("a.img")), ("vm.mf", b"MD5(a)= 1"), GOOD), "a line that is none"),
        (archive(("vm.ovf", descriptor()), GOOD), "no disk"),
        (archive(("vm.ovf", descriptor("a.img", start=LAUGHS)), GOOD), "document type"),
        (archive(("vm.ovf", b"<Envelope"), GOOD), "no XML"),
        (archive(("vm.ovf", b"<a/>"), GOOD), "0 machines"),
        (archive(("vm.ovf", b" " * (5 << 20)), GOOD), "too large"),
    ],
)
def test_what_is_no_sound_machine(cloud: app.Running, tmp_path: Path, content: bytes, why: str) -> None:
    found = bring_in(cloud, content)
    assert found["status"] == "queued"
    assert why in tasks(cloud, found["id"])[0]["message"]
    until(lambda: not [p.name for p in (tmp_path / "images").iterdir() if p.name.startswith(found["id"])])


def test_a_damaged_disk_is_found_by_the_manifest(cloud: app.Running) -> None:
    parts = ("vm.ovf", descriptor("a.img")), GOOD
    whole = bytearray(archive(parts[0], manifest(*parts), GOOD))
    at = bytes(whole).index(disk()[:4]) + 4096
    whole[at] ^= 1
    found = bring_in(cloud, bytes(whole))
    assert "a.img is not what the manifest says" in tasks(cloud, found["id"])[0]["message"]


def test_the_descriptor_cannot_be_deep_or_long() -> None:
    for text in (b"<a>" * 100 + b"</a>" * 100, b"<a>" + b"<b/>" * 60_000 + b"</a>"):
        with pytest.raises(OvaRefused, match="deep or too long"):
            read_xml(text)


@pytest.mark.skipif(not shutil.which("qemu-img"), reason="qemu-img is not installed")
def test_an_image_goes_out_and_comes_back(cloud: app.Running, tmp_path: Path) -> None:
    image_id = make(
        cloud, disk_format="qcow2", container_format="bare", name="a <b>", ova_suggested_flavor="vcpus=3,ram=99"
    )["id"]
    assert put_data(cloud, image_id, disk()).status_code == 204
    for kind in ("vmdk", "same"):
        sent = call(cloud, "GET", f"/v2/images/{image_id}/ova?disk_format={kind}")
        assert sent.status_code == 200
        with tarfile.open(fileobj=io.BytesIO(sent.content)) as tar:
            assert [name.rpartition(".")[2] for name in tar.getnames()][::2] == ["ovf", "mf"]
        back = bring_in(cloud, sent.content)
        assert (back["status"], back["name"], back["virtual_size"]) == ("active", "a <b>", 1 << 20)
        assert back["disk_format"] == {"vmdk": "vmdk", "same": "qcow2"}[kind]
        assert back["ova_suggested_flavor"] == "vcpus=3,ram=99,disk=1"
    assert call(cloud, "GET", f"/v2/images/{image_id}/ova?disk_format=zip").status_code == 400
    assert call(cloud, "GET", f"/v2/images/{make(cloud)['id']}/ova").status_code == 409
    until(lambda: not [p.name for p in (tmp_path / "images").iterdir() if "." in p.name])
