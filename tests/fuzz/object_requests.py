"""Requests to the object store from a seed: fitting ones, odd ones, and ones that nobody would send."""

import base64
import hashlib
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any
from urllib.parse import quote, urlencode

from tests.fuzz.object_words import (
    AUTHORIZATIONS,
    BYTES,
    CONTAINERS,
    MANIFEST_VALUES,
    OBJECTS,
    ODD_TEXTS,
    PAYLOADS,
    RAW,
    S3_HEADERS,
    S3_QUERY,
    SWIFT_HEADERS,
    SWIFT_QUERY,
)
from tests.fuzz.s3_operations import BODIES as XML_BODIES
from tests.fuzz.swift_operations import archive


@dataclass(frozen=True)
class Asked:
    """One request as it goes over the wire."""

    method: str
    path: bytes
    query: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    pieces: tuple[bytes, ...] = (b"",)

    def __str__(self) -> str:
        where = self.path + (b"?" + self.query if self.query else b"")
        return f"{self.method} {where!r}\n  {self.headers}\n  {[p[:300] for p in self.pieces]}"


class Draws:
    """What both APIs' requests are made of."""

    def __init__(self, seed: Any) -> None:
        self.random = Random(str(seed))

    def some(self, of: Sequence[Any], most: int = 3) -> list[Any]:
        return [self.random.choice(of) for _ in range(self.random.choice((0, 1, 1, 2, most)))]

    def name(self, of: Sequence[str]) -> bytes:
        r = self.random
        if r.random() < 0.08:
            return r.choice(RAW)
        text = r.choice(of[:4] if r.random() < 0.5 else of)
        if r.random() < 0.05:
            text = "".join(
                chr(r.choice((r.randrange(1, 128), r.randrange(128, 0xD800)))) for _ in range(r.randrange(1, 12))
            )
        return quote(text, safe="/" if r.random() < 0.8 else "", errors="surrogatepass").encode()

    def odd(self) -> str:
        return str(self.random.choice((*ODD_TEXTS, *OBJECTS[:6])))

    def value(self, fitting: Sequence[str]) -> str:
        """Mostly one that fits; never what no server lets through to us."""
        text = str(self.random.choice(fitting)) if fitting and self.random.random() < 0.6 else self.odd()
        return "".join(c for c in text if ord(c) < 256 and c not in "\r\n\0")

    def split(self, body: bytes) -> tuple[bytes, ...]:
        if len(body) < 2 or self.random.random() < 0.7:
            return (body,)
        at = self.random.randrange(1, len(body))
        return (body[:at], b"", body[at:])

    def spoilt(self, data: bytes) -> bytes:
        """Some bytes changed, cut out, doubled."""
        r, found = self.random, bytearray(data)
        for _ in range(r.randrange(1, 4)):
            at = r.randrange(len(found) + 1)
            match r.randrange(4):
                case 0 if at < len(found):
                    found[at] = r.randrange(256)
                case 1:
                    found[at : at + r.randrange(1, 9)] = b""
                case 2:
                    found[at:at] = r.choice(
                        (b"<", b">", b"&amp;", b"\0", b"\xff", b"-1", b"9" * 30, b'"', b"<x/>", b"]]>", b"&#0;")
                    )
                case _:
                    found[at:at] = found[at : at + 40]
        return bytes(found)

    def query(self, known: dict[str, Sequence[str]], most: int = 3) -> bytes:
        r = self.random
        pairs = []
        for name in self.some([*known, "x"], most):
            pairs.append((name, self.value(known.get(name, ()))))
        text = urlencode(pairs, quote_via=quote, errors="replace").encode("utf-8", "replace")
        if r.random() < 0.05:
            text += r.choice((b"&&", b"=", b"&=x", b"%ff=%ff", b"&a=%zz", b"\xff", b"&multipart-manifest"))
        return text


class SwiftDraws(Draws):
    """Requests below one account. `facts` fill what fits ("$etag", "$version")."""

    def __init__(self, seed: Any, root: str, facts: dict[str, str]) -> None:
        super().__init__(f"swift/{seed}")
        self.root, self.facts = root.encode(), facts

    def one(self) -> Asked:
        r = self.random
        method = r.choice(("GET", "GET", "HEAD", "PUT", "PUT", "PUT", "POST", "DELETE", "COPY", "OPTIONS", "PATCH"))
        path = self.root
        depth = r.choice((0, 1, 1, 2, 2, 2, 2))
        if depth:
            path += b"/" + self.name(CONTAINERS)
        if depth == 2:
            path += b"/" + self.name(OBJECTS)
        query = self.query(SWIFT_QUERY)
        headers = {n: self.value(SWIFT_HEADERS[n]) for n in self.some(list(SWIFT_HEADERS), 4)}
        body = self.body(query) if method in ("PUT", "POST", "DELETE") else b""
        headers = {k: self.facts.get(v, v) for k, v in headers.items()}
        for hole, value in self.facts.items():
            query = query.replace(quote(hole).encode(), value.encode())
        return Asked(method, path, query, headers, self.split(body))

    def body(self, query: bytes) -> bytes:
        r = self.random
        if r.random() < 0.3:
            return r.choice(BYTES)
        if b"extract-archive" in query:
            whole = archive("a/b", "c/d", "e")
            return self.spoilt(whole) if r.random() < 0.5 else whole
        if b"bulk-delete" in query:
            return b"\n".join(self.name(CONTAINERS) + b"/" + self.name(OBJECTS) for _ in range(3))
        if b"multipart-manifest" in query:
            return self.manifest()
        if r.random() < 0.1:
            return self.spoilt(
                b'--b\r\nContent-Disposition: form-data; name="expires"\r\n\r\n1\r\n'
                b"--b\r\nContent-Disposition: form-data;"
                b' name="file"; filename="a"\r\n\r\nbytes\r\n--b--\r\n'
            )
        return r.randbytes(r.choice((0, 1, 5, 50)))

    def manifest(self) -> bytes:
        r = self.random
        entries: list[Any] = []
        for _ in range(r.randrange(0, 4)):
            entry: dict[str, Any] = {"path": r.choice(("/box/thing", "/box/a/b", "/box/large", "/kept/thing"))}
            if r.random() < 0.3:
                entry = {"data": base64.b64encode(r.randbytes(3)).decode()}
            for name in self.some(["etag", "size_bytes", "range", "path", "data", "x"], 2):
                entry[name] = r.choice(MANIFEST_VALUES)
            entries.append(entry if r.random() < 0.9 else r.choice(MANIFEST_VALUES))
        text = json.dumps(entries).encode()
        return self.spoilt(text) if r.random() < 0.2 else text


class S3Draws(Draws):
    """Requests to buckets. Whether they are signed is told by `headers["authorization"]`: "" is to be signed."""

    def __init__(self, seed: Any, facts: dict[str, str]) -> None:
        super().__init__(f"s3/{seed}")
        self.facts = facts

    def one(self) -> Asked:
        r = self.random
        method = r.choice(("GET", "GET", "HEAD", "PUT", "PUT", "PUT", "POST", "POST", "DELETE", "OPTIONS", "PATCH"))
        path = b"/" + self.name(CONTAINERS) if r.random() < 0.95 else b"/"
        if len(path) > 1 and r.random() < 0.65:
            path += b"/" + self.name(OBJECTS)
        query = self.query(S3_QUERY)
        if r.random() < 0.15 and method in ("PUT", "POST", "GET", "DELETE"):
            query = b"uploadId=$upload&partNumber=" + r.choice((b"1", b"2", b"0", b"x"))
        headers = {n: self.value(S3_HEADERS[n]) for n in self.some(list(S3_HEADERS), 3)}
        body = self.body(method, query) if method in ("PUT", "POST", "DELETE") else b""
        payload = hashlib.sha256(body).hexdigest()
        if r.random() < 0.25:
            payload = r.choice(PAYLOADS)
            if payload.startswith("STREAMING"):
                headers.setdefault("x-amz-decoded-content-length", str(len(body)))
                body = self.chunked(body, payload)
        headers["x-amz-content-sha256"] = payload
        headers["authorization"] = self.value(AUTHORIZATIONS) if r.random() < 0.1 else ""
        for hole, value in self.facts.items():
            query = query.replace(hole.encode(), value.encode()).replace(quote(hole).encode(), value.encode())
            headers = {k: v.replace(hole, value) for k, v in headers.items()}
            body = body.replace(hole.encode(), value.encode())
        if payload == hashlib.sha256(b"").hexdigest() or (len(payload) == 64 and payload != "0" * 64):
            headers["x-amz-content-sha256"] = hashlib.sha256(body).hexdigest()
        return Asked(method, path, query, headers, self.split(body))

    def body(self, method: str, query: bytes) -> bytes:
        r = self.random
        subs = [
            s
            for s in ("versioning", "acl", "policy", "tagging", "cors", "lifecycle", "delete", "uploadId")
            if s.encode() in query
        ]
        known = XML_BODIES.get(f"{method} {subs[0]}") if subs else None
        if known is not None and r.random() < 0.8:
            return self.spoilt(known) if r.random() < 0.6 else known
        return r.choice((*BYTES, r.randbytes(5)))

    def chunked(self, body: bytes, payload: str) -> bytes:
        """Framed by chunks, with a trailer where one is announced, right or wrong."""
        r = self.random
        signature = b";chunk-signature=" + b"0" * 64 if "HMAC" in payload else b""
        framed = (
            b"".join(b"%x%s\r\n%s\r\n" % (len(p), signature, p) for p in self.split(body) if p) + b"0%s\r\n" % signature
        )
        if payload.endswith("TRAILER"):
            sum_ = base64.b64encode(zlib.crc32(body).to_bytes(4, "big"))
            framed += b"x-amz-checksum-crc32:" + (sum_ if r.random() < 0.7 else b"x") + b"\r\n"
        framed += b"\r\n"
        return self.spoilt(framed) if r.random() < 0.5 else framed
