"""Resource classes and traits: the standard ones, and those an operator made (CUSTOM_…).

Source: Placement API reference, "Resource classes" and "Traits"; the libraries os-resource-classes and os-traits.
"""

import re
from functools import cache
from typing import Any

from nutshell.core.errors import BadRequest, Conflict
from nutshell.core.resource import field
from nutshell.core.schema import Body
from nutshell.core.service import Answer, Ask
from nutshell.core.store import Tx
from nutshell.placement.errors import NoSuch
from nutshell.placement.service import placement

CUSTOM = re.compile(r"^CUSTOM_[A-Z0-9_]+$")
CLASSES, TRAITS = "placement:resource_classes:", "placement:traits:"
placement.policy(
    {CLASSES + v: "rule:admin_or_service_api" for v in ("list", "create", "show", "update", "delete")}
    | {TRAITS + v: "rule:admin_or_service_api" for v in ("list", "show", "update", "delete")}
)


@cache
def standard_classes() -> tuple[str, ...]:
    import os_resource_classes

    return tuple(os_resource_classes.STANDARDS)


@cache
def standard_traits() -> frozenset[str]:
    import os_traits

    return frozenset(os_traits.get_traits())


def is_class(tx: Tx, name: str) -> bool:
    if CUSTOM.match(name):
        return tx.sql("SELECT 1 FROM placement_resource_class WHERE name = ?", name).fetchone() is not None
    return name in standard_classes()


def is_trait(tx: Tx, name: str) -> bool:
    if CUSTOM.match(name):
        return tx.sql("SELECT 1 FROM placement_trait WHERE name = ?", name).fetchone() is not None
    return name in standard_traits()


class NewClass(Body):
    """POST /resource_classes."""

    name: str = field(max_length=255, pattern=CUSTOM.pattern)


def _class_json(name: str) -> dict[str, Any]:
    return {"name": name, "links": [{"rel": "self", "href": f"/placement/resource_classes/{name}"}]}


@placement.route("GET", "/resource_classes", rule=CLASSES + "list", since="1.2")
def list_classes(ask: Ask[Any]) -> dict[str, Any]:
    custom = [n for (n,) in ask.tx.sql("SELECT name FROM placement_resource_class ORDER BY name").fetchall()]
    return {"resource_classes": [_class_json(n) for n in (*standard_classes(), *custom)]}


@placement.route("POST", "/resource_classes", rule=CLASSES + "create", since="1.2", body=NewClass, wrap="")
def create_class(ask: Ask[Any]) -> Answer:
    name = ask.given["name"]
    if is_class(ask.tx, name):
        raise Conflict(f"Conflicting resource class already exists: {name}")
    ask.tx.sql("INSERT INTO placement_resource_class (name) VALUES (?)", name)
    return Answer(201, None, {"Location": f"{ask.base}/placement/resource_classes/{name}"})


@placement.route("GET", "/resource_classes/{name}", rule=CLASSES + "show", since="1.2")
def show_class(ask: Ask[Any]) -> dict[str, Any]:
    return _class_json(_need_class(ask))


def _need_class(ask: Ask[Any]) -> str:
    name = ask.params["name"]
    if not is_class(ask.tx, name):
        raise NoSuch(f"No such resource class {name}.")
    return name


@placement.route(
    "PUT", "/resource_classes/{name}", rule=CLASSES + "update", since="1.2", until="1.6", body=NewClass, wrap=""
)
def rename_class(ask: Ask[Any]) -> dict[str, Any]:
    name, new = _need_class(ask), ask.given["name"]
    if not CUSTOM.match(name):
        raise BadRequest(f"Cannot update standard resource class {name}.")
    if is_class(ask.tx, new):
        raise Conflict(f"Resource class already exists: {new}")
    ask.tx.sql("UPDATE placement_resource_class SET name = ? WHERE name = ?", new, name)
    for table in ("placement_inventory", "placement_allocation"):
        ask.tx.sql(f"UPDATE {table} SET resource_class = ? WHERE resource_class = ?", new, name)
    return _class_json(new)


@placement.route("PUT", "/resource_classes/{name}", rule=CLASSES + "update", since="1.7")
def ensure_class(ask: Ask[Any]) -> Answer:
    name = ask.params["name"]
    if not CUSTOM.match(name) or len(name) > 255:
        raise BadRequest(f"JSON does not validate: '{name}' does not match '{CUSTOM.pattern}'")
    where = {"Location": f"{ask.base}/placement/resource_classes/{name}"}
    if is_class(ask.tx, name):
        return Answer(204, None, where)
    ask.tx.sql("INSERT INTO placement_resource_class (name) VALUES (?)", name)
    return Answer(201, None, where)


@placement.route("DELETE", "/resource_classes/{name}", rule=CLASSES + "delete", since="1.2", http=204)
def delete_class(ask: Ask[Any]) -> None:
    name = _need_class(ask)
    if not CUSTOM.match(name):
        raise BadRequest(f"Error in delete resource class: Cannot delete standard resource class {name}.")
    if ask.tx.sql("SELECT 1 FROM placement_inventory WHERE resource_class = ? LIMIT 1", name).fetchone():
        raise Conflict(f"Error in delete resource class: Resource class {name} is in use in inventory.")
    ask.tx.sql("DELETE FROM placement_resource_class WHERE name = ?", name)


@placement.route("GET", "/traits", rule=TRAITS + "list", since="1.6")
def list_traits(ask: Ask[Any]) -> dict[str, Any]:
    custom = [n for (n,) in ask.tx.sql("SELECT name FROM placement_trait ORDER BY name").fetchall()]
    used = {n for (n,) in ask.tx.sql("SELECT DISTINCT trait FROM placement_provider_trait").fetchall()}
    names = sorted({*standard_traits(), *custom})
    wanted = ask.asked("name")
    if wanted.startswith("startswith:"):
        names = [n for n in names if n.startswith(wanted[11:])]
    elif wanted.startswith("in:"):
        names = [n for n in names if n in wanted[3:].split(",")]
    elif wanted:
        raise BadRequest("Badly formatted name parameter. Expected name query string parameter in form:"
                         " ?name=[in|startswith]:[name1,name2|prefix].")  # fmt: skip
    if "associated" in ask.query:
        if ask.asked("associated").lower() not in ("true", "false"):
            raise BadRequest('The query parameter "associated" only accepts "true" or "false"')
        names = [n for n in names if (n in used) == ask.flag("associated")]
    return {"traits": names}


@placement.route("GET", "/traits/{name}", rule=TRAITS + "show", since="1.6", http=204)
def show_trait(ask: Ask[Any]) -> None:
    if not is_trait(ask.tx, ask.params["name"]):
        raise NoSuch(f"No such trait(s): {ask.params['name']}.")


@placement.route("PUT", "/traits/{name}", rule=TRAITS + "update", since="1.6")
def ensure_trait(ask: Ask[Any]) -> Answer:
    name = ask.params["name"]
    where = {"Location": f"{ask.base}/placement/traits/{name}"}
    if not CUSTOM.match(name) or len(name) > 255:
        raise BadRequest(
            "The trait is invalid. A valid trait must be no longer than 255 characters, start with the prefix"
            f" 'CUSTOM_' and use following characters: 'A'-'Z', '0'-'9' and '_'. Got: {name}"
        )
    if is_trait(ask.tx, name):
        return Answer(204, None, where)
    ask.tx.sql("INSERT INTO placement_trait (name) VALUES (?)", name)
    return Answer(201, None, where)


@placement.route("DELETE", "/traits/{name}", rule=TRAITS + "delete", since="1.6", http=204)
def delete_trait(ask: Ask[Any]) -> None:
    name = ask.params["name"]
    if not is_trait(ask.tx, name):
        raise NoSuch(f"No such trait(s): {name}.")
    if not CUSTOM.match(name):
        raise BadRequest(f"Cannot delete standard trait {name}.")
    if ask.tx.sql("SELECT 1 FROM placement_provider_trait WHERE trait = ? LIMIT 1", name).fetchone():
        raise Conflict(f"The trait {name} is in use by a resource provider.")
    ask.tx.sql("DELETE FROM placement_trait WHERE name = ?", name)
