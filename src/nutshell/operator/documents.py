"""The services' OpenAPI documents, for programs that want them from a running cloud."""

from typing import Any

from nutshell.core.errors import NotFound
from nutshell.core.service import Answer, Ask
from nutshell.operator.service import operator


@operator.route("GET", "/openapi", public=True)
def list_documents(ask: Ask[Any]) -> Answer:
    """Where each service's document is."""
    names = [s.name for s in ask.cloud.services if s.routes]
    return Answer(200, {"documents": [{"service": n, "href": f"{ask.url}/openapi/{n}"} for n in names]})


@operator.route("GET", "/openapi/{service}", public=True, slow=True)
def show_document(ask: Ask[Any]) -> Answer:
    """A service's document."""
    from nutshell.operator.openapi.document import document

    name = ask.params["service"]
    for service in ask.cloud.services:
        if service.name == name and service.routes:
            return Answer(200, document(service, ask.base))
    raise NotFound(kind="Service", id=name)
