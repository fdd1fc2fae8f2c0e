"""Traces and explanations as trees of lines; pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Branch = tuple[str, Sequence["Branch"]]  # a line, and what hangs below it


def tree(branches: Sequence[Branch], indent: str = "") -> Iterable[str]:
    for n, (line, below) in enumerate(branches):
        last = n == len(branches) - 1
        yield f"{indent}{'└─' if last else '├─'} {line}"
        yield from tree(below, indent + ("   " if last else "│  "))


def request_tree(r: Mapping[str, Any]) -> Iterable[str]:
    """What `nutshell trace-request` prints."""
    who = f"user {r['user_id'] or '-'}, project {r['project_id'] or '-'}"
    yield f"{r['id']} {r['method']} {r['path']}"
    yield f"answered {r['status']} in {r['ms']:.1f} ms, {r['sql']} SQL statements {r['sql_ms']:.1f} ms ({who})"
    branches: list[Branch] = [("parts", [(_at(p, p["name"]), []) for p in r["parts"]])]
    if r.get("refused"):
        branches.append(("refused: " + refusal_line(r["refused"]), []))
    later = [(n["at_ms"], _at(n, _named(n))) for n in (*r["events"], *r["followed"])]
    after = [line for at, line in sorted(later) if at > r["ms"]]
    within = [line for at, line in sorted(later) if at <= r["ms"]]
    if within:
        branches.append(("events", [(line, []) for line in within]))
    if after:
        branches.append(("followed", [(line, []) for line in after]))
    if r["operations"]:
        branches.append(("operations", [(_operation(op), []) for op in r["operations"]]))
    if r["dropped"]:
        branches.append((f"{r['dropped']} more were not kept", []))
    yield from tree(branches)


def _at(item: Mapping[str, Any], text: str) -> str:
    took = f"{item['ms']:8.1f} ms" if "ms" in item else " " * 11
    return f"{item['at_ms']:9.1f}  {took}  {text}"


def _named(note: Mapping[str, Any]) -> str:
    words = [note["what"], note["name"], note.get("resource_id", ""), note.get("state", "")]
    return " ".join(w for w in words if w) + (f": {note['why']}" if note.get("why") else "")


def _operation(op: Mapping[str, Any]) -> str:
    text = f"{op['kind']} of {op['resource_kind']} {op['resource_id']}"
    if not op["done"]:
        return f"{text}: open, last step: {op['step'] or 'none yet'}"
    return f"{text}: {op['ms']:.1f} ms, " + (f"failed: {op['fault']}" if op["fault"] else "done")


def refusal_line(why: Mapping[str, Any]) -> str:
    text = f"{why['message']}"
    if why.get("rule"):
        text += f" Rule {why['rule']}"
        if why.get("check"):
            text += f": {why['check']}"
        if why.get("roles") is not None:
            text += f"; the caller's roles: {', '.join(why['roles']) or 'none'}"
    return text


def explanation_tree(e: Mapping[str, Any]) -> Iterable[str]:
    """What `nutshell explain` prints: the sentences, then the facts that need more room."""
    yield f"{e['kind']} {e['id']}" + (f" ({e['name']})" if e.get("name") else "")
    branches: list[Branch] = [(line, []) for line in e["because"]]
    if e.get("scheduling"):
        branches.append((_decision(e["scheduling"]), [(line, []) for line in _hosts(e["scheduling"])]))
    if e.get("host"):
        branches.append((f"host: {e['host']}", []))
    if e.get("fault_details") and not e.get("scheduling") and e["fault_details"] != e.get("fault"):
        branches.append((f"details: {e['fault_details']}", []))
    if e["kind"] != "request" and e.get("requests"):
        branches.append(("requests that touched it", [(_request(r), []) for r in e["requests"]]))
    elif e["kind"] == "request":
        branches.append((f"more: nutshell trace-request {e['id']}", []))
    yield from tree(branches)


def _decision(s: Mapping[str, Any]) -> str:
    wanted = ", ".join(f"{amount} {name}" for name, amount in s["wanted"].items())
    return f"hosts considered: {s['hosts']}, for {wanted}"


def _hosts(s: Mapping[str, Any]) -> Iterable[str]:
    fit = s.get("fit")
    for one in fit if isinstance(fit, list) else ():
        free = ", ".join(f"{amount} {name}" for name, amount in one["free"].items())
        yield f"{one['host']}: {'chosen' if one['host'] == s['chosen'] else 'fits'}, free were {free}"
    if isinstance(fit, int):
        yield f"{fit} fit"
    for one in s["lacking"]:
        yield f"{one['host']}: {one['lacked']}" if "host" in one else f"{one['hosts']} lacked: {one['lacked']}"


def _request(r: Mapping[str, Any]) -> str:
    line = f"{r['at'][11:23]} {r['id']} {r['method']} {r['path']} → {r['status']}"
    return line + (f": {refusal_line(r['refused'])}" if r.get("refused") else "")
