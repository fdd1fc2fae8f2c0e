"""The pytest plugin: the fixture `cloud`, and `make_cloud` to make more of them."""

from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from nutshell.testing.private import PrivateCloud

MADE: "pytest.StashKey[list[PrivateCloud]]" = pytest.StashKey()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "cloud(settings=None, seed=None, allow_unanswered=False): how the fixture `cloud` is made"
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """A test whose request nothing answered fails, though it passed."""
    result = yield
    for one in item.stash.get(MADE, []):
        one.assert_all_answered()
    return result


@pytest.fixture
def make_cloud(request: pytest.FixtureRequest) -> "Iterator[Callable[..., PrivateCloud]]":
    """Makes clouds, as many as wanted: the arguments are those of `nutshell.testing.cloud`."""
    import nutshell.testing

    made: list[PrivateCloud] = request.node.stash.setdefault(MADE, [])

    def make(*given: Any, **named: Any) -> "PrivateCloud":
        one = nutshell.testing.cloud(*given, **named)
        made.append(one)
        return one

    yield make
    for one in made:
        one.close()


@pytest.fixture
def cloud(request: pytest.FixtureRequest, make_cloud: "Callable[..., PrivateCloud]") -> "PrivateCloud":
    """A private simulated cloud, gone after the test. A request that nothing answered makes the test fail."""
    marked = request.node.get_closest_marker("cloud")
    given: dict[str, Any] = dict(marked.kwargs) if marked is not None else {}
    return make_cloud(**given)
