"""Signatures of Amazon's protocols: versions 0, 1, 2 and 4 of requests, and what S3 clients sign.

Source: AWS General Reference, "Signature Version 4"; Identity API v3 extensions, "OS-EC2", "s3tokens".
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlsplit

from nutshell.core.clock import parse_iso
from nutshell.core.errors import Unauthorized

V4 = "AWS4-HMAC-SHA256"
S3_SERVICES = ("s3", "iam", "sts")


def signing_key(secret: str, date: str, region: str, service: str) -> bytes:
    """The key of version 4 for one day, region and service."""
    key = ("AWS4" + secret).encode()
    for part in (date, region, service, "aws4_request"):
        key = _sha256(key, part)
    return key


def s3_right(secret: str, token: str, signature: str) -> bool:
    """Whether an S3 client that knows the secret signed this text (base64). False also for what is no such text."""
    try:
        text = base64.urlsafe_b64decode(token)
    except (binascii.Error, ValueError):
        return False
    if text[:4] != b"AWS4":
        expected = base64.b64encode(hmac.digest(secret.encode(), text, "sha1")).decode()
        return _same(expected, signature)
    try:
        lines = text.decode().split("\n")
        kind, _, scope, _ = lines
        date, region, service, end = scope.split("/")
    except ValueError:
        return False
    if kind != V4 or end != "aws4_request" or service not in S3_SERVICES:
        return False
    return _same(_sha256(signing_key(secret, date, region, service), text.decode()).hex(), signature)


def ec2_right(secret: str, given: Mapping[str, Any]) -> bool:
    """Whether a request to an EC2 API (its verb, host, path, params, headers, body_hash) was signed with this secret.

    Clients differ in whether they sign the host with its port: both are tried.
    """
    signature, host = given.get("signature"), given.get("host", "")
    if not isinstance(signature, str) or not isinstance(host, str):
        return False
    hosts = [host]
    if ":" in host:
        try:
            hosts.append(urlsplit("//" + host).hostname or "")
        except ValueError:
            return False
    for one in hosts:
        try:
            if _same(_ec2_signature(secret, {**given, "host": one}), signature):
                return True
        except (KeyError, ValueError, AttributeError, TypeError, IndexError):
            return False  # something that belongs to a signed request is missing or of another type
    return False


def signed_at(given: Mapping[str, Any]) -> float | None:
    """When a request says it was signed; None when it does not say. Unauthorized when that is no time."""
    params, headers = given.get("params"), given.get("headers")
    params = params if isinstance(params, Mapping) else {}
    headers = headers if isinstance(headers, Mapping) else {}
    text = params.get("Timestamp") or headers.get("X-Amz-Date") or params.get("X-Amz-Date")
    if not text:
        return None
    try:
        return parse_iso(str(text))
    except ValueError:
        raise Unauthorized() from None


def _ec2_signature(secret: str, given: Mapping[str, Any]) -> str:
    params: Mapping[str, Any] = given["params"]
    version = params.get("SignatureVersion")
    if version == "0":
        return _sha1(secret, params["Action"] + params["Timestamp"])
    if version == "1":
        return _sha1(secret, "".join(k + str(params[k]) for k in sorted(params, key=str.lower)))
    if version == "2":
        asked = {**params, "SignatureMethod": "HmacSHA256"}
        text = f"{given['verb']}\n{given['host']}\n{given['path']}\n{_query(asked)}"
        return base64.b64encode(_sha256(secret.encode(), text)).decode()
    headers = given.get("headers") or {}
    if str(headers.get("Authorization", "")).startswith(V4) or params.get("X-Amz-Algorithm") == V4:
        return _v4(secret, given, params, headers)
    raise ValueError("no version of signature is named")


def _v4(secret: str, given: Mapping[str, Any], params: Mapping[str, Any], headers: Mapping[str, Any]) -> str:
    said = headers.get("Authorization")

    def member(name: str) -> str:
        """Of the Authorization header, or of the query."""
        if said is not None:
            return str(said).partition(f"{name}=")[2].split(",")[0]
        return str(params[f"X-Amz-{name}"])

    low = {k.lower().strip(): str(v).strip() for k, v in headers.items()} | {"host": given["host"]}
    signed = member("SignedHeaders")
    lines = "".join(f"{h}:{low[h]}\n" for h in signed.split(";") if h in low)
    verb = given["verb"].upper()
    query = "" if verb == "POST" else _query({k: v for k, v in params.items() if k != "X-Amz-Signature"})
    request = "\n".join((verb, given["path"], query, lines, signed, given["body_hash"]))
    _, day, region, service, end = member("Credential").split("/")
    at = headers.get("X-Amz-Date") or params["X-Amz-Date"]
    if not at.startswith(day):
        raise ValueError("the date is not that of the key")
    text = "\n".join((V4, at, f"{day}/{region}/{service}/{end}", hashlib.sha256(request.encode()).hexdigest()))
    return _sha256(signing_key(secret, day, region, service), text).hex()


def _query(params: Mapping[str, Any]) -> str:
    return "&".join(f"{quote(k, safe='')}={quote(str(params[k]), safe='-_~')}" for k in sorted(params))


def _sha256(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")


def _sha1(secret: str, text: str) -> str:
    return base64.b64encode(hmac.digest(secret.encode(), text.encode(), "sha1")).decode()


def _same(a: str, b: str) -> bool:
    return hmac.compare_digest(a.encode(), b.encode("utf-8", "surrogatepass"))
