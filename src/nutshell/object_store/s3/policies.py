"""Bucket policies: the statements that are common, evaluated as written (S3 User Guide, "Bucket policies").

Principals are `*`, or under "AWS" a project's id, "project:user", or an ARN that ends in either; the conditions are
those below.
"""

import fnmatch
import functools
import ipaddress
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from nutshell.object_store.callers import words_for
from nutshell.object_store.numbers import count
from nutshell.object_store.s3.errors import S3Error
from nutshell.object_store.s3.messages import Request

LONGEST = 20 << 10
OWNERS = frozenset({"s3:GetBucketPolicy", "s3:PutBucketPolicy", "s3:DeleteBucketPolicy"})  # never locked out of these
KEYS = {"Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Resource", "NotResource", "Condition"}


def _network(value: str, pattern: str) -> bool:
    try:
        return ipaddress.ip_address(value) in ipaddress.ip_network(pattern, strict=False)
    except ValueError:
        return False


def _counts(value: str, pattern: str, test: Callable[[int, int], bool]) -> bool:
    a, b = count(value), count(pattern)
    return a is not None and b is not None and test(a, b)


TESTS: Mapping[str, Callable[[str, str], bool]] = {
    "StringEquals": lambda v, p: v == p,
    "StringNotEquals": lambda v, p: v != p,
    "StringEqualsIgnoreCase": lambda v, p: v.lower() == p.lower(),
    "StringLike": lambda v, p: _like(v, p),
    "StringNotLike": lambda v, p: not _like(v, p),
    "IpAddress": _network,
    "NotIpAddress": lambda v, p: not _network(v, p),
    "Bool": lambda v, p: v.lower() == p.lower(),
    "NumericLessThanEquals": lambda v, p: _counts(v, p, lambda a, b: a <= b),
    "NumericEquals": lambda v, p: _counts(v, p, lambda a, b: a == b),
}
NEGATIVE = ("StringNotEquals", "StringNotLike", "NotIpAddress")
FACTS: Mapping[str, Callable[[Request], str]] = {
    "aws:sourceip": lambda r: r.client,
    "aws:securetransport": lambda r: str(r.secure).lower(),
    "aws:referer": lambda r: r.headers.get("referer", ""),
    "aws:useragent": lambda r: r.headers.get("user-agent", ""),
    "aws:username": lambda r: r.who.user_name,
    "s3:prefix": lambda r: r.query.get("prefix", ""),
    "s3:delimiter": lambda r: r.query.get("delimiter", ""),
    "s3:max-keys": lambda r: r.query.get("max-keys", ""),
    "s3:x-amz-acl": lambda r: r.headers.get("x-amz-acl", ""),
    "s3:x-amz-copy-source": lambda r: r.headers.get("x-amz-copy-source", ""),
    "s3:x-amz-metadata-directive": lambda r: r.headers.get("x-amz-metadata-directive", ""),
    "s3:x-amz-server-side-encryption": lambda r: r.headers.get("x-amz-server-side-encryption", ""),
    "s3:versionid": lambda r: r.query.get("versionId", ""),
}


def _like(value: str, pattern: str) -> bool:
    """`*` and `?` alone are wild."""
    return _pattern(pattern).match(value) is not None


@functools.lru_cache(1024)
def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(fnmatch.translate(text.replace("[", "[[]")))


def accept(raw: bytes, bucket: str) -> str:
    """The document as it is kept. MalformedPolicy says what is wrong with it."""
    if len(raw) > LONGEST:
        raise S3Error("MalformedPolicy", f"A policy has at most {LONGEST} bytes.")
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        raise S3Error("MalformedPolicy") from None
    if not isinstance(found, dict) or found.get("Version", "2012-10-17") not in ("2012-10-17", "2008-10-17"):
        raise S3Error("MalformedPolicy", "The policy must contain a valid version string")
    statements = _list(found.get("Statement"))
    if not statements:
        raise S3Error("MalformedPolicy", "Missing required field Statement")
    for statement in statements:
        _check(statement, bucket)
    return json.dumps({"Version": found.get("Version", "2012-10-17"), **found})


def _check(statement: Any, bucket: str) -> None:
    if not isinstance(statement, dict) or set(statement) - KEYS:
        raise S3Error("MalformedPolicy", "Unknown field in a statement")
    if statement.get("Effect") not in ("Allow", "Deny"):
        raise S3Error("MalformedPolicy", "Invalid effect: it is Allow or Deny")
    for one, other in (("Principal", "NotPrincipal"), ("Action", "NotAction"), ("Resource", "NotResource")):
        if (one in statement) == (other in statement):
            raise S3Error("MalformedPolicy", f"A statement has either {one} or {other}")
    actions = _list(statement.get("Action", statement.get("NotAction")))
    if not actions or not all(isinstance(a, str) and (a == "*" or a.startswith("s3:")) for a in actions):
        raise S3Error("MalformedPolicy", "Policy has invalid action")
    resources = _list(statement.get("Resource", statement.get("NotResource")))
    own = f"arn:aws:s3:::{bucket}"
    if not resources or not all(
        isinstance(r, str) and (r == own or r.startswith((own + "/", own + "*"))) for r in resources
    ):
        raise S3Error("MalformedPolicy", "Policy has invalid resource")
    if not isinstance(statement.get("Condition") or {}, dict):
        raise S3Error("MalformedPolicy", "Invalid Condition")
    for operator, terms in (statement.get("Condition") or {}).items():
        if operator.removesuffix("IfExists") not in TESTS and operator != "Null":
            raise S3Error("MalformedPolicy", f"Invalid Condition type : {operator}")
        if not isinstance(terms, dict):
            raise S3Error("MalformedPolicy", "Invalid Condition")
        for key in terms:
            if key.lower() not in FACTS:
                raise S3Error("MalformedPolicy", f"Policy has an invalid condition key: {key}")


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def verdict(written: str, req: Request, action: str, bucket: str, key: str) -> str:
    """ "Deny", "Allow", or "" where no statement speaks of this."""
    resource = f"arn:aws:s3:::{bucket}" + (f"/{key}" if key else "")
    found = ""
    for statement in _list(json.loads(written)["Statement"]):
        if _means(statement, req, action, resource):
            if statement["Effect"] == "Deny":
                return "Deny"
            found = "Allow"
    return found


def public(written: str) -> bool:
    """Whether it lets everybody in."""
    return any(
        s["Effect"] == "Allow" and not s.get("Condition") and "*" in _principals(s.get("Principal"))
        for s in _list(json.loads(written)["Statement"])
    )


def _means(statement: Mapping[str, Any], req: Request, action: str, resource: str) -> bool:
    if "Principal" in statement:
        if not _is(statement["Principal"], req):
            return False
    elif _is(statement["NotPrincipal"], req):
        return False
    acts = any(_like(action.lower(), a.lower()) for a in _list(statement.get("Action", statement.get("NotAction"))))
    if acts != ("Action" in statement):
        return False
    there = any(_like(resource, r) for r in _list(statement.get("Resource", statement.get("NotResource"))))
    if there != ("Resource" in statement):
        return False
    return all(_holds(operator, terms, req) for operator, terms in (statement.get("Condition") or {}).items())


def _principals(said: Any) -> list[str]:
    if isinstance(said, dict):
        return [str(p) for p in _list(said.get("AWS")) + _list(said.get("CanonicalUser"))]
    return [str(p) for p in _list(said)]


def _is(said: Any, req: Request) -> bool:
    projects, users = words_for(req.who, req.named)
    for one in _principals(said):
        if one == "*":
            return True
        name = one.rpartition(":::")[2] if one.startswith("arn:") else one
        project = re.fullmatch(r"arn:aws:iam::([^:]+):(root|user/(.+))", one)
        if project is not None and project[1] in projects:
            if project[2] == "root" or project[3] in users:
                return True
        elif name in req.names:
            return True
    return False


def _holds(operator: str, terms: Mapping[str, Any], req: Request) -> bool:
    for key, values in terms.items():
        value = FACTS[key.lower()](req)
        wanted = [str(v).lower() if isinstance(v, bool) else str(v) for v in _list(values)]
        if operator == "Null":
            if (not value) != (wanted == ["true"]):
                return False
            continue
        name = operator.removesuffix("IfExists")
        if not value and operator.endswith("IfExists"):
            continue
        test = TESTS[name]
        right = all(test(value, w) for w in wanted) if name in NEGATIVE else any(test(value, w) for w in wanted)
        if not right:
            return False
    return True
