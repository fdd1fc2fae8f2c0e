"""Explanations: why a resource is in its state, why a request was refused (docs/EXPLAIN.md)."""

import time
from collections.abc import Mapping
from typing import Any

from nutshell.core.errors import NotFound
from nutshell.core.explain import Explained, Explains
from nutshell.core.perform import visible
from nutshell.core.policy import Rule, Rules
from nutshell.core.resource import Resource
from nutshell.core.service import Ask
from nutshell.operator.recorder import Ring, Trace, why_refused
from nutshell.operator.requests import HOSTS, brief, may_see, nameless, need_trace, whole
from nutshell.operator.service import operator

RULE = "nutshell:explain"
operator.policy({RULE: "@"})
REQUESTS = 5  # that touched a resource, named in its explanation


@operator.route("GET", "/explain/{kind}/{id}", rule=RULE)
def explain(ask: Ask[Any]) -> dict[str, Any]:
    kind, key = ask.params["kind"], ask.params["id"]
    if kind == "request":
        return {"explanation": _request(ask, need_trace(ask, key))}
    found: Explains | None = ask.cloud.explainers.get(kind)
    if found is None:
        known = ", ".join(sorted([*ask.cloud.explainers, "request"]))
        raise NotFound(kind="Explanation", id=f"of a {kind} (there are: {known})")
    row = ask.tx.get(found.noun, key)
    if row is None or not visible(ask, row):
        raise NotFound(kind=found.noun.one.capitalize(), id=key)
    said: dict[str, Any] = nameless(ask, _shown(ask, kind, row, found.explain(ask, row)))
    return {"explanation": said}


def _shown(ask: Ask[Any], kind: str, row: Resource, why: Explained) -> dict[str, Any]:
    facts = dict(why.facts)
    if ask.may(HOSTS, {}):
        facts |= why.for_operators
    mine = [t for t in _touching(ask, row.id) if may_see(ask, t)]
    tries = [] if not facts.get("due", True) else _last_try(mine)
    requests = [brief(t) | ({"refused": r} if (r := refusal(ask, t)) else {}) for t in mine[:REQUESTS]]
    return {
        "kind": kind,
        "id": row.id,
        "name": getattr(row, "name", None),
        "status": why.status,
        "because": [*why.because, *tries],
        **facts,
        "request_id": why.request_id or ask.cloud.port(Ring).cause_of(row.id) or None,
        "requests": requests,
    }


def _touching(ask: Ask[Any], resource_id: str) -> list[Trace]:
    """The newest requests that changed it, or tried to."""
    found = []
    for trace in ask.cloud.port(Ring).newest():
        e = trace.entry
        if e["method"] in ("GET", "HEAD") or e["service"] == "nutshell":
            continue
        if resource_id in e["path"] or any(n.resource_id == resource_id for n in trace.notes):
            found.append(trace)
    return found


def _last_try(traces: list[Trace]) -> list[str]:
    """What the last look of a loop, or the last driver call, met."""
    notes = [n for t in traces for n in t.notes if n.what != "event"]
    last = max(notes, key=lambda n: n.at, default=None)
    failed = [n for n in notes if n.why and last is not None and n.at >= last.at - 1.0]
    if not failed:
        return []
    one = max(failed, key=lambda n: (n.what == "driver", n.at))
    return [f"The last try failed {time.time() - one.at:.1f} s ago ({one.what} {one.name}): {one.why}"]


def _request(ask: Ask[Any], trace: Trace) -> dict[str, Any]:
    found = whole(ask, trace)
    why = refusal(ask, trace)
    status = trace.entry["status"]
    because = [f"{found['method']} {found['path']} was answered {status} after {found['ms']:.1f} ms."]
    if why:
        because += _sentences(why)
    elif status >= 400:
        because.append("It was refused before a handler saw it.")
    because += [_of_operation(op) for op in found["operations"]]
    found["refused"] = why or None
    shown: dict[str, Any] = nameless(ask, {"kind": "request", **found, "because": because})
    return shown


def _of_operation(op: Mapping[str, Any]) -> str:
    text = f"It began the {op['kind']} of {op['resource_kind']} {op['resource_id']}, which "
    if not op["done"]:
        return text + f"goes on (last step: {op['step'] or 'none yet'})."
    return text + (f"failed: {op['fault']}" if op["fault"] else f"was done after {op['ms']:.1f} ms.")


def refusal(ask: Ask[Any], trace: Trace) -> dict[str, Any]:
    """Why a request was refused, with the rule's text and what of it the caller's roles lack."""
    why = why_refused(trace)
    rule = why.get("rule")
    if isinstance(rule, str):
        rules = ask.cloud.rules
        why["check"] = rules.texts.get(rule, "(no such rule: denied)")
        why["means"] = spelled_out(rules, rules.rule(rule))
        why["roles"] = sorted(trace.roles)
    return why


def _sentences(why: Mapping[str, Any]) -> list[str]:
    found = [str(why["message"])]
    if "rule" in why:
        found.append(f"The policy rule {why['rule']} refused: it asks for {why['means']}.")
        found.append(f"The caller's roles are {', '.join(why['roles']) or 'none'}.")
    if "quota" in why:
        q = why["quota"]
        name = q.get("full_name") or q.get("name")
        found.append(
            f"The quota {name} of the project is {q['limit']}: {q['used']} used, {q.get('requested')} more asked."
        )
    return found


def spelled_out(rules: Rules, rule: Rule, depth: int = 0) -> str:
    """A rule's text with the rules it names put in."""
    if rule.kind in ("and", "or"):
        parts = [spelled_out(rules, part, depth + 1) for part in rule.parts]
        text = f" {rule.kind} ".join(parts)
        return f"({text})" if depth and len(parts) > 1 else text
    if rule.kind == "not":
        return "not " + spelled_out(rules, rule.parts[0], depth + 1)
    if rule.kind == "rule":
        return spelled_out(rules, rules.rule(rule.right), depth + 1) if depth < 10 else f"rule:{rule.right}"
    if rule.kind in ("true", "false"):
        return "anybody" if rule.kind == "true" else "nobody"
    return f"{rule.kind if rule.kind in ('role', 'field') else rule.left}:{rule.right}"
