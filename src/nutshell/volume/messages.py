"""Messages: why something asked for did not happen (Block Storage API v3, "Messages")."""

from typing import Any

from nutshell.core.clock import iso_micros
from nutshell.core.render import Context
from nutshell.core.resource import Resource, field
from nutshell.core.service import Ask
from nutshell.core.store import Tx
from nutshell.volume.service import list_page, volume
from nutshell.volume.tables import Volume

KEPT_S = 30 * 86400.0
SINCE = "3.3"
REASONS = {
    "VOLUME_VOLUME_001_003": "schedule allocate volume:Could not find any available weighted backend.",
    "VOLUME_VOLUME_001_001": "schedule allocate volume:An unknown error occurred.",
}


class Message(
    Resource, service="volume", one="message", many="messages", visible="message:get", indexes=(("project_id",),)
):
    """What a user is told of a failure."""

    event_id: str = field(filter=True)
    user_message: str = field()
    message_level: str = field(default="ERROR", filter=True)
    request_id: str = field(default="", filter=True)
    resource_type: str = field(default="VOLUME", filter=True)
    resource_uuid: str = field(default="", filter=True)
    project_id: str = field(default="", hidden=True)


Message.shows("created_at")(lambda row, ctx: iso_micros(row.created_at))
Message.shows("guaranteed_until")(lambda row, ctx: iso_micros(row.created_at + KEPT_S))


@Message.shows("links")
def links(row: Message, ctx: Context) -> list[dict[str, str]]:
    ask = ctx.ask
    bookmark = f"{ask.base}/volume/{ask.who.project_id}/messages/{row.id}"
    return [{"rel": "self", "href": ctx.link("messages", row.id)}, {"rel": "bookmark", "href": bookmark}]


def tell(tx: Tx, row: Volume, new_id: str, event_id: str) -> None:
    """Say why this volume is in error; old messages go."""
    tx.drop_where(Message, Message.c("created_at") < tx.now - KEPT_S)
    tx.add(
        Message(
            id=new_id,
            event_id=event_id,
            user_message=REASONS[event_id],
            request_id=row.request_id,
            resource_uuid=row.id,
            project_id=row.project_id,
        ),
        quiet=True,
    )


volume.verb(Message, "list", rule="message:get_all", since=SINCE)(list_page)


@volume.verb(Message, "show", rule="message:get", since=SINCE)
def show(ask: Ask[Any]) -> Message:
    found: Message = ask.target
    return found


@volume.verb(Message, "delete", rule="message:delete", since=SINCE)
def remove(ask: Ask[Any]) -> None:
    ask.tx.drop(ask.target)
