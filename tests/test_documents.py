"""Generated documents are current (`make docs` writes them), and no document points at nothing."""

import re
from pathlib import Path

import pytest

from nutshell.cli.reference import configuration

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def test_the_configuration_reference_is_current() -> None:
    assert (ROOT / "docs" / "CONFIGURATION.md").read_text() == configuration()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:\s]+)\)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_readmes_first_screen_names_the_two_commands() -> None:
    first = (ROOT / "README.md").read_text().splitlines()[:40]
    assert any(line.startswith("make demo") for line in first)
    assert any(line.startswith("make test") for line in first)
