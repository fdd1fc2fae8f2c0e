"""The suites: which list of test ids each runs, which service it needs, what passed before and what cannot pass.

`lists/<suite>.txt` holds the ids, `passing/<suite>.txt` those that passed once (the ratchet), `EXPECTED.md` those that
cannot, each under its reason. With real servers the ratchet is `passing/<suite>.real.txt`.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
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
    settings: str = ""  # of the cloud, TOML, beside the usual ones
    flags: Mapping[str, str] = field(default_factory=dict)  # of tempest.conf: "section.key" → value
    list: str = ""  # whose ids; its own when empty
    limits: bool = False  # identity keeps the quotas, and limits are registered before the tests
    runner: str = "tempest"  # or "swift"

    def ids(self) -> "Sequence[str]":
        return _lines(HERE / "lists" / f"{self.list or self.name}.txt")


# Of the image tests some ask for what others forbid: each passes with one of these two.
_WEB = 'show_locations = true\nweb_ports = []\nweb_networks = ["0.0.0.0/0"]\n'
ONE_STORE = f'[image]\nstores = ["file", "web=http"]\nconvert_to = ""\n{_WEB}'
STORES = (
    '[image]\nstores = ["file", "fast=@FOLDER@/fast", "swift=object-store", "web=http"]\n'
    'store_weights = ["fast=10", "file=5"]\n'
    f"secure_hash = false\nrequire_format_match = false\n{_WEB}"
)
_BOTH = {
    "image.build_timeout": "20",
    "image-feature-enabled.http_store_enabled": "true",
    "image.image_caching_enabled": "true",
}
STRICT = {
    **_BOTH,
    "image-feature-enabled.image_format_enforcement": "true",
    "image-feature-enabled.do_secure_hash": "true",
    "image.alternate_image_endpoint": "image",
    "image.alternate_image_endpoint_type": "public",
}
LAX = {
    **_BOTH,
    "image-feature-enabled.do_secure_hash": "false",
    "image-feature-enabled.image_format_enforcement": "false",
    "image-feature-enabled.image_conversion": "true",
    "image.images_manifest_file": "@MANIFEST@",
    "image-feature-enabled.store_weight_enabled": "true",
}
# Tests that list images upload noise and call it by any format.
ANY_DATA = "[image]\nrequire_format_match = false\n"
LYING = {"image-feature-enabled.image_format_enforcement": "false"}
PASSWORDS = "[identity]\nlockout_attempts = 2\nlockout_duration_s = 5\npassword_history = 2\n"
RULES = {
    "identity-feature-enabled.security_compliance": "true",
    "identity.user_lockout_failure_attempts": "2",
    "identity.user_lockout_duration": "5",
    "identity.user_unique_last_password_count": "2",
}
OF_IDENTITY = '[identity]\nunified_limits = ["image", "compute"]\n'
UNIFIED = {"compute-feature-enabled.unified_limits": "true"}
NO_MORE_ROLES = {"auth.tempest_roles": ""}  # a reader is a reader: the other suites make everybody a member
SWIFT = "Swift 2.38's own"
S3 = "[object_store]\ns3_port = @S3_PORT@\n"
SUITES = (
    Suite("identity", f"{TEMPEST}, identity, with password rules", "identity", settings=PASSWORDS, flags=RULES),
    Suite("image", f"{TEMPEST}, image: one store, strict", "image", settings=ONE_STORE, flags=STRICT),
    Suite("image-stores", f"{TEMPEST}, image: stores, lax", "image", settings=STORES, flags=LAX, list="image"),
    Suite("compute", f"{TEMPEST}, compute"),
    # tag: the older name of standard-attr-tag
    Suite("network", f"{TEMPEST}, network", "network", extensions="tag"),
    Suite("volume", f"{TEMPEST}, volume", "block-storage"),
    Suite("object-storage", f"{TEMPEST}, object storage", "object-store"),
    Suite("placement", f"{TEMPEST}, tests of placement", "placement"),
    Suite("scenario", f"{TEMPEST}, scenarios"),
    Suite("unified-limits", f"{TEMPEST}, unified limits", settings=OF_IDENTITY, flags=UNIFIED, limits=True),
    Suite("serial", f"{TEMPEST}, tests that run alone", serial=True),
    Suite("smoke", f"{TEMPEST}, smoke"),
    Suite("interop-compute", "interop guideline 2020.06, compute", settings=ANY_DATA, flags=LYING),
    Suite("interop-storage", "interop guideline 2020.06, storage", "object-store"),
    Suite("interop-dns", "interop guideline 2020.06, DNS", "dns", installed=False),
    Suite("interop-orchestration", "interop guideline 2020.06, orchestration", "orchestration", installed=False),
    Suite("keystone-plugin", "keystone's own (plugin 0.22.0)", "identity", flags=NO_MORE_ROLES),
    Suite("glance-plugin", "glance's own (plugin 0.17.0)", "image", flags=NO_MORE_ROLES),
    Suite("neutron-plugin", "neutron's own (plugin 3.3.0)", "network"),
    Suite("cinder-plugin", "cinder's own (plugin 1.23.0)", "block-storage"),
    Suite("swift-functional", f"{SWIFT}, functional", "object-store", runner="swift"),
    Suite("swift-s3", f"{SWIFT}, S3", "object-store", runner="swift", settings=S3),
    Suite("ci", "a spread of all, for every change"),
)
WHERE = ("simulated", "postgresql", "real")
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


def expected(suite: str, real: bool) -> dict[str, str]:
    """Beginning of an id, or a regular expression between slashes → why such tests do not pass in this suite.

    Beneath `## Suite <name>` stands what only this one suite cannot pass, for it forbids what another one asks for.
    """
    found: dict[str, str] = {}
    counts, reason = False, ""
    for line in _lines(HERE / "EXPECTED.md"):
        if line.startswith("## Suite "):
            counts = line.removeprefix("## Suite ") == suite
        elif line.startswith("## "):
            counts = real in HEADINGS[line[3:]]
        elif line.startswith("### "):
            reason = line[4:]
        elif counts and (m := re.fullmatch(r"- `(.+)`", line)):
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
    had, reasons = ratchet(suite.name, real), expected(suite.name, real)
    rest = [i for i in suite.ids() if i not in had]
    cannot = [i for i in rest if reason_of(i, reasons)]
    return sorted(had), cannot, [i for i in rest if i not in set(cannot)]
