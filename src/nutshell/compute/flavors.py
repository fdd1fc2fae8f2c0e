"""Flavors: sizes of servers, with extra specs and access lists (Compute API, "Flavors").

A server keeps a copy of its flavor: deleting one changes no server.
"""

from typing import Any

import sqlalchemy as sa

from nutshell.compute import wire
from nutshell.compute.errors import ExtraSpecNotFound, FlavorExists, FlavorNotFound
from nutshell.compute.service import compute, links
from nutshell.core.errors import BadRequest, Conflict, NotFound
from nutshell.core.listing import page_answer, select_page
from nutshell.core.policy import Who
from nutshell.core.render import OMIT, Context
from nutshell.core.resource import Resource, field
from nutshell.core.schema import Body
from nutshell.core.service import Answer, Ask
from nutshell.core.store import Tx

MANAGE = "os_compute_api:os-flavor-manage"
SPECS = "os_compute_api:os-flavor-extra-specs"
ACCESS = "os_compute_api:os-flavor-access"
SORTS = {
    "flavorid": "id", "memory_mb": "ram", "root_gb": "disk", "ephemeral_gb": "OS-FLV-EXT-DATA:ephemeral",
    "is_public": "os-flavor-access:is_public", "disabled": "id", "rxtx_factor": "rxtx_factor", "vcpu_weight": "id",
}  # fmt: skip


class Flavor(Resource, service="compute", one="flavor", many="flavors", unique=(("name",),), sort="id asc"):
    """One size. `id` is chosen by its maker or a UUID."""

    name: str = field(brief=True, sort=True)
    ram_mib: int = field(wire="ram", sort=True)
    disk_gib: int = field(wire="disk", sort=True)
    vcpus: int = field(sort=True)
    ephemeral_gib: int = field(default=0, wire="OS-FLV-EXT-DATA:ephemeral", sort=True)
    swap_mib: int = field(default=0, hidden=True, sort=True)
    rxtx_factor: float = field(default=1.0, sort=True, until="2.101")
    is_public: bool = field(default=True, wire="os-flavor-access:is_public", sort=True)
    description: str | None = field(default=None, since="2.55", brief=True, sort=True)
    extra_specs: dict[str, str] = field(factory=dict, since="2.61", see=f"{SPECS}:index")
    project_ids: list[str] = field(factory=list, hidden=True)  # who may use it when it is not public


Flavor.shows("swap", until="2.74")(lambda f, ctx: f.swap_mib or "")
Flavor.shows("swap", since="2.75")(lambda f, ctx: f.swap_mib)
Flavor.shows("OS-FLV-DISABLED:disabled", until="2.101")(lambda f, ctx: False)


@Flavor.shows("links", brief=True)
def _links(f: Flavor, ctx: Context) -> Any:
    return OMIT if ctx.ask is None else links(ctx.ask, "flavors", f.id)


class NewFlavor(Body):
    name: str = field()
    id: str | float | None = field(default=None)
    ram: int | str = field()
    vcpus: int | str = field()
    disk: int | str = field()
    ephemeral: int | str = field(default=0, wire="OS-FLV-EXT-DATA:ephemeral")
    swap: int | str = field(default=0)
    rxtx_factor: float | str = field(default=1.0, until="2.101")
    is_public: bool | str = field(default=True, wire="os-flavor-access:is_public")
    description: str | None = field(default=None, since="2.55", max_length=65535)


class FlavorUpdate(Body):
    description: str | None = field(max_length=65535)


def find_flavor(tx: Tx, who: Who, flavor_id: str) -> Flavor | None:
    """The flavor, if the caller may use it: public, granted to the project, or the caller is an administrator."""
    found = tx.get(Flavor, flavor_id)
    if found is None or found.is_public or who.project_id in found.project_ids or "admin" in who.roles:
        return found
    return None


def need(ask: Ask[Any], flavor_id: str) -> Flavor:
    found = find_flavor(ask.tx, ask.who, flavor_id)
    if found is None:
        raise FlavorNotFound(id=flavor_id)
    return found


def _list(ask: Ask[Any]) -> Answer:
    wire.only_query(
        ask, frozenset({"limit", "marker", "is_public", "minRam", "minDisk", "sort_key", "sort_dir", "name"}), "2.75"
    )
    wheres: list[sa.ColumnElement[bool]] = []
    for name, column in (("minRam", "ram_mib"), ("minDisk", "disk_gib")):
        if ask.asked(name):
            try:
                wheres.append(Flavor.c(column) >= int(ask.asked(name)))
            except ValueError:
                raise BadRequest(f"Invalid {name} filter [{ask.asked(name)}]") from None
    public: bool | None = True
    if "admin" in ask.who.roles and "is_public" in ask.query:
        text = ask.asked("is_public").lower()
        public = None if text == "none" else {"t": True, "y": True, "f": False, "n": False, **wire.WORDS}.get(text)
        if public is None and text != "none":
            raise BadRequest(f"Invalid is_public filter [{ask.asked('is_public')}]")
    if public is not None:
        granted = Flavor.c("project_ids").contains(f'"{ask.who.project_id}"', autoescape=True)
        own = sa.and_(sa.literal("admin" not in ask.who.roles), granted)
        wheres.append(sa.or_(Flavor.c("is_public") == public, own))
    if ask.asked("name"):
        wheres.append(Flavor.c("name") == ask.asked("name"))
    if ask.asked("sort_dir") not in ("", "asc", "desc"):
        raise wire.invalid("sort_dir", ask.asked("sort_dir"), "not one of ['asc', 'desc']")
    keys = ask.query.get("sort_key") or ["flavorid"]
    asked, ask.query = (
        ask.query,
        {
            **{k: v for k, v in ask.query.items() if k != "name"},
            "sort_key": ["swap_mib" if k == "swap" else SORTS.get(k, k) for k in keys],
            "sort_dir": ask.query.get("sort_dir") or ["asc"],
        },
    )
    page = select_page(ask, Flavor, *wheres)
    ask.query = asked  # the next page's link says what this request said
    return page_answer(ask, Flavor, page)


compute.verb(Flavor, "list", rule="os_compute_api:os-flavor-show", path="/detail")(_list)
compute.verb(Flavor, "list", rule="os_compute_api:os-flavor-show", view="brief")(_list)


@compute.verb(Flavor, "show", rule="os_compute_api:os-flavor-show", loads=False)
def show(ask: Ask[Any]) -> Flavor:
    return need(ask, ask.params["id"])


@compute.verb(Flavor, "create", rule=f"{MANAGE}:create", body=NewFlavor, http=200)
def create(ask: Ask[Any]) -> Flavor:
    g = ask.given
    name = wire.check_name("name", g["name"])
    asked = g.get("id")
    flavor_id = _number_text(asked) if asked is not None and asked != "auto" else ask.new_id()
    row = Flavor(
        id=check_id(flavor_id),
        name=name,
        ram_mib=wire.whole("ram", g["ram"], 1),
        vcpus=wire.whole("vcpus", g["vcpus"], 1),
        disk_gib=wire.whole("disk", g["disk"]),
        ephemeral_gib=wire.whole("OS-FLV-EXT-DATA:ephemeral", g.get("ephemeral", 0)),
        swap_mib=wire.whole("swap", g.get("swap", 0)),
        rxtx_factor=_factor(g.get("rxtx_factor", 1.0)),
        is_public=wire.truth("os-flavor-access:is_public", g.get("is_public", True)),
        description=g.get("description"),
    )
    if ask.tx.get(Flavor, row.id) is not None:
        raise FlavorExists(what="ID", value=row.id)
    if ask.tx.one(Flavor, name=row.name) is not None:
        raise FlavorExists(what="name", value=row.name)
    return ask.tx.add(row)


def _number_text(value: str | float) -> str:
    return value if isinstance(value, str) else str(int(value)) if value == int(value) else str(value)


def check_id(text: str) -> str:
    good = all(c.isascii() and (c.isalnum() or c in ". _-") for c in text) and text == text.strip(" ")
    if not 1 <= len(text) <= 255 or not good:
        raise wire.invalid("id", text, f"{text!r} does not match '^(?! )[a-zA-Z0-9. _-]+(?<! )$'")
    return text


def _factor(value: float | str) -> float:
    try:
        found = float(value)
    except ValueError:
        raise wire.invalid("rxtx_factor", value, "not a number") from None
    if not 0 < found <= 3.40282e38:
        raise wire.invalid("rxtx_factor", value, "out of range")
    return found


@compute.verb(Flavor, "update", rule=f"{MANAGE}:update", body=FlavorUpdate, since="2.55", loads=False)
def update(ask: Ask[Any]) -> Flavor:
    return ask.tx.put(ask.tx.get(Flavor, ask.params["id"]) or need(ask, ask.params["id"]), **ask.given)


@compute.verb(Flavor, "delete", rule=f"{MANAGE}:delete", http=202)
def delete(ask: Ask[Flavor]) -> None:
    ask.tx.drop(ask.target)


# -- extra specs


@compute.route("GET", "/flavors/{id}/os-extra_specs", rule=f"{SPECS}:index")
def list_specs(ask: Ask[Any]) -> Any:
    return {"extra_specs": need(ask, ask.params["id"]).extra_specs}


@compute.route("GET", "/flavors/{id}/os-extra_specs/{key}", rule=f"{SPECS}:show")
def show_spec(ask: Ask[Any]) -> Any:
    return {ask.params["key"]: _spec(need(ask, ask.params["id"]), ask.params["key"])}


def _spec(flavor: Flavor, key: str) -> str:
    if key not in flavor.extra_specs:
        raise ExtraSpecNotFound(id=flavor.id, key=key)
    return flavor.extra_specs[key]


def _checked_specs(given: Any) -> dict[str, str]:
    if not isinstance(given, dict):
        raise wire.invalid("extra_specs", given, "It is not an object.")
    found = {}
    for key, value in given.items():
        if not 1 <= len(key) <= 255 or not all(c.isascii() and (c.isalnum() or c in " _.:-") for c in key):
            raise wire.invalid("extra_specs", key, f"{key!r} does not match any of the regexes: '^[a-zA-Z0-9-_:. ]'")
        if not isinstance(value, str | int | float) or isinstance(value, bool) or len(str(value)) > 255:
            raise wire.invalid(key, value, "It must be text of at most 255 characters.")
        found[key] = str(value)
    return found


@compute.route("POST", "/flavors/{id}/os-extra_specs", rule=f"{SPECS}:create")
def create_specs(ask: Ask[Any]) -> Any:
    if not isinstance(ask.body, dict) or set(ask.body) != {"extra_specs"}:
        raise BadRequest("Invalid input for field/attribute body. 'extra_specs' is a required property")
    given = _checked_specs(ask.body["extra_specs"])
    flavor = need(ask, ask.params["id"])
    ask.tx.put(flavor, extra_specs={**flavor.extra_specs, **given})
    return {"extra_specs": given}


@compute.route("PUT", "/flavors/{id}/os-extra_specs/{key}", rule=f"{SPECS}:update")
def update_spec(ask: Ask[Any]) -> Any:
    key = ask.params["key"]
    if not isinstance(ask.body, dict) or len(ask.body) != 1 or key not in ask.body:
        raise BadRequest("Request body and URI mismatch" if ask.body else "Malformed request body")
    given = _checked_specs(ask.body)
    flavor = need(ask, ask.params["id"])
    ask.tx.put(flavor, extra_specs={**flavor.extra_specs, **given})
    return given


@compute.route("DELETE", "/flavors/{id}/os-extra_specs/{key}", rule=f"{SPECS}:delete")
def delete_spec(ask: Ask[Any]) -> None:
    flavor = need(ask, ask.params["id"])
    _spec(flavor, ask.params["key"])
    rest = {k: v for k, v in flavor.extra_specs.items() if k != ask.params["key"]}
    ask.tx.put(flavor, extra_specs=rest)


# -- access


def _access(flavor: Flavor) -> dict[str, Any]:
    return {"flavor_access": [{"flavor_id": flavor.id, "tenant_id": p} for p in flavor.project_ids]}


@compute.route("GET", "/flavors/{id}/os-flavor-access", rule=ACCESS)
def list_access(ask: Ask[Any]) -> Any:
    flavor = need(ask, ask.params["id"])
    if flavor.is_public:
        raise NoAccessList()
    return _access(flavor)


class NoAccessList(NotFound):
    """Access list not available for public flavors."""


class ProjectAccess(Body):
    tenant: str = field(min_length=1, max_length=255, pattern="^[a-zA-Z0-9-]*$")


@compute.action(Flavor, "addTenantAccess", rule=f"{ACCESS}:add_tenant_access", body=ProjectAccess, http=200)
def add_access(ask: Ask[Flavor]) -> Any:
    _need_project(ask, ask.given["tenant"])
    if ask.target.is_public:
        raise Conflict("Can not add access to a public flavor.")
    if ask.given["tenant"] in ask.target.project_ids:
        raise Conflict(f"Flavor access already exists for flavor {ask.target.id} and project {ask.given['tenant']}.")
    return _access(ask.tx.put(ask.target, project_ids=[*ask.target.project_ids, ask.given["tenant"]]))


@compute.action(Flavor, "removeTenantAccess", rule=f"{ACCESS}:remove_tenant_access", body=ProjectAccess, http=200)
def remove_access(ask: Ask[Flavor]) -> Any:
    _need_project(ask, ask.given["tenant"])
    if ask.target.is_public:
        raise Conflict("Can not remove access from a public flavor.")
    if ask.given["tenant"] not in ask.target.project_ids:
        raise NotFound(kind="Flavor access", id=f"for {ask.target.id} / {ask.given['tenant']} combination")
    rest = [p for p in ask.target.project_ids if p != ask.given["tenant"]]
    return _access(ask.tx.put(ask.target, project_ids=rest))


def _need_project(ask: Ask[Any], project_id: str) -> None:
    from nutshell.identity.port import Identity

    if not ask.cloud.port(Identity).project_exists(ask.tx, project_id):
        raise BadRequest(f"Project ID {project_id} is not a valid project.")


# -- first start

FIRST = (
    ("42", "m1.nano", 128, 1, 1),
    ("84", "m1.micro", 192, 1, 1),
    ("cirros256", "cirros256", 256, 1, 1),
    ("1", "m1.tiny", 512, 1, 1),
    ("2", "m1.small", 2048, 1, 20),
    ("3", "m1.medium", 4096, 2, 40),
    ("4", "m1.large", 8192, 4, 80),
    ("5", "m1.xlarge", 16384, 8, 160),
)


def seed_flavors(tx: Tx) -> None:
    """The usual sizes, once: an operator who deleted them all keeps it so."""
    if tx.sql("SELECT 1 FROM event WHERE kind = 'compute.flavor' LIMIT 1").fetchone() or tx.count(Flavor):
        return
    for flavor_id, name, ram, vcpus, disk in FIRST:
        tx.add(Flavor(id=flavor_id, name=name, ram_mib=ram, vcpus=vcpus, disk_gib=disk))
