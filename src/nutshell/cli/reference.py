"""Writes the generated documents: `python -m nutshell.cli.reference docs`."""

import sys
from pathlib import Path


def configuration() -> str:
    """docs/CONFIGURATION.md as the declarations have it now."""
    from nutshell import app
    from nutshell.core.config import render_reference

    return render_reference(app.tables(app.parts()))


def policy() -> str:
    """docs/POLICY.md: every route, its rule, and who passes it."""
    from nutshell import app
    from nutshell.operator.policy_table import policy_page

    return policy_page([part.service for part in app.parts()])


def limits(folder: Path) -> str:
    """docs/LIMITS.md: one page of what every part does not do, from the parts' own pages."""
    lines = ["# Limits", "", "What is not there yet, part by part, gathered from `docs/limits/` (`make docs`).", ""]
    lines += ["A route that is not built answers as the real service does for an unknown resource."]
    for page in sorted(folder.glob("*.md")):
        for line in page.read_text().strip().splitlines():
            lines.append(f"\n#{line}" if line.startswith("#") else line)
    return "\n".join(lines) + "\n"


def main(folder: Path) -> None:
    (folder / "CONFIGURATION.md").write_text(configuration())
    (folder / "POLICY.md").write_text(policy())
    (folder / "LIMITS.md").write_text(limits(folder / "limits"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
