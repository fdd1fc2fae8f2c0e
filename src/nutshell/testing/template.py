"""The prepared cloud: seeded once in a process, with its first host; every private cloud is a copy of it."""

import secrets
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from nutshell import app
from nutshell.cli import copying
from nutshell.compute.capability import Hypervisor
from nutshell.core.clock import Clock
from nutshell.core.cloud import Cloud
from nutshell.core.config import CloudConfig, Settings, load_settings
from nutshell.core.store import Tx
from nutshell.identity.keys import Keys
from nutshell.identity.passwords import Passwords
from nutshell.identity.users import User
from nutshell.image.files import ImageFiles
from nutshell.network.capability import NetworkDriver
from nutshell.object_store.engine.local import LocalEngine
from nutshell.object_store.port import ObjectEngine
from nutshell.volume.capability import VolumeDriver

WATCH_S = 30.0  # news of guests come at once; a cloud that ends does not wait for the next look


class Template:
    """Holds a cloud that never runs. Every user of a copy has the same password: it is hashed once."""

    def __init__(self) -> None:
        self.password = secrets.token_urlsafe(12)
        self._parts = app.parts()
        self._tables = app.tables(self._parts)
        self._seeded = app.build(self._settings("", {}), of=self._parts)
        cloud = self._seeded.cloud
        self.stored = cloud.read(lambda tx: tx.find(User, name="admin"))[0].password_hash
        cloud.write(self._same_password)
        self._seeded.runner.run_once("nodes")

    def _same_password(self, tx: Tx) -> None:
        for user in tx.find(User):
            tx.put(user, password_hash=self.stored)
            self.remember(user.id)

    def remember(self, user_id: str, cloud: Any = None) -> None:
        """This user's login needs no hashing."""
        self._seeded.cloud.port(Passwords).remember(user_id, self.stored, self.password)

    def copy(
        self,
        endpoint: str,
        clock: Clock,
        settings: Mapping[str, Mapping[str, object]],
        like: app.Running | None = None,
    ) -> app.Running:
        """A new cloud, its loops not started yet; `like`: a private one that is at rest, instead of the template."""
        made = app.build(self._settings(endpoint, settings), clock, of=self._parts, like=like or self._seeded)
        source, target = (like or self._seeded).cloud, made.cloud
        target.ports[Passwords] = self._seeded.cloud.port(Passwords)
        for one in source.port(ImageFiles).directory.iterdir():
            if one.is_file():
                _link(one, target.port(ImageFiles).directory / one.name)
        if like is not None:
            _continue(source, target)
        return made

    def _settings(self, endpoint: str, given: Mapping[str, Mapping[str, object]]) -> Settings:
        by_name = {t.table: t for t in self._tables}  # type: ignore[attr-defined]
        unknown = sorted(set(given) - set(by_name))
        if unknown or "cloud" in given:
            raise ValueError(
                f"settings of {unknown or 'cloud'}: there are {', '.join(sorted(set(by_name) - {'cloud'}))}"
            )
        own: dict[type, Mapping[str, object]] = {by_name[name]: values for name, values in given.items()}
        compute = by_name.get("compute")
        if compute is not None:
            own[compute] = {"watch_s": WATCH_S, **own.get(compute, {})}
        if "faults" in by_name:
            own[by_name["faults"]] = {"enabled": True, **own.get(by_name["faults"], {})}
        own[CloudConfig] = {"simulate": True, "admin_password": self.password, "endpoint": endpoint}
        return load_settings(self._tables, None, {}, own)


def _continue(source: Cloud, target: Cloud) -> None:
    """What a copy's rows speak of: its keys, its simulated world, its objects."""
    target.port(Keys).begin_as(source.port(Keys))
    for kind in (Hypervisor, NetworkDriver, VolumeDriver):
        target.drivers[kind].begin_as(source.drivers[kind])


def copy_objects(source: Cloud, target: Cloud, directory: Path) -> None:
    """The object store's files, if it was used; `directory` is the copy's own."""
    engine, mine = source.ports[ObjectEngine], target.ports[ObjectEngine]
    if not engine.loaded or engine.in_use is None:
        return
    directory.mkdir()
    files = copying.files_of(engine.in_use)
    with copying.still(engine.in_use, files):
        copying.copy_files(engine.in_use, directory, copying.files_of(engine.in_use))
    mine.become(LocalEngine(replace(engine.settings, directory=directory)))


def _link(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)  # image files are never written to, only replaced
    except OSError:
        shutil.copyfile(source, target)
