"""The plugin's fixtures, also where the package is not installed."""

from nutshell.testing.plugin import cloud, make_cloud, pytest_runtest_call

__all__ = ["cloud", "make_cloud", "pytest_runtest_call"]
