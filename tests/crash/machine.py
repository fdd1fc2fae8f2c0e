"""What of a cloud is on this machine, asked of the kernel and the file system and not of the cloud itself."""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

NAMESPACES = Path("/run/netns")


@dataclass(frozen=True)
class Machine:
    """Everything that carries the cloud's short id or lies in its state directory."""

    cloud: str
    state: Path

    def namespaces(self, kind: str = "") -> set[str]:
        """Their names without the prefix."""
        prefix = f"nut-{self.cloud}-{kind}"
        found = os.listdir(NAMESPACES) if NAMESPACES.is_dir() else []
        return {name.removeprefix(prefix) for name in found if name.startswith(prefix)}

    def links(self, prefix: str) -> set[str]:
        """The aliases (ids) of the links of one kind in the fabric."""
        if "fab" not in self.namespaces():
            return set()
        said = _run("ip", "-netns", f"nut-{self.cloud}-fab", "-json", "link", "show")
        return {link.get("ifalias", "no alias") for link in json.loads(said) if link["ifname"].startswith(prefix)}

    def outside_links(self) -> set[str]:
        said = json.loads(_run("ip", "-json", "link", "show"))
        return {link["ifname"] for link in said if link["ifname"].startswith(f"nx{self.cloud}")}

    def tables(self) -> set[str]:
        said = _run("nft", "list", "tables")
        return {line.split()[-1] for line in said.splitlines() if line.split()[-1] == f"nut_{self.cloud}"}

    def guests(self) -> dict[str, int]:
        """Server id → pid of every QEMU of the cloud."""
        return {
            words[words.index("-name") + 1].partition(",")[0].removeprefix(f"guest={self.cloud}-"): pid
            for pid, words in _processes().items()
            if "-name" in words and words[words.index("-name") + 1].startswith(f"guest={self.cloud}-")
        }

    def servers_of_names(self) -> set[int]:
        """The pids of the cloud's DHCP servers."""
        place = f"/run/nutshell/{self.cloud}/"
        return {
            pid for pid, words in _processes().items() if "dnsmasq" in words[0] and any(place in one for one in words)
        }

    def strangers(self) -> list[list[str]]:
        """Every process that names the cloud or its state directory."""
        return [
            words
            for words in _processes().values()
            if any(f"/{self.cloud}/" in one or f"{self.cloud}-" in one or str(self.state) in one for one in words)
            and "pytest" not in " ".join(words)
        ]

    def names(self, *parts: str, ends: str = "") -> set[str]:
        """What lies in a directory of the host's files, without this ending; temporary files too."""
        place = self.state.joinpath("host", *parts)
        return {one.name.removesuffix(ends) for one in place.iterdir()} if place.is_dir() else set()

    def halves(self) -> list[Path]:
        """Files that somebody was writing when he was killed."""
        return [
            path
            for path in self.state.rglob("*")
            if path.name.endswith((".tmp", ".new", ".part")) and path.is_relative_to(self.state / "host")
        ]

    def traces(self) -> dict[str, object]:
        """What must be empty once the cloud is down."""
        found = {
            "namespaces": self.namespaces(),
            "links": self.outside_links(),
            "tables": self.tables(),
            "processes": self.strangers(),
            "run": Path("/run/nutshell", self.cloud).exists(),
        }
        return {what: there for what, there in found.items() if there}


def identify(state: Path) -> Machine:
    return Machine(str(json.loads((state / "cloud.json").read_text())["id"]), state)


def _processes() -> dict[int, list[str]]:
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
        except OSError:
            continue
        if words and int(folder.name) != os.getpid():
            found[int(folder.name)] = words
    return found


def _run(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
