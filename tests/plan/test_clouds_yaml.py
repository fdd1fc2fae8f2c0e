"""clouds.yaml: ours go in and out, nothing else in the file changes."""

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from nutshell.cli.clouds import entry, merged, put, take_out
from nutshell.cli.says import Account, Refusal

FILE = Path("clouds.yaml")
OURS = entry("http://h:1", "RegionOne", Account("demo", 'a"b: #c', "demo"), None)

OTHERS = """\
# my clouds
clouds:
  work:            # the one at work
    auth: {auth_url: "https://office/v3"}
    region_name: R1

  # the old one
  nutshell-old:
    auth:
      auth_url: http://old
cache:
  auth: true       # keep
"""


def test_an_empty_file_gets_them() -> None:
    text = merged("", {"nutshell": OURS, "nutshell-admin": OURS}, FILE)
    assert yaml.safe_load(text) == {"clouds": {"nutshell": OURS, "nutshell-admin": OURS}}


def test_the_lines_of_others_stay() -> None:
    text = merged(OTHERS, {"nutshell": OURS}, FILE)
    said = yaml.safe_load(text)
    assert said["clouds"]["nutshell"] == OURS
    rest = iter(text.splitlines())
    assert all(line in rest for line in OTHERS.splitlines())  # all there, in their order


def test_a_repeat_changes_nothing_and_new_facts_replace_old() -> None:
    once = merged(OTHERS, {"nutshell": OURS, "nutshell-admin": OURS}, FILE)
    assert merged(once, {"nutshell": OURS, "nutshell-admin": OURS}, FILE) == once
    other = entry("http://h:2", "R", Account("x", "y", "z"), "/ca.pem")
    said = yaml.safe_load(merged(once, {"nutshell": other}, FILE))
    assert said["clouds"]["nutshell"] == other
    assert said["clouds"]["nutshell-admin"] == OURS


def test_taking_out_leaves_the_text_as_it_was() -> None:
    once = merged(OTHERS, {"nutshell": OURS}, FILE)
    assert merged(once, {"nutshell": None}, FILE) == OTHERS


@pytest.mark.parametrize(
    "text",
    ['clouds: {work: {region_name: "R1"}}\n', "clouds:\n    work:\n        region_name: R1\n", "cache: {auth: true}\n"],
)
def test_another_style_keeps_its_content(text: str) -> None:
    wanted: dict[str, Any] = yaml.safe_load(text)
    wanted["clouds"] = {**wanted.get("clouds", {}), "nutshell": OURS}
    assert yaml.safe_load(merged(text, {"nutshell": OURS}, FILE)) == wanted


@pytest.mark.parametrize("text", ["a: [", "- 1\n", "clouds: 3\n"])
def test_a_file_that_is_no_clouds_yaml_is_left_alone(tmp_path: Path, text: str) -> None:
    file = tmp_path / "clouds.yaml"
    file.write_text(text)
    with pytest.raises(Refusal):
        put(file, {"nutshell": OURS})
    assert file.read_text() == text


def test_the_file_is_private_and_a_link_is_written_through(tmp_path: Path) -> None:
    real = tmp_path / "real.yaml"
    real.write_text(OTHERS)
    link = tmp_path / "clouds.yaml"
    link.symlink_to(real)
    put(link, {"nutshell": OURS})
    assert link.is_symlink()
    assert real.stat().st_mode & 0o777 == 0o600
    assert yaml.safe_load(real.read_text())["clouds"]["nutshell"] == OURS


def test_only_ours_are_taken_out(tmp_path: Path) -> None:
    file = tmp_path / "clouds.yaml"
    elsewhere = entry("http://other:1", "RegionOne", Account("a", "b", "c"), None)
    put(file, {"nutshell": OURS, "nutshell-admin": elsewhere})
    take_out(file, "http://h:1")
    assert yaml.safe_load(file.read_text())["clouds"] == {"nutshell-admin": elsewhere}


def test_bug_dev_null_was_replaced_by_a_file(tmp_path: Path) -> None:
    """OS_CLIENT_CONFIG_FILE=/dev/null means "write none"; as root it took the machine's /dev/null away."""
    sink = tmp_path / "sink"
    os.mkfifo(sink)
    put(sink, {"nutshell": OURS})
    take_out(sink, "http://h:1")
    assert sink.is_fifo()
