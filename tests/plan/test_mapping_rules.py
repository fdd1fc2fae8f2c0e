"""The language of federation mappings: what is well formed, and what it makes of an assertion."""

from typing import Any

import pytest

from nutshell.core.errors import BadRequest
from nutshell.identity.mapping_rules import check_rules, evaluate

SAID = {"UserName": "bob", "First": "Bob", "Groups": "dev;ops;guests", "Type": "Employee", "Mail": "bob@x.org"}


def rule(local: Any, *remote: dict[str, Any]) -> dict[str, Any]:
    return {"local": local if isinstance(local, list) else [local], "remote": list(remote)}


BY_NAME = {"type": "UserName"}


@pytest.mark.parametrize(
    ("rules", "version"),
    [
        ([], "1.0"),
        ("no list", "1.0"),
        ([{"local": []}], "1.0"),
        ([rule({}, *[])], "1.0"),
        ([rule({"user": {"named": "{0}"}}, BY_NAME)], "1.0"),
        ([rule({"group": {"name": "g"}}, BY_NAME)], "1.0"),
        ([rule({"group": {"id": "g", "name": "g", "domain": {"id": "d"}}}, BY_NAME)], "1.0"),
        ([rule({"user": {"type": "odd"}}, BY_NAME)], "1.0"),
        ([rule({}, {"type": "a", "any_one_of": ["x"], "whitelist": ["y"]})], "1.0"),
        ([rule({}, {"type": "a", "regex": True})], "1.0"),
        ([rule({}, {"type": "a", "any_one_of": ["("], "regex": True})], "1.0"),
        ([rule({}, {"kind": "a"})], "1.0"),
        ([rule({"projects": [{"name": "p", "roles": [], "domain": {"id": "d"}}]}, BY_NAME)], "1.0"),
        ([rule({"projects_json": "{0}"}, BY_NAME)], "2.0"),
    ],
)
def test_what_is_not_well_formed_is_refused(rules: Any, version: str) -> None:
    with pytest.raises(BadRequest):
        check_rules(rules, version)


def test_what_is_well_formed_passes() -> None:
    project = {"name": "p", "roles": [{"name": "member"}]}
    check_rules([rule({"user": {"name": "{0}"}, "projects": [project]}, BY_NAME)], "1.0")
    check_rules([rule({"projects": [{**project, "domain": {"id": "d"}}]}, BY_NAME)], "2.0")
    check_rules([rule({"projects_json": "{0}"}, BY_NAME)], "3.0")


def test_values_come_from_the_assertion_in_order() -> None:
    local = {"user": {"name": "{1} is {0}", "email": "{2}"}}
    found = evaluate([rule(local, BY_NAME, {"type": "First"}, {"type": "Mail"})], SAID)
    assert found.user == {"name": "Bob is bob", "email": "bob@x.org", "type": "ephemeral"}


def test_conditions_admit_or_not_and_use_no_place() -> None:
    employee = {"type": "Type", "any_one_of": ["Employee", "Boss"]}
    nobody = {"type": "Groups", "not_any_of": ["banned"]}
    found = evaluate([rule({"user": {"name": "{0}"}}, employee, nobody, BY_NAME)], SAID)
    assert found.user["name"] == "bob"
    for never in (
        {"type": "Type", "any_one_of": ["Guest"]},
        {"type": "Groups", "not_any_of": ["ops"]},
        {"type": "Missing"},
        {"type": "Type", "any_one_of": ["^Boss"], "regex": True},
    ):
        with pytest.raises(BadRequest):
            evaluate([rule({"user": {"name": "{0}"}}, never, BY_NAME)], SAID)
    assert evaluate([rule({"user": {"name": "x"}}, {"type": "Type", "any_one_of": ["Emp"], "regex": True})], SAID)


def test_groups_by_list_by_name_and_by_id() -> None:
    white = {"type": "Groups", "whitelist": ["dev", "ops"]}
    black = {"type": "Groups", "blacklist": ["gue.*"], "regex": True}
    for remote in (white, black):
        found = evaluate([rule([{"groups": "{0}", "domain": {"id": "d"}}], remote)], SAID)
        assert [g["name"] for g in found.group_names] == ["dev", "ops"]
        assert found.group_names[0]["domain"] == {"id": "d"}
    assert evaluate([rule({"group_ids": "{0}"}, white)], SAID).group_ids == ("dev", "ops")
    both = [rule({"group": {"id": "1"}}, BY_NAME), rule({"group": {"name": "g", "domain": {"name": "D"}}}, BY_NAME)]
    found = evaluate(both, SAID)
    assert (found.group_ids, found.group_names) == (("1",), ({"name": "g", "domain": {"name": "D"}},))
    with pytest.raises(BadRequest):
        evaluate([rule({"groups": "{0}"}, white)], SAID)


def test_a_rule_is_data_and_reads_nothing_else() -> None:
    found = evaluate([rule({"user": {"name": "{0.__class__} {{x}} {0}"}}, BY_NAME)], SAID)
    assert found.user["name"] == "{0.__class__} {x} bob"
    with pytest.raises(BadRequest):
        evaluate([rule({"user": {"name": "{7}"}}, BY_NAME)], SAID)


def test_projects_follow_the_domain_and_come_as_json() -> None:
    local = {"projects": [{"name": "p-{0}", "roles": [{"name": "member"}]}], "domain": {"id": "d"}}
    assert evaluate([rule(local, BY_NAME)], SAID).projects[0]["name"] == "p-bob"
    assert evaluate([rule(local, BY_NAME)], SAID, "2.0").projects[0]["domain"] == {"id": "d"}
    said = {"Projects": '[{"name": "p", "roles": [{"name": "reader"}]}]'}
    found = evaluate([rule({"projects_json": "{0}", "domain": {"id": "d"}}, {"type": "Projects"})], said, "3.0")
    assert found.projects[0]["roles"] == [{"name": "reader"}]
    with pytest.raises(BadRequest):
        evaluate([rule({"projects_json": "{0}"}, {"type": "Projects"})], {"Projects": "[{}]"}, "3.0")
