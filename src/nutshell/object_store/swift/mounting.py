"""The applications of the Swift API, by the first part of their paths."""

import typing as t

from nutshell.core.cloud import Cloud
from nutshell.object_store.port import ObjectEngine
from nutshell.object_store.settings import ObjectStoreConfig
from nutshell.object_store.swift.application import Application
from nutshell.object_store.swift.info import Pages
from nutshell.object_store.swift.login import Login
from nutshell.object_store.swift.site import Site


def applications(cloud: Cloud) -> dict[str, t.Any]:
    site = Site(cloud, cloud.port(ObjectEngine), cloud.settings[ObjectStoreConfig], {0: "standard", 1: "silver"})
    swift, pages, login = Application(site), Pages(site), Login(cloud)

    async def mounted(scope: t.Any, receive: t.Any, send: t.Any) -> None:
        """Below /object-store: the accounts, and what Swift has beside them."""
        if scope["path"].startswith("/object-store/v1"):
            await swift(scope, receive, send)
        elif scope["path"].startswith("/object-store/auth/"):
            await login({**scope, "path": scope["path"].removeprefix("/object-store")}, receive, send)
        else:
            await pages(scope, receive, send)

    async def drive(scope: t.Any, receive: t.Any, send: t.Any) -> None:
        """WebDAV, loaded with the first request that wants it."""
        from nutshell.object_store.dav.application import Application as Drive

        if cloud.mounts["dav"] is drive:
            cloud.mounts["dav"] = Drive(site)
        await cloud.mounts["dav"](scope, receive, send)

    return {"object-store": mounted, "v1": swift, "auth": login, "info": pages, "healthcheck": pages,
            "crossdomain.xml": pages, "dav": drive}  # fmt: skip
