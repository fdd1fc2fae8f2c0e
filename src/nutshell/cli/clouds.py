"""Our two clouds in the user's clouds.yaml: put in, taken out, everything else in the file left as it is.

Source: openstacksdk's configuration guide (clouds.yaml, OS_CLIENT_CONFIG_FILE).
"""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nutshell.cli.places import read_json, write_private
from nutshell.cli.says import Account, Refusal

NAMES = {"nutshell": "demo", "nutshell-admin": "admin"}


def names_of(state: Path) -> dict[str, str]:
    """Name in clouds.yaml → account. A fork's names have its port in them, so that the first cloud keeps its own."""
    said = read_json(state / "fork.json")
    first = str(said["clouds"]) if said and said.get("clouds") else "nutshell"
    return {first: "demo", f"{first}-admin": "admin"}


def default_file() -> Path:
    """OS_CLIENT_CONFIG_FILE, else where the clients look in the user's home."""
    given = os.environ.get("OS_CLIENT_CONFIG_FILE")
    if given:
        return Path(given)
    config = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(config) / "openstack" / "clouds.yaml"


def entry(endpoint: str, region: str, account: Account, cacert: str | None) -> dict[str, Any]:
    """One cloud as the clients read it."""
    made: dict[str, Any] = {
        "auth": {
            "auth_url": f"{endpoint}/identity/v3",
            "username": account.username,
            "password": account.password,
            "project_name": account.project,
            "user_domain_name": "Default",
            "project_domain_name": "Default",
        },
        "region_name": region,
        "identity_api_version": 3,
    }
    return made | ({"cacert": cacert} if cacert else {})


def put(file: Path, clouds: Mapping[str, dict[str, Any]]) -> None:
    """Write these clouds into the file, mode 0600, in one step; other clouds and comments stay.

    A device, such as /dev/null, is left alone: it must not be replaced by a file. Raises Refusal when the file is not
    YAML: it is not ours to overwrite.
    """
    if file.exists() and not file.is_file():
        return
    before = file.read_text() if file.exists() else ""
    after = merged(before, clouds, file)
    if after != before:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_private(file, after)


def take_out(file: Path, endpoint: str) -> None:
    """Remove those of our clouds that lead to this endpoint."""
    if not file.is_file():
        return
    before = file.read_text() if file.exists() else ""
    said = _parse(before, file)
    ours = {
        name: None
        for name, one in said["clouds"].items()
        if name.startswith("nutshell") and isinstance(one, dict) and _leads_to(one, endpoint)
    }
    if ours:
        write_private(file, merged(before, ours, file))


def _leads_to(one: Mapping[str, Any], endpoint: str) -> bool:
    auth = one.get("auth")
    return isinstance(auth, dict) and str(auth.get("auth_url", "")).startswith(f"{endpoint}/")


def merged(text: str, clouds: Mapping[str, dict[str, Any] | None], file: Path) -> str:
    """The text with these clouds in it (None: without). The lines of others are kept when the file is written in
    block style; a file of another style is written anew from its content."""
    wanted = _parse(text, file)
    for name, one in clouds.items():
        if one is None:
            wanted["clouds"].pop(name, None)
        else:
            wanted["clouds"][name] = one
    lines = text.splitlines()
    for name, one in clouds.items():
        lines = _replace_block(lines, name, _block(name, one) if one else [])
    made = "\n".join(lines) + "\n"
    import yaml

    try:
        if _parse(made, file) == wanted:
            return made
    except Refusal:
        pass
    return str(yaml.safe_dump(wanted, sort_keys=False))


def _parse(text: str, file: Path) -> dict[str, Any]:
    import yaml

    try:
        said = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise Refusal(f"{file} is not YAML, so the clouds cannot be written into it: {error}") from error
    if not isinstance(said, dict) or not isinstance(said.get("clouds") or {}, dict):
        raise Refusal(f"{file} is not a clouds.yaml: it needs a mapping called 'clouds'")
    said["clouds"] = said.get("clouds") or {}
    return said


def _block(name: str, one: Mapping[str, Any]) -> list[str]:
    lines = [f"  {name}:"]
    for key, value in one.items():
        if isinstance(value, dict):
            lines += [f"    {key}:", *(f"      {inner}: {json.dumps(v)}" for inner, v in value.items())]
        else:
            lines.append(f"    {key}: {json.dumps(value)}")
    return lines


def _replace_block(lines: list[str], name: str, block: list[str]) -> list[str]:
    """The lines with `name`'s block under `clouds:` replaced, or the block added right below `clouds:`."""
    top = next((i for i, line in enumerate(lines) if re.match(r"clouds:\s*(#.*)?$", line)), None)
    if top is None:
        return [*lines, "clouds:", *block] if block else lines
    start = next((i for i in range(top + 1, len(lines)) if re.match(rf"  {re.escape(name)}:\s*$", lines[i])), None)
    if start is None:
        return [*lines[: top + 1], *block, *lines[top + 1 :]]
    stop = start + 1
    while stop < len(lines) and (lines[stop].startswith("   ") or not lines[stop].strip()):
        stop += 1
    while stop > start + 1 and not lines[stop - 1].strip():
        stop -= 1
    return [*lines[:start], *block, *lines[stop:]]
