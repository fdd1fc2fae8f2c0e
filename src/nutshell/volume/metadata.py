"""Metadata of volumes and of snapshots: read, added, replaced, removed (Block Storage API v3, "… metadata")."""

from collections.abc import Callable
from typing import Any

from nutshell.core.errors import BadRequest, NotFound
from nutshell.core.resource import Resource
from nutshell.core.service import Answer, Ask, Handler
from nutshell.volume.service import check_metadata, volume
from nutshell.volume.tables import Snapshot, Volume


class NoSuchKey(NotFound):
    """{what} has no metadata with key {key}."""


def declare(noun: type[Resource], get: str, create: str, update: str, remove: str) -> None:
    """The routes below one noun."""

    def route(verb: str, method: str, path: str, rule: str) -> Callable[[Handler], Handler]:
        return volume.verb(noun, verb, rule=rule, method=method, path="/{id}/metadata" + path, http=200, wrap="")

    @route("metadata", "GET", "", get)
    def show_all(ask: Ask[Any]) -> Answer:
        return Answer(200, {"metadata": _shown(ask)})

    @route("add_metadata", "POST", "", create)
    def add(ask: Ask[Any]) -> Answer:
        return _keep(ask, {**ask.target.user_metadata, **_given(ask, "metadata")})

    @route("replace_metadata", "PUT", "", update)
    def replace(ask: Ask[Any]) -> Answer:
        return _keep(ask, _given(ask, "metadata"))

    @route("show_meta", "GET", "/{key}", get)
    def show_one(ask: Ask[Any]) -> Answer:
        return Answer(200, {"meta": {ask.params["key"]: _need(ask, _shown(ask))}})

    @route("set_meta", "PUT", "/{key}", update)
    def set_one(ask: Ask[Any]) -> Answer:
        given = _given(ask, "meta")
        if len(given) != 1:
            raise BadRequest("Request body contains too many items" if given else "Request body is empty")
        if ask.params["key"] not in given:
            raise BadRequest("Request body and URI mismatch")
        _keep(ask, {**ask.target.user_metadata, **given})
        return Answer(200, {"meta": given})

    @route("delete_meta", "DELETE", "/{key}", remove)
    def remove_one(ask: Ask[Any]) -> None:
        _need(ask, ask.target.user_metadata)
        key = ask.params["key"]
        ask.tx.put(ask.target, user_metadata={k: v for k, v in ask.target.user_metadata.items() if k != key})


def _shown(ask: Ask[Any]) -> dict[str, str]:
    read_only = getattr(ask.target, "read_only", None)
    return {**ask.target.user_metadata, **({} if read_only is None else {"readonly": str(read_only)})}


def _need(ask: Ask[Any], given: dict[str, str]) -> str:
    key = ask.params["key"]
    if key not in given:
        raise NoSuchKey(what=f"{ask.target.one.capitalize()} {ask.target.id}", key=key)
    return given[key]


def _given(ask: Ask[Any], member: str) -> dict[str, str]:
    if not isinstance(ask.body, dict) or member not in ask.body:
        raise BadRequest(f"Invalid input for field/attribute body. '{member}' is a required property")
    if ask.body[member] is None:
        raise BadRequest(f"Invalid input for field/attribute {member}. Value: None. None is not of type 'object'")
    return check_metadata(ask.body[member])


def _keep(ask: Ask[Any], values: dict[str, str]) -> Answer:
    if len(values) > 128:
        raise BadRequest("Maximum number of metadata items exceeds 128.")
    ask.tx.put(ask.target, user_metadata=values)
    return Answer(200, {"metadata": values})


declare(Volume, "volume:get_volume_metadata", "volume:create_volume_metadata", "volume:update_volume_metadata",
        "volume:delete_volume_metadata")  # fmt: skip
declare(Snapshot, "volume:get_snapshot_metadata", "volume:update_snapshot_metadata", "volume:update_snapshot_metadata",
        "volume:delete_snapshot_metadata")  # fmt: skip
