"""The rules of the house that a program can check (CONTRIBUTING.md).

A rule is waived by a dated line in the file: `# house: file-length waived 2026-11-22: why`. It holds for that rule in
that file; one that waives nothing fails too.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "nutshell"
WAIVER = re.compile(r"^\s*# house: (?P<rule>[a-z-]+) waived (?P<day>\d{4}-\d\d-\d\d): (?P<why>\S.{9,})$", re.MULTILINE)
GROUND = {"core", "testing"}  # no services: everybody may import them
WIRING = {"app", "cli", "host", "dashboard", "testing", "upgrade"}  # may know services by name
LIBRARIES = {"nutshell.image.formats", "nutshell.server.passing"}  # without a service's state
# Where a service's wiring finds the drivers of the privileged process.
BORDER = ("nutshell.host.rpc", "nutshell.host.remote")
HEAVY = ("qemu", "pyroute2", "psycopg", "alembic", "pycdlib", "yaml", "rich", "pytest", "wsgidav")


@dataclass(frozen=True)
class Source:
    """One Python file, read and parsed."""

    path: Path

    @cached_property
    def text(self) -> str:
        return self.path.read_text()

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @property
    def name(self) -> str:
        return str(self.path.relative_to(ROOT))

    @property
    def part(self) -> str:
        """The folder or module right under the package: "core", "compute", "app"."""
        return self.path.relative_to(PACKAGE).parts[0].removesuffix(".py")

    def functions(self) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
        return (n for n in ast.walk(self.tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))

    def classes(self) -> Iterator[ast.ClassDef]:
        return (n for n in ast.walk(self.tree) if isinstance(n, ast.ClassDef))

    def imports(self) -> Iterator[str]:
        """Every module imported, wherever in the file it stands, as a dotted name (with the names taken from it)."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                yield from (f"{node.module}.{alias.name}" for alias in node.names)


PRODUCT = [Source(path) for path in sorted(PACKAGE.rglob("*.py"))]
TESTS = [Source(path) for folder in ("tests", "bench") for path in sorted((ROOT / folder).rglob("*.py"))]
SERVICES = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()} - GROUND - WIRING


def file_length(source: Source) -> Iterator[str]:
    lines = source.text.count("\n")
    if lines > 500:
        yield f"{lines} lines; at most 500"


def function_length(source: Source) -> Iterator[str]:
    for function in source.functions():
        lines = (function.end_lineno or function.lineno) - function.lineno + 1
        if lines > 60:
            yield f"{function.name} has {lines} lines; at most 60"


def parameters(source: Source) -> Iterator[str]:
    for function in source.functions():
        given = function.args
        names = [a.arg for a in (*given.posonlyargs, *given.args, *given.kwonlyargs) if a.arg not in ("self", "cls")]
        if len(names) > 7:
            yield f"{function.name} has {len(names)} parameters; at most 7"


def _bases(node: ast.ClassDef) -> list[str]:
    return [ast.unparse(base).split("[")[0].rpartition(".")[2] for base in node.bases]


def protocol_size(source: Source) -> Iterator[str]:
    """Of drivers. A port, which one service offers to the others, may be longer."""
    if source.path.name == "port.py":
        return
    for node in source.classes():
        methods = [n for n in node.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
        if "Protocol" in _bases(node) and len(methods) > 10:
            yield f"{node.name} has {len(methods)} methods; at most 10"


def class_name(source: Source) -> Iterator[str]:
    for node in source.classes():
        if re.search(r"(Manager|Helper|Base|Impl|Mixin|Util|Utils)$", node.name) or node.name.startswith("Base"):
            yield f"{node.name} says nothing: name what it is"


def file_name(source: Source) -> Iterator[str]:
    if re.fullmatch(r"(.*_)?(utils?|helpers?|managers?|common|misc|base|impl)\.py", source.path.name):
        yield "a file's name says what is in it"


def inheritance(source: Source) -> Iterator[str]:
    """No class inherits from one of its file that itself inherits. Protocols may be joined, errors may form kinds."""
    known = {node.name: _bases(node) for node in source.classes()}
    plain = {"object", "Protocol", "Enum", "IntEnum", "StrEnum", "Flag", "NamedTuple", "TypedDict", "Generic", "Struct"}

    def is_error(name: str) -> bool:
        return name.endswith(("Exception", "Error")) or any(is_error(base) for base in known.get(name, ()))

    for node in source.classes():
        if "Protocol" in _bases(node) or is_error(node.name):
            continue
        deep = [base for base in _bases(node) if set(known.get(base, ())) - plain]
        if deep:
            yield f"{node.name} inherits from {deep[0]}, which inherits too; at most one step"


def docstring(source: Source) -> Iterator[str]:
    said = ast.get_docstring(source.tree)
    if not said and source.text.strip():
        yield "the module has no docstring: one plain sentence, then the source"


def mutable_state(source: Source) -> Iterator[str]:
    for node in source.tree.body:
        value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
        if value is None or (isinstance(node, ast.AnnAssign) and ast.unparse(node.annotation).startswith("Mapping")):
            continue
        if re.fullmatch(r"\[\]|\{\}|(list|dict|set|deque)\(\)|defaultdict\(\w+\)", ast.unparse(value)):
            yield f"line {node.lineno}: an empty container of the module is there to be changed"


def walls(source: Source) -> Iterator[str]:
    """Core and testing know no service; services know each other by `port` alone; the host knows their capabilities."""
    for module in source.imports():
        parts = module.split(".")
        if parts[0] != "nutshell" or len(parts) < 2 or parts[1] == source.part:
            continue
        other, inner = parts[1], parts[2] if len(parts) > 2 else ""
        if source.part == "core" and other in SERVICES | WIRING - {"testing"}:
            yield f"core imports {module}: core knows no service"
        elif ".".join(parts[:3]) in LIBRARIES or (source.path.name == "wiring.py" and module.startswith(BORDER)):
            continue
        elif source.part in SERVICES and other in SERVICES and inner != "port":
            yield f"{module}: services import each other only through port.py"
        elif source.part in SERVICES and other in WIRING - {"testing"}:
            yield f"{module}: a service does not know who uses it"


def tenant(source: Source) -> Iterator[str]:
    """In names of functions, classes and parameters; a field or a query parameter is named as the wire has it."""
    for node in (*source.functions(), *source.classes()):
        arguments = [] if isinstance(node, ast.ClassDef) else [*node.args.args, *node.args.kwonlyargs]
        for name in (node.name, *(argument.arg for argument in arguments)):
            if "tenant" in name.lower() and "all_tenants" not in name:
                yield f"line {node.lineno}: {name}: it is called project, except on the wire"


def patching(source: Source) -> Iterator[str]:
    if any(module.startswith(("unittest.mock", "mock.")) or ".mock." in module for module in source.imports()):
        yield "fakes are passed through the Protocols, not patched in"


RULES: dict[str, Callable[[Source], Iterator[str]]] = {
    "file-length": file_length,
    "function-length": function_length,
    "parameters": parameters,
    "protocol-size": protocol_size,
    "class-name": class_name,
    "file-name": file_name,
    "inheritance": inheritance,
    "docstring": docstring,
    "mutable-state": mutable_state,
    "walls": walls,
    "tenant": tenant,
    "patching": patching,
}
FOR_TESTS = ("file-length", "docstring", "patching")


def judge(source: Source, rules: tuple[str, ...]) -> list[str]:
    """What is wrong with the file, after its waivers."""
    waived = {match["rule"]: match for match in WAIVER.finditer(source.text)}
    wrong: list[str] = []
    for rule in rules:
        found = list(RULES[rule](source))
        match = waived.pop(rule, None)
        if match is None:
            wrong += [f"{source.name}: {rule}: {why}" for why in found]
        elif not found:
            wrong.append(f"{source.name}: the waiver of {rule} waives nothing: take it out")
        elif date.fromisoformat(match["day"]) < date(2026, 11, 1):
            wrong.append(f"{source.name}: the waiver of {rule} is older than the project")
    return wrong + [f"{source.name}: no rule is called {rule}" for rule in waived]


@pytest.mark.parametrize("source", PRODUCT, ids=lambda source: source.name)
def test_source_keeps_the_rules(source: Source) -> None:
    assert not judge(source, tuple(RULES))


@pytest.mark.parametrize("source", TESTS, ids=lambda source: source.name)
def test_tests_keep_the_rules(source: Source) -> None:
    assert not judge(source, FOR_TESTS)


def test_waivers_are_few() -> None:
    """A pattern of waivers is evidence against the number."""
    counts: dict[str, int] = {}
    for source in PRODUCT:
        for match in WAIVER.finditer(source.text):
            counts[match["rule"]] = counts.get(match["rule"], 0) + 1
    assert all(count <= 10 for count in counts.values()), counts


@pytest.mark.parametrize("module", ["nutshell", "nutshell.cli", "nutshell.app"])
def test_imports_are_light(module: str) -> None:
    """Heavy libraries load in the driver or the command that needs them."""
    code = f"import sys, {module}; print(*sorted(name for name in sys.modules if '.' not in name))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert not set(done.stdout.split()) & set(HEAVY)


def test_the_checks_see_what_they_look_for(tmp_path: Path) -> None:
    body = "\n".join(f"    x{n} = {n}" for n in range(61))
    text = "STATE = {}\n\nclass ThingManager(A): ...\nclass A(B): ...\nclass B(C): ...\n"
    text += f"def tenant_of(a, b, c, d, e, f, g, h):\n{body}\n\nimport unittest.mock\n"
    bad = Source(tmp_path / "utils.py")
    bad.path.write_text(text)
    seen = {name for name, rule in RULES.items() if name != "walls" and list(rule(bad))}
    assert seen == {"function-length", "parameters", "class-name", "file-name", "docstring", "mutable-state", "tenant",
                    "patching", "inheritance"}  # fmt: skip
