"""A private simulated cloud inside this process: what a test holds in its hands."""

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nutshell.app import Running
from nutshell.cli.says import Account, environment
from nutshell.compute.capability import Hypervisor
from nutshell.core.clock import Clock
from nutshell.core.cloud import Cloud
from nutshell.core.config import CloudConfig
from nutshell.core.store import Tx
from nutshell.identity.assignments import assign
from nutshell.identity.projects import DEFAULT_DOMAIN, Project
from nutshell.identity.roles import Role
from nutshell.identity.users import User
from nutshell.image.files import ImageFiles
from nutshell.object_store.port import ObjectEngine
from nutshell.operator.rulebook import Rulebook
from nutshell.testing import checks
from nutshell.testing.front import Front, Unanswered, as_report
from nutshell.testing.shared import SHARED, new_name
from nutshell.testing.template import copy_objects
from nutshell.testing.timers import Timers


class PrivateCloud:
    """Made by `nutshell.testing.cloud()`; use it as a context or call `close`."""

    def __init__(
        self,
        settings: Mapping[str, Mapping[str, object]] | None = None,
        *,
        seed: int | None = None,
        allow_unanswered: bool = False,
        like: "PrivateCloud | None" = None,
    ) -> None:
        template = SHARED.template()
        name = new_name()
        self.url = f"{SHARED.origin}/{name}"
        self.auth_url = f"{self.url}/identity/v3"
        self._settings = settings or {}
        clock = Clock(seed) if like is None else like.state.clock.twin(seed)
        source = like._running if like is not None else None
        self._running: Running = template.copy(self.url, clock, self._settings, source)
        self._template = template
        self._front = Front(name, self._running.app)
        if allow_unanswered:
            self._front.allow("*", "*")
        self._closed = False
        self._directory: Path | None = None
        self._connections: list[Any] = []
        self.accounts = {n: Account(n, template.password, n) for n in ("admin", "demo")}
        if like is not None:
            self.accounts = dict(like.accounts)
            copy_objects(like.state, self.state, self.directory / "objects")
        self.region: str = self._running.cloud.settings[CloudConfig].region
        self.clock = Timers(self._running.cloud.clock, self.settle)
        self._before, self._used = checks.inventory(self.state), checks.usage(self.state)
        SHARED.join(self._front)
        self._running.runner.start()

    @property
    def state(self) -> Cloud:
        """The cloud's inside, for what the API does not tell: its store, drivers and settings."""
        return self._running.cloud

    @property
    def hypervisor(self) -> Any:
        """The simulated hypervisor: `crash(server_id)`, `lose_host(name)`, `find_host(name)` and more."""
        return self.state.drivers[Hypervisor]

    # -- ways in

    def user(self, name: str, project: str = "", roles: Sequence[str] = ("member",)) -> Account:
        """Another user with these roles on a project (the user's own name by default), both made when missing."""
        given = Account(name, self._template.password, project or name)
        user_id = self.state.write(lambda tx: self._add_user(tx, given, roles))
        self._template.remember(user_id)
        self.accounts[name] = given
        return given

    def _add_user(self, tx: Tx, given: Account, roles: Sequence[str]) -> str:
        new_id = self.state.clock.new_hex_id
        project = tx.one(Project, name=given.project, domain_id=DEFAULT_DOMAIN)
        if project is None:
            about = {"domain_id": DEFAULT_DOMAIN, "parent_id": DEFAULT_DOMAIN, "lineage": [DEFAULT_DOMAIN]}
            project = tx.add(Project(id=new_id(), name=given.project, **about))  # type: ignore[arg-type]
        user = tx.one(User, name=given.username, domain_id=DEFAULT_DOMAIN)
        if user is None:
            stored = self._template.stored
            made = User(id=new_id(), name=given.username, domain_id=DEFAULT_DOMAIN, password_hash=stored)
            user = tx.add(made)
        for role in roles:
            found = tx.one(Role, name=role)
            if found is None:
                raise ValueError(f"there is no role {role!r}")
            assign(tx, new_id(), user, project, found, False)
        return user.id

    def connection(self, user: str = "demo", project: str = "", **more: Any) -> Any:
        """An `openstack.connection.Connection` of this user, without a socket; `more` goes to its constructor."""
        from nutshell.testing.connections import connect

        made = connect(self, self._front, self._account(user, project), more)
        self._connections.append(made)
        return made

    def session(self, user: str = "demo", project: str = "") -> Any:
        """A `keystoneauth1.session.Session`, for other clients in this process."""
        from nutshell.testing.connections import session

        return session(self, self._front, self._account(user, project))

    @property
    def faults(self) -> Rulebook:
        """Fault rules: `add(service=…, operation=…, effect=…)`, `rules`, `counted(rule)`, `clear()` (docs/FAULTS.md).
        Delays of operations and drivers are by the cloud's clock."""
        return self.state.port(Rulebook)

    def slow_builds(self, seconds: float) -> None:
        """Each server from now on takes so long to be built, by the cloud's clock."""
        self.faults.add(at="driver", service="compute", operation="start", effect="delay", delay_s=seconds)

    def environment(self, user: str = "demo", project: str = "") -> dict[str, str]:
        """The OS_* variables for a client in another process."""
        return environment(self.url, self.region, self._account(user, project))

    def clouds_yaml(self, path: Path | None = None) -> Path:
        """A clouds.yaml with `nutshell` (demo), `nutshell-admin` and each further user by name; by default in a
        directory that goes with the cloud."""
        from nutshell.cli import clouds

        names = {**clouds.NAMES, **{n: n for n in self.accounts if n not in clouds.NAMES.values()}}
        entries = {c: clouds.entry(self.url, self.region, self.accounts[u], None) for c, u in names.items()}
        target = path or self.directory / "clouds.yaml"
        clouds.put(target, entries)
        return target

    @property
    def directory(self) -> Path:
        """A directory of the cloud's own, removed with it."""
        if self._directory is None:
            self._directory = Path(tempfile.mkdtemp(prefix="nutshell-testing-"))
        return self._directory

    def _account(self, user: str, project: str) -> Account:
        if user not in self.accounts:
            raise ValueError(f"no user {user!r} yet: cloud.user({user!r}, project=…)")
        one = self.accounts[user]
        return Account(one.username, one.password, project or one.project)

    def fork(self, *, seed: int | None = None, allow_unanswered: bool = False) -> "PrivateCloud":
        """Another cloud that begins as this one is now, once nothing is under way: same ids, users, guests, time. The
        two are independent. Fault rules are not taken along; a connection is to be asked of the fork."""
        self.settle()
        made = PrivateCloud(self._settings, seed=seed, allow_unanswered=allow_unanswered, like=self)
        made.faults.clear()
        return made

    # -- what happened

    @property
    def unanswered(self) -> Sequence[Unanswered]:
        """Requests that nothing in the cloud answered, and those it failed on."""
        return tuple(self._front.unanswered)

    def allow_unanswered(self, method: str, path: str) -> None:
        """Such requests do not fail the test; both may hold `*` (path: below the cloud's address)."""
        self._front.allow(method, path)

    def assert_all_answered(self) -> None:
        """AssertionError listing the requests that nothing answered; also done at the end of the `with`."""
        if self._front.unanswered:
            raise AssertionError(as_report(self._front.unanswered))

    def requests(self, method: str = "", path: str = "") -> list[dict[str, Any]]:
        """The last requests that were answered, oldest first: method, path (with its query), status, ms; those of a
        method, whose path holds a text."""
        return [r for r in list(self._front.requests) if method in ("", r["method"]) and path in r["path"]]

    # -- state

    def settle(self, timeout_s: float = 10.0) -> None:
        """Block until nothing is under way that real time can finish; AssertionError when that takes too long."""
        checks.settle(self._running, timeout_s)

    def assert_servers(self, *, project: str = "", timeout_s: float = 10.0, **counts: int) -> None:
        """Exactly so many servers in each status (`ACTIVE=3`), of a project or of all; waits for work under way."""
        checks.assert_servers(self._running, project, counts, timeout_s)

    def assert_nothing_left(self, timeout_s: float = 10.0) -> None:
        """Nothing exists that did not when the cloud was made, nor in the simulated world; accounts do not count."""
        checks.assert_nothing_left(self._running, self._before, timeout_s)

    def assert_no_quota_used(self, project: str = "", timeout_s: float = 10.0) -> None:
        """Every usage counter of the project (of all) is what it was when the cloud was made."""
        checks.assert_no_quota_used(self._running, self._used, project, timeout_s)

    # -- end

    def close(self) -> None:
        """End everything of the cloud; repeating it does nothing."""
        if self._closed:
            return
        self._closed = True
        for connection in self._connections:
            connection.close()
        SHARED.leave(self._front)
        cloud = self._running.cloud
        if self.faults.on:
            self.faults.clear()
        cloud.clock.end()
        engines = [engine] if (engine := cloud.ports[ObjectEngine]).loaded else []
        inner = {id(d): d for d in (self.hypervisor, *cloud.drivers.values(), *engines)}
        first, *others = inner.values()
        closers: list[Callable[[], None]] = [first.close, self._running.close]
        for close in (*closers, *(d.close for d in others if hasattr(d, "close"))):
            close()
        scratch = cloud.port(ImageFiles).scratch
        if scratch is not None:
            scratch.cleanup()
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)

    def __enter__(self) -> "PrivateCloud":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close()
        if kind is None:
            self.assert_all_answered()
