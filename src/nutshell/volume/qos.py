"""QoS specs: limits that types carry for their volumes (Block Storage API v3, "Quality of service specifications").

They are kept, shown and tied to types; no driver enforces them yet (docs/limits/volume.md).
"""

from typing import Any

from nutshell.core.errors import BadRequest, Conflict, NotFound
from nutshell.core.listing import select_page
from nutshell.core.resource import Resource, field
from nutshell.core.service import Answer, Ask
from nutshell.volume.service import check_metadata, page_links, text, volume
from nutshell.volume.tables import VolumeType

RULE = "volume_extension:qos_specs_manage"
CONSUMERS = ("back-end", "front-end", "both")


class QosSpecs(Resource, service="volume", one="qos_specs", many="qos_specs", path="/qos-specs", unique=(("name",),)):
    """A named set of limits."""

    name: str = field(sort=True)
    consumer: str = field(default="back-end")
    specs: dict[str, str] = field(factory=dict)


def shown(row: QosSpecs) -> dict[str, Any]:
    return {"id": row.id, "name": row.name, "consumer": row.consumer, "specs": row.specs}


def _one(ask: Ask[Any], row: QosSpecs) -> Answer:
    bookmark = f"{ask.base}/volume/{ask.who.project_id}/qos-specs/{row.id}"
    links = [{"rel": "self", "href": f"{ask.url}/qos-specs/{row.id}"}, {"rel": "bookmark", "href": bookmark}]
    return Answer(200, {"qos_specs": shown(row), "links": links})


def _given(ask: Ask[Any]) -> dict[str, Any]:
    body = ask.body.get("qos_specs") if isinstance(ask.body, dict) else None
    if not isinstance(body, dict):
        raise BadRequest("Invalid input for field/attribute body. 'qos_specs' is a required property")
    return dict(body)


def _consumer(given: dict[str, Any], default: str) -> str:
    found = given.pop("consumer", default)
    if found not in CONSUMERS:
        raise BadRequest(f"Invalid input for field/attribute consumer. Value: {found}. It is not one of {CONSUMERS}.")
    return str(found)


@volume.verb(QosSpecs, "list", rule=f"{RULE}:get_all")
def list_specs(ask: Ask[Any]) -> Answer:
    page = select_page(ask, QosSpecs)
    links = page_links(ask, "qos_specs", page.rows, page.more)
    return Answer(200, {"qos_specs": [shown(r) for r in page.rows], **links})


@volume.verb(QosSpecs, "show", rule=f"{RULE}:get")
def show(ask: Ask[QosSpecs]) -> Answer:
    return _one(ask, ask.target)


@volume.route("POST", "/qos-specs", rule=f"{RULE}:create", noun=QosSpecs, verb="create")
def create(ask: Ask[Any]) -> Answer:
    given = _given(ask)
    name = text(given.pop("name", None), "name")
    if not name:
        raise BadRequest("Please specify a name for QoS specs.")
    if ask.tx.count(QosSpecs, name=name):
        raise Conflict(f"QoS Specs {name} already exists.")
    consumer = _consumer(given, "back-end")
    specs = check_metadata(given)
    return _one(ask, ask.tx.add(QosSpecs(id=ask.new_id(), name=name, consumer=consumer, specs=specs)))


@volume.route("PUT", "/qos-specs/{id}", rule=f"{RULE}:update", noun=QosSpecs, verb="update", loads=True)
def update(ask: Ask[QosSpecs]) -> Answer:
    given = _given(ask)
    consumer = _consumer(rest := dict(given), ask.target.consumer)
    ask.tx.put(ask.target, consumer=consumer, specs={**ask.target.specs, **check_metadata(rest)})
    return Answer(200, {"qos_specs": given})


@volume.route("PUT", "/qos-specs/{id}/delete_keys", rule=f"{RULE}:update", noun=QosSpecs, verb="unset", loads=True)
def unset(ask: Ask[QosSpecs]) -> Answer:
    keys = ask.body.get("keys") if isinstance(ask.body, dict) else None
    if not isinstance(keys, list):
        raise BadRequest("Invalid input for field/attribute keys: it must be an array.")
    for key in keys:
        if key not in ask.target.specs:
            raise NotFound(kind=f"QoS spec {ask.target.id} with key", id=str(key))
    ask.tx.put(ask.target, specs={k: v for k, v in ask.target.specs.items() if k not in keys})
    return Answer(202)


@volume.verb(QosSpecs, "delete", rule=f"{RULE}:delete", http=202)
def remove(ask: Ask[QosSpecs]) -> None:
    users = ask.tx.find(VolumeType, qos_specs_id=ask.target.id)
    if users and not ask.flag("force"):
        raise BadRequest("Qos specs still in use.")
    _untie(ask, users)
    ask.tx.drop(ask.target)


def _untie(ask: Ask[QosSpecs], types: list[VolumeType]) -> None:
    for row in types:
        ask.tx.put(row, qos_specs_id=None)


@volume.verb(QosSpecs, "associations", rule=f"{RULE}:get_all", method="GET", path="/{id}/associations")
def associations(ask: Ask[QosSpecs]) -> Answer:
    types = ask.tx.find(VolumeType, qos_specs_id=ask.target.id)
    found = [{"association_type": "volume_type", "name": t.name, "id": t.id} for t in types]
    return Answer(200, {"qos_associations": found})


def _named_type(ask: Ask[QosSpecs]) -> VolumeType:
    type_id = ask.asked("vol_type_id")
    if not type_id:
        raise BadRequest("Volume Type id must not be None.")
    row = ask.tx.get(VolumeType, type_id)
    if row is None:
        raise NotFound(kind="Volume type", id=type_id)
    return row


@volume.verb(QosSpecs, "associate", rule=f"{RULE}:update", method="GET", path="/{id}/associate", writes=True)
def associate(ask: Ask[QosSpecs]) -> Answer:
    row = _named_type(ask)
    if row.qos_specs_id not in (None, ask.target.id):
        raise BadRequest(f"Invalid volume type: Type {row.id} is already associated with another qos specs.")
    ask.tx.put(row, qos_specs_id=ask.target.id)
    return Answer(202)


@volume.verb(QosSpecs, "disassociate", rule=f"{RULE}:update", method="GET", path="/{id}/disassociate", writes=True)
def disassociate(ask: Ask[QosSpecs]) -> Answer:
    row = _named_type(ask)
    if row.qos_specs_id == ask.target.id:
        _untie(ask, [row])
    return Answer(202)


@volume.verb(QosSpecs, "untie", rule=f"{RULE}:update", method="GET", path="/{id}/disassociate_all", writes=True)
def disassociate_all(ask: Ask[QosSpecs]) -> Answer:
    _untie(ask, ask.tx.find(VolumeType, qos_specs_id=ask.target.id))
    return Answer(202)
