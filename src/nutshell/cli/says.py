"""What the command line tells people: refusals that name the way out, and the banner."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nutshell.cli.places import Places, default_state


class Refusal(Exception):
    """The command cannot be done; the message says what would have worked. `code` is the exit code."""

    def __init__(self, why: str, code: int = 1) -> None:
        super().__init__(why)
        self.why = why
        self.code = code


@dataclass(frozen=True)
class Account:
    """One person's way in, as the first start made it."""

    username: str
    password: str
    project: str


def accounts_in(said: Mapping[str, Any] | None) -> dict[str, Account]:
    """ "admin" and "demo" out of credentials.json; those that are there."""
    found = {}
    for name in ("admin", "demo"):
        entry = (said or {}).get(name)
        if isinstance(entry, dict) and entry.get("password"):
            found[name] = Account(entry.get("username", name), entry["password"], entry.get("project", name))
    return found


def base_url(host: str, port: int, tls: bool, endpoint: str = "") -> str:
    """Where clients on this machine find the cloud."""
    if endpoint:
        return endpoint.rstrip("/")
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "": "127.0.0.1"}.get(host, host)
    if ":" in shown and not shown.startswith("["):
        shown = f"[{shown}]"
    return f"{'https' if tls else 'http'}://{shown}:{port}"


def state_option(places: Places) -> str:
    """How to name this state directory in a next command."""
    import shlex

    return "" if places.state == default_state() else f" --state {shlex.quote(str(places.state))}"


def banner(facts: Mapping[str, Any], accounts: Mapping[str, Account], places: Places, seconds: float | None) -> str:
    """What `up` prints: endpoint, credentials, what the servers run on, the next command."""
    option = state_option(places)
    kind = "simulated" if facts.get("simulate") else facts.get("machine") or "real"
    took = f", up in {seconds:.1f} s" if seconds is not None else ", already up"
    lines = [f"Nutshell {facts.get('version', '?')}: {facts['endpoint']}/ ({kind}{took})"]
    for name, one in accounts.items():
        lines.append(f"  {name:<6} user {one.username}, password {one.password}, project {one.project}")
    lines += [f"  note   {note}" for note in facts.get("notes", [])]
    cloud = f"openstack --os-cloud {facts.get('cloud', 'nutshell')} server list"
    lines.append(f'Next: {cloud}, or eval "$(nutshell env{option})"; stop with nutshell down{option}')
    return "\n".join(lines)


def environment(endpoint: str, region: str, account: Account) -> dict[str, str]:
    """The variables by which OpenStack's clients find the cloud."""
    return {
        "OS_AUTH_URL": f"{endpoint}/identity/v3",
        "OS_USERNAME": account.username,
        "OS_PASSWORD": account.password,
        "OS_PROJECT_NAME": account.project,
        "OS_USER_DOMAIN_NAME": "Default",
        "OS_PROJECT_DOMAIN_NAME": "Default",
        "OS_REGION_NAME": region,
        "OS_IDENTITY_API_VERSION": "3",
    }
