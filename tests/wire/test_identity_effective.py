"""Effective assignments: the list says what tokens carry, and a thousand groups take no more queries than one."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.wire.identity_rig import Rig

from nutshell.core.store import Tx
from nutshell.identity import effective
from nutshell.identity.projects import Project
from nutshell.identity.roles import Role
from nutshell.identity.scopes import roles_on


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path)
    yield rig
    rig.close()


def chain(rig: Rig, depth: int) -> list[str]:
    """Projects one below the other, in the default domain."""
    ids: list[str] = ["default"]
    for n in range(depth):
        ids.append(rig.make("project", "/projects", name=f"level{n}", domain_id="default", parent_id=ids[-1])["id"])
    return ids[1:]


def test_the_list_says_what_tokens_carry(rig: Rig) -> None:
    """Inherited from a project between, from the domain and from both, through groups, and given outright."""
    projects = chain(rig, 5)
    users = [rig.make("user", "/users", name=f"u{n}", domain_id="default")["id"] for n in range(3)]
    group = rig.make("group", "/groups", name="g", domain_id="default")["id"]
    rig.put(f"/groups/{group}/users/{users[0]}")
    rig.put(f"/groups/{group}/users/{users[1]}")
    own = rig.make("role", "/roles", name="of the domain", domain_id="default")["id"]
    rig.put(f"/roles/{own}/implies/{rig.role('reader')}")
    for path in (
        f"/OS-INHERIT/projects/{projects[1]}/groups/{group}/roles/{rig.role('member')}/inherited_to_projects",
        f"/OS-INHERIT/domains/default/users/{users[0]}/roles/{rig.role('manager')}/inherited_to_projects",
        f"/OS-INHERIT/projects/{projects[3]}/users/{users[2]}/roles/{own}/inherited_to_projects",
        f"/projects/{projects[0]}/users/{users[2]}/roles/{rig.role('reader')}",
    ):
        assert rig.put(path).status_code == 204, path

    def carried(tx: Tx) -> set[tuple[str, str, str]]:
        every = tx.find(Project, is_domain=False)
        return {(u, p.id, r.id) for u in users for p in every for r in roles_on(tx, u, p)}

    expected = rig.cloud.read(carried)
    assert len(expected) > 10
    seen = set()
    for user in users:
        lines = rig.get(f"/role_assignments?effective&user.id={user}").json()["role_assignments"]
        seen |= {(e["user"]["id"], e["scope"]["project"]["id"], e["role"]["id"]) for e in lines}
    assert seen == expected
    for project in projects:
        lines = rig.get(f"/role_assignments?effective&scope.project.id={project}").json()["role_assignments"]
        seen = {(e["user"]["id"], project, e["role"]["id"]) for e in lines if e["user"]["id"] in users}
        assert seen == {one for one in expected if one[1] == project}
    tree = f"/role_assignments?effective&scope.project.id={projects[0]}&include_subtree=1"
    lines = rig.get(tree).json()["role_assignments"]
    seen = {(e["user"]["id"], e["scope"]["project"]["id"], e["role"]["id"]) for e in lines if e["user"]["id"] in users}
    assert seen == {one for one in expected if one[1] in projects}


def test_more_groups_are_not_more_queries(rig: Rig) -> None:
    lowest = chain(rig, 3)
    counted = []

    def count(tx: Tx) -> int:
        before, project = tx.sql_count, tx.get(Project, lowest[-1])
        assert project is not None
        lines = effective.effective(tx, "", False, [project], False)
        counted.append(len(lines))
        return tx.sql_count - before

    used = []
    for size in (1, 9):
        for n in range(size):
            group = rig.make("group", "/groups", name=f"g{size}-{n}", domain_id="default")["id"]
            user = rig.make("user", "/users", name=f"u{size}-{n}", domain_id="default")["id"]
            rig.put(f"/groups/{group}/users/{user}")
            where = f"/OS-INHERIT/projects/{lowest[n % 2]}/groups/{group}/roles/{rig.role('member')}"
            assert rig.put(f"{where}/inherited_to_projects").status_code == 204
        used.append(rig.cloud.read(count))
    assert counted == [2, 20]  # each with what it implies
    assert used[0] == used[1] <= 6


def test_more_values_than_a_query_takes(rig: Rig) -> None:
    def work(tx: Tx) -> set[str]:
        there = [r.id for r in tx.find(Role)]
        values = [*(str(n) for n in range(3 * effective.MOST_VALUES)), *there]
        found = {r for (r,) in effective.read(tx, "SELECT id FROM identity_roles WHERE id IN", values)}
        assert found == set(there)
        return found

    assert rig.cloud.read(work)
