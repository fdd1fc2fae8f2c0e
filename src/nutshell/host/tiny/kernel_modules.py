"""Chooses kernel modules and what they need, from the facts inside the modules (.modinfo; kernel's module.lds)."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

# In the initial RAM disk: what finds a root disk and a first network card. The rest loads from the root disk.
EARLY = ("virtio_pci", "virtio_blk", "virtio_net", "virtio_scsi", "sd_mod", "ata_piix")
LATER = (
    "8021q",
    "bonding",
    "bridge",
    "button",
    "dm-mod",
    "evdev",
    "fuse",
    "i6300esb",
    "isofs",
    "loop",
    "nls_ascii",
    "nls_cp437",
    "nls_iso8859-1",
    "nls_utf8",
    "nvme",
    "overlay",
    "qemu_fw_cfg",
    "sr_mod",
    "tun",
    "veth",
    "vfat",
    "virtio-rng",
    "virtio_balloon",
    "virtio_console",
    "virtio_input",
    "virtiofs",
)


@dataclass(frozen=True)
class Module:
    """One kernel module: its name, file, the names it needs, and the device aliases it answers to."""

    name: str
    file: Path
    needs: tuple[str, ...]
    aliases: tuple[str, ...]


def read_module(file: Path) -> Module:
    """The module's facts; its .modinfo is a run of NUL-ended key=value strings."""
    content = file.read_bytes()

    def values(key: bytes) -> list[str]:
        return [m.decode() for m in re.findall(rb"\0" + key + rb"=([^\0]*)(?=\0)", content)]

    needs = tuple(name.replace("-", "_") for name in ",".join(values(b"depends")).split(",") if name)
    soft = [word for line in values(b"softdep") for word in line.partition("pre:")[2].partition("post:")[0].split()]
    needs += tuple(name.replace("-", "_") for name in soft)
    return Module(file.stem.replace("-", "_"), file, needs, tuple(values(b"alias")))


def closure(tree: Path, wanted: Iterable[str]) -> list[Module]:
    """The wanted modules with all they need, each after its needs; names that are built in or missing are skipped."""
    files = {file.stem.replace("-", "_"): file for file in sorted(tree.rglob("*.ko"))}
    found: dict[str, Module] = {}
    entered: set[str] = set()

    def add(name: str) -> None:
        if name in entered or name not in files:
            return
        entered.add(name)
        module = read_module(files[name])
        for need in module.needs:
            add(need)
        found[name] = module

    for name in wanted:
        add(name.replace("-", "_"))
    return list(found.values())


def index(modules: Iterable[Module]) -> dict[str, str]:
    """The texts of modules.dep and modules.alias for modules that lie flat in one folder."""
    modules = list(modules)
    files = {module.name: module.file.name for module in modules}
    needs = {module.name: module.needs for module in modules}

    def deep(name: str) -> list[str]:
        """In modprobe's order: nearest need first, the deepest last."""
        ordered: list[str] = []
        for need in needs[name]:
            for each in (need, *deep(need)) if need in needs else ():
                if each in ordered:
                    ordered.remove(each)
                ordered.append(each)
        return ordered

    lines = [" ".join((f"{files[m.name]}:", *(files[each] for each in deep(m.name)))) for m in modules]
    aliases = "".join(f"alias {alias} {module.name}\n" for module in modules for alias in module.aliases)
    return {"modules.dep": "\n".join(lines) + "\n", "modules.alias": aliases}
