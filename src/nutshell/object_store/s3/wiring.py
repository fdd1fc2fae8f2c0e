"""Where the S3 API hangs: at /s3, on a port of its own, and the loop that carries out lifecycle rules.

Its code is loaded with the first request that wants it.
"""

import typing as t

from nutshell.core.cloud import Cloud
from nutshell.core.config import CloudConfig
from nutshell.core.reconcile import Loop
from nutshell.object_store import background
from nutshell.object_store.port import ObjectEngine
from nutshell.object_store.settings import ObjectStoreConfig

if t.TYPE_CHECKING:
    from nutshell.object_store.s3.site import Site

SWEEP_S = 3600.0


def site_of(cloud: Cloud) -> "Site":
    from nutshell.object_store.s3.site import Site

    mine = cloud.settings[ObjectStoreConfig]
    regions = list(dict.fromkeys((mine.s3_region, cloud.settings[CloudConfig].region)))
    return Site(cloud, cloud.port(ObjectEngine), regions)


def mounted(cloud: Cloud) -> t.Any:
    """At /s3 of the cloud's port."""

    async def first(scope: t.Any, receive: t.Any, send: t.Any) -> None:
        from nutshell.object_store.s3.application import Application

        cloud.mounts["s3"] = application = Application(site_of(cloud))
        await application(scope, receive, send)

    return first


def listening(cloud: Cloud) -> t.Any:
    """On a port of its own, where a bucket may stand in the host's name."""
    known: list[t.Any] = []

    async def each(scope: t.Any, receive: t.Any, send: t.Any) -> None:
        if not known:
            from nutshell.object_store.s3.application import Application

            known.append(Application(site_of(cloud), "", cloud.settings[ObjectStoreConfig].s3_domain))
        await known[0](scope, receive, send)

    return each


def lifecycle_loop() -> Loop:
    def run(cloud: Cloud) -> None:
        if not background.in_use(cloud):
            return
        from nutshell.object_store.s3 import lifecycle

        lifecycle.sweep(site_of(cloud))

    return Loop("object_store.lifecycle", run, every_s=SWEEP_S, everywhere=True)
