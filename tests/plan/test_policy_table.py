"""The policy page is what the declarations say, and no route is open that does not say so."""

from pathlib import Path

import pytest

from nutshell import app
from nutshell.cli import reference
from nutshell.operator.policy_table import callers, rules_of, targets, verdict

PARTS = app.parts()
SERVICES = [p.service for p in PARTS]
# Routes whose handler picks the rule by what is asked, passes the request to the service that decides, or answers 410.
DECIDED_INSIDE = {"identity:by_request", "os_compute_api:images", "os_compute_api:removed"}
ROOT = Path(__file__).parents[2]


def test_the_page_is_current() -> None:
    said = "run: make docs"
    assert (ROOT / "docs" / "POLICY.md").read_text() == reference.policy(), said


@pytest.mark.parametrize("service", SERVICES, ids=lambda s: s.name)
def test_every_route_names_a_rule_that_exists_or_is_public_by_word(service: object) -> None:
    rules = rules_of(SERVICES)
    for route in service.routes:  # type: ignore[attr-defined]
        if route.rule is None:
            assert route.public, f"{route.method} {route.path}"
        else:
            assert route.rule in rules.texts, f"{route.method} {route.path} names no rule: {route.rule}"


@pytest.mark.parametrize("service", SERVICES, ids=lambda s: s.name)
def test_a_token_without_roles_changes_nothing_of_others(service: object) -> None:
    rules = rules_of(SERVICES)
    nobody = next(iter(callers().values()))
    nobody = type(nobody)(user_id="x", project_id="p")
    for route in service.routes:  # type: ignore[attr-defined]
        if route.rule is None or route.rule in DECIDED_INSIDE:
            continue
        if route.method in ("PUT", "PATCH", "DELETE"):
            allowed = rules.allows(route.rule, nobody, targets()["others"])
            assert not allowed, f"{route.method} {route.path} by {route.rule}"


def test_the_table_tells_own_from_others() -> None:
    rules = rules_of(SERVICES)
    who = callers()
    assert verdict(rules, "os_compute_api:servers:create", who["member"]) == "own"
    assert verdict(rules, "os_compute_api:servers:create", who["reader"]) == ""
    assert verdict(rules, "os_compute_api:servers:create", who["admin"]) == "✓"
