"""The suites: which list of test ids each runs, which service it needs, what passed before and what cannot pass.

`lists/<suite>.txt` holds the ids, `passing/<suite>.txt` those that passed once (the ratchet), `EXPECTED.md` those that
cannot, each under its reason. With real servers the ratchet is `passing/<suite>.real.txt`.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
TEMPEST = "Tempest 47"


@dataclass(frozen=True)
class Suite:
    """A list of tests. `needs` is a service type of the catalog; without it the suite is not run."""

    name: str
    title: str
    needs: str = "compute"
    serial: bool = False
    extensions: str = ""  # of the network service, beside those it has itself
    installed: bool = True  # its plugin is among what `make conformance` installs

    def ids(self) -> list[str]:
        return _lines(HERE / "lists" / f"{self.name}.txt")


SUITES = (
    Suite("identity", f"{TEMPEST}, identity", "identity"),
    Suite("image", f"{TEMPEST}, image", "image"),
    Suite("compute", f"{TEMPEST}, compute"),
    # tag: the older name of standard-attr-tag; dvr: what of it is refused to ordinary users is tested too
    Suite("network", f"{TEMPEST}, network", "network", extensions="tag,dvr"),
    Suite("volume", f"{TEMPEST}, volume", "block-storage"),
    Suite("object-storage", f"{TEMPEST}, object storage", "object-store"),
    Suite("placement", f"{TEMPEST}, tests of placement", "placement"),
    Suite("scenario", f"{TEMPEST}, scenarios"),
    Suite("serial", f"{TEMPEST}, tests that run alone", serial=True),
    Suite("smoke", f"{TEMPEST}, smoke"),
    Suite("interop-compute", "interop guideline 2020.06, compute"),
    Suite("interop-storage", "interop guideline 2020.06, storage", "object-store"),
    Suite("interop-dns", "interop guideline 2020.06, DNS", "dns", installed=False),
    Suite("interop-orchestration", "interop guideline 2020.06, orchestration", "orchestration", installed=False),
    Suite("keystone-plugin", "keystone's own (plugin 0.22.0)", "identity"),
    Suite("glance-plugin", "glance's own (plugin 0.17.0)", "image"),
    Suite("neutron-plugin", "neutron's own (plugin 3.3.0)", "network"),
    Suite("cinder-plugin", "cinder's own (plugin 1.23.0)", "block-storage"),
    Suite("ci", "a spread of all, for every change"),
)
REAL = ("scenario", "smoke")  # what REAL=1 runs when no suite is named
REFERENCE = "ci"  # no suite of its own: its tests stand in the others too


def find(name: str) -> Suite:
    return next(s for s in SUITES if s.name == name)


def _lines(path: Path) -> list[str]:
    return [line for line in path.read_text().split("\n") if line] if path.exists() else []


# The ratchet


def ratchet_file(suite: str, real: bool) -> Path:
    return HERE / "passing" / f"{suite}{'.real' if real else ''}.txt"


def ratchet(suite: str, real: bool) -> set[str]:
    """The ids that passed once and have to; of the tests for every change, all."""
    if suite == REFERENCE:
        return set(find(suite).ids())
    return set(_lines(ratchet_file(suite, real)))


def raise_ratchet(suite: Suite, real: bool, passed: Iterable[str]) -> int:
    """Adds what passes now; how many are new. Ids no longer in the list go."""
    had = ratchet(suite.name, real)
    now = (had | set(passed)) & set(suite.ids())
    ratchet_file(suite.name, real).parent.mkdir(exist_ok=True)
    ratchet_file(suite.name, real).write_text("".join(f"{i}\n" for i in sorted(now)))
    return len(now - had)


# What cannot pass

HEADINGS = {"Everywhere": (False, True), "Simulated": (False,), "Real": (True,)}


def expected(real: bool) -> dict[str, str]:
    """Beginning of an id, or a regular expression between slashes → why such tests do not pass."""
    found: dict[str, str] = {}
    where: tuple[bool, ...] = ()
    reason = ""
    for line in _lines(HERE / "EXPECTED.md"):
        if line.startswith("## "):
            where = HEADINGS[line[3:]]
        elif line.startswith("### "):
            reason = line[4:]
        elif real in where and (m := re.fullmatch(r"- `(.+)`", line)):
            found[m[1]] = reason
    return found


def reason_of(test_id: str, reasons: Mapping[str, str]) -> str:
    """Why this test does not pass, or "" where nothing says so."""
    for pattern, reason in reasons.items():
        regex = pattern[1:-1] if pattern.startswith("/") else re.escape(pattern)
        if re.match(regex, test_id):
            return reason
    return ""


def standing(suite: Suite, real: bool) -> tuple[list[str], list[str], list[str]]:
    """Of a suite: ids that pass, ids that cannot, and ids that are open."""
    had, reasons = ratchet(suite.name, real), expected(real)
    rest = [i for i in suite.ids() if i not in had]
    cannot = [i for i in rest if reason_of(i, reasons)]
    return sorted(had), cannot, [i for i in rest if i not in set(cannot)]
