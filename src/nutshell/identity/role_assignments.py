"""The list of who has which role where, as given or as it works out (Identity API v3, "List role assignments")."""

from dataclasses import dataclass
from typing import Any

from nutshell.core.errors import BadRequest
from nutshell.core.service import Ask
from nutshell.core.store import Tx
from nutshell.identity.assignments import SYSTEM, Assignment
from nutshell.identity.effective import Entry, effective, read
from nutshell.identity.errors import Missing
from nutshell.identity.projects import Project, subtree
from nutshell.identity.service import call


@dataclass(frozen=True)
class Wanted:
    """What the query asks for; empty means any."""

    user_id: str
    group_id: str
    role_id: str
    project_id: str
    domain_id: str
    system: str
    inherited: str
    effective: bool
    tree: bool


def wanted(ask: Ask[Any]) -> Wanted:
    """The query, or 400 for what contradicts itself."""
    found = Wanted(
        user_id=ask.asked("user.id"),
        group_id=ask.asked("group.id"),
        role_id=ask.asked("role.id"),
        project_id=ask.asked("scope.project.id"),
        domain_id=ask.asked("scope.domain.id"),
        system=ask.asked("scope.system"),
        inherited=ask.asked("scope.OS-INHERIT:inherited_to"),
        effective=ask.flag("effective") or ask.asked("effective", "no") == "",
        tree=_tree(ask),
    )
    if found.inherited not in ("", "projects"):
        raise BadRequest("Invalid value for the filter scope.OS-INHERIT:inherited_to: only projects inherit.")
    if found.user_id and found.group_id:
        raise BadRequest("Specify a user or group, not both")
    if sum(map(bool, (found.project_id, found.domain_id, found.system))) > 1:
        raise BadRequest("Specify a domain or project, not both")
    if found.effective and found.group_id:
        raise BadRequest("Combining effective and group filter will always result in an empty list.")
    if found.effective and found.inherited and (found.domain_id or not found.project_id):
        raise BadRequest("Combining effective, domain and inherited filters will always result in an empty list.")
    if found.tree and not found.project_id:
        raise BadRequest("scope.project.id must be specified if include_subtree is also specified")
    return found


def _target(ask: Ask[Any]) -> dict[str, Any]:
    if _tree(ask) and ask.asked("scope.project.id"):
        project = ask.tx.get(Project, ask.asked("scope.project.id"))
        if project is None:
            raise Missing(kind="project", id=ask.asked("scope.project.id"))
        return {"target.domain_id": project.domain_id or "None"}
    return {"target.domain_id": ask.who.domain_id or "None"}


def _tree(ask: Ask[Any]) -> bool:
    return ask.flag("include_subtree") or ask.asked("include_subtree", "no") == ""


def _rule(ask: Ask[Any]) -> str:
    return "list_role_assignments_for_tree" if _tree(ask) else "list_role_assignments"


@call("GET", "/role_assignments", _rule, target=_target)
def list_assignments(ask: Ask[Any]) -> Any:
    tx, want = ask.tx, wanted(ask)
    scopes = _scopes(tx, want)
    entries = _found(tx, want, scopes)
    if ask.who.domain_id:
        own = tx.sql("SELECT id FROM identity_projects WHERE domain_id = ?", ask.who.domain_id).fetchall()
        mine = {ask.who.domain_id, *(i for (i,) in own)}
        entries = [e for e in entries if e.target_id in mine]
    url = ask.url
    names = _names(tx, entries) if ask.flag("include_names") or ask.asked("include_names", "no") == "" else None
    return {
        "role_assignments": [_shown(url, e, names) for e in entries],
        "links": {"next": None, "previous": None, "self": ask.base + ask.path},
    }


def _scopes(tx: Tx, want: Wanted) -> list[Project]:
    """The projects or domain asked for."""
    if want.domain_id:
        return tx.find(Project, id=want.domain_id)
    if not want.project_id:
        return []
    root = tx.get(Project, want.project_id)
    if root is None:
        return []
    return [root, *subtree(tx, root)] if want.tree else [root]


def _found(tx: Tx, want: Wanted, scopes: list[Project]) -> list[Entry]:
    """The lines asked for."""
    if want.effective:
        within = scopes if want.project_id or want.domain_id else None
        entries = effective(tx, want.user_id, bool(want.system), within, bool(want.inherited))
        return [e for e in entries if not want.role_id or e.role_id == want.role_id]
    where: dict[str, Any] = {}
    if want.user_id or want.group_id:
        where["actor_id"] = want.user_id or want.group_id
    if want.role_id:
        where["role_id"] = want.role_id
    if want.project_id or want.domain_id:
        where["target_id"] = [p.id for p in scopes]
    if want.system:
        where["target_id"] = SYSTEM
    if want.inherited:
        where["inherited"] = True
    return [
        Entry(a.actor_kind, a.actor_id, a.target_kind, a.target_id, a.role_id, a.inherited)
        for a in tx.find(Assignment, order="created_at, id", **where)
    ]


Names = dict[str, dict[str, Any]]


def _names(tx: Tx, entries: list[Entry]) -> Names:
    """Everything the lines name, by id, in a fixed number of queries."""
    ids = {
        "projects": {e.target_id for e in entries},
        "users": {e.actor_id for e in entries if e.actor_kind == "user"},
        "groups": {e.actor_id for e in entries if e.actor_kind == "group"},
        "roles": {e.role_id for e in entries},
    }
    rows = [r for n, i in ids.items() for r in read(tx, f"SELECT id, name, domain_id FROM identity_{n} WHERE id IN", i)]
    above = {domain_id for _, _, domain_id in rows if domain_id}
    domains = dict(read(tx, "SELECT id, name FROM identity_projects WHERE id IN", above))
    found: Names = {}
    for key, name, domain_id in rows:
        found[key] = {"id": key, "name": name}
        if domain_id:
            found[key]["domain"] = {"id": domain_id, "name": domains.get(domain_id)}
    return found


def _shown(url: str, e: Entry, names: Names | None) -> dict[str, Any]:
    def ref(key: str) -> dict[str, Any]:
        return {"id": key} if names is None else names.get(key, {"id": key, "name": ""})

    kind, target_id = (e.via_kind, e.via_target) if e.via_target else (e.target_kind, e.target_id)
    of = SYSTEM if kind == SYSTEM else f"{kind}s/{target_id}"
    actor = f"groups/{e.via_group}" if e.via_group else f"{e.actor_kind}s/{e.actor_id}"
    path = f"{of}/{actor}/roles/{e.via_role or e.role_id}"
    if e.inherited or e.via_target:
        path = f"OS-INHERIT/{path}/inherited_to_projects"
    links = {"assignment": f"{url}/{path}"}
    if e.via_group:
        links["membership"] = f"{url}/groups/{e.via_group}/users/{e.actor_id}"
    if e.via_role:
        links["prior_role"] = f"{url}/prior_role/{e.via_role}/implies/{e.role_id}"
    scope: dict[str, Any] = {SYSTEM: {"all": True}} if e.target_kind == SYSTEM else {e.target_kind: ref(e.target_id)}
    if e.inherited:
        scope["OS-INHERIT:inherited_to"] = "projects"
    return {"links": links, "role": ref(e.role_id), "scope": scope, e.actor_kind: ref(e.actor_id)}
