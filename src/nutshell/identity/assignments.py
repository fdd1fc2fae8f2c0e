"""Assignments: who has which role on what (Identity API v3, "Roles", "OS-INHERIT", "System role assignments")."""

# house: function-length waived 2026-11-22: a flat table of routes

from typing import Any

from nutshell.core.errors import Forbidden
from nutshell.core.resource import Resource, field
from nutshell.core.service import Ask
from nutshell.core.store import Tx
from nutshell.identity.errors import Missing, NoAssignment
from nutshell.identity.groups import Group
from nutshell.identity.projects import Project
from nutshell.identity.roles import Role
from nutshell.identity.service import call, flat, found
from nutshell.identity.users import User

SYSTEM = "system"


class Assignment(
    Resource,
    service="identity",
    one="role_assignment",
    many="role_assignments",
    unique=(("actor_id", "target_id", "role_id", "inherited"),),
    indexes=(("target_id",), ("role_id",)),
):
    actor_kind: str = field()  # "user" or "group"
    actor_id: str = field()
    target_kind: str = field()  # "project", "domain" or "system"
    target_id: str = field()
    role_id: str = field()
    inherited: bool = field(default=False)  # holds on the projects below the target, not on it


def assign(tx: Tx, new_id: str, actor: User | Group, target: Project | None, role: Role, inherited: bool) -> None:
    """Give a role on a project, domain or (None) the system; what is there already stays."""
    target_id = target.id if target is not None else SYSTEM
    there = tx.one(Assignment, actor_id=actor.id, target_id=target_id, role_id=role.id, inherited=inherited)
    if there is None:
        tx.add(
            Assignment(
                id=new_id,
                actor_kind=actor.one,
                actor_id=actor.id,
                target_kind=SYSTEM if target is None else "domain" if target.is_domain else "project",
                target_id=target_id,
                role_id=role.id,
                inherited=inherited,
            )
        )


def _routes(kind: str, actor_kind: str, inherited: bool) -> None:
    """The routes of grants of one kind: list, give, check and take."""
    actor_noun: type[User] | type[Group] = User if actor_kind == "user" else Group
    of = "/system" if kind == SYSTEM else f"/{kind}s/{{target_id}}"
    root = f"{'/OS-INHERIT' if inherited else ''}{of}/{actor_kind}s/{{actor_id}}/roles"
    tail = "/inherited_to_projects" if inherited else ""
    one = f"{root}/{{role_id}}{tail}"

    def rule(verb: str) -> str:
        if kind == SYSTEM:
            return f"{verb}_system_{'grants' if verb == 'list' else 'grant'}_for_{actor_kind}"
        return f"{verb}_{'grants' if verb == 'list' else 'grant'}"

    def target_row(ask: Ask[Any]) -> Project | None:
        return ask.tx.one(Project, id=ask.params["target_id"], is_domain=kind == "domain")

    def target(ask: Ask[Any]) -> dict[str, Any]:
        actor = ask.tx.get(actor_noun, ask.params["actor_id"])
        facts = flat(actor_kind, actor)
        if kind != SYSTEM:
            facts.update(flat(kind, target_row(ask)))
        if "role_id" in ask.params:
            facts.update(flat("role", ask.tx.get(Role, ask.params["role_id"])))
        return facts

    def parts(ask: Ask[Any], must_exist: bool = True) -> tuple[str, str]:
        """(actor id, target id), both there. A grant may be taken from an actor that is no more."""
        actor_id = ask.params["actor_id"]
        if must_exist:
            found(ask, actor_noun, actor_id)
        if kind != SYSTEM and target_row(ask) is None:
            raise Missing(kind=kind, id=ask.params["target_id"])
        return actor_id, SYSTEM if kind == SYSTEM else ask.params["target_id"]

    def existing(ask: Ask[Any], must_exist: bool = True) -> Assignment:
        actor_id, target_id = parts(ask, must_exist)
        role = found(ask, Role, ask.params["role_id"])
        row = ask.tx.one(Assignment, actor_id=actor_id, target_id=target_id, role_id=role.id, inherited=inherited)
        if row is None:
            raise NoAssignment(role=role.id, actor=actor_id, place=f"project, domain, or system: {target_id}")
        return row

    @call("GET", root + tail, rule("list"), noun=Role, target=target)
    def list_grants(ask: Ask[Any]) -> Any:
        from nutshell.core.render import render_rows

        actor_id, target_id = parts(ask)
        ids = [a.role_id for a in ask.tx.find(Assignment, actor_id=actor_id, target_id=target_id, inherited=inherited)]
        rows = ask.tx.find(Role, id=ids, order="name")
        return {"roles": render_rows(ask, Role, rows, "detail"), **ask.service.page_links(ask, "roles", rows, False)}

    @call("PUT", one, rule("create"), target=target, http=204)
    def give(ask: Ask[Any]) -> None:
        parts(ask)
        role = found(ask, Role, ask.params["role_id"])
        actor = found(ask, actor_noun, ask.params["actor_id"])
        place = None if kind == SYSTEM else target_row(ask)
        if role.domain_id and place is not None and not place.is_domain and role.domain_id != place.domain_id:
            raise Forbidden(f"Project {place.id} must be in the same domain as the role {role.id} being assigned.")
        assign(ask.tx, ask.cloud.clock.new_hex_id(), actor, place, role, inherited)

    @call("HEAD", one, rule("check"), target=target, http=204)
    def check(ask: Ask[Any]) -> None:
        existing(ask)

    call("GET", one, rule("check"), target=target, http=204)(check)

    @call("DELETE", one, rule("revoke"), target=target, http=204)
    def take(ask: Ask[Any]) -> None:
        ask.tx.drop(existing(ask, must_exist=False))


for _kind in ("project", "domain"):
    for _actor in ("user", "group"):
        _routes(_kind, _actor, inherited=False)
        _routes(_kind, _actor, inherited=True)
for _actor in ("user", "group"):
    _routes(SYSTEM, _actor, inherited=False)
