"""Our default policy of identity against Keystone's: every rule, by what it lets pass.

python tests/conformance/oracle/policies.py [--venv DIR]
Rules are texts that may differ and mean the same: both are asked for many callers and targets, drawn at random from
the attributes that the two texts name. Exit code 1 when a rule is missing or decides otherwise.
"""

# ruff: noqa: E501 - texts of rules

import argparse
import json
import random
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[3] / "src"))
import keystone

from nutshell.core.policy import COMMON, Rules, Who
from nutshell.identity.wiring import service

DUMP = "import json; from keystone.common import policies; print(json.dumps({r.name: r.check_str for r in policies.list_rules()}))"
ROLES = ("admin", "manager", "member", "reader", "service")
IMPLIED = {
    "admin": ROLES[:4],
    "manager": ROLES[1:4],
    "member": ROLES[2:4],
    "reader": ("reader",),
    "service": ("service",),
}
VALUES = ("one", "two", "None")
TRIES = 3000
# Rules of operations that are not there (docs/LIMITS.md), and ours that Keystone has not.
ABSENT = re.compile(
    r"access_token|consumer|authorize_request_token|saml|(get|create|update|delete)_oauth|list_access_tokens"
)
OWN = {"identity:list_keys", "identity:rotate_keys", "identity:by_request"}


def theirs(venv: Path) -> dict[str, str]:
    keystone.install(venv)
    done = subprocess.run([str(venv / "bin" / "python"), "-W", "ignore", "-c", DUMP], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    found: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return found


def caller(draw: random.Random) -> Who:
    role, scope = draw.choice(ROLES), draw.choice(("project", "domain", "system", "none"))
    project, domain, user = (draw.choice(VALUES[:2]) for _ in range(3))
    token: dict[str, Any] = {}
    if scope == "project":
        token["project"] = {"id": project, "domain": {"id": domain}}
    if scope == "domain":
        token["domain"] = {"id": domain}
    return Who(
        user_id=user,
        project_id=project if scope == "project" else "",
        project_domain_id=domain if scope == "project" else "",
        domain_id=domain if scope == "domain" else "",
        system=scope == "system",
        roles=frozenset(IMPLIED[role] if scope != "none" else ()),
        facts={"token": token},
    )


def target(draw: random.Random, names: set[str]) -> dict[str, Any]:
    return {n: draw.choice(ROLES if n.endswith("role.name") else VALUES) for n in names if draw.random() > 0.1}


def named(rules: Mapping[str, str], rule: str, seen: frozenset[str] = frozenset()) -> set[str]:
    """The target's attributes that a rule asks for, through the rules it refers to."""
    text = rules.get(rule, "")
    found = set(re.findall(r"%\(([^)]+)\)s", text))
    for other in re.findall(r"rule:([\w:.]+)", text):
        if other not in seen:
            found |= named(rules, other, seen | {rule})
    return found


def differs(name: str, sides: tuple[Mapping[str, str], Mapping[str, str]]) -> str:
    """The first case that the two decide otherwise, or ""."""
    draw = random.Random(name)
    asked = [Rules(dict(side), {}) for side in sides]
    attributes = named(sides[0], name) | named(sides[1], name)
    for _ in range(TRIES):
        who, about = caller(draw), target(draw, attributes)
        passes = [rules.allows(name, who, about) for rules in asked]
        if passes[0] != passes[1]:
            scope = (
                "system" if who.system else f"domain {who.domain_id}" if who.domain_id else f"project {who.project_id}"
            )
            return f"theirs {passes[0]}, ours {passes[1]}: {'/'.join(sorted(who.roles))} {scope} user {who.user_id} on {about}"
    return ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--venv", type=Path, default=Path(".venv-keystone"))
    other, ours = theirs(parser.parse_args().venv), {**COMMON, **service.rules}
    counted = equal = 0
    for name in sorted(n for n in other if n.startswith("identity:")):
        if name not in ours:
            if not ABSENT.search(name):
                print(f"missing: {name}: {other[name]}")
                counted += 1
            continue
        counted += 1
        case = differs(name, (other, ours))
        equal += not case
        if case:
            print(f"{name}\n  theirs: {other[name]}\n  ours:   {ours[name]}\n  {case}")
    for name in sorted(n for n in service.rules if n not in other and n not in OWN):
        print(f"ours alone: {name}")
    print(f"{counted} rules, {equal} decide alike")
    return 0 if counted == equal else 1


if __name__ == "__main__":
    sys.exit(main())
