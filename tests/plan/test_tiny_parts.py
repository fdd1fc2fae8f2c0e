"""Parts of the tiny image that need neither Debian's packages nor QEMU."""

import json
import shutil
import stat
import subprocess
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nutshell.host.tiny.kernel_modules import closure, index
from nutshell.host.tiny.trees import Tree, cpio

KEYS = st.text("ab_-", min_size=1, max_size=3)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 10**6) | st.text("ab \\\"{}[],:\n\t/'$", max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=12,
)


def flat(value: Any, path: str = "") -> list[str]:
    """What the guest's parser should print for a document."""
    if isinstance(value, dict):
        return [line for key, inner in value.items() for line in flat(inner, f"{path}.{key}" if path else key)]
    if isinstance(value, list):
        return [line for n, inner in enumerate(value) for line in flat(inner, f"{path}.{n}" if path else str(n))]
    text = value.split("\n")[0] if isinstance(value, str) else json.dumps(value)
    return [f"{path}\t{text}"]


@pytest.mark.skipif(not shutil.which("awk"), reason="awk is not installed")
@settings(max_examples=60, deadline=None)
@given(JSON, st.sampled_from([None, 2]))
def test_guest_reads_any_metadata(value: Any, indent: int | None) -> None:
    program = files("nutshell.host.tiny").joinpath("guest", "json.awk").read_text()
    document = json.dumps(value, indent=indent)
    done = subprocess.run(["awk", program], input=document, capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:-1] == flat(value)


def test_archive_holds_the_tree() -> None:
    tree = Tree()
    tree.file("bin/tool", b"12345", 0o4755)
    tree.link("sbin", "bin")
    tree.folder("home/user", owner=1000)
    archive = cpio(tree)
    assert archive == cpio(tree)
    listed = []
    at = 0
    while True:
        fields = [int(archive[at + 6 + 8 * n : at + 14 + 8 * n], 16) for n in range(13)]
        assert archive[at : at + 6] == b"070701"
        name = archive[at + 110 : at + 110 + fields[11] - 1].decode()
        start = (at + 110 + fields[11] + 3) // 4 * 4
        if name == "TRAILER!!!":
            break
        listed.append((name, stat.filemode(fields[1]), fields[2], archive[start : start + fields[6]]))
        at = (start + fields[6] + 3) // 4 * 4
    assert listed == [
        ("bin", "drwxr-xr-x", 0, b""),
        ("bin/tool", "-rwsr-xr-x", 0, b"12345"),
        ("sbin", "lrwxrwxrwx", 0, b"bin"),
        ("home", "drwxr-xr-x", 0, b""),
        ("home/user", "drwxr-xr-x", 1000, b""),
        ("dev", "drwxr-xr-x", 0, b""),
        ("dev/console", "crw-------", 0, b""),
    ]


def test_modules_come_after_what_they_need(tmp_path: Path) -> None:
    needs = {"virtio_net": "net_failover,virtio_ring", "net_failover": "failover", "failover": "", "virtio_ring": ""}
    for name, wanted in needs.items():
        info = f"\0license=GPL\0depends={wanted}\0alias=virtio:{name}*\0"
        (tmp_path / f"{name.replace('_', '-')}.ko").write_bytes(b"\x7fELF" + info.encode())
    found = closure(tmp_path, ["virtio-net", "built_in"])
    assert [module.name for module in found] == ["failover", "net_failover", "virtio_ring", "virtio_net"]
    texts = index(found)
    assert "virtio-net.ko: net-failover.ko failover.ko virtio-ring.ko\n" in texts["modules.dep"]
    assert "alias virtio:virtio_net* virtio_net\n" in texts["modules.alias"]
