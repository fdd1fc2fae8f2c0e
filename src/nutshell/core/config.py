"""Settings: one TOML file and NUTSHELL_<TABLE>_<KEY> variables, read into one typed, frozen table per service.

Source: HOUSE.md section 1 of the design ("one documented table per service; unknown keys are refused"); TOML 1.0.

A table is a frozen dataclass with `table: ClassVar[str]`; each field is made by `setting(default, doc)`. Precedence,
highest first: the command line, the environment, the file, the default.
"""

import json
import tomllib
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar, cast, get_args, get_origin, get_type_hints

PREFIX = "NUTSHELL_"
FILE_NAME = "nutshell.toml"


class ConfigError(ValueError):
    """What the operator wrote cannot be used; the message says where and what would have worked."""


class Table(Protocol):
    """A frozen dataclass of settings; `table` is its name in the file."""

    table: ClassVar[str]


T = TypeVar("T", bound=Table)


def setting(
    default: Any = MISSING,
    doc: str = "",
    *,
    make: Callable[[], Any] | None = None,
    choices: Sequence[str] = (),
    secret: bool = False,
) -> Any:
    """A field of a table. `make` builds a mutable default; a secret is never shown by repr."""
    meta = {"doc": doc, "choices": tuple(choices), "secret": secret}
    if make is not None:
        return field(default_factory=make, metadata=meta, repr=not secret)
    return field(default=default, metadata=meta, repr=not secret)


@dataclass(frozen=True)
class CloudConfig:
    """The cloud as a whole: where it keeps its state and where it answers."""

    table: ClassVar[str] = "cloud"

    state: Path | None = setting(
        None, "State directory; unset: /var/lib/nutshell for root, else ~/.local/share/nutshell."
    )
    host: str = setting("127.0.0.1", "Address to listen on; 0.0.0.0 listens on all.")
    port: int = setting(5000, "TCP port of every service.")
    simulate: bool = setting(False, "Use the memory drivers only: nothing outside the state directory is touched.")
    database: str = setting("", "Database URL (postgresql://…); empty: SQLite in the state directory.", secret=True)
    world: str = setting(
        "inside",
        "Where simulated hosts, networks and drives live: in the API process, or in a process of their own that several"
        " API processes share (so with --simulate --database).",
        choices=("inside", "apart"),
    )
    region: str = setting("RegionOne", "Name of the region in the catalog.")
    endpoint: str = setting("", "Public base URL, as https://cloud.example; empty: links follow each request.")
    admin_password: str = setting(
        "", "Password of the first administrator; empty: generated on first start.", secret=True
    )
    tls_cert: Path | None = setting(None, "PEM certificate chain; with tls_key, the port speaks TLS.")
    tls_key: Path | None = setting(None, "PEM private key of tls_cert.")
    log_level: str = setting("info", "Least severity that is logged.", choices=("debug", "info", "warning", "error"))

    @property
    def own_world(self) -> bool:
        """Whether hosts, networks and drives are simulated by this very process."""
        return self.state is None or (self.simulate and self.world == "inside")


class Settings:
    """Every table, read and checked; `settings[CloudConfig]` is that table, typed."""

    def __init__(self, tables: Mapping[type, object]) -> None:
        self._tables = dict(tables)

    def __getitem__(self, table: type[T]) -> T:
        return cast(T, self._tables[table])

    def __contains__(self, table: type) -> bool:
        return table in self._tables

    def __repr__(self) -> str:
        return f"Settings({', '.join(map(repr, self._tables.values()))})"


def load_settings(
    tables: Sequence[type],
    file: Path | None,
    env: Mapping[str, str],
    overrides: Mapping[type, Mapping[str, object]],
    *,
    others: bool = False,
) -> Settings:
    """The tables with every value read and checked. Raises ConfigError at the first that cannot be used.

    With `others`, whole tables that are not among `tables` are left to somebody else instead of refused.
    """
    known = {cast(Any, one).table: one for one in tables}
    in_file = _read_file(file, known, others)
    in_env = _read_env(env, known, others)
    done: dict[type, object] = {}
    for name, one in known.items():
        values: dict[str, object] = {}
        hints = get_type_hints(one)
        for key, item in _settings_of(one).items():
            for found, where in (
                (overrides.get(one, {}).get(key, MISSING), f"{name}.{key}"),
                (in_env.get(name, {}).get(key, MISSING), f"{PREFIX}{name.upper()}_{key.upper()}"),
                (in_file.get(name, {}).get(key, MISSING), f"{file}: [{name}] {key}"),
            ):
                if found is not MISSING:
                    values[key] = _converted(found, hints[key], item, where)
                    break
        _refuse_unknown(overrides.get(one, {}), _settings_of(one), f"setting of [{name}]")
        missing = [k for k, f in _settings_of(one).items() if k not in values and not _has_default(f)]
        if missing:
            raise ConfigError(f"[{name}] needs {missing[0]!r}: {_settings_of(one)[missing[0]].metadata['doc']}")
        done[one] = one(**values)
    return Settings(done)


def find_file(given: Path | None, state: Path) -> Path | None:
    """The file to read: the given one (it must exist), else nutshell.toml in the state directory if there."""
    if given is not None:
        if not given.is_file():
            raise ConfigError(f"no configuration file {given}")
        return given
    usual = state / FILE_NAME
    return usual if usual.is_file() else None


def dump_launch(file: Path | None, overrides: Mapping[type, Mapping[str, object]]) -> str:
    """What the command line hands to the process it starts, as JSON: the file's path and its own overrides."""
    named = {
        cast(Any, one).table: {k: str(v) if isinstance(v, Path) else v for k, v in values.items()}
        for one, values in overrides.items()
    }
    return json.dumps({"file": str(file) if file else None, "overrides": named})


def load_launch(tables: Sequence[type], text: str, env: Mapping[str, str], *, others: bool = False) -> Settings:
    """The settings that `dump_launch` describes, over all tables (`others`: see `load_settings`)."""
    said = json.loads(text)
    by_name = {cast(Any, one).table: one for one in tables}
    overrides = {by_name[name]: values for name, values in said["overrides"].items()}
    return load_settings(tables, Path(said["file"]) if said["file"] else None, env, overrides, others=others)


def render_reference(tables: Sequence[type]) -> str:
    """docs/CONFIGURATION.md: every table and key with its type, default, variable and meaning."""
    lines = [
        "# Configuration",
        "",
        "Generated from the declarations (`make docs`); a test keeps it current.",
        "",
        f"One TOML file (`--config`, or `{FILE_NAME}` in the state directory) and environment variables. The command",
        "line wins over the environment, the environment over the file. Unknown tables and keys are refused.",
    ]
    for one in tables:
        name = cast(Any, one).table
        about = (one.__doc__ or "").strip().splitlines()[0]
        lines += [
            "",
            f"## [{name}]",
            "",
            about,
            "",
            "| key | type | default | variable | meaning |",
            "|---|---|---|---|---|",
        ]
        hints = get_type_hints(one)
        for key, item in _settings_of(one).items():
            meaning = item.metadata["doc"]
            if item.metadata["choices"]:
                meaning += " One of: " + ", ".join(item.metadata["choices"]) + "."
            shown = _default_text(item)
            lines.append(
                f"| `{key}` | {_type_text(hints[key])} | {shown} | `{PREFIX}{name.upper()}_{key.upper()}` | {meaning} |"
            )
    return "\n".join(lines) + "\n"


def _settings_of(table: type) -> dict[str, Field[Any]]:
    return {item.name: item for item in fields(table)}


def _has_default(item: Field[Any]) -> bool:
    return item.default is not MISSING or item.default_factory is not MISSING


def _nearest(word: str, known: Iterable[str]) -> str:
    names = sorted(known)
    close = get_close_matches(word, names, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(names)}"


def _refuse_unknown(found: Iterable[str], known: Iterable[str], what: str, where: str = "") -> None:
    allowed = set(known)
    for word in found:
        if word not in allowed:
            raise ConfigError(f"{where}unknown {what} {word!r}; {_nearest(word, allowed)}")


def _read_file(file: Path | None, known: Mapping[str, type], others: bool) -> dict[str, dict[str, object]]:
    if file is None:
        return {}
    try:
        content = tomllib.loads(file.read_text())
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not TOML: {error}") from error
    if not others:
        _refuse_unknown(content, known, "table", f"{file}: ")
    for name, one in known.items():
        if not isinstance(content.get(name, {}), dict):
            raise ConfigError(f"{file}: {name} must be a table, written [{name}]")
        _refuse_unknown(content.get(name, {}), _settings_of(one), f"key in [{name}]", f"{file}: ")
    return content


def _read_env(env: Mapping[str, str], known: Mapping[str, type], others: bool) -> dict[str, dict[str, object]]:
    """Variables by table and key. A table's name may hold underscores: the longest that fits is meant."""
    found: dict[str, dict[str, object]] = {}
    by_length = sorted(known, key=len, reverse=True)
    for variable, text in env.items():
        if not variable.startswith(PREFIX):
            continue
        rest = variable.removeprefix(PREFIX).lower()
        table = next((name for name in by_length if rest.startswith(name + "_")), None)
        if table is None:
            if others:
                continue
            every = [f"{PREFIX}{n.upper()}_{k.upper()}" for n, one in known.items() for k in _settings_of(one)]
            raise ConfigError(f"unknown variable {variable}; {_nearest(variable, every)}")
        key = rest.removeprefix(table + "_")
        keys = _settings_of(known[table])
        if key not in keys:
            every = [f"{PREFIX}{table.upper()}_{k.upper()}" for k in keys]
            raise ConfigError(f"unknown variable {variable}; {_nearest(variable, every)}")
        found.setdefault(table, {})[key] = text
    return found


def _converted(value: object, hint: Any, item: Field[Any], where: str) -> object:
    options = get_args(hint) if get_origin(hint) in (types.UnionType,) else (hint,)
    for option in options:
        good, made = _as_type(value, option)
        if good:
            if item.metadata.get("choices") and made not in item.metadata["choices"]:
                raise ConfigError(f"{where} must be one of {', '.join(item.metadata['choices'])}, not {made!r}")
            return made
    shown = "what was given" if item.metadata.get("secret") else repr(value)
    raise ConfigError(f"{where} must be {_type_text(hint)}, not {shown}")


def _as_type(value: object, option: Any) -> tuple[bool, object]:
    """Whether the value (from TOML, or text from a variable) can be of that type, and the value itself."""
    if option is type(None):
        return value is None or value == "", None
    if option is bool:
        words = dict.fromkeys(("true", "yes", "on", "1"), True) | dict.fromkeys(("false", "no", "off", "0"), False)
        if isinstance(value, str):
            return value.lower() in words, words.get(value.lower())
        return isinstance(value, bool), value
    if option in (int, float):
        if isinstance(value, bool):
            return False, None
        try:
            return (True, option(value)) if isinstance(value, str | option | int) else (False, None)
        except ValueError:
            return False, None
    if option is Path:
        return (True, Path(value).expanduser()) if isinstance(value, str | Path) and str(value) else (False, None)
    if get_origin(option) in (list, tuple):
        made = [one.strip() for one in value.split(",") if one.strip()] if isinstance(value, str) else value
        inner = get_args(option)[0]
        if not isinstance(made, list | tuple):
            return False, None
        pairs = [_as_type(one, inner) for one in made]
        return all(good for good, _ in pairs), cast(Any, get_origin(option))(one for _, one in pairs)
    return isinstance(value, str), value


def _type_text(hint: Any) -> str:
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "text", Path: "a path"}
    if get_origin(hint) is types.UnionType:
        return " or ".join(_type_text(one) for one in get_args(hint) if one is not type(None))
    if get_origin(hint) in (list, tuple):
        return f"a list ({_type_text(get_args(hint)[0])})"
    return names.get(hint, "text")


def _default_text(item: Field[Any]) -> str:
    if not _has_default(item):
        return "(needed)"
    value = item.default if item.default is not MISSING else cast(Any, item.default_factory)()
    if value is None or value == "":
        return ""
    return f"`{json.dumps(list(value) if isinstance(value, tuple) else value, default=str)}`"
