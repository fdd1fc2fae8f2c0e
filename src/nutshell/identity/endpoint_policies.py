"""Which policy holds for which endpoint: by endpoint, by service, by service and region (OS-ENDPOINT-POLICY).

Source: Identity API v3 extensions, "OS-ENDPOINT-POLICY".
"""

from typing import Any

from nutshell.core.render import render_row, render_rows
from nutshell.core.resource import Resource, field
from nutshell.core.service import Ask
from nutshell.core.store import Tx
from nutshell.identity.catalog import CatalogService, Endpoint, Region
from nutshell.identity.errors import Missing
from nutshell.identity.policies import Policy
from nutshell.identity.service import call, found

ROOT = "/policies/{id}/OS-ENDPOINT-POLICY"
KINDS = (
    ("endpoint", "/endpoints/{endpoint_id}"),
    ("service", "/services/{service_id}"),
    ("region_and_service", "/services/{service_id}/regions/{region_id}"),
)


class PolicyAssociation(
    Resource,
    service="identity",
    one="policy_association",
    many="policy_associations",
    path=ROOT,
    unique=(("endpoint_id", "service_id", "region_id"),),
):
    """Empty where it does not matter. For one place at most one policy."""

    policy_id: str = field(index=True)
    endpoint_id: str = field(default="")
    service_id: str = field(default="")
    region_id: str = field(default="")


def _place(ask: Ask[Any]) -> dict[str, Any]:
    """What the address names, all of it there."""
    found(ask, Policy, ask.params["id"])
    place: dict[str, Any] = {"endpoint_id": "", "service_id": "", "region_id": ""}
    for name, noun in (("service_id", CatalogService), ("region_id", Region), ("endpoint_id", Endpoint)):
        if name in ask.params:
            place[name] = found(ask, noun, ask.params[name]).id
    return place


def _one(ask: Ask[Any]) -> PolicyAssociation:
    row = ask.tx.one(PolicyAssociation, policy_id=ask.params["id"], **_place(ask))
    if row is None:
        raise Missing(kind="policy association", id=ask.params["id"])
    return row


def _create(ask: Ask[Any]) -> None:
    """Whatever policy was there before gives way."""
    place = _place(ask)
    ask.tx.drop_where(PolicyAssociation, **place)
    ask.tx.add(PolicyAssociation(id=ask.cloud.clock.new_hex_id(), policy_id=ask.params["id"], **place))


def _check(ask: Ask[Any]) -> None:
    _one(ask)


def _delete(ask: Ask[Any]) -> None:
    """Absent is success."""
    ask.tx.drop_where(PolicyAssociation, policy_id=ask.params["id"], **_place(ask))


for _kind, _path in KINDS:
    call("PUT", ROOT + _path, f"create_policy_association_for_{_kind}", http=204)(_create)
    call("GET", ROOT + _path, f"check_policy_association_for_{_kind}", http=204)(_check)
    call("DELETE", ROOT + _path, f"delete_policy_association_for_{_kind}", http=204)(_delete)


@call("GET", ROOT + "/endpoints", "list_endpoints_for_policy", noun=Endpoint)
def list_endpoints(ask: Ask[Any]) -> Any:
    """Every endpoint that an association of this policy names, directly, by its service or by its region."""
    policy = found(ask, Policy, ask.params["id"])
    endpoints, below = ask.tx.find(Endpoint, order="id"), _below(ask.tx)
    rows: dict[str, Endpoint] = {}
    for one in ask.tx.find(PolicyAssociation, policy_id=policy.id):
        for e in endpoints:
            if one.endpoint_id:
                hit = e.id == one.endpoint_id
            else:
                in_region = not one.region_id or e.region_id in below.get(one.region_id, {one.region_id})
                hit = e.service_id == one.service_id and in_region
            if hit:
                rows[e.id] = e
    shown = render_rows(ask, Endpoint, list(rows.values()), "detail")
    return {"endpoints": shown, **ask.service.page_links(ask, "endpoints", list(rows.values()), False)}


def _below(tx: Tx) -> dict[str, set[str]]:
    """Region → itself and all regions in it."""
    above = {r.id: r.parent_region_id for r in tx.find(Region)}
    found: dict[str, set[str]] = {}
    for region in above:
        at: str | None = region
        while at is not None:
            found.setdefault(at, set()).add(region)
            at = above.get(at)
    return found


@call("GET", "/endpoints/{id}/OS-ENDPOINT-POLICY/policy", "get_policy_for_endpoint", noun=Policy)
def show_policy(ask: Ask[Any]) -> Any:
    """The endpoint's own; else that of its service in its region or a region around it; else that of its service."""
    endpoint = found(ask, Endpoint, ask.params["id"])
    places: list[dict[str, str]] = [{"endpoint_id": endpoint.id}]
    region_id = endpoint.region_id
    while region_id:
        places.append({"service_id": endpoint.service_id, "region_id": region_id})
        region = ask.tx.get(Region, region_id)
        region_id = region.parent_region_id if region is not None else None
    places.append({"service_id": endpoint.service_id})
    for place in places:
        row = ask.tx.one(PolicyAssociation, **{"endpoint_id": "", "service_id": "", "region_id": "", **place})
        if row is not None:
            return {"policy": render_row(ask, found(ask, Policy, row.policy_id), "detail")}
    raise Missing(f"No policy is associated with endpoint {endpoint.id}.", kind="policy", id=endpoint.id)
