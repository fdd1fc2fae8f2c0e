"""Moving servers between hosts, and setting a password inside: asked for properly, refused where it cannot be done.

Source: Compute API, "Migrate Server", "Live-Migrate Server", "Evacuate Server", "Change Administrative Password".
Guests and their disks stay on the host they were made on; guests run no agent that takes a password.
"""

from typing import Any

from nutshell.compute import wire
from nutshell.compute.nodes import Node, is_up
from nutshell.compute.servers.noun import Server
from nutshell.compute.servers.operate import check_lock, check_state
from nutshell.compute.servers.power import need_built
from nutshell.compute.service import compute
from nutshell.core.errors import BadRequest, Conflict
from nutshell.core.resource import field
from nutshell.core.schema import Body, check
from nutshell.core.service import Ask

MIGRATE = "os_compute_api:os-migrate-server:"


class Migrate(Body):
    host: str | None = field(default=None, since="2.56", max_length=255)


def _target(ask: Ask[Server], host: str | None, rule: str) -> None:
    """400 for a host there is none of, or that the server is on."""
    if host is None:
        return
    ask.must(rule, ask.target.policy_target())
    if ask.tx.one(Node, name=host) is None:
        raise BadRequest(f"Compute host {host} could not be found.")
    if host == ask.target.host:
        raise BadRequest(f"Cannot migrate instance {ask.target.id} to the host it is on.")


def _nowhere() -> BadRequest:
    return BadRequest("No valid host was found. Servers of this cloud stay on the host they were made on: their disks"
                      " are that host's own.")  # fmt: skip


@compute.action(Server, "migrate", rule=MIGRATE + "migrate")
def migrate(ask: Ask[Server]) -> None:
    given = ask.body["migrate"]
    found = check(Migrate, given, "migrate", ask.at, where="migrate") if given is not None else {}
    check_lock(ask)
    check_state(ask.target, "migrate", ("active", "stopped"))
    need_built(ask.target, "migrate")
    _target(ask, found.get("host"), MIGRATE + "migrate:host")
    raise _nowhere()


class LiveMigrate(Body):
    host: str | None = field(max_length=255)
    old_block_migration: bool | str = field(wire="block_migration", until="2.24")
    block_migration: bool | str = field(since="2.25")
    disk_over_commit: bool | str = field(until="2.24")
    force: bool | str = field(default=False, since="2.30", until="2.67")


@compute.action(Server, "os-migrateLive", rule=MIGRATE + "migrate_live", body=LiveMigrate)
def migrate_live(ask: Ask[Server]) -> None:
    g = ask.given
    for name in ("old_block_migration", "block_migration", "disk_over_commit", "force"):
        if name in g and g[name] != "auto":
            wire.truth(name.removeprefix("old_"), g[name])
    check_lock(ask)
    check_state(ask.target, "os-migrateLive", ("active", "paused"))
    _target(ask, g["host"], MIGRATE + "migrate_live:host")
    raise _nowhere()


class Evacuate(Body):
    host: str | None = field(default=None, max_length=255)
    admin_pass: str | None = field(default=None, wire="adminPass", max_length=255)
    shared: bool | str | None = field(default=None, wire="onSharedStorage", until="2.13")
    force: bool | str | None = field(default=None, since="2.29", until="2.67")


@compute.action(Server, "evacuate", rule="os_compute_api:os-evacuate", body=Evacuate, http=200)
def evacuate(ask: Ask[Server]) -> None:
    s = ask.target
    check_state(s, "evacuate", ("active", "stopped", "error"))
    node = ask.tx.one(Node, name=s.host) if s.host else None
    if node is not None and is_up(node):
        raise BadRequest(f"Compute service of {s.host} is still in use.")
    _target(ask, ask.given.get("host"), "os_compute_api:os-evacuate")
    raise _nowhere()


class Password(Body):
    admin_pass: str = field(wire="adminPass", max_length=255)


@compute.action(Server, "changePassword", rule="os_compute_api:os-admin-password", body=Password)
def change_password(ask: Ask[Server]) -> Any:
    check_lock(ask)
    check_state(ask.target, "changePassword", ("active",))
    raise Conflict("Failed to set admin password on " + ask.target.id + " because the guest has no agent that sets it.")
