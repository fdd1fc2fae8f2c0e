"""The operator's API: where it hangs, its discovery document, its error format (docs/OPERATOR_API.md)."""

from typing import Any

from nutshell import __version__
from nutshell.core.errors import Fault
from nutshell.core.service import Answer, Ask, Service


def render_error(fault: Fault, request_id: str) -> Any:
    """One member `error`: status, kind, sentence, and the request's id."""
    return {
        "error": {"code": fault.http, "title": type(fault).__name__, "message": str(fault), "request_id": request_id}
    }


operator = Service(name="nutshell", mount="/nutshell", prefixes=("/v1",), error=render_error)


def _version(ask: Ask[Any]) -> dict[str, Any]:
    here = ask.base + "/nutshell/v1"
    parts = sorted({r.path.split("/")[1] for r in operator.routes if r.prefix == "/v1" and r.path.count("/") >= 1})
    return {
        "id": "v1",
        "status": "CURRENT",
        "links": [{"rel": "self", "href": here + "/"}, *({"rel": p, "href": f"{here}/{p}"} for p in parts if p)],
    }


@operator.route("GET", "", prefixes=("",), public=True)
def versions(ask: Ask[Any]) -> Answer:
    return Answer(200, {"nutshell": __version__, "versions": [_version(ask)]})


@operator.route("GET", "/", public=True)
def version(ask: Ask[Any]) -> Answer:
    return Answer(200, {"nutshell": __version__, "version": _version(ask)})
