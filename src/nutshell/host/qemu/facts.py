"""What this machine is: processors, memory, disk, as the scheduler needs to know it."""

import os
import platform
import shutil
from pathlib import Path

from nutshell.compute.capability import HostFacts
from nutshell.host.qemu.accelerators import Accelerator

_FLAGS = {"aes": "AESNI", "avx": "AVX", "avx2": "AVX2", "sse4_1": "SSE41", "sse4_2": "SSE42", "fma": "FMA3"}
_ABLE = (
    "COMPUTE_NODE",
    "COMPUTE_VOLUME_ATTACH",
    "COMPUTE_VOLUME_EXTEND",
    "COMPUTE_VOLUME_MULTI_ATTACH",
    "COMPUTE_NET_ATTACH_INTERFACE",
    "COMPUTE_IMAGE_TYPE_QCOW2",
    "COMPUTE_IMAGE_TYPE_RAW",
    "COMPUTE_STORAGE_BUS_VIRTIO",
    "COMPUTE_STORAGE_BUS_SCSI",
    "COMPUTE_STORAGE_BUS_SATA",
    "COMPUTE_NET_VIF_MODEL_VIRTIO",
    "COMPUTE_NET_VIF_MODEL_E1000E",
    "COMPUTE_GRAPHICS_MODEL_VGA",
    "COMPUTE_FIRMWARE_BIOS",
)


def host_facts(name: str, state: Path, version: int, accelerator: Accelerator) -> HostFacts:
    flags, model = _processor()
    traits = [*_ABLE, *(f"HW_CPU_X86_{trait}" for flag, trait in _FLAGS.items() if flag in flags)]
    if Path("/usr/share/OVMF/OVMF_CODE_4M.fd").exists():
        traits.append("COMPUTE_FIRMWARE_UEFI")
    return HostFacts(
        name=name,
        hypervisor_type="KVM" if accelerator.kvm else "QEMU",
        hypervisor_version=version,
        vcpus=os.cpu_count() or 1,
        ram_mib=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20,
        disk_gib=shutil.disk_usage(state).total >> 30,
        arch=platform.machine(),
        cpu_model=model,
        traits=tuple(traits),
        accelerated=accelerator.kvm,
    )


def _processor() -> tuple[set[str], str]:
    flags: set[str] = set()
    model = ""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "flags":
            flags = set(value.split())
        elif key.strip() == "model name":
            model = value.strip()
        if flags and model:
            break
    return flags, model
