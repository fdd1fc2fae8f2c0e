"""Requests of the Swift API that would succeed for the account's owner: what the table of isolation asks."""

import io
import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote


@dataclass(frozen=True)
class Operation:
    """Below the account; `$box` is the container of the case, `$version` a past version of its object."""

    name: str
    method: str
    below: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


def archive(*names: str) -> bytes:
    """A tar of small files under these names."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = 4
            tar.addfile(member, io.BytesIO(b"evil"))
    return file.getvalue()


def _op(method: str, below: str, body: bytes = b"", said: str = "", **headers: str) -> Operation:
    given = {k.replace("_", "-").title(): v for k, v in headers.items()}
    shown = below.replace("$box", "container").replace("/thing", "/object").replace("$version", "V")
    return Operation(f"{method} /account{shown}{f' ({said})' if said else ''}", method, below, given, body)


SLO = json.dumps([{"path": "/$box/thing"}]).encode()
OPERATIONS = (
    _op("GET", ""), _op("HEAD", ""), _op("GET", "?format=json&prefix=t"), _op("PUT", ""), _op("DELETE", ""),
    _op("POST", "", said="metadata", x_account_meta_a="b"),
    _op("POST", "", said="key of temporary URLs", x_account_meta_temp_url_key="mine"),
    _op("POST", "", said="list", x_account_access_control='{"read-only": ["no:body"]}'),
    _op("POST", "?bulk-delete", b"$box/thing\n", content_type="text/plain"),
    _op("PUT", "?extract-archive=tar", archive("$box-made/evil")),
    _op("GET", "/$box"), _op("HEAD", "/$box"), _op("GET", "/$box?versions&format=json"), _op("PUT", "/$box"),
    _op("PUT", "/$box-new"), _op("DELETE", "/$box"),
    _op("POST", "/$box", said="metadata", x_container_meta_a="b"),
    _op("POST", "/$box", said="lists", x_container_read=".r:*", x_container_write="*:*"),
    _op("POST", "/$box", said="key of temporary URLs", x_container_meta_temp_url_key="mine"),
    _op("POST", "/$box", said="versions", x_versions_enabled="false"),
    _op("POST", "/$box", said="sync", x_container_sync_to="//nutshell/here/$own/box", x_container_sync_key="k"),
    _op("POST", "/$box", said="older versions", x_versions_location="$box"),
    _op("PUT", "/$box", said="versions", x_versions_enabled="true"),
    _op("PUT", "/$box?extract-archive=tar", archive("evil/evil")),
    _op("GET", "/$box/thing"), _op("HEAD", "/$box/thing"), _op("GET", "/$box/thing?version-id=$version"),
    _op("PUT", "/$box/thing?version-id=$version"), _op("DELETE", "/$box/thing?version-id=$version"),
    _op("PUT", "/$box/thing", b"mine"), _op("POST", "/$box/thing", x_object_meta_a="b"),
    _op("DELETE", "/$box/thing"),
    _op("PUT", "/$box/large?multipart-manifest=put", SLO),
    _op("DELETE", "/$box/thing?multipart-manifest=delete"),
    _op("PUT", "/$box/link", said="symlink", x_symlink_target="$box/thing"),
    _op("PUT", "/$box/parts", said="dynamic large object", x_object_manifest="$box/th"),
    _op("COPY", "/$box/thing", destination="$box/copied"),
    _op("PUT", "/$box/copied", said="copy", x_copy_from="/$box/thing"),
)  # fmt: skip


def filled(op: Operation, facts: Mapping[str, str]) -> tuple[str, dict[str, str], bytes]:
    """(below, headers, body) with the holes filled; in an archive, where lengths count, only its own names stand."""

    def fill(text: str) -> str:
        for hole, value in facts.items():
            text = text.replace(hole, value)
        return text

    below = fill(op.below)
    path, mark, query = below.partition("?")
    body = op.body if b"ustar" in op.body else fill(op.body.decode()).encode()
    return quote(path) + mark + query, {k: fill(v) for k, v in op.headers.items()}, body
