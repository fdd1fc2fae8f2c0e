"""Transfers: a volume offered to whoever has the key (Block Storage API v3, "Volume transfers")."""

import hashlib
import hmac
import secrets
from typing import Any

from nutshell.core.clock import iso_micros
from nutshell.core.errors import BadRequest, NotFound
from nutshell.core.listing import page_answer, select_page
from nutshell.core.render import Context
from nutshell.core.resource import Resource, field
from nutshell.core.schema import Body
from nutshell.core.service import Answer, Ask
from nutshell.volume.service import InvalidSnapshot, InvalidVolume, give_back, scope, take, text, volume
from nutshell.volume.states import Hold
from nutshell.volume.tables import Snapshot, Volume, save
from nutshell.volume.volumes import need_volume

HISTORY = "3.57"


class Transfer(
    Resource,
    service="volume",
    one="transfer",
    many="transfers",
    path="/os-volume-transfer",
    visible="volume:get_transfer",
    sort="created_at, id",
    indexes=(("volume_id",),),
):
    """An offer."""

    name: str | None = field(default=None, brief=True, filter=True)
    volume_id: str = field(brief=True, filter=True)
    project_id: str = field(default="", hidden=True)
    no_snapshots: bool = field(default=False, since="3.55")
    salt: str = field(default="", hidden=True)
    digest: str = field(default="", hidden=True)


def links(row: Transfer, ctx: Context) -> list[dict[str, str]]:
    ask = ctx.ask
    below = f"os-volume-transfer/{row.id}"
    bookmark = f"{ask.base}/volume/{ask.who.project_id}/{below}"
    return [{"rel": "self", "href": ctx.link(below)}, {"rel": "bookmark", "href": bookmark}]


Transfer.shows("links", brief=True)(links)
Transfer.shows("created_at")(lambda row, ctx: iso_micros(row.created_at))
Transfer.shows("source_project_id", since=HISTORY)(lambda row, ctx: row.project_id)
Transfer.shows("destination_project_id", since=HISTORY)(lambda row, ctx: None)
Transfer.shows("accepted", since=HISTORY)(lambda row, ctx: False)


def _digest(salt: str, key: str) -> str:
    return hashlib.sha256(f"{salt}:{key}".encode()).hexdigest()


class NewTransfer(Body):
    """An offer to be made."""

    volume_id: str = field()
    name: str | None = field(default=None)
    no_snapshots: bool = field(default=False, since="3.55")


def list_transfers(ask: Ask[Any]) -> Answer:
    return page_answer(ask, Transfer, select_page(ask, Transfer, **scope(ask)))


def show(ask: Ask[Transfer]) -> Transfer:
    return ask.target


def create(ask: Ask[Any]) -> Answer:
    from nutshell.core.render import render_row

    row = need_volume(ask, ask.given["volume_id"])
    ask.must("volume:create_transfer", row.policy_target())
    if row.status != "available":
        raise InvalidVolume("status must be available")
    no_snapshots = ask.given.get("no_snapshots", False)
    for snapshot in () if no_snapshots else ask.tx.find(Snapshot, volume_id=row.id):
        if snapshot.status != "available":
            raise InvalidSnapshot(f"snapshot: {snapshot.id} status must be available")
    key, salt = secrets.token_hex(8), secrets.token_hex(4)
    made = ask.tx.add(
        Transfer(
            id=ask.new_id(),
            name=text(ask.given.get("name"), "name"),
            volume_id=row.id,
            project_id=row.project_id,
            no_snapshots=no_snapshots,
            salt=salt,
            digest=_digest(salt, key),
        )
    )
    save(ask.tx, row, verb="offered", hold=Hold.TRANSFER)
    return Answer(202, {"transfer": {**render_row(ask, made, "detail"), "auth_key": key}})


def accept(ask: Ask[Any]) -> Answer:
    """The volume becomes the caller's, with its quota. 400 with a wrong key, 413 when it does not fit."""
    from nutshell.core.render import render_row

    tx = ask.tx
    offer = tx.get(Transfer, ask.params["id"])
    if offer is None:
        raise NotFound(kind="Transfer", id=ask.params["id"])
    given = ask.body.get("accept") if isinstance(ask.body, dict) else None
    if not isinstance(given, dict) or "auth_key" not in given:
        raise BadRequest("Invalid input for field/attribute accept. 'auth_key' is a required property")
    if not hmac.compare_digest(_digest(offer.salt, str(given["auth_key"])), offer.digest):
        raise BadRequest("Invalid auth key: Attempt to transfer volume with invalid auth key.")
    row = tx.need(Volume, offer.volume_id)
    if row.hold != Hold.TRANSFER:
        raise InvalidVolume(f"Volume {row.id} is not awaiting a transfer.")
    moving = [] if offer.no_snapshots else tx.find(Snapshot, volume_id=row.id)
    room = {"volumes": 1, "snapshots": len(moving), "gigabytes": row.size + sum(s.size for s in moving)}
    take(ask, tx, ask.who.project_id, room)
    give_back(ask.cloud, tx, row.project_id, room)
    for snapshot in moving:
        tx.put(snapshot, project_id=ask.who.project_id, user_id=ask.who.user_id, verb="transferred")
    save(tx, row, verb="transferred", hold=Hold.NONE, project_id=ask.who.project_id, user_id=ask.who.user_id)
    shown = render_row(ask, offer, "brief")
    tx.drop(offer)
    return Answer(202, {"transfer": shown})


def remove(ask: Ask[Transfer]) -> None:
    row = ask.tx.get(Volume, ask.target.volume_id)
    if row is not None and row.hold == Hold.TRANSFER:
        save(ask.tx, row, verb="offer_ended", hold=Hold.NONE)
    ask.tx.drop(ask.target)


def declare(path: str, since: str) -> None:
    """The routes under one of the two names of the resource."""

    def route(method: str, below: str, rule: str, handler: Any, **rest: Any) -> None:
        if method == "GET" and below != "/{id}":
            rest["verb"] = "list"
        volume.route(method, path + below, rule=rule, noun=Transfer, since=since, **rest)(handler)

    route("GET", "/detail", "volume:get_all_transfers", list_transfers, view="detail")
    route("GET", "", "volume:get_all_transfers", list_transfers, view="brief")
    route("GET", "/{id}", "volume:get_transfer", show, loads=True)
    route("POST", "", "volume:create_transfer", create, body=NewTransfer)
    route("POST", "/{id}/accept", "volume:accept_transfer", accept)
    route("DELETE", "/{id}", "volume:delete_transfer", remove, loads=True, http=202)


declare("/os-volume-transfer", "")
declare("/volume-transfers", "3.55")
