"""One run of Tempest over exact test ids, and what became of each id.

A class that could not be set up, or was skipped whole, is reported once by Tempest and stands here for all its tests.
Source: https://docs.openstack.org/tempest/latest/.
"""

import csv
import http.server
import re
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

FORMATS = ("qcow2", "raw")  # of the images in the manifest
WORDS = {"success": "passed", "failure": "failed", "skip": "skipped"}


class Workspace:
    """Tempest's directory: its configuration, its locks, its repository of results."""

    def __init__(
        self, binaries: Path, folder: Path, facts: Mapping[str, str], flags: Mapping[str, str] | None = None
    ) -> None:
        self.binaries, self.path = binaries, folder / "workspace"
        self.registry = ["--workspace-path", str(folder / "workspaces.yaml")]
        init = [str(binaries / "tempest"), "init", str(self.path), *self.registry]
        subprocess.run(init, check=True, stdout=subprocess.DEVNULL)
        text = (Path(__file__).parent / "tempest.conf").read_text()
        for name, value in {**facts, "WORKSPACE": str(self.path)}.items():
            text = text.replace(f"@{name}@", value)
        if left := re.findall(r"@[A-Z_]+@", text):
            raise ValueError(f"tempest.conf: nothing fills in {left[0]}")
        for name, value in (flags or {}).items():
            text = with_flag(text, name, value.replace("@MANIFEST@", str(folder / "served" / "manifest.yaml")))
        (self.path / "etc" / "tempest.conf").write_text(text)

    def run(self, ids: Sequence[str], workers: int, serial: bool = False) -> dict[str, str]:
        """Every id → passed, failed, skipped or not run. Tempest's own output goes to the screen."""
        # The tests of image formats run once for each image of the manifest.
        formats = [f"{i}({name})" for i in ids if ".test_images_formats." in i for name in FORMATS]
        both = [*ids, *formats, *(slow for i in ids if (slow := i.replace("]", ",slow]")) != i and ",slow" not in i)]
        (self.path / "ids.txt").write_text("\n".join(both) + "\n")
        how = ["--serial"] if serial else ["-w", str(workers)]
        command = [str(self.binaries / "tempest"), "run", *how, "--load-list", "ids.txt", *self.registry]
        subprocess.run(command, cwd=self.path, check=False)
        return judge(ids, self._last())

    def _last(self) -> list[tuple[str, str]]:
        last = subprocess.run([self.binaries / "stestr", "last", "--subunit"], cwd=self.path, capture_output=True)
        table = subprocess.run([self.binaries / "subunit2csv"], input=last.stdout, capture_output=True)
        return [(r["test"], r["status"]) for r in csv.DictReader(table.stdout.decode().splitlines())]


def with_flag(text: str, name: str, value: str) -> str:
    """The configuration with one option ("section.key") set."""
    section, _, key = name.partition(".")
    before, heading, after = text.partition(f"[{section}]\n")
    body, mark, rest = after.partition("\n[")
    body = re.sub(rf"(?m)^{re.escape(key)} *=.*\n?", "", body)
    return f"{before}{heading or f'[{section}]' + chr(10)}{key} = {value}\n{body}{mark}{rest}"


def judge(ids: Sequence[str], found: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Every id of the list → passed, failed, skipped or not run."""
    # A test whose class fails while it is taken down comes twice: the worse counts.
    worst = {"success": 0, "skip": 1, "failure": 2}
    known = set(ids)
    tests: dict[str, str] = {}
    for name, status in found:
        # Some tests are marked slow only where guests are logged in to; the lists have them without.
        test = name if name in known else re.sub(r"\(\w+\)$", "", name.replace(",slow]", "]"))
        if worst.get(status, 0) >= worst.get(tests.get(test, ""), 0):
            tests[test] = status
    classes = {m[1]: s for t, s in tests.items() if (m := re.match(r"setUpClass \((.*)\)", t))}
    judged = {}
    for i in ids:
        status = tests.get(i) or classes.get(i.split("[")[0].rpartition(".")[0], "")
        judged[i] = WORDS.get(status, "not run")
    return judged


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the requests are Tempest's and the cloud's."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a web server with a small image, for what is imported from the web."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "image.qcow2").write_bytes(empty_qcow2())
    (folder / "image.raw").write_bytes(bytes(2**20))
    entries = [f"- {{name: {n}, format: {n}, usable: true, filename: image.{n}}}\n" for n in FORMATS]
    (folder / "manifest.yaml").write_text("images:\n" + "".join(entries))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/image.qcow2"
    finally:
        server.shutdown()
        server.server_close()


def empty_qcow2(size: int = 2**20) -> bytes:
    """A qcow2 image of `size` zero bytes (QEMU, docs/interop/qcow2.txt): header, L1 table, refcounts."""
    bits, cluster = 16, 2**16
    header = b"QFI\xfb" + b"".join(
        value.to_bytes(width, "big")
        for value, width in (
            (3, 4), (0, 8), (0, 4), (bits, 4), (size, 8), (0, 4), (1, 4), (3 * cluster, 8), (cluster, 8), (1, 4),
            (0, 4), (0, 8), (0, 8), (0, 8), (0, 8), (4, 4), (104, 4),
        )
    )  # fmt: skip
    table = (2 * cluster).to_bytes(8, "big")
    counts = b"\0\1" * 4
    return b"".join(part.ljust(cluster, b"\0") for part in (header, table, counts, bytes(8)))
