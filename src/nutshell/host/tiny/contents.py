"""What is in the guest: the initial RAM disk and the root file system, from unpacked packages and `guest/`."""

import subprocess
from importlib.resources import files
from pathlib import Path

from nutshell.host.tiny.kernel_modules import EARLY, LATER, closure, index
from nutshell.host.tiny.packages import BuildFailed
from nutshell.host.tiny.trees import Tree

# "gocubsgo", the password that test suites know from another small image; SHA-512 crypt with the salt "nutshell".
PASSWORD = "$6$nutshell$4bQEIq2HJsaLiUSUzfHSmIBtGvn3U9C.OZMfuoOlUShWjORsriNAxSzFU5UM/pPbx8FnwQVM66ert.MdQPe9J1"  # noqa: S105
USER = 1000
BANNER = "login as 'cirros' user. default password: 'gocubsgo'. use 'sudo' for root."
LIBRARIES = (
    "libblkid.so.1",
    "libc.so.6",
    "libcom_err.so.2",
    "libcrypt.so.1",
    "libe2p.so.2",
    "libext2fs.so.2",
    "libgmp.so.10",
    "libnss_dns.so.2",
    "libnss_files.so.2",
    "libresolv.so.2",
    "libtomcrypt.so.1",
    "libtommath.so.1",
    "libuuid.so.1",
    "libz.so.1",
)
# These are the dynamically linked busybox's: the static one crashes when it looks up a name, and its shell prefers its
# own applets to the programs in PATH (which suits our boot scripts: it is quicker).
LINKED_APPLETS = (
    "ash",
    "sh",
    "ftpget",
    "ftpput",
    "nslookup",
    "ping",
    "ping6",
    "ssl_client",
    "telnet",
    "tftp",
    "traceroute",
    "wget",
)
PROGRAMS = (
    "sbin/e2fsck",
    "sbin/mke2fs",
    "sbin/resize2fs",
    "usr/bin/dbclient",
    "usr/bin/dropbearkey",
    "usr/sbin/dropbear",
)


def guest_file(name: str) -> bytes:
    """A file of the guest that this package carries."""
    return files("nutshell.host.tiny").joinpath("guest", *name.split("/")).read_bytes()


def early_tree(debs: Path, kernel: Path) -> Tree:
    """The initial RAM disk."""
    tree = Tree()
    tree.file("bin/busybox", (debs / "bin/busybox").read_bytes(), 0o755)
    tree.file("init", guest_file("first-stage"), 0o755)
    for name in ("dev", "proc", "sys", "root"):
        tree.folder(name)
    for module in closure(kernel, EARLY):
        tree.file(f"lib/{module.file.name}", module.file.read_bytes())
    return tree


def root_tree(debs: Path, linked: Path, kernel: Path, release: str) -> Tree:
    """The root file system."""
    tree = Tree()
    for name in ("boot", "dev", "home", "mnt", "proc", "run", "sys", "var/log", "var/lib/cloud", "etc/dropbear"):
        tree.folder(name)
    tree.folder("tmp", 0o1777)
    tree.folder("root", 0o700)
    tree.folder("home/cirros", 0o755, USER)
    for path, target in (("sbin", "bin"), ("usr/bin", "/bin"), ("usr/sbin", "/bin"), ("var/run", "/run")):
        tree.link(path, target)
    tree.link("var/tmp", "/tmp")  # noqa: S108
    _add_programs(tree, debs, linked)
    modules = closure(kernel, (*EARLY, *LATER))
    for module in modules:
        tree.file(f"lib/modules/{release}/{module.file.name}", module.file.read_bytes())
    for name, text in index(modules).items():
        tree.file(f"lib/modules/{release}/{name}", text)
    for name in ("boot", "cloud", "hotplug", "later", "lease", "network", "shutdown", "ssh"):
        tree.file(f"lib/nutshell/{name}", guest_file(name), 0o755)
    tree.file("lib/nutshell/json.awk", guest_file("json.awk"))
    _add_settings(tree)
    return tree


def _add_programs(tree: Tree, debs: Path, linked: Path) -> None:
    busybox = debs / "bin/busybox"
    # busybox gives up the rights again in all but su, login, passwd and their like.
    tree.file("bin/busybox", busybox.read_bytes(), 0o4755)
    listed = subprocess.run([busybox, "--list"], capture_output=True, check=True, text=True).stdout.split()
    for applet in listed:
        if applet not in ("busybox", "dpkg", "dpkg-deb", "rpm"):
            tree.link(f"bin/{applet}", "busybox.linked" if applet in LINKED_APPLETS else "busybox")
    tree.file("bin/busybox.linked", (linked / "bin/busybox").read_bytes(), 0o4755)
    for program in PROGRAMS:
        tree.file(f"bin/{program.rpartition('/')[2]}", (debs / program).read_bytes(), 0o755)
    for kind in ("ext2", "ext3", "ext4"):
        tree.link(f"bin/mkfs.{kind}", "mke2fs")
        tree.link(f"bin/fsck.{kind}", "e2fsck")
    tree.link("bin/mkfs.vfat", "mkdosfs")
    tree.link("bin/ssh", "dbclient")
    tree.file("bin/nc.traditional", (debs / "bin/nc.traditional").read_bytes(), 0o755)
    tree.file("lib/nutshell/blkid", (debs / "sbin/blkid").read_bytes(), 0o755)
    for script in ("blkid", "curl", "lsblk", "mkfs", "nc", "sudo"):
        tree.file(f"bin/{script}", guest_file(f"bin/{script}"), 0o755)
    for library in LIBRARIES:
        found = [path / library for path in _library_folders(debs) if (path / library).exists()]
        if not found:
            raise BuildFailed(f"no package brought {library}")
        tree.file(f"lib/x86_64-linux-gnu/{library}", found[0].resolve().read_bytes(), 0o755)
    loader = next(path for path in _library_folders(debs) if (path / "ld-linux-x86-64.so.2").exists())
    tree.file("lib64/ld-linux-x86-64.so.2", (loader / "ld-linux-x86-64.so.2").resolve().read_bytes(), 0o755)


def _library_folders(debs: Path) -> list[Path]:
    return [debs / "lib/x86_64-linux-gnu", debs / "usr/lib/x86_64-linux-gnu"]


def _add_settings(tree: Tree) -> None:
    users = "root:x:0:0:root:/root:/bin/sh\ncirros:x:1000:1000:cirros:/home/cirros:/bin/sh\n"
    texts = {
        "passwd": users + "nobody:x:65534:65534:nobody:/:/bin/false\n",
        "group": "root:x:0:\ntty:x:5:\ncirros:x:1000:\nnogroup:x:65534:\n",
        "hostname": "nutshell\n",
        "hosts": "127.0.0.1 localhost\n::1 localhost\n",
        "issue": f"\n{BANNER}\n",
        "nsswitch.conf": "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n",
        "os-release": 'NAME="Nutshell tiny guest"\nID=nutshell\nVERSION_ID=1\n',
        "profile": "export PATH=/bin:/usr/bin PS1='\\u@\\h:\\w\\$ '\n",
        "resolv.conf": "",
        "shells": "/bin/sh\n/bin/ash\n",
        "ld.so.conf": "",
        "fstab": "",
    }
    for name, text in texts.items():
        tree.file(f"etc/{name}", text)
    # Root has no password: su and sudo ask for none, and dropbear lets nobody in with an empty one.
    shadow = f"root::19700:0:99999:7:::\ncirros:{PASSWORD}:19700:0:99999:7:::\n"
    tree.file("etc/shadow", shadow, 0o600)
    tree.file("etc/inittab", guest_file("inittab"))
    tree.file("etc/securetty", "tty1\nttyS0\n")
    tree.file("etc/acpi/PWRF/00000080", guest_file("power-button"), 0o755)
