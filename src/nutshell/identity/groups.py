"""Groups of users, and who is in them (Identity API v3, "Groups")."""

from typing import Any

from nutshell.core.errors import BadRequest
from nutshell.core.listing import page_answer, select_page
from nutshell.core.render import Context
from nutshell.core.resource import Resource, field
from nutshell.core.schema import Body
from nutshell.core.service import Ask
from nutshell.identity.errors import Missing
from nutshell.identity.filters import text_filters
from nutshell.identity.projects import NOT_BLANK, Project, named_domain, own_domain, refuse_twin, seen_by
from nutshell.identity.service import call, existing, flat, found, merged_extra, named
from nutshell.identity.users import User, user_target


class Group(Resource, service="identity", one="group", many="groups", extras="keep", unique=(("domain_id", "name"),)):
    name: str = field(filter=True, sort=True)
    domain_id: str = field(filter=True, sort=True)
    description: str = field(default="")
    extra: dict[str, Any] = field(factory=dict, hidden=True)


@Group.shows("links")
def links(row: Group, ctx: Context) -> dict[str, str]:
    return {"self": ctx.link("groups", row.id)}


text_filters(Group, "name")


class Membership(Resource, service="identity", one="membership", many="memberships", unique=(("group_id", "user_id"),)):
    group_id: str = field()
    user_id: str = field(index=True)


class NewGroup(Body, extras="keep"):
    name: str = field(min_length=1, max_length=64, pattern=NOT_BLANK)
    domain_id: str = field(default="", min_length=1, max_length=64)
    description: str | None = field(default="")


class ChangedGroup(Body, extras="keep"):
    name: str = field(default="", min_length=1, max_length=64, pattern=NOT_BLANK)
    domain_id: str | None = field(default=None)
    description: str | None = field(default="")


def new_target(ask: Ask[Any]) -> dict[str, Any]:
    return named_domain(ask, "group")


def _listing(ask: Ask[Any]) -> dict[str, Any]:
    return {"target.group.domain_id": ask.who.domain_id or "None"}


@call("GET", "/groups", "list_groups", noun=Group, target=_listing)
def list_groups(ask: Ask[Any]) -> Any:
    return page_answer(ask, Group, select_page(ask, Group, **seen_by(ask)))


@call("GET", "/groups/{id}", "get_group", noun=Group, target=named(Group))
def show_group(ask: Ask[Any]) -> Group:
    return found(ask, Group)


@call("POST", "/groups", "create_group", noun=Group, body=NewGroup, target=new_target, http=201)
def create_group(ask: Ask[Any]) -> Group:
    given = ask.given
    given["domain_id"] = given.get("domain_id") or own_domain(ask, "group")
    given["description"] = given.get("description") or ""
    if ask.tx.one(Project, id=given["domain_id"], is_domain=True) is None:
        raise Missing(kind="domain", id=given["domain_id"])
    refuse_twin(ask, Group, "group", given["name"], domain_id=given["domain_id"])
    return ask.tx.add(Group(id=ask.cloud.clock.new_hex_id(), **given))


@call("PATCH", "/groups/{id}", "update_group", noun=Group, body=ChangedGroup, target=named(Group))
def update_group(ask: Ask[Any]) -> Group:
    row, given = found(ask, Group), ask.given
    if "domain_id" in given and given.pop("domain_id") != row.domain_id:
        raise BadRequest("Cannot change Domain ID")
    if "description" in given:
        given["description"] = given["description"] or ""
    if "name" in given:
        refuse_twin(ask, Group, "group", given["name"], but=row.id, domain_id=row.domain_id)
    return ask.tx.put(row, **merged_extra(row, given))


@call("DELETE", "/groups/{id}", "delete_group", noun=Group, target=existing(Group), http=204)
def delete_group(ask: Ask[Any]) -> None:
    from nutshell.identity.scopes import drop_group

    drop_group(ask.tx, found(ask, Group))


# -- membership


def _pair_target(ask: Ask[Any]) -> dict[str, Any]:
    return {
        **flat("group", ask.tx.get(Group, ask.params["id"])),
        **flat("user", ask.tx.get(User, ask.params["user_id"])),
    }


def _pair(ask: Ask[Any]) -> tuple[Group, User, Membership | None]:
    group = found(ask, Group, ask.params["id"])
    user = found(ask, User, ask.params["user_id"])
    return group, user, ask.tx.one(Membership, group_id=group.id, user_id=user.id)


@call("GET", "/groups/{id}/users", "list_users_in_group", noun=User, target=named(Group))
def list_members(ask: Ask[Any]) -> Any:
    group = found(ask, Group)
    ids = [m.user_id for m in ask.tx.find(Membership, group_id=group.id)]
    return page_answer(ask, User, select_page(ask, User, User.c("id").in_(ids), **seen_by(ask)))


@call("HEAD", "/groups/{id}/users/{user_id}", "check_user_in_group", target=_pair_target, http=204)
def check_member(ask: Ask[Any]) -> None:
    if _pair(ask)[2] is None:
        raise Missing(kind="user in group", id=ask.params["user_id"])


call("GET", "/groups/{id}/users/{user_id}", "check_user_in_group", target=_pair_target, http=204)(check_member)


@call("PUT", "/groups/{id}/users/{user_id}", "add_user_to_group", target=_pair_target, http=204)
def add_member(ask: Ask[Any]) -> None:
    group, user, there = _pair(ask)
    if there is None:
        ask.tx.add(Membership(id=ask.cloud.clock.new_hex_id(), group_id=group.id, user_id=user.id))


@call("DELETE", "/groups/{id}/users/{user_id}", "remove_user_from_group", target=_pair_target, http=204)
def remove_member(ask: Ask[Any]) -> None:
    there = _pair(ask)[2]
    if there is None:
        raise Missing(kind="user in group", id=ask.params["user_id"])
    ask.tx.drop(there)
    ask.tx.put(found(ask, User, there.user_id), tokens_after=ask.cloud.clock.real())  # its tokens end, as in Keystone


@call("GET", "/users/{id}/groups", "list_groups_for_user", noun=Group, target=user_target)
def list_groups_of(ask: Ask[Any]) -> Any:
    user = found(ask, User)
    ids = [m.group_id for m in ask.tx.find(Membership, user_id=user.id)]
    answer = page_answer(ask, Group, select_page(ask, Group, Group.c("id").in_(ids), **seen_by(ask)))
    for one in answer.body["groups"]:
        one["membership_expires_at"] = None  # only those of federated users end
    return answer
