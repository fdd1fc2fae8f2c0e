"""Tags: words a user hangs on things (Networking API v2.0, "Tag extension")."""

from typing import Any

from nutshell.core.errors import BadRequest
from nutshell.core.resource import Resource
from nutshell.core.service import Answer, Ask, own_target
from nutshell.network import errors
from nutshell.network.floatingips import FloatingIp
from nutshell.network.networks import Network
from nutshell.network.ports import Port
from nutshell.network.routers import Router
from nutshell.network.security_groups import SecurityGroup
from nutshell.network.service import network
from nutshell.network.subnet_pools import SubnetPool
from nutshell.network.subnets import Subnet
from nutshell.network.trunks import Trunk

LONGEST = 255


def _read(value: Any) -> str:
    if not isinstance(value, str) or not value or len(value) > LONGEST:
        raise errors.InvalidAttribute(name="tags", why=f"'{value}' is not a tag of 1 to {LONGEST} characters")
    return value


def _read_all(ask: Ask[Any]) -> list[str]:
    given = ask.body.get("tags") if isinstance(ask.body, dict) else None
    if not isinstance(given, list):
        raise BadRequest("Invalid tags body.")
    found = [_read(v) for v in given]
    if len(set(found)) != len(found):
        raise errors.InvalidAttribute(name="tags", why=f"Duplicate items in the list: '{', '.join(found)}'")
    return found


def show(ask: Ask[Any]) -> dict[str, Any]:
    return {"tags": ask.target.tags}


def has(ask: Ask[Any]) -> Answer:
    if ask.params["tag"] not in ask.target.tags:
        raise errors.TagNotFound(tag=ask.params["tag"])
    return Answer(204)


def replace(ask: Ask[Any]) -> dict[str, Any]:
    return {"tags": ask.tx.put(ask.target, tags=_read_all(ask)).tags}


def add_several(ask: Ask[Any]) -> Answer:
    tags = list(dict.fromkeys([*ask.target.tags, *_read_all(ask)]))
    return Answer(201, {"tags": ask.tx.put(ask.target, tags=tags).tags})


def add(ask: Ask[Any]) -> Answer:
    tag = _read(ask.params["tag"])
    if tag not in ask.target.tags:
        ask.tx.put(ask.target, tags=[*ask.target.tags, tag])
    return Answer(201)


def remove(ask: Ask[Any]) -> None:
    tag = ask.params["tag"]
    if tag not in ask.target.tags:
        raise errors.TagNotFound(tag=tag)
    ask.tx.put(ask.target, tags=[t for t in ask.target.tags if t != tag])


def remove_all(ask: Ask[Any]) -> None:
    if ask.target.tags:
        ask.tx.put(ask.target, tags=[])


def _visible(ask: Ask[Any]) -> dict[str, Any]:
    """Whoever sees the thing sees its tags: the load has decided."""
    mine = ask.who.project_id
    return own_target(ask.who) | {"network:project_id": mine, "shared": True, "router:external": True}


def tagged(noun: type[Resource]) -> None:
    """Give a noun the tag routes."""
    base = {verb: network.rules[f"{verb}_{noun.one}"] for verb in ("get", "create", "update", "delete")}
    network.policy({f"{verb}_{noun.one}:tags": text for verb, text in base.items()})
    here, one, rule = "/{id}/tags", "/{id}/tags/{tag}", noun.one + ":tags"
    read: dict[str, Any] = {"method": "GET", "rule": f"get_{rule}", "against": _visible}
    network.verb(noun, "list_tags", path=here, **read)(show)
    network.verb(noun, "has_tag", path=one, **read)(has)
    network.verb(noun, "replace_tags", method="PUT", path=here, rule=f"update_{rule}")(replace)
    network.verb(noun, "add_tags", method="POST", path=here, rule=f"update_{rule}", http=201)(add_several)
    network.verb(noun, "add_tag", method="PUT", path=one, rule=f"update_{rule}", http=201)(add)
    network.verb(noun, "remove_tag", method="DELETE", path=one, rule=f"delete_{rule}", http=204)(remove)
    network.verb(noun, "remove_tags", method="DELETE", path=here, rule=f"delete_{rule}", http=204)(remove_all)


for each in (Network, Subnet, SubnetPool, Port, Router, FloatingIp, SecurityGroup, Trunk):
    tagged(each)
