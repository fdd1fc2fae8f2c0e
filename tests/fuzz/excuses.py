"""Where another project's thing may answer otherwise than nothing does, and why. Everything else is a fault."""

import re
from dataclasses import dataclass

KEYSTONE = (
    "Keystone looks for the thing before it asks policy (404, then 403); ids are random, and nothing else is told"
)


@dataclass(frozen=True)
class Excuse:
    """Requests whose text matches, for callers that match."""

    request: str
    why: str
    caller: str = ""


EXCUSES = (
    Excuse(r"GET /identity/", "a reader of the system reads all of identity, by its default policy", "system reader"),
    Excuse(r"(GET|PATCH|DELETE) /identity/v3/roles/\$role", KEYSTONE),
    Excuse(r"(GET|DELETE) /identity/v3/users/\$user/application_credentials/\$application_credential", KEYSTONE),
    Excuse(r"DELETE /identity/v3/groups/\$group ", KEYSTONE),
    Excuse(r"(PATCH|DELETE) /identity/v3/domains/\$domain ", KEYSTONE),
    Excuse(r"(GET|DELETE) /identity/v3/OS-TRUST/trusts/\$trust", KEYSTONE),
    Excuse(r"(GET|DELETE|POST) /identity/v3/users/\$user/credentials/OS-EC2", KEYSTONE),
    Excuse(r"GET /identity/v3/domains/\$domain/config/security_compliance", KEYSTONE),
    Excuse(r"POST /identity/v3/projects .*foreign: \$project", KEYSTONE, "domain manager"),
    Excuse(r"POST /network/v2.0/floatingips .*\$floating_address", "an address of a shared pool is free or taken"),
    Excuse(r"POST /volume/v3/[a-z-]*transfers?/\$transfer/accept", "an offer is for others, with its key"),
)


def excused(request: str, caller: str) -> bool:
    return any(re.match(e.request, request) and (not e.caller or e.caller == caller) for e in EXCUSES)
