"""APIs that are no more, and say so: 410 for everybody, in every version (Compute API reference, "Obsolete APIs")."""

from typing import Any

from nutshell.compute.service import compute
from nutshell.core.errors import Gone
from nutshell.core.service import Ask

RULE = "os_compute_api:removed"
compute.policy({RULE: "@"})
# path → methods
REMOVED = {
    "/os-agents": "GET POST",
    "/os-agents/{id}": "PUT DELETE",
    "/os-cells": "GET POST",
    "/os-cells/detail": "GET",
    "/os-cells/info": "GET",
    "/os-cells/capacities": "GET",
    "/os-cells/sync_instances": "POST",
    "/os-cells/{id}": "GET PUT DELETE",
    "/os-cells/{id}/capacities": "GET",
    "/os-certificates": "POST",
    "/os-certificates/{id}": "GET",
    "/os-cloudpipe": "GET POST",
    "/os-cloudpipe/{id}": "PUT",
    "/os-fixed-ips/{id}": "GET",
    "/os-fixed-ips/{id}/action": "POST",
    "/os-floating-ip-dns": "GET",
    "/os-floating-ip-dns/{domain}": "PUT DELETE",
    "/os-floating-ip-dns/{domain}/entries/{id}": "GET PUT DELETE",
    "/os-floating-ips-bulk": "GET POST",
    "/os-floating-ips-bulk/{id}": "GET PUT",
    "/os-fping": "GET",
    "/os-fping/{id}": "GET",
    "/os-networks": "POST",
    "/os-networks/add": "POST",
    "/os-networks/{id}": "DELETE",
    "/os-networks/{id}/action": "POST",
    "/os-security-group-default-rules": "GET POST",
    "/os-security-group-default-rules/{id}": "GET DELETE",
    "/os-tenant-networks": "POST",
    "/os-tenant-networks/{id}": "DELETE",
    "/servers/{id}/consoles": "GET POST",
    "/servers/{id}/consoles/{console_id}": "GET DELETE",
    "/servers/{id}/os-virtual-interfaces": "GET",
}


def answer(ask: Ask[Any]) -> None:
    raise Gone("This resource is no longer available. No forwarding address is given.")


for _path, _methods in REMOVED.items():
    for _method in _methods.split():
        compute.route(_method, _path, rule=RULE, writes=False)(answer)
