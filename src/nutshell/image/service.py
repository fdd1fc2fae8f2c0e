"""The image service: its place, its rules and how it says no (Image Service API v2).

Refusals look like the real service's: an HTML page, or JSON for a client that accepts only that.
"""

from collections.abc import Mapping
from html import escape
from http import HTTPStatus
from typing import Any

from nutshell.core.errors import Fault, Forbidden, NotFound, Unauthorized
from nutshell.core.policy import Who
from nutshell.core.service import Answer, Ask, Service

OWNER = "project_id:%(project_id)s"
MEMBER_OR_ADMIN = f"rule:context_is_admin or (role:member and {OWNER})"
READER_OR_ADMIN = f"rule:context_is_admin or (role:reader and {OWNER})"
SERVICE = "role:service or role:admin"  # another service of the cloud
SEEN = (
    f"({OWNER} or project_id:%(member_id)s or 'community':%(visibility)s or 'public':%(visibility)s"
    " or 'shared':%(visibility)s)"
)
SHARED_WITH = "rule:context_is_admin or (role:member and project_id:%(member_id)s)"

PAGE = """<html>
 <head>
  <title>{status}</title>
 </head>
 <body>
  <h1>{status}</h1>
  {why}<br /><br />



 </body>
</html>"""


class ImageNotFound(NotFound):
    """No image found with ID {id}"""


class NotAllowed(Forbidden):
    """You are not authorized to complete {rule} action."""


def refuse(fault: Fault, headers: Mapping[str, str]) -> Answer:
    """The answer to a request that failed."""
    if isinstance(fault, Unauthorized):
        body: Any = {"error": {"code": 401, "title": "Unauthorized", "message": str(fault)}}
        return Answer(401, body, fault.headers)
    title = HTTPStatus(fault.http).phrase
    accepts = headers.get("accept", "*/*")
    if "html" not in accepts and "json" in accepts:
        body = {"message": f"{fault}<br /><br />\n\n\n", "code": f"{fault.http} {title}", "title": title}
        return Answer(fault.http, body, fault.headers)
    if "html" not in accepts and "*/*" not in accepts and "text/*" not in accepts:
        text = f"{fault.http} {title}\n\n{fault}\n\n\n"
        return Answer(fault.http, text.encode(), {"Content-Type": "text/plain; charset=UTF-8", **fault.headers})
    page = PAGE.format(status=f"{fault.http} {title}", why=escape(str(fault)))
    return Answer(fault.http, page.encode(), {"Content-Type": "text/html; charset=UTF-8", **fault.headers})


class NothingThere(NotFound):
    """The resource could not be found."""


def keep_to_projects(ask: Ask[Any]) -> None:
    """Every rule of this service is about projects: a token for the system does nothing, and sees nothing."""
    if not ask.who.system or ask.route.public:
        return
    if ask.params.keys() & {"image_id", "namespace"}:
        raise NothingThere()
    raise NotAllowed(rule=ask.route.rule or "")


image = Service(
    name="image",
    mount="/image",
    prefixes=("/v2",),
    refuses=refuse,
    forbids=lambda rule: NotAllowed(rule=rule),
    not_found=lambda noun, key: ImageNotFound(id=key),
    default_limit=25,
    max_limit=1000,
    update_method="PATCH",
    strict_slash=True,
    admits=keep_to_projects,
)
image.policy(
    {
        "add_image": f"rule:context_is_admin or (role:member and {OWNER} and project_id:%(owner)s)",
        "delete_image": MEMBER_OR_ADMIN,
        "get_image": f"rule:context_is_admin or (role:reader and {SEEN})",
        "get_images": READER_OR_ADMIN,
        "modify_image": MEMBER_OR_ADMIN,
        "publicize_image": "rule:context_is_admin",
        "communitize_image": MEMBER_OR_ADMIN,
        "download_image": f"rule:context_is_admin or (role:member and {SEEN})",
        "upload_image": MEMBER_OR_ADMIN,
        "add_member": MEMBER_OR_ADMIN,
        "delete_member": MEMBER_OR_ADMIN,
        "get_member": f"rule:context_is_admin or role:reader and ({OWNER} or project_id:%(member_id)s)",
        "get_members": f"rule:context_is_admin or role:reader and ({OWNER} or project_id:%(member_id)s)",
        "modify_member": SHARED_WITH,
        "deactivate": MEMBER_OR_ADMIN,
        "reactivate": MEMBER_OR_ADMIN,
        "download_from_store": f"rule:context_is_admin or (role:member and {SEEN})",
        "get_image_location": READER_OR_ADMIN,
        "set_image_location": MEMBER_OR_ADMIN,
        "delete_image_location": "rule:context_is_admin",
        "add_image_location": f"({SERVICE}) or (role:member and {OWNER} and project_id:%(owner)s)",
        "fetch_image_location": SERVICE,
        "copy_image": "rule:context_is_admin",
        "manage_image_cache": "rule:context_is_admin",
        **{f"cache_{verb}": "rule:context_is_admin" for verb in ("image", "list", "delete", "clean", "prune")},
        "list_cached_nodes": "rule:context_is_admin",
        "tasks_api_access": "rule:context_is_admin",
        **{f"{verb}_task": "" for verb in ("get", "add", "modify")},
        "get_tasks": "",
        "stores_info_detail": f"rule:context_is_admin or ({SERVICE})",
    }
)


def is_admin(ask: Ask[Any]) -> bool:
    return ask.cloud.rules.allows("context_is_admin", ask.who, {})


def own(who: Who) -> dict[str, str]:
    """The target of rules about images in general: the caller's own project."""
    return {"project_id": who.project_id, "owner": who.project_id}
