"""A file tree described in memory, and its two forms: a cpio archive and an ext4 file system, made without rights.

Sources: the kernel's Documentation/driver-api/early-userspace/buffer-format.rst; mke2fs(8) and debugfs(8).
"""

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from nutshell.host.tiny.packages import run

EPOCH = 1_700_000_000  # every file's time: the same packages give the same image


@dataclass(frozen=True)
class Entry:
    """One file, folder or symbolic link (by its mode) with its owner."""

    mode: int
    content: bytes = b""
    owner: int = 0


@dataclass
class Tree:
    """Paths without a leading slash. Folders on the way come by themselves."""

    entries: dict[str, Entry] = field(default_factory=dict)

    def folder(self, path: str, mode: int = 0o755, owner: int = 0) -> None:
        self._parents(path)
        self.entries[path] = Entry(stat.S_IFDIR | mode, b"", owner)

    def file(self, path: str, content: bytes | str, mode: int = 0o644, owner: int = 0) -> None:
        self._parents(path)
        data = content.encode() if isinstance(content, str) else content
        self.entries[path] = Entry(stat.S_IFREG | mode, data, owner)

    def link(self, path: str, target: str) -> None:
        self._parents(path)
        self.entries[path] = Entry(stat.S_IFLNK | 0o777, target.encode())

    def _parents(self, path: str) -> None:
        parent = path.rpartition("/")[0]
        if parent and parent not in self.entries:
            self.folder(parent)


def cpio(tree: Tree) -> bytes:
    """The tree as a "newc" archive, with the console node that the kernel opens for the first process."""
    out = bytearray()

    def add(number: int, path: str, entry: Entry, device: tuple[int, int] = (0, 0)) -> None:
        fields = (number, entry.mode, entry.owner, entry.owner, 1, EPOCH, len(entry.content), 0, 0, *device)
        name = path.encode() + b"\0"
        out.extend(b"070701" + b"".join(b"%08x" % value for value in (*fields, len(name), 0)) + name)
        out.extend(bytes(-len(out) % 4))
        out.extend(entry.content)
        out.extend(bytes(-len(out) % 4))

    for number, (path, entry) in enumerate(tree.entries.items(), start=1):
        add(number, path, entry)
    if "dev" not in tree.entries:
        add(len(tree.entries) + 1, "dev", Entry(stat.S_IFDIR | 0o755))
    add(len(tree.entries) + 2, "dev/console", Entry(stat.S_IFCHR | 0o600), (5, 1))
    add(0, "TRAILER!!!", Entry(0))
    return bytes(out)


def write(tree: Tree, root: Path) -> None:
    """The tree on disk, owned by whoever runs this."""
    root.mkdir(parents=True)
    for path, entry in tree.entries.items():
        place = root / path
        if stat.S_ISDIR(entry.mode):
            place.mkdir()
        elif stat.S_ISLNK(entry.mode):
            place.symlink_to(entry.content.decode())
        else:
            place.write_bytes(entry.content)
            place.chmod(stat.S_IMODE(entry.mode))
    for path, entry in reversed(tree.entries.items()):
        if stat.S_ISDIR(entry.mode):
            (root / path).chmod(stat.S_IMODE(entry.mode) | stat.S_IRWXU)
        os.utime(root / path, (EPOCH, EPOCH), follow_symlinks=False)
    os.utime(root, (EPOCH, EPOCH))


def ext4(tree: Tree, scratch: Path, target: Path, size: int) -> None:
    """An ext4 file system of `size` bytes with the tree, its owners and its modes. It may grow a thousandfold."""
    root = scratch / "root"
    write(tree, root)
    features = "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,flex_bg,sparse_super,large_file,"
    features += "huge_file,dir_nlink,extra_isize"
    with target.open("wb") as file:
        file.truncate(size)
    seed = "6e757473-6865-6c6c-0000-000000000001"
    extra = f"root_owner=0:0,hash_seed={seed},lazy_itable_init=1,lazy_journal_init=1,resize=67108864"
    command = ["mke2fs", "-q", "-t", "ext4", "-b", "4096", "-I", "256", "-N", "8192", "-m", "0", "-J", "size=4"]
    command += ["-O", features, "-L", "nutshell", "-U", seed, "-E", extra, "-d", str(root), str(target)]
    run(command, E2FSPROGS_FAKE_TIME=str(EPOCH))
    # What mke2fs took from the files on disk is who ran it and when; the tree says better.
    changes: list[str] = []
    for path, entry in tree.entries.items():
        quoted = f'"/{path}"'
        changes += [f"sif {quoted} {name} {entry.owner}" for name in ("uid", "gid")]
        changes += [f"sif {quoted} {name} @{EPOCH}" for name in ("ctime", "crtime", "atime", "mtime")]
        changes += [f"sif {quoted} {name} 0" for name in ("ctime_extra", "crtime_extra", "atime_extra", "mtime_extra")]
    script = scratch / "owners"
    script.write_text("\n".join(changes) + "\n")
    run(["debugfs", "-w", "-f", script, target], E2FSPROGS_FAKE_TIME=str(EPOCH))
