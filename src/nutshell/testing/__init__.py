"""For those who test against a cloud: a private simulated one in this process, ready in milliseconds.

    with nutshell.testing.cloud() as cloud:
        cloud.connection().create_server("web", image="cirros", flavor="m1.tiny", network="private", wait=True)
        cloud.assert_servers(ACTIVE=1)

docs/TESTING.md has the whole of it. Nothing is imported before the first cloud.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nutshell.testing.private import PrivateCloud


def cloud(
    settings: Mapping[str, Mapping[str, object]] | None = None,
    *,
    seed: int | None = None,
    allow_unanswered: bool = False,
) -> "PrivateCloud":
    """A private cloud, closed at the end of the `with`.

    settings: tables of docs/CONFIGURATION.md but for [cloud] ({"compute": {"hosts": 3}}); seed: makes its ids the same
    in every run; allow_unanswered: requests that nothing answers do not raise AssertionError at the end.
    """
    from nutshell.testing.private import PrivateCloud

    return PrivateCloud(settings, seed=seed, allow_unanswered=allow_unanswered)
