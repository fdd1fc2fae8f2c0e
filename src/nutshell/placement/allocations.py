"""Allocations: who uses how much of what.

Source: Placement API reference, "Allocations", "Resource provider allocations" and "Reshaper".
"""

import uuid
from collections.abc import Mapping
from typing import Any

from nutshell.core.errors import BadRequest
from nutshell.core.resource import field
from nutshell.core.schema import Body, check
from nutshell.core.service import Answer, Ask
from nutshell.core.store import Tx
from nutshell.core.versions import Version
from nutshell.placement.errors import Changed, NoRoom, NoSuch
from nutshell.placement.inventories import replace_inventories
from nutshell.placement.names import is_class
from nutshell.placement.providers import generation, need
from nutshell.placement.scheduling import Scheduling
from nutshell.placement.service import placement
from nutshell.placement.tables import Provider

RULE = "placement:allocations:"
placement.policy(
    {RULE + v: "rule:admin_or_service_api" for v in ("manage", "list", "update", "delete")}
    | {
        "placement:resource_providers:allocations:list": "rule:admin_or_service_api",
        "placement:reshaper:reshape": "rule:service_api",
        "service_api": "role:service",
    }
)
SCHEDULING = Scheduling()
UNKNOWN_ID = "00000000-0000-0000-0000-000000000000"
Resources = Mapping[str, int]


class Allocation(Body, extras="ignore"):
    """What a consumer shall have. Before 1.12 `allocations` is a list, since then an object by provider."""

    allocations: Any = field()
    project_id: str = field(default="", since="1.8", max_length=255)
    user_id: str = field(default="", since="1.8", max_length=255)
    generation: int | None = field(default=None, wire="consumer_generation", since="1.28")
    consumer_type: str = field(default="INSTANCE", since="1.38", max_length=255)
    mappings: dict[str, Any] = field(factory=dict, since="1.34")


REQUIRED = {"project_id": (1, 8), "user_id": (1, 8), "consumer_generation": (1, 28), "consumer_type": (1, 38)}


def _consumer(ask: Ask[Any]) -> str:
    try:
        return str(uuid.UUID(ask.params["consumer_uuid"]))
    except ValueError:
        raise BadRequest(f"Malformed consumer_uuid: {ask.params['consumer_uuid']}") from None


def parse(body: Any, at: Version, where: str = "body") -> dict[str, Any]:
    """One consumer's wishes, checked: allocations by provider, project, user, generation, type."""
    given = check(Allocation, body, "create", at, where=where)
    for name, since in REQUIRED.items():
        if at >= since and name not in body:
            raise BadRequest(f"JSON does not validate: '{name}' is a required property")
    return {**given, "allocations": _by_provider(given["allocations"])}


def _by_provider(given: Any) -> dict[str, dict[str, int]]:
    pairs: list[tuple[Any, Any]] = []
    if isinstance(given, list):
        pairs = [((a.get("resource_provider") or {}).get("uuid"), a) for a in given if isinstance(a, dict)]
        if len(pairs) != len(given) or not pairs:
            raise BadRequest("JSON does not validate: allocations must be a list of at least one object")
    elif isinstance(given, dict):
        pairs = list(given.items())
    else:
        raise BadRequest("JSON does not validate: allocations must be an object")
    found: dict[str, dict[str, int]] = {}
    for provider_id, entry in pairs:
        resources = entry.get("resources") if isinstance(entry, dict) else None
        if not isinstance(provider_id, str) or not isinstance(resources, dict) or not resources:
            raise BadRequest("JSON does not validate: each allocation needs a provider and its resources")
        for name, amount in resources.items():
            if not isinstance(amount, int) or isinstance(amount, bool) or amount < 1:
                raise BadRequest(f"JSON does not validate: {amount!r} of {name} is less than the minimum of 1")
        found[provider_id] = dict(resources)
    return found


def write(tx: Tx, consumer_id: str, wanted: Mapping[str, Any], at: Version) -> None:
    """Replace a consumer's allocations. NoRoom (409) leaves everything as it was, for the transaction fails."""
    row = tx.sql("SELECT generation, project_id, user_id FROM placement_consumer WHERE id = ?", consumer_id).fetchone()
    if at >= (1, 28) and wanted.get("generation") != (row[0] if row else None):
        raise Changed(
            f"consumer generation conflict - expected {row[0] if row else 'null'} but got {wanted.get('generation')}"
        )
    project, user = wanted.get("project_id") or UNKNOWN_ID, wanted.get("user_id") or UNKNOWN_ID
    allocations: Mapping[str, Resources] = wanted["allocations"]
    for provider_id, resources in allocations.items():
        if tx.get(Provider, provider_id) is None:
            raise BadRequest(f"Allocation for resource provider '{provider_id}' that does not exist.")
        for name in resources:
            if not is_class(tx, name):
                raise BadRequest(
                    f"Unable to allocate inventory for consumer {consumer_id}: No such resource class {name}."
                )
    held = SCHEDULING.allocations(tx, consumer_id)
    for gone in set(held) - set(allocations):
        SCHEDULING.claim(tx, consumer_id, gone, {}, project, user)
    for provider_id, resources in allocations.items():
        if not SCHEDULING.claim(tx, consumer_id, provider_id, resources, project, user):
            raise NoRoom(_why(tx, provider_id, resources))
    if not allocations:
        tx.sql("DELETE FROM placement_consumer WHERE id = ?", consumer_id)
        return
    generation = row[0] + 1 if row else 1
    tx.sql(
        "UPDATE placement_consumer SET project_id = ?, user_id = ?, type = ?, generation = ? WHERE id = ?",
        *(project, user, wanted.get("consumer_type") or "INSTANCE", generation, consumer_id),
    )


def _why(tx: Tx, provider_id: str, resources: Resources) -> str:
    text = (
        "SELECT total, reserved, allocation_ratio, used, min_unit, max_unit, step_size FROM placement_inventory"
        " WHERE provider_id = ? AND resource_class = ?"
    )
    for name, amount in resources.items():
        row = tx.sql(text, provider_id, name).fetchone()
        if row is None:
            return f"No inventory of class {name} on resource provider '{provider_id}'."
        total, reserved, ratio, used, least, most, step = row
        if amount < least or amount > most or amount % step:
            return (
                f"Unable to create allocation for '{name}' on resource provider '{provider_id}'. The requested amount"
                f" would violate inventory constraints."
            )
        if used + amount > (total - reserved) * ratio:
            return (
                f"Unable to create allocation for '{name}' on resource provider '{provider_id}'. The requested amount"
                f" would exceed the capacity."
            )
    return f"Unable to create allocation on resource provider '{provider_id}'."


def _held(tx: Tx, consumer_id: str) -> tuple[dict[str, Any], Any]:
    """Allocations by provider with the providers' generations, and the consumer's row."""
    found: dict[str, Any] = {}
    for provider_id, resources in SCHEDULING.allocations(tx, consumer_id).items():
        provider = tx.need(Provider, provider_id)
        found[provider_id] = {"resources": dict(resources), "generation": generation(provider)}
    text = "SELECT project_id, user_id, generation, type FROM placement_consumer WHERE id = ?"
    return found, tx.sql(text, consumer_id).fetchone()


def _shows(names: tuple[str, ...], since: str, until: str) -> None:
    """GET /allocations/{consumer}: later versions say more of the consumer."""

    @placement.route("GET", "/allocations/{consumer_uuid}", rule=RULE + "list", since=since, until=until)
    def show(ask: Ask[Any]) -> dict[str, Any]:
        held, consumer = _held(ask.tx, ask.params["consumer_uuid"])
        facts = dict(
            zip(("project_id", "user_id", "consumer_generation", "consumer_type"), consumer or (), strict=False)
        )
        return {"allocations": held, **({n: facts[n] for n in names} if held else {})}


_shows((), "", "1.11")
_shows(("project_id", "user_id"), "1.12", "1.27")
_shows(("project_id", "user_id", "consumer_generation"), "1.28", "1.37")
_shows(("project_id", "user_id", "consumer_generation", "consumer_type"), "1.38", "")


@placement.route("PUT", "/allocations/{consumer_uuid}", rule=RULE + "update", http=204)
def put(ask: Ask[Any]) -> None:
    wanted = parse(ask.body, ask.at)
    if not wanted["allocations"] and ask.at < (1, 28):
        raise BadRequest("JSON does not validate: allocations does not have enough properties")
    write(ask.tx, _consumer(ask), wanted, ask.at)


@placement.route("POST", "/allocations", rule=RULE + "manage", since="1.13", http=204)
def post(ask: Ask[Any]) -> None:
    if not isinstance(ask.body, dict) or not ask.body:
        raise BadRequest("JSON does not validate: an object of at least one consumer is required")
    write_all(ask.tx, ask.body, ask.at)


def write_all(tx: Tx, body: Mapping[str, Any], at: Version) -> None:
    """Several consumers in one: those that give up go first, so that a move within a full provider succeeds."""
    parsed = {consumer: parse(entry, at, consumer) for consumer, entry in body.items()}
    for consumer, wanted in sorted(parsed.items(), key=lambda p: bool(p[1]["allocations"])):
        write(tx, consumer, wanted, at)


@placement.route("DELETE", "/allocations/{consumer_uuid}", rule=RULE + "delete", http=204)
def delete(ask: Ask[Any]) -> None:
    consumer = ask.params["consumer_uuid"]
    if not SCHEDULING.allocations(ask.tx, consumer):
        raise NoSuch(f"No allocations for consumer '{consumer}'")
    SCHEDULING.release(ask.tx, consumer)


def _of_provider(ask: Ask[Any], with_generation: bool) -> dict[str, Any]:
    row = need(ask)
    text = (
        "SELECT a.consumer_id, a.resource_class, a.used, c.generation FROM placement_allocation a"
        " JOIN placement_consumer c ON c.id = a.consumer_id WHERE a.provider_id = ?"
    )
    found: dict[str, Any] = {}
    for consumer, name, used, consumer_generation in ask.tx.sql(text, row.id).fetchall():
        entry = found.setdefault(consumer, {"resources": {}})
        entry["resources"][name] = used
        if with_generation:
            entry["consumer_generation"] = consumer_generation
    return {"allocations": found, "resource_provider_generation": generation(row)}


OF_PROVIDER = "/resource_providers/{uuid}/allocations"


@placement.route("GET", OF_PROVIDER, rule="placement:resource_providers:allocations:list", until="1.27")
def of_provider_before_generations(ask: Ask[Any]) -> dict[str, Any]:
    return _of_provider(ask, False)


@placement.route("GET", OF_PROVIDER, rule="placement:resource_providers:allocations:list", since="1.28")
def of_provider(ask: Ask[Any]) -> dict[str, Any]:
    return _of_provider(ask, True)


@placement.route("POST", "/reshaper", rule="placement:reshaper:reshape", since="1.30")
def reshape(ask: Ask[Any]) -> Answer:
    """Inventories and allocations of several providers at once, whole or not at all."""
    body = ask.body if isinstance(ask.body, dict) else {}
    inventories, allocations = body.get("inventories"), body.get("allocations")
    if not isinstance(inventories, dict) or not isinstance(allocations, dict):
        raise BadRequest("JSON does not validate: 'inventories' and 'allocations' are required properties")
    for consumer in allocations:
        for provider_id in SCHEDULING.allocations(ask.tx, consumer):
            SCHEDULING.claim(ask.tx, consumer, provider_id, {}, UNKNOWN_ID, UNKNOWN_ID)
    for provider_id, entry in inventories.items():
        row = ask.tx.get(Provider, provider_id)
        if row is None:
            raise BadRequest(f"Resource provider {provider_id} in inventories not found: No resource provider with uuid"
                             f" {provider_id} found")  # fmt: skip
        replace_inventories(ask, row, entry)
    write_all(ask.tx, _with_generations(ask.tx, allocations), ask.at)
    return Answer(204)


def _with_generations(tx: Tx, allocations: Mapping[str, Any]) -> Mapping[str, Any]:
    """Clearing a consumer's allocations moved its generation on; what the caller knew is compared with before."""
    found = {}
    for consumer, entry in allocations.items():
        row = tx.sql("SELECT generation FROM placement_consumer WHERE id = ?", consumer).fetchone()
        said = entry.get("consumer_generation") if isinstance(entry, dict) else None
        found[consumer] = {**entry, "consumer_generation": row[0]} if row and said is not None else entry
    return found
