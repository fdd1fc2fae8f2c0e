"""Writes the generated documents: `python -m nutshell.cli.reference docs`."""

import sys
from pathlib import Path


def configuration() -> str:
    """docs/CONFIGURATION.md as the declarations have it now."""
    from nutshell import app
    from nutshell.core.config import render_reference

    return render_reference(app.tables(app.parts()))


def main(folder: Path) -> None:
    (folder / "CONFIGURATION.md").write_text(configuration())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
