"""Makes the tiny guest image from Debian packages alone (Debian's kernel, busybox and dropbear; no other download)."""

from nutshell.host.tiny.build import NEEDS, BuildFailed, build_tiny, missing

__all__ = ["NEEDS", "BuildFailed", "build_tiny", "missing"]
