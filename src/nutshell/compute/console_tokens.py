"""What a console's token is for, as console proxies of an operator ask (Compute API, "Console auth tokens")."""

from typing import Any

from nutshell.compute import wire
from nutshell.compute.consoles import ConsoleToken, hash_token
from nutshell.compute.servers.noun import Server
from nutshell.compute.service import compute
from nutshell.core.config import CloudConfig
from nutshell.core.errors import BadRequest, NotFound
from nutshell.core.service import Ask
from nutshell.core.versions import Span

RULE = "os_compute_api:os-console-auth-tokens"
PATH = "/os-console-auth-tokens/{token}"


class NoToken(NotFound):
    """Token not found"""


@compute.route("GET", PATH, rule=RULE, until="2.30")
def show_old(ask: Ask[Any]) -> None:
    raise BadRequest("The only consoles these versions knew (rdp-html5) are no more.")


@compute.route("GET", PATH, rule=RULE, since="2.31")
def show(ask: Ask[Any]) -> dict[str, Any]:
    """The token is not used up. Consoles are served where the API is, so that is the address."""
    wire.only_query(ask, frozenset(), "2.99")
    found = ask.tx.get(ConsoleToken, hash_token(ask.params["token"]))
    server = ask.tx.get(Server, found.server_id) if found is not None and found.expires_at > ask.now else None
    if server is None:
        raise NoToken()
    port = ask.cloud.settings[CloudConfig].port
    shown = {"instance_uuid": server.id, "host": server.host, "port": port, "internal_access_path": None}
    return {"console": shown | ({"tls_port": None} if ask.at in Span.of("2.99", "") else {})}
