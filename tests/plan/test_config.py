"""Settings: precedence, types, refusals that name the nearest known word, and secrets."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from nutshell.core.config import (
    CloudConfig,
    ConfigError,
    Settings,
    dump_launch,
    find_file,
    load_launch,
    load_settings,
    render_reference,
    setting,
)


@dataclass(frozen=True)
class ObjectConfig:
    """Objects."""

    table: ClassVar[str] = "object_store"
    workers: int = setting(2, "How many.")
    ratio: float = setting(1.5, "How much.")
    names: list[str] = setting(make=list, doc="Which.")
    pools: tuple[int, ...] = setting((1,), "Where.")
    limit: int | None = setting(None, "At most.")


TABLES = (CloudConfig, ObjectConfig)


def load(
    text: str, tmp_path: Path, env: dict[str, str] | None = None, over: dict[type, dict[str, object]] | None = None
) -> Settings:
    file = tmp_path / "n.toml"
    file.write_text(text)
    return load_settings(TABLES, file, env or {}, over or {})


def test_the_command_line_wins_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    text = '[cloud]\nport = 1\nregion = "a"\nhost = "h"\n'
    env = {"NUTSHELL_CLOUD_PORT": "2", "NUTSHELL_CLOUD_REGION": "b", "HOME": "/"}
    cloud = load(text, tmp_path, env, {CloudConfig: {"port": 3}})[CloudConfig]
    assert (cloud.port, cloud.region, cloud.host, cloud.log_level) == (3, "b", "h", "info")


def test_types_come_from_the_declaration(tmp_path: Path) -> None:
    env = {"NUTSHELL_OBJECT_STORE_NAMES": "a, b", "NUTSHELL_CLOUD_SIMULATE": "yes", "NUTSHELL_CLOUD_STATE": "/x"}
    got = load("[object_store]\nratio = 2\npools = [4, 5]\nlimit = 9\n", tmp_path, env)
    assert got[ObjectConfig] == ObjectConfig(2, 2.0, ["a", "b"], (4, 5), 9)
    assert got[CloudConfig].simulate is True
    assert got[CloudConfig].state == Path("/x")


@pytest.mark.parametrize(
    ("text", "env", "says"),
    [
        ("[clod]\n", {}, "did you mean 'cloud'?"),
        ("[cloud]\nprot = 1\n", {}, "did you mean 'port'?"),
        ("[cloud]\nport = 'x'\n", {}, "must be a whole number, not 'x'"),
        ("[cloud]\nport = true\n", {}, "must be a whole number"),
        ("[cloud]\nport = 1.5\n", {}, "must be a whole number"),
        ("[cloud]\nhost = 1\n", {}, "must be text"),
        ("[cloud]\nsimulate = 1\n", {}, "must be true or false"),
        ("[cloud]\nlog_level = 'loud'\n", {}, "must be one of debug"),
        ("cloud = 1\n", {}, "must be a table"),
        ("[cloud\n", {}, "is not TOML"),
        ("[object_store]\npools = ['a']\n", {}, "must be a list"),
        ("", {"NUTSHELL_CLOUD_PROT": "1"}, "did you mean 'NUTSHELL_CLOUD_PORT'?"),
        ("", {"NUTSHELL_CLOD_PORT": "1"}, "did you mean 'NUTSHELL_CLOUD_PORT'?"),
        ("", {"NUTSHELL_OBJECT_STORE_WORKERS": "many"}, "NUTSHELL_OBJECT_STORE_WORKERS must be a whole number"),
    ],
)
def test_what_cannot_be_used_is_refused_with_a_way_out(
    tmp_path: Path, text: str, env: dict[str, str], says: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(text, tmp_path, env)
    assert says in str(caught.value)


def test_an_unknown_override_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'port'"):
        load("", tmp_path, over={CloudConfig: {"prt": 1}})


def test_others_are_left_alone_when_asked(tmp_path: Path) -> None:
    file = tmp_path / "n.toml"
    file.write_text("[compute]\nx = 1\n[cloud]\nport = 7\n")
    got = load_settings([CloudConfig], file, {"NUTSHELL_COMPUTE_X": "1"}, {}, others=True)
    assert got[CloudConfig].port == 7


def test_passwords_are_not_shown(tmp_path: Path) -> None:
    got = load("[cloud]\nadmin_password = 'sesame'\ndatabase = 'postgresql://u:sesame@h/d'\n", tmp_path)
    assert got[CloudConfig].admin_password == "sesame"
    assert "sesame" not in repr(got)
    with pytest.raises(ConfigError) as caught:
        load("", tmp_path, over={CloudConfig: {"admin_password": ["sesame"]}})
    assert "sesame" not in str(caught.value)


def test_a_launch_carries_the_file_and_the_overrides(tmp_path: Path) -> None:
    file = tmp_path / "n.toml"
    file.write_text("[object_store]\nworkers = 8\n")
    text = dump_launch(file, {CloudConfig: {"port": 9, "state": tmp_path}})
    got = load_launch(TABLES, text, {})
    assert (got[CloudConfig].port, got[CloudConfig].state, got[ObjectConfig].workers) == (9, tmp_path, 8)


def test_the_file_is_the_given_one_or_the_state_directorys(tmp_path: Path) -> None:
    assert find_file(None, tmp_path) is None
    (tmp_path / "nutshell.toml").write_text("")
    assert find_file(None, tmp_path) == tmp_path / "nutshell.toml"
    with pytest.raises(ConfigError, match="no configuration file"):
        find_file(tmp_path / "absent.toml", tmp_path)


def test_the_reference_names_every_key() -> None:
    text = render_reference(TABLES)
    assert "| `port` | a whole number | `5000` | `NUTSHELL_CLOUD_PORT` |" in text
    assert "`NUTSHELL_OBJECT_STORE_NAMES`" in text
