"""The descriptor: which disks a machine has and what hardware it wants (DSP0243; DSP1041 and CIM for the items)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING

from nutshell.image.ova.archive import OvaRefused

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

LIMIT_BYTES, DEPTH, ELEMENTS = 4 << 20, 64, 50_000
OVF = "http://schemas.dmtf.org/ovf/envelope/1"
RASD = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData"
VSSD = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData"
IDE, SCSI, ETHERNET, DISK, SATA = "5", "6", "10", "17", "20"
FORMATS = {
    "vmdk": "http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized",
    "qcow2": "http://www.gnome.org/~markmc/qcow-image-format.html",
    "raw": "http://www.gnome.org/~markmc/raw-image-format.html",
    "vhd": "http://technet.microsoft.com/en-us/library/bb676673.aspx",
    "vdi": "http://forums.virtualbox.org/viewtopic.php?t=8046",
}
MODELS = {"e1000": "e1000", "e1000e": "e1000e", "vmxnet3": "vmxnet3", "pcnet32": "pcnet", "virtio": "virtio"}
SCSI_MODELS = {"lsilogic": "lsilogic", "lsilogicsas": "lsisas1068", "virtualscsi": "vmpvscsi", "virtio": "virtio-scsi"}


@dataclass(frozen=True)
class Disk:
    """A disk of the machine: the file that holds it and the bytes a guest sees."""

    href: str
    capacity: int
    format: str


@dataclass(frozen=True)
class Machine:
    """What a descriptor tells of. Memory in mebibytes; 0: not said."""

    name: str
    vcpus: int
    memory_mib: int
    disks: Sequence[Disk]
    files: dict[str, int] = field(default_factory=dict)  # name → size as announced, -1: not said
    properties: dict[str, str] = field(default_factory=dict)


def read_xml(data: bytes) -> "Element":
    """The tree, without entities or document types. OvaRefused."""
    from xml.etree.ElementTree import TreeBuilder
    from xml.parsers.expat import ExpatError, ParserCreate

    if len(data) > LIMIT_BYTES:
        raise OvaRefused("the descriptor is too large")
    builder, parser = TreeBuilder(), ParserCreate(namespace_separator="}")
    count = depth = 0

    def tag(name: str) -> str:
        return "{" + name if "}" in name else name

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal count, depth
        count, depth = count + 1, depth + 1
        if count > ELEMENTS or depth > DEPTH:
            raise OvaRefused("the descriptor is too deep or too long")
        builder.start(tag(name), {tag(k): v for k, v in attributes.items()})

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(tag(name))

    def refuse(*_: object) -> int:
        raise OvaRefused("the descriptor has a document type or entities")

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = refuse
    parser.ExternalEntityRefHandler = refuse
    try:
        parser.Parse(data, True)
    except (ExpatError, LookupError, ValueError) as why:  # the latter two: of an encoding nobody knows
        raise OvaRefused(f"the descriptor is no XML: {why}") from None
    return builder.close()


def read_machine(data: bytes) -> Machine:
    """What the descriptor tells of. OvaRefused."""
    tree = read_xml(data)
    systems = list(tree.iter(f"{{{OVF}}}VirtualSystem"))
    if tree.tag != f"{{{OVF}}}Envelope" or len(systems) != 1:
        raise OvaRefused(f"the descriptor tells of {len(systems)} machines, not one")
    files = _files(tree)
    disks = _disks(tree, files)
    items = [_item(e) for e in systems[0].iter(f"{{{OVF}}}Item")]
    vcpus = max([0, *(_count(i.get("VirtualQuantity", "0")) for i in items if i.get("ResourceType") == "3")])
    memory = max([0, *(_memory(i) for i in items if i.get("ResourceType") == "4")])
    wanted = [i["HostResource"].rpartition("/")[2] for i in items
              if i.get("ResourceType") == DISK and "HostResource" in i]  # fmt: skip
    order = [n for n in wanted if n in disks] or list(disks)
    if not order:
        raise OvaRefused("the machine has no disk")
    name = systems[0].findtext(f"{{{OVF}}}Name") or systems[0].get(f"{{{OVF}}}id") or ""
    sizes = dict(files.values())
    chosen = [disks[n] for n in dict.fromkeys(order)]
    return Machine(name.strip()[:255], vcpus, memory, chosen, sizes, _properties(systems[0], items))


def _files(tree: "Element") -> dict[str, tuple[str, int]]:
    """id → (name, announced size)."""
    found = {}
    for one in tree.iter(f"{{{OVF}}}File"):
        if one.get(f"{{{OVF}}}chunkSize") or one.get(f"{{{OVF}}}compression", "identity") not in ("identity", ""):
            raise OvaRefused("it holds files in pieces, or compressed ones")
        size = one.get(f"{{{OVF}}}size", "-1")
        known = int(size) if re.fullmatch(r"[0-9]{1,18}", size) else -1
        found[one.get(f"{{{OVF}}}id", "")] = (one.get(f"{{{OVF}}}href", ""), known)
    return found


def _disks(tree: "Element", files: dict[str, tuple[str, int]]) -> dict[str, Disk]:
    found = {}
    for one in tree.iter(f"{{{OVF}}}Disk"):
        reference = one.get(f"{{{OVF}}}fileRef")
        if one.get(f"{{{OVF}}}parentRef"):
            raise OvaRefused("a disk depends on another one")
        if reference is None:  # an empty disk, made where the machine is
            continue
        if reference not in files:
            raise OvaRefused(f"a disk is in the file {reference}, which is not there")
        unit = _unit(one.get(f"{{{OVF}}}capacityAllocationUnits", "byte"))
        capacity = _count(one.get(f"{{{OVF}}}capacity", "0")) * unit
        kind = one.get(f"{{{OVF}}}format", "").partition("#")[0]
        known = [n for n, address in FORMATS.items() if kind and address.partition("#")[0] == kind]
        found[one.get(f"{{{OVF}}}diskId", "")] = Disk(files[reference][0], capacity, known[0] if known else "vmdk")
    return found


def _count(text: str) -> int:
    return int(text) if re.fullmatch(r"[0-9]{1,15}", text.strip()) else 0


def _unit(text: str) -> int:
    """ "byte * 2^20" or "MegaBytes" in bytes. OvaRefused."""
    words = {"byte": 1, "bytes": 1, "kilobytes": 1 << 10, "megabytes": 1 << 20, "gigabytes": 1 << 30}
    if text.strip().lower() in words:
        return words[text.strip().lower()]
    found = re.fullmatch(r"byte\s*\*\s*(2|10)\s*\^\s*([0-9]{1,2})", text.strip())
    if found is None:
        raise OvaRefused(f"{text[:40]!r} is no unit")
    return int(int(found[1]) ** int(found[2]))


def _item(element: "Element") -> dict[str, str]:
    return {child.tag.rpartition("}")[2]: (child.text or "").strip() for child in element}


def _memory(item: dict[str, str]) -> int:
    return _count(item.get("VirtualQuantity", "0")) * _unit(item.get("AllocationUnits", "byte * 2^20")) >> 20


def _properties(system: "Element", items: Sequence[dict[str, str]]) -> dict[str, str]:
    """Image properties that give a server the same hardware."""
    found: dict[str, str] = {}
    controllers = {i.get("InstanceID", ""): i for i in items if i.get("ResourceType") in (IDE, SCSI, SATA)}
    disk = next((i for i in items if i.get("ResourceType") == DISK), {})
    controller = controllers.get(disk.get("Parent", ""), {})
    bus = {IDE: "ide", SCSI: "scsi", SATA: "sata"}.get(controller.get("ResourceType", ""))
    if bus:
        found["hw_disk_bus"] = bus
    model = SCSI_MODELS.get(controller.get("ResourceSubType", "").lower())
    if bus == "scsi" and model:
        found["hw_scsi_model"] = model
    for one in items:
        card = MODELS.get(one.get("ResourceSubType", "").lower().split(" ")[0])
        if one.get("ResourceType") == ETHERNET and card:
            found.setdefault("hw_vif_model", card)
    for element in system.iter():
        if element.tag.endswith("}Config") and {v.lower() for v in element.attrib.values()} >= {"firmware", "efi"}:
            found["hw_firmware_type"] = "uefi"
    kind = system.find(f"{{{OVF}}}OperatingSystemSection")
    if kind is not None:
        text = " ".join([*kind.attrib.values(), kind.findtext(f"{{{OVF}}}Description") or ""]).lower()
        if "windows" in text:
            found["os_type"] = "windows"
        elif any(w in text for w in ("linux", "ubuntu", "debian", "centos", "rhel", "fedora", "suse")):
            found["os_type"] = "linux"
    return found


def write_machine(machine: Machine, disk: Disk, size: int) -> bytes:
    """The descriptor of a machine with one disk file of that size."""
    name, kind = escape(machine.name or "image"), escape(FORMATS[disk.format])
    os_type = machine.properties.get("os_type", "other")
    items = _item_xml(1, "3", f"{machine.vcpus} virtual CPUs", machine.vcpus, "hertz * 10^6")
    items += _item_xml(2, "4", f"{machine.memory_mib} MB of memory", machine.memory_mib, "byte * 2^20")
    items += "<Item><rasd:ElementName>SATA</rasd:ElementName><rasd:InstanceID>3</rasd:InstanceID>"
    items += f"<rasd:ResourceSubType>AHCI</rasd:ResourceSubType><rasd:ResourceType>{SATA}</rasd:ResourceType></Item>"
    items += "<Item><rasd:AddressOnParent>0</rasd:AddressOnParent><rasd:ElementName>disk</rasd:ElementName>"
    items += "<rasd:HostResource>ovf:/disk/disk1</rasd:HostResource><rasd:InstanceID>4</rasd:InstanceID>"
    items += f"<rasd:Parent>3</rasd:Parent><rasd:ResourceType>{DISK}</rasd:ResourceType></Item>"
    text = f"""<?xml version="1.0" encoding="UTF-8"?>
<Envelope xmlns="{OVF}" xmlns:ovf="{OVF}" xmlns:rasd="{RASD}" xmlns:vssd="{VSSD}">
<References><File ovf:id="file1" ovf:href="{disk.href}" ovf:size="{size}"/></References>
<DiskSection><Info>Disks</Info><Disk ovf:diskId="disk1" ovf:fileRef="file1" ovf:capacity="{disk.capacity}"
 ovf:capacityAllocationUnits="byte" ovf:format="{kind}"/></DiskSection>
<VirtualSystem ovf:id="image"><Info>A machine</Info><Name>{name}</Name>
<OperatingSystemSection ovf:id="{ {"linux": 101, "windows": 103}.get(os_type, 1) }"><Info>The guest</Info>
<Description>{os_type if os_type in ("linux", "windows") else "other"}</Description></OperatingSystemSection>
<VirtualHardwareSection><Info>Hardware</Info><System><vssd:ElementName>Virtual Hardware Family</vssd:ElementName>
<vssd:InstanceID>0</vssd:InstanceID><vssd:VirtualSystemType>vmx-10 virtualbox-2.2</vssd:VirtualSystemType></System>
{items}</VirtualHardwareSection></VirtualSystem></Envelope>
"""
    return text.encode()


def _item_xml(number: int, kind: str, name: str, quantity: int, unit: str) -> str:
    return (
        f"<Item><rasd:AllocationUnits>{unit}</rasd:AllocationUnits><rasd:ElementName>{name}</rasd:ElementName>"
        f"<rasd:InstanceID>{number}</rasd:InstanceID><rasd:ResourceType>{kind}</rasd:ResourceType>"
        f"<rasd:VirtualQuantity>{quantity}</rasd:VirtualQuantity></Item>"
    )
