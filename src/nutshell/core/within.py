"""A request inside a request: what another service answers the same caller, in the same transaction.

For APIs that once stood in one service and are now another's (compute's security groups, volumes). All of the other
service's rules, quotas and refusals hold.
"""

from collections.abc import Mapping
from typing import Any

from nutshell.core.errors import NoRoute
from nutshell.core.perform import perform
from nutshell.core.routing import Router
from nutshell.core.service import Answer, Ask
from nutshell.core.versions import ALWAYS, version


def within(
    ask: Ask[Any],
    service_name: str,
    method: str,
    path: str,
    body: Any = None,
    query: Mapping[str, str] | None = None,
    at: str = "",
) -> Answer:
    """The answer to `path` below the service's mount; faults are raised. `at`: its API version, else its lowest.

    404 when this cloud has no such service; LookupError for routes that stream or block, which cannot be asked.
    """
    from nutshell.core.http import choose, choose_action

    service = next((s for s in ask.cloud.services if s.name == service_name), None)
    if service is None:
        raise NoRoute()
    found = ask.cloud.port(Router).find(service.mount + path)
    if found is None or found.service is not service:
        raise NoRoute()
    lowest = service.versions.lowest if service.versions is not None else ALWAYS
    asked = version(at) if at else lowest
    inner: Ask[Any] = Ask(
        who=ask.who,
        tx=ask.tx,
        cloud=ask.cloud,
        service=service,
        route=choose(found.routes, method, asked),
        method=method,
        path=service.mount + path,
        params=found.params,
        query={k: [v] for k, v in (query or {}).items()},
        headers=ask.headers,
        base=ask.base,
        request_id=ask.request_id,
        at=asked,
        token=ask.token,
        body=body,
    )
    if inner.route.action == "*":
        inner.route = choose_action(inner)
    if inner.route.before is not None or inner.route.streams or inner.route.socket:
        raise LookupError(f"{method} {path} cannot be asked within a transaction")
    return perform(inner, ask.tx)
