"""What a user may do where: the roles somebody has on a project, a domain or the system, now.

Source: Identity API v3, "OS-INHERIT": an inherited role holds on the projects below its target, not on the target.
"""

from typing import Any

from nutshell.core.store import Tx
from nutshell.identity.assignments import SYSTEM, Assignment
from nutshell.identity.groups import Group, Membership
from nutshell.identity.projects import Project
from nutshell.identity.revocations import remember_gone
from nutshell.identity.roles import Role, drop_role, expand
from nutshell.identity.users import User

ACTORS = "(SELECT ? UNION ALL SELECT group_id FROM identity_memberships WHERE user_id = ?)"


def roles_on(tx: Tx, user_id: str, target: Project | None, only: frozenset[str] | None = None) -> list[Role]:
    """The roles in effect on a project, domain or (None) the system: own, of groups, inherited, implied.

    A domain's own roles count by what they imply. `only`: what a delegation limits them to, before implication.
    """
    where = "target_id = ? AND inherited = ?"
    values: list[Any] = [target.id if target is not None else SYSTEM, False]
    if target is not None and target.lineage:
        marks = ",".join("?" * len(target.lineage))
        where = f"(({where}) OR (inherited = ? AND target_id IN ({marks})))"
        values += [True, *target.lineage]
    rows = tx.sql(
        f"SELECT DISTINCT role_id FROM identity_role_assignments WHERE {where} AND actor_id IN {ACTORS}",
        *values,
        user_id,
        user_id,
    ).fetchall()
    ids = {r for (r,) in rows}
    if only is not None:
        ids = expand(tx, ids) & only
        if ids != only:  # one that was handed on is lost: so is what was handed on
            return []
    found = tx.find(Role, id=expand(tx, ids), order="name") if ids else []
    return [r for r in found if not r.domain_id]


def projects_of(tx: Tx, user_id: str, domains: bool = False) -> list[Project]:
    """The enabled projects (or domains) on which somebody has a role."""
    rows = tx.sql(
        f"SELECT DISTINCT target_id, target_kind, inherited FROM identity_role_assignments WHERE actor_id IN {ACTORS}",
        user_id,
        user_id,
    ).fetchall()
    direct = [i for i, kind, inherited in rows if not inherited and kind == ("domain" if domains else "project")]
    found = {p.id: p for p in tx.find(Project, id=direct, enabled=True, is_domain=domains)}
    roots = [i for i, _, inherited in rows if inherited]
    if roots and not domains:
        level = roots
        while level:
            below = tx.find(Project, parent_id=level)
            found.update({p.id: p for p in below if p.enabled})
            level = [p.id for p in below]
    domain_ids = {p.domain_id for p in found.values()}
    closed = {d.id for d in tx.find(Project, id=domain_ids, enabled=False)} if domain_ids - {""} else set()
    return sorted((p for p in found.values() if p.domain_id not in closed), key=lambda p: p.name)


def on_system(tx: Tx, user_id: str) -> bool:
    rows = tx.sql(
        f"SELECT 1 FROM identity_role_assignments WHERE target_id = 'system' AND actor_id IN {ACTORS} LIMIT 1",
        user_id,
        user_id,
    ).fetchall()
    return bool(rows)


# -- what goes with what


def forget_target(tx: Tx, target_id: str) -> None:
    """Drop what hangs on a project or domain that is deleted."""
    tx.drop_where(Assignment, target_id=target_id)
    for table in (
        "identity_application_credentials",
        "identity_credentials",
        "identity_trusts",
        "identity_project_endpoints",
    ):
        tx.sql(f"DELETE FROM {table} WHERE project_id = ?", target_id)
    tx.sql("DELETE FROM identity_limits WHERE owner_id = ?", target_id)
    tx.sql("DELETE FROM identity_domain_configs WHERE id = ?", target_id)


def drop_user(tx: Tx, user: User) -> None:
    tx.drop_where(Assignment, actor_id=user.id)
    tx.drop_where(Membership, user_id=user.id)
    for table in ("application_credentials", "credentials", "access_rules", "former_passwords"):
        tx.sql(f"DELETE FROM identity_{table} WHERE user_id = ?", user.id)
    tx.sql("DELETE FROM identity_logins WHERE id = ?", user.id)
    remember_gone(tx, "user", user.id)
    tx.sql("DELETE FROM identity_trusts WHERE trustor_user_id = ? OR trustee_user_id = ?", user.id, user.id)
    tx.drop(user)


def drop_group(tx: Tx, group: Group) -> None:
    """Its members' tokens end when it had a role anywhere."""
    if tx.count(Assignment, actor_id=group.id):
        for user in tx.find(User, id=[m.user_id for m in tx.find(Membership, group_id=group.id)]):
            tx.put(user, tokens_after=tx.clock.real())
    tx.drop_where(Assignment, actor_id=group.id)
    tx.drop_where(Membership, group_id=group.id)
    tx.drop(group)


def forget_domain(tx: Tx, domain_id: str) -> None:
    """Drop a domain's users, groups and roles."""
    for user in tx.find(User, domain_id=domain_id):
        drop_user(tx, user)
    for group in tx.find(Group, domain_id=domain_id):
        drop_group(tx, group)
    for role in tx.find(Role, domain_id=domain_id):
        drop_role(tx, role)
