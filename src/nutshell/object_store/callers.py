"""By what words a list or policy may mean a caller: ids always, names within the default domain alone.

Names are free in every domain, so elsewhere they mean nobody; and a name that reads like an id means nobody either.
Source: Object Storage documentation, "Access Control Lists (ACLs)": names in lists are of the default domain.
"""

import re

from nutshell.core.cloud import Cloud
from nutshell.core.policy import Who
from nutshell.identity.port import Identity

ID = re.compile(r"(AUTH_)?[0-9a-f]{32}")


def words_for(who: Who, named: bool = True) -> tuple[frozenset[str], frozenset[str]]:
    """(of the project, of the user); nothing for nobody. `named`: names too."""
    if not who.user_id:
        return frozenset(), frozenset()
    projects, users = {who.project_id}, {who.user_id}
    if named and who.user_domain_id == "default" and who.project_domain_id in ("default", ""):
        projects.add("" if ID.fullmatch(who.project_name) else who.project_name)
        users.add("" if ID.fullmatch(who.user_name) else who.user_name)
    return frozenset(projects - {""}), frozenset(users - {""})


def in_default_domain(cloud: Cloud, account: str) -> bool:
    """Whether the account is of a project there: in the lists of others names mean nobody."""
    identity, project_id = cloud.port(Identity), account.removeprefix("AUTH_")
    return cloud.store.read(lambda tx: identity.find_project(tx, identity.project_name(tx, project_id)) == project_id)
