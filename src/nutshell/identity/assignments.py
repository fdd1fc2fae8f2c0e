"""Assignments: who has which role on what (Identity API v3, "Roles", "OS-INHERIT", "System role assignments")."""

from dataclasses import dataclass
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


@dataclass(frozen=True)
class _Kind:
    """Grants of one kind: to users or groups, on projects, domains or the system, perhaps inherited."""

    place: str
    actor_kind: str
    inherited: bool

    @property
    def actor_noun(self) -> type[User] | type[Group]:
        return User if self.actor_kind == "user" else Group

    def rule(self, verb: str) -> str:
        noun = "grants" if verb == "list" else "grant"
        return f"{verb}_system_{noun}_for_{self.actor_kind}" if self.place == SYSTEM else f"{verb}_{noun}"

    def target_row(self, ask: Ask[Any]) -> Project | None:
        return ask.tx.one(Project, id=ask.params["target_id"], is_domain=self.place == "domain")

    def target(self, ask: Ask[Any]) -> dict[str, Any]:
        """What a rule may ask of the grant."""
        facts = flat(self.actor_kind, ask.tx.get(self.actor_noun, ask.params["actor_id"]))
        if self.place != SYSTEM:
            facts.update(flat(self.place, self.target_row(ask)))
        if "role_id" in ask.params:
            facts.update(flat("role", ask.tx.get(Role, ask.params["role_id"])))
        return facts

    def parts(self, ask: Ask[Any], must_exist: bool = True) -> tuple[str, str]:
        """(actor id, target id), both there. A grant may be taken from an actor that is no more."""
        actor_id = ask.params["actor_id"]
        if must_exist:
            found(ask, self.actor_noun, actor_id)
        if self.place != SYSTEM and self.target_row(ask) is None:
            raise Missing(kind=self.place, id=ask.params["target_id"])
        return actor_id, SYSTEM if self.place == SYSTEM else ask.params["target_id"]

    def existing(self, ask: Ask[Any], must_exist: bool = True) -> Assignment:
        actor_id, target_id = self.parts(ask, must_exist)
        role = found(ask, Role, ask.params["role_id"])
        row = ask.tx.one(Assignment, actor_id=actor_id, target_id=target_id, role_id=role.id, inherited=self.inherited)
        if row is None:
            raise NoAssignment(role=role.id, actor=actor_id, place=f"project, domain, or system: {target_id}")
        return row


def _routes(place: str, actor_kind: str, inherited: bool) -> None:
    """The routes of grants of one kind: list, give, check and take."""
    kind = _Kind(place, actor_kind, inherited)
    of = "/system" if place == SYSTEM else f"/{place}s/{{target_id}}"
    root = f"{'/OS-INHERIT' if inherited else ''}{of}/{actor_kind}s/{{actor_id}}/roles"
    tail = "/inherited_to_projects" if inherited else ""
    one = f"{root}/{{role_id}}{tail}"

    @call("GET", root + tail, kind.rule("list"), noun=Role, target=kind.target)
    def list_grants(ask: Ask[Any]) -> Any:
        from nutshell.core.render import render_rows

        actor_id, target_id = kind.parts(ask)
        ids = [a.role_id for a in ask.tx.find(Assignment, actor_id=actor_id, target_id=target_id, inherited=inherited)]
        rows = ask.tx.find(Role, id=ids, order="name")
        return {"roles": render_rows(ask, Role, rows, "detail"), **ask.service.page_links(ask, "roles", rows, False)}

    @call("PUT", one, kind.rule("create"), target=kind.target, http=204)
    def give(ask: Ask[Any]) -> None:
        kind.parts(ask)
        role = found(ask, Role, ask.params["role_id"])
        actor = found(ask, kind.actor_noun, ask.params["actor_id"])
        on = None if place == SYSTEM else kind.target_row(ask)
        if role.domain_id and on is not None and not on.is_domain and role.domain_id != on.domain_id:
            raise Forbidden(f"Project {on.id} must be in the same domain as the role {role.id} being assigned.")
        assign(ask.tx, ask.cloud.clock.new_hex_id(), actor, on, role, inherited)

    @call("HEAD", one, kind.rule("check"), target=kind.target, http=204)
    def check(ask: Ask[Any]) -> None:
        kind.existing(ask)

    call("GET", one, kind.rule("check"), target=kind.target, http=204)(check)

    @call("DELETE", one, kind.rule("revoke"), target=kind.target, http=204)
    def take(ask: Ask[Any]) -> None:
        ask.tx.drop(kind.existing(ask, must_exist=False))


for _kind in ("project", "domain"):
    for _actor in ("user", "group"):
        _routes(_kind, _actor, inherited=False)
        _routes(_kind, _actor, inherited=True)
for _actor in ("user", "group"):
    _routes(SYSTEM, _actor, inherited=False)
