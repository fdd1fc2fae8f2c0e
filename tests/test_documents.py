"""Generated documents are current: `make docs` writes them."""

from pathlib import Path

from nutshell.cli.reference import configuration

DOCS = Path(__file__).parents[1] / "docs"


def test_the_configuration_reference_is_current() -> None:
    assert (DOCS / "CONFIGURATION.md").read_text() == configuration()
