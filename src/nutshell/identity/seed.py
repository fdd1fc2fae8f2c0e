"""What is there from the first start on: the default domain, roles, first projects and users, the catalog.

Source: `keystone-manage bootstrap` and what DevStack makes, as the clients' guides presume.
"""

import json
import os
from pathlib import Path

from nutshell.core.cloud import Cloud
from nutshell.core.config import CloudConfig
from nutshell.core.store import Tx
from nutshell.identity.assignments import assign
from nutshell.identity.catalog import INTERFACES, CatalogService, Endpoint, Region
from nutshell.identity.first import FirstPasswords, make_up
from nutshell.identity.keys import Keys
from nutshell.identity.passwords import Passwords
from nutshell.identity.projects import DEFAULT_DOMAIN, Project
from nutshell.identity.roles import Implication, Role
from nutshell.identity.users import User

ROLES = ("admin", "manager", "member", "reader", "service")
IMPLIED = (("admin", "manager"), ("manager", "member"), ("member", "reader"))
# service of this program: (catalog type, name, description, path)
CATALOG = {
    "identity": [("identity", "keystone", "Identity", "/identity")],
    "image": [("image", "glance", "Images", "/image")],
    "compute": [("compute", "nova", "Compute", "/compute/v2.1")],
    "placement": [("placement", "placement", "Placement", "/placement")],
    "network": [("network", "neutron", "Networking", "/network")],
    "volume": [
        ("block-storage", "cinder", "Block storage", "/volume/v3"),
        ("volumev3", "cinderv3", "Block storage, under its older type", "/volume/v3/$(project_id)s"),
    ],
    "object_store": [("object-store", "swift", "Object storage", "/object-store/v1/AUTH_$(project_id)s")],
}


def seed(cloud: Cloud, tx: Tx) -> None:
    """Runs at every start; what an operator has changed or deleted since the first one stays so, but for the catalog:
    a service that this program has gained since is added to it."""
    cloud.port(Keys).begin(tx)
    if tx.get(Project, DEFAULT_DOMAIN) is None:
        _first_start(cloud, tx)
    _catalog(cloud, tx)


def _first_start(cloud: Cloud, tx: Tx) -> None:
    config, new_id = cloud.settings[CloudConfig], cloud.clock.new_hex_id
    domain = tx.add(Project(id=DEFAULT_DOMAIN, name="Default", description="The default domain", is_domain=True))
    roles = {name: tx.add(Role(id=new_id(), name=name, options={"immutable": True})) for name in ROLES}
    for prior, implied in IMPLIED:
        tx.add(Implication(id=new_id(), prior_id=roles[prior].id, implied_id=roles[implied].id))
    projects = {
        name: tx.add(
            Project(
                id=new_id(), name=name, domain_id=domain.id, parent_id=domain.id, lineage=[domain.id], description=about
            )
        )
        for name, about in (
            ("admin", "The administrators' own project"),
            ("demo", "A project to try things in"),
            ("service", "What the cloud's services own"),
        )
    }
    passwords = cloud.port(Passwords)
    first = make_up(cloud.ports.get(FirstPasswords), config.admin_password)
    if config.state is not None:
        _write_credentials(config.state / "credentials.json", first.words)
    users = {}
    for name, stored in first.all_hashed(lambda words: cloud.hashing.map(passwords.hash, words)).stored.items():
        user = User(
            id=new_id(),
            name=name,
            domain_id=domain.id,
            default_project_id=projects[name].id,
            password_hash=stored,
        )
        users[name] = tx.add(user)
        passwords.remember(user.id, stored, first.words[name])
    for target in (projects["admin"], domain, None):
        assign(tx, new_id(), users["admin"], target, roles["admin"], False)
    assign(tx, new_id(), users["demo"], projects["demo"], roles["member"], False)


def _catalog(cloud: Cloud, tx: Tx) -> None:
    region = cloud.settings[CloudConfig].region
    new_id = cloud.clock.new_hex_id
    here = {s.name for s in cloud.services}
    known = {s.type for s in tx.find(CatalogService)}
    for name, entries in CATALOG.items():
        for kind, title, about, path in entries:
            if name not in here or kind in known:
                continue
            if tx.get(Region, region) is None:
                tx.add(Region(id=region))
            service = tx.add(CatalogService(id=new_id(), type=kind, name=title, description=about))
            for interface in INTERFACES:
                tx.add(
                    Endpoint(
                        id=new_id(),
                        service_id=service.id,
                        region_id=region,
                        interface=interface,
                        url=f"$(base)s{path}",
                    )
                )


def _write_credentials(path: Path, passwords: dict[str, str]) -> None:
    """Readable by the owner only, whole or not at all. Written before the rows: a start cut off here begins anew."""
    said = {name: {"username": name, "password": word, "project": name} for name, word in passwords.items()}
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(said, file, indent=2)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    fresh.rename(path)
