"""Worlds that contract tests share: a QEMU driver with its state in a short path, and an image that boots."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tiny_image() -> Iterator[Path]:
    """The tiny image, built once for this test run."""
    tiny = pytest.importorskip("nutshell.host.tiny")

    if lacking := tiny.missing():
        pytest.skip(f"the tiny image cannot be built: {', '.join(lacking)}")
    directory = Path(tempfile.mkdtemp(prefix="nutshell-tiny-"))
    yield tiny.build_tiny(directory / "tiny.qcow2", lambda what, part: None)
    shutil.rmtree(directory)


@pytest.fixture(scope="session")
def qemu_state() -> Iterator[Path]:
    """A state directory for guests; everything in it is ended and removed afterwards."""
    if not shutil.which("qemu-system-x86_64") or not shutil.which("qemu-img"):
        pytest.skip("QEMU is not installed (apt install qemu-system-x86 qemu-utils)")
    state = Path(tempfile.mkdtemp(prefix="nutshell-"))
    yield state
    from nutshell.host.qemu.driver import QemuHypervisor

    driver = QemuHypervisor(state, "test-host")
    driver.remove_everything()
    driver.close()
    shutil.rmtree(state)
