"""Disk image formats: written and judged here, never guessed by a tool (docs/interop/qcow2.txt in QEMU, ECMA-119)."""

from nutshell.image.formats.inspect import ImageFacts, Inspector, inspect
from nutshell.image.formats.parse import ImageRefused
from nutshell.image.formats.qcow2 import write_qcow2

__all__ = ["ImageFacts", "ImageRefused", "Inspector", "inspect", "write_qcow2"]
