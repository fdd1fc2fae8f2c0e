"""What a provider has: inventories, traits, and how much of it is used.

Source: Placement API reference, "Resource provider inventories", "…traits", "…usages" and "Usages".
"""

from typing import Any

from nutshell.core.errors import BadRequest
from nutshell.core.resource import field
from nutshell.core.schema import Body, check, convert
from nutshell.core.service import Answer, Ask
from nutshell.core.store import Tx
from nutshell.placement.errors import Changed, InventoryInUse, NoSuch
from nutshell.placement.names import is_class, is_trait
from nutshell.placement.providers import changed, generation, need
from nutshell.placement.service import placement
from nutshell.placement.tables import Provider

RULE, OF = "placement:resource_providers:", "/resource_providers/{uuid}"
MOST = 2**31 - 1
placement.policy(
    {RULE + "inventories:" + v: "rule:admin_or_service_api" for v in ("list", "create", "show", "update", "delete")}
    | {RULE + "traits:" + v: "rule:admin_or_service_api" for v in ("list", "update", "delete")}
    | {
        RULE + "usages": "rule:admin_or_service_api",
        "placement:usages": "rule:admin_or_project_reader_or_service_api",
    }
)
COLUMNS = ("total", "reserved", "min_unit", "max_unit", "step_size", "allocation_ratio")


class NewInventory(Body):
    """POST …/inventories and PUT …/inventories/{resource_class}."""

    resource_class: str = field(default="")
    generation: int | None = field(default=None, wire="resource_provider_generation")
    total: int = field(lo=1, hi=MOST)
    reserved: int = field(default=0, lo=0, hi=MOST)
    min_unit: int = field(default=1, lo=1, hi=MOST)
    max_unit: int = field(default=MOST, lo=1, hi=MOST)
    step_size: int = field(default=1, lo=1, hi=MOST)
    allocation_ratio: float = field(default=1.0, lo=0, hi=3.40282e38)


class Inventories(Body):
    """PUT …/inventories: all of them."""

    inventories: dict[str, dict[str, Any]] = field()
    generation: int = field(wire="resource_provider_generation")


DEFAULTS = {"reserved": 0, "min_unit": 1, "max_unit": MOST, "step_size": 1, "allocation_ratio": 1.0}


def inventories_of(tx: Tx, provider_id: str) -> dict[str, dict[str, Any]]:
    text = f"SELECT resource_class, {', '.join(COLUMNS)} FROM placement_inventory WHERE provider_id = ?"
    rows = tx.sql(text + " ORDER BY resource_class", provider_id).fetchall()
    return {r[0]: dict(zip(COLUMNS, r[1:], strict=True)) for r in rows}


def _checked(ask: Ask[Any], row: Provider, name: str, given: dict[str, Any]) -> dict[str, Any]:
    """An inventory with its defaults filled in; 400 when it cannot be."""
    if not is_class(ask.tx, name):
        raise BadRequest(f"Unknown resource class in inventory for resource provider {row.id}: No such resource class"
                         f" {name}.")  # fmt: skip
    whole = {**DEFAULTS, **{c: given[c] for c in COLUMNS if c in given}}
    capacity = (whole["total"] - whole["reserved"]) * whole["allocation_ratio"]
    too_little = capacity < 0 if ask.at >= (1, 26) else capacity <= 0
    if too_little:
        raise BadRequest(f"Unable to update inventory for resource provider {row.id}: Invalid inventory for '{name}' on"
                         f" resource provider '{row.id}'. The reserved value is greater than the total.")  # fmt: skip
    return whole


def _write(tx: Tx, provider_id: str, name: str, whole: dict[str, Any]) -> None:
    marks = ", ".join(f"{c} = excluded.{c}" for c in COLUMNS)
    tx.sql(
        f"INSERT INTO placement_inventory (provider_id, resource_class, {', '.join(COLUMNS)}, used)"
        f" VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0) ON CONFLICT (provider_id, resource_class) DO UPDATE SET {marks}",
        *(provider_id, name, *(whole[c] for c in COLUMNS)),
    )


def _remove(tx: Tx, provider_id: str, name: str) -> None:
    text = "SELECT used FROM placement_inventory WHERE provider_id = ? AND resource_class = ?"
    found = tx.sql(text, provider_id, name).fetchone()
    if found is None:
        raise NoSuch(f"No inventory of class {name} found for delete: No inventory of class {name} found.")
    if found[0]:
        raise InventoryInUse(name=name, id=provider_id)
    tx.sql("DELETE FROM placement_inventory WHERE provider_id = ? AND resource_class = ?", provider_id, name)


def _shown(ask: Ask[Any], row: Provider) -> dict[str, Any]:
    return {"resource_provider_generation": generation(row), "inventories": inventories_of(ask.tx, row.id)}


@placement.route("GET", OF + "/inventories", rule=RULE + "inventories:list")
def index(ask: Ask[Any]) -> dict[str, Any]:
    return _shown(ask, need(ask))


@placement.route("POST", OF + "/inventories", rule=RULE + "inventories:create", body=NewInventory, wrap="")
def create(ask: Ask[Any]) -> Answer:
    row = need(ask)
    name = ask.given.get("resource_class", "")
    if name in inventories_of(ask.tx, row.id):
        raise Changed(f"Update conflict: inventory of {name} exists.")
    whole = _checked(ask, row, name, ask.given)
    row = changed(ask, row, ask.given.get("generation"))
    _write(ask.tx, row.id, name, whole)
    where = {"Location": f"{ask.base}/placement/resource_providers/{row.id}/inventories/{name}"}
    return Answer(201, {**whole, "resource_provider_generation": generation(row)}, where)


@placement.route("PUT", OF + "/inventories", rule=RULE + "inventories:update", body=Inventories, wrap="")
def replace(ask: Ask[Any]) -> dict[str, Any]:
    return _shown(ask, _replaced(ask, need(ask), ask.given))


def replace_inventories(ask: Ask[Any], row: Provider, body: Any) -> None:
    """As PUT …/inventories, for the reshaper."""
    _replaced(ask, row, check(Inventories, body, "create", ask.at))


def _replaced(ask: Ask[Any], row: Provider, given: dict[str, Any]) -> Provider:
    row = changed(ask, row, given["generation"])
    wanted = {name: _checked(ask, row, name, amounts_of(name, a)) for name, a in given["inventories"].items()}
    for name in set(inventories_of(ask.tx, row.id)) - set(wanted):
        _remove(ask.tx, row.id, name)
    for name, whole in wanted.items():
        _write(ask.tx, row.id, name, whole)
    return row


def amounts_of(name: str, given: dict[str, Any]) -> dict[str, Any]:
    """One inventory of a whole set, checked as the single form is."""
    found = check(NewInventory, given, "create", (1, 0), where=name)
    return {k: v for k, v in found.items() if k in COLUMNS}


@placement.route("DELETE", OF + "/inventories", rule=RULE + "inventories:delete", since="1.5", http=204)
def clear(ask: Ask[Any]) -> None:
    row = need(ask)
    for name in inventories_of(ask.tx, row.id):
        _remove(ask.tx, row.id, name)
    ask.tx.put(row)


@placement.route("GET", OF + "/inventories/{resource_class}", rule=RULE + "inventories:show")
def show(ask: Ask[Any]) -> dict[str, Any]:
    row, name = need(ask), ask.params["resource_class"]
    found = inventories_of(ask.tx, row.id).get(name)
    if found is None:
        raise NoSuch(f"No inventory of class {name} for {row.id}")
    return {**found, "resource_provider_generation": generation(row)}


@placement.route(
    "PUT", OF + "/inventories/{resource_class}", rule=RULE + "inventories:update", body=NewInventory, wrap=""
)
def update(ask: Ask[Any]) -> dict[str, Any]:
    row, name = need(ask), ask.params["resource_class"]
    if name not in inventories_of(ask.tx, row.id):
        raise BadRequest(f"Unable to update inventory for resource provider {row.id}: No inventory of class {name}"
                         " found for update")  # fmt: skip
    whole = _checked(ask, row, name, ask.given)
    row = changed(ask, row, ask.given.get("generation"))
    _write(ask.tx, row.id, name, whole)
    return {**whole, "resource_provider_generation": generation(row)}


@placement.route("DELETE", OF + "/inventories/{resource_class}", rule=RULE + "inventories:delete", http=204)
def delete(ask: Ask[Any]) -> None:
    row = need(ask)
    _remove(ask.tx, row.id, ask.params["resource_class"])
    ask.tx.put(row)


# -- traits
class Traits(Body):
    """PUT …/traits."""

    traits: list[str] = field()
    generation: int = field(wire="resource_provider_generation")


def traits_of(tx: Tx, provider_id: str) -> list[str]:
    text = "SELECT trait FROM placement_provider_trait WHERE provider_id = ? ORDER BY trait"
    return [t for (t,) in tx.sql(text, provider_id).fetchall()]


@placement.route("GET", OF + "/traits", rule=RULE + "traits:list", since="1.6")
def list_traits(ask: Ask[Any]) -> dict[str, Any]:
    row = need(ask)
    return {"traits": traits_of(ask.tx, row.id), "resource_provider_generation": generation(row)}


@placement.route("PUT", OF + "/traits", rule=RULE + "traits:update", since="1.6", body=Traits, wrap="")
def set_traits(ask: Ask[Any]) -> dict[str, Any]:
    wanted = sorted(set(ask.given["traits"]))
    row = changed(ask, need(ask), ask.given["generation"])
    unknown = [t for t in wanted if not is_trait(ask.tx, t)]
    if unknown:
        raise BadRequest(f"No such trait {', '.join(unknown)}")
    ask.tx.sql("DELETE FROM placement_provider_trait WHERE provider_id = ?", row.id)
    for trait in wanted:
        ask.tx.sql("INSERT INTO placement_provider_trait (provider_id, trait) VALUES (?, ?)", row.id, trait)
    return {"traits": wanted, "resource_provider_generation": generation(row)}


@placement.route("DELETE", OF + "/traits", rule=RULE + "traits:delete", since="1.6", http=204)
def clear_traits(ask: Ask[Any]) -> None:
    row = need(ask)
    ask.tx.sql("DELETE FROM placement_provider_trait WHERE provider_id = ?", row.id)
    ask.tx.put(row)


# -- usages
@placement.route("GET", OF + "/usages", rule=RULE + "usages")
def provider_usages(ask: Ask[Any]) -> dict[str, Any]:
    row = need(ask)
    text = "SELECT resource_class, used FROM placement_inventory WHERE provider_id = ? ORDER BY resource_class"
    return {
        "resource_provider_generation": generation(row),
        "usages": dict(map(tuple, ask.tx.sql(text, row.id).fetchall())),
    }


def _usage_target(ask: Ask[Any]) -> dict[str, Any]:
    return {"project_id": ask.asked("project_id")}


def _usage_rows(ask: Ask[Any]) -> list[Any]:
    project = convert(ask.asked("project_id") or None, str, "project_id")
    text = (
        "SELECT c.type, a.resource_class, sum(a.used), count(DISTINCT c.id) FROM placement_allocation a"
        " JOIN placement_consumer c ON c.id = a.consumer_id WHERE c.project_id = ?"
    )
    values = [project]
    if ask.asked("user_id"):
        text += " AND c.user_id = ?"
        values.append(ask.asked("user_id"))
    kind = ask.asked("consumer_type")
    if kind and kind != "all":
        text += " AND c.type = ?"
        values.append(kind)
    return ask.tx.sql(text + " GROUP BY c.type, a.resource_class", *values).fetchall()


@placement.route("GET", "/usages", rule="placement:usages", since="1.9", until="1.37", against=_usage_target)
def usages_before_types(ask: Ask[Any]) -> dict[str, Any]:
    found: dict[str, int] = {}
    for _, name, used, _ in _usage_rows(ask):
        found[name] = found.get(name, 0) + used
    return {"usages": found}


@placement.route("GET", "/usages", rule="placement:usages", since="1.38", against=_usage_target)
def usages(ask: Ask[Any]) -> dict[str, Any]:
    found: dict[str, dict[str, int]] = {}
    for kind, name, used, consumers in _usage_rows(ask):
        of = found.setdefault("all" if ask.asked("consumer_type") == "all" else kind, {"consumer_count": 0})
        of[name] = of.get(name, 0) + used
        of["consumer_count"] = max(of["consumer_count"], consumers)
    return {"usages": found}
