"""Metadata and tags of servers (Compute API, "Server metadata", "Server tags")."""

from typing import Any

from nutshell.compute import wire
from nutshell.compute.servers.checks import check_metadata
from nutshell.compute.servers.noun import Server, record
from nutshell.compute.servers.operate import check_lock, check_state
from nutshell.compute.service import compute
from nutshell.core.errors import BadRequest, NotFound
from nutshell.core.resource import field
from nutshell.core.schema import Body
from nutshell.core.service import Answer, Ask

META = "os_compute_api:server-metadata"
TAGS = "os_compute_api:os-server-tags"
PATH = "/servers/{id}/metadata"
TAG_PATH = "/servers/{id}/tags"
STATES = ("active", "paused", "suspended", "stopped")
MOST_TAGS = 50


class NoMetadataItem(NotFound):
    """Metadata item was not found"""


class NoTag(NotFound):
    """Server {server_id} has no tag '{tag}'"""


class Everything(Body):
    metadata: dict[str, Any] = field()


class One(Body):
    meta: dict[str, Any] = field()


class Tags(Body):
    tags: list[str] = field()


def _set(ask: Ask[Server], metadata: dict[str, Any]) -> dict[str, str]:
    check_lock(ask)
    check_state(ask.target, "update metadata", STATES, busy=True)
    check_metadata(ask, metadata)
    record(ask.tx, ask.target, metadata=metadata)
    return metadata


@compute.route("GET", PATH, rule=f"{META}:index", noun=Server, loads=True)
def list_metadata(ask: Ask[Server]) -> Any:
    return {"metadata": ask.target.metadata}


@compute.route("GET", PATH + "/{key}", rule=f"{META}:show", noun=Server, loads=True)
def show_metadata(ask: Ask[Server]) -> Any:
    return {"meta": {ask.params["key"]: _item(ask)}}


def _item(ask: Ask[Server]) -> str:
    if ask.params["key"] not in ask.target.metadata:
        raise NoMetadataItem()
    return ask.target.metadata[ask.params["key"]]


@compute.route("POST", PATH, rule=f"{META}:create", noun=Server, loads=True, body=Everything, wrap="")
def add_metadata(ask: Ask[Server]) -> Any:
    check_metadata(ask, ask.given["metadata"])
    return {"metadata": _set(ask, {**ask.target.metadata, **ask.given["metadata"]})}


@compute.route("PUT", PATH, rule=f"{META}:update_all", noun=Server, loads=True, body=Everything, wrap="")
def replace_metadata(ask: Ask[Server]) -> Any:
    return {"metadata": _set(ask, ask.given["metadata"])}


@compute.route("PUT", PATH + "/{key}", rule=f"{META}:update", noun=Server, loads=True, body=One, wrap="")
def update_metadata(ask: Ask[Server]) -> Any:
    item = ask.given["meta"]
    if len(item) != 1:
        raise wire.invalid("meta", item, "It must hold exactly one item.")
    if ask.params["key"] not in item:
        raise BadRequest("Request body and URI mismatch")
    _set(ask, {**ask.target.metadata, **item})
    return {"meta": item}


@compute.route("DELETE", PATH + "/{key}", rule=f"{META}:delete", noun=Server, loads=True, http=204)
def delete_metadata(ask: Ask[Server]) -> None:
    _item(ask)
    _set(ask, {k: v for k, v in ask.target.metadata.items() if k != ask.params["key"]})


# -- tags


@compute.route("GET", TAG_PATH, rule=f"{TAGS}:index", noun=Server, loads=True, since="2.26")
def list_tags(ask: Ask[Server]) -> Any:
    return {"tags": ask.target.tags}


@compute.route("PUT", TAG_PATH, rule=f"{TAGS}:update_all", noun=Server, loads=True, body=Tags, wrap="", since="2.26")
def replace_tags(ask: Ask[Server]) -> Any:
    check_state(ask.target, "update tags", STATES, busy=True)
    tags = list(dict.fromkeys(wire.check_tag(t) for t in ask.given["tags"]))
    if len(ask.given["tags"]) > MOST_TAGS or len(tags) != len(ask.given["tags"]):
        raise wire.invalid("tags", ask.given["tags"], "At most 50 tags, each once.")
    record(ask.tx, ask.target, tags=tags)
    return {"tags": tags}


@compute.route("DELETE", TAG_PATH, rule=f"{TAGS}:delete_all", noun=Server, loads=True, http=204, since="2.26")
def delete_tags(ask: Ask[Server]) -> None:
    check_state(ask.target, "delete tags", STATES, busy=True)
    record(ask.tx, ask.target, tags=[])


@compute.route("GET", TAG_PATH + "/{tag}", rule=f"{TAGS}:show", noun=Server, loads=True, http=204, since="2.26")
def show_tag(ask: Ask[Server]) -> None:
    _has_tag(ask)


def _has_tag(ask: Ask[Server]) -> None:
    if ask.params["tag"] not in ask.target.tags:
        raise NoTag(server_id=ask.target.id, tag=ask.params["tag"])


@compute.route("PUT", TAG_PATH + "/{tag}", rule=f"{TAGS}:update", noun=Server, loads=True, since="2.26", wrap="")
def add_tag(ask: Ask[Server]) -> Answer:
    check_state(ask.target, "update tag", STATES, busy=True)
    tag = wire.check_tag(ask.params["tag"])
    if tag in ask.target.tags:
        return Answer(204)
    if len(ask.target.tags) >= MOST_TAGS:
        raise BadRequest(f"The number of tags exceeded the per-server limit {MOST_TAGS}")
    record(ask.tx, ask.target, tags=[*ask.target.tags, tag])
    return Answer(201, None, {"Location": f"{ask.url}/servers/{ask.target.id}/tags/{tag}"})


@compute.route("DELETE", TAG_PATH + "/{tag}", rule=f"{TAGS}:delete", noun=Server, loads=True, http=204, since="2.26")
def delete_tag(ask: Ask[Server]) -> None:
    check_state(ask.target, "delete tag", STATES, busy=True)
    _has_tag(ask)
    record(ask.tx, ask.target, tags=[t for t in ask.target.tags if t != ask.params["tag"]])
