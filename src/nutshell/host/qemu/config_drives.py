"""Writes config drives: ISO 9660 with Joliet and Rock Ridge, labelled config-2 (Nova's docs/user/config-drive)."""

import io
from pathlib import Path, PurePosixPath

import pycdlib


def write_config_drive(path: Path, files: dict[str, bytes]) -> None:
    """An image at `path` with these files; directories are made as needed."""
    disc = pycdlib.PyCdlib()
    disc.new(interchange_level=4, joliet=3, rock_ridge="1.09", vol_ident="config-2", sys_ident="LINUX")
    made: set[PurePosixPath] = {PurePosixPath("/")}
    for name, content in sorted(files.items()):
        place = PurePosixPath("/") / name.lstrip("/")
        for parent in reversed(place.parents):
            if parent not in made:
                disc.add_directory(str(parent), rr_name=parent.name, joliet_path=str(parent))
                made.add(parent)
        disc.add_fp(io.BytesIO(content), len(content), str(place), rr_name=place.name, joliet_path=str(place))
    disc.write(str(path))
    disc.close()
