"""Key pairs: public keys that new servers admit, kept per user (Compute API, "Keypairs")."""

import base64
import binascii
import hashlib
from typing import Any

from nutshell.compute import wire
from nutshell.compute.errors import KeypairExists, KeypairNotFound, TooMany
from nutshell.compute.service import compute, page_links
from nutshell.core.clock import iso_micros
from nutshell.core.errors import BadRequest
from nutshell.core.listing import page_limit
from nutshell.core.resource import Resource, field
from nutshell.core.schema import Body
from nutshell.core.service import Answer, Ask
from nutshell.core.store import Tx
from nutshell.core.versions import Span

RULE = "os_compute_api:os-keypairs"
PER_USER = 100


class KeyPair(
    Resource,
    service="compute",
    one="keypair",
    many="keypairs",
    path="/os-keypairs",
    key="name",
    unique=(("user_id", "name"),),
):
    """One public key of a user."""

    number: int = field(default=0)
    user_id: str = field()
    name: str = field()
    type: str = field(default="ssh")
    public_key: str = field()
    fingerprint: str = field()


class NewKeyPair(Body):
    name: str = field(min_length=1, max_length=255, pattern=r"^[_\-@. a-zA-Z0-9]+$")
    type: str = field(default="ssh", since="2.2", pattern="^(ssh|x509)$")
    public_key: str = field(default="")
    user_id: str = field(default="", since="2.10")


def find_keypair(tx: Tx, user_id: str, name: str) -> KeyPair | None:
    return tx.one(KeyPair, user_id=user_id, name=name)


def _user(ask: Ask[Any]) -> str:
    """Whose key pairs are meant: from version 2.10 on an administrator may name another user."""
    if ask.at not in Span.of("2.10", ""):
        return ask.who.user_id
    return str(ask.given.get("user_id") or ask.asked("user_id") or ask.who.user_id)


def _against(ask: Ask[Any]) -> dict[str, str]:
    body = ask.body.get("keypair") if isinstance(ask.body, dict) else None
    named = body.get("user_id") if isinstance(body, dict) else None
    return {"user_id": str(named or _user(ask))}


def _brief(ask: Ask[Any], k: KeyPair) -> dict[str, Any]:
    found = {"name": k.name, "public_key": k.public_key, "fingerprint": k.fingerprint}
    return found | ({"type": k.type} if ask.at in Span.of("2.2", "") else {})


def _make(ask: Ask[Any]) -> Answer:
    g, tx = ask.given, ask.tx
    name, kind, user_id = g["name"], g.get("type", "ssh"), _user(ask)
    wire.check_name("name", name)
    if ask.at not in Span.of("2.92", "") and any(c in "@." for c in name):
        raise wire.invalid("name", name, f"{name!r} does not match '^[_\\\\- a-zA-Z0-9]+$'")
    private = ""
    public = g.get("public_key", "")
    if not public:
        if "public_key" in g or ask.at in Span.of("2.92", ""):
            raise BadRequest("Keypair data is invalid: failed to generate fingerprint")
        private, public = ask.prepared if ask.prepared else generate(kind, name, ask.who.user_name)
    if len(tx.find(KeyPair, user_id=user_id)) >= PER_USER:
        raise TooMany("Quota exceeded, too many key pairs.")
    if find_keypair(tx, user_id, name) is not None:
        raise KeypairExists(name=name)
    newest = tx.sql(f"SELECT max(number) FROM {KeyPair.table.name}").fetchone()[0] or 0
    row = tx.add(
        KeyPair(
            id=ask.new_id(),
            number=newest + 1,
            user_id=user_id,
            name=name,
            type=kind,
            public_key=public.strip() if kind == "ssh" else public,
            fingerprint=fingerprint(kind, public),
        )
    )
    shown = _brief(ask, row) | {"user_id": user_id} | ({"private_key": private} if private else {})
    return Answer(ask.route.http, {"keypair": shown})


def _generate_before(ask: Ask[Any]) -> tuple[str, str] | None:
    """Make the key outside the transaction: it takes long."""
    if ask.given.get("public_key"):
        return None
    return generate(ask.given.get("type", "ssh"), ask.given["name"], ask.who.user_name)


for _since, _until, _http in (("", "2.1", 200), ("2.2", "", 201)):
    compute.verb(
        KeyPair, "create", rule=f"{RULE}:create", body=NewKeyPair, http=_http, since=_since, until=_until,
        against=_against, before=_generate_before,
    )(_make)  # fmt: skip


@compute.verb(KeyPair, "list", rule=f"{RULE}:index", against=_against)
def list_keypairs(ask: Ask[Any]) -> Answer:
    wire.only_query(ask, frozenset({"user_id", "limit", "marker"}), "2.75")
    rows = ask.tx.find(KeyPair, user_id=_user(ask), order="name")
    more = False
    if ask.at in Span.of("2.35", ""):
        marker = ask.asked("marker")
        if marker:
            if marker not in [r.name for r in rows]:
                raise BadRequest(f"marker [{marker}] not found")
            rows = [r for r in rows if r.name > marker]
        limit = page_limit(ask) or len(rows)
        more, rows = len(rows) > limit, rows[:limit]
    shown = [{"keypair": _brief(ask, r)} for r in rows]
    return Answer(200, {"keypairs": shown, **page_links(ask, "keypairs", rows, more)})


@compute.verb(KeyPair, "show", rule=f"{RULE}:show", loads=False, against=_against)
def show_keypair(ask: Ask[Any]) -> Answer:
    k = _need(ask)
    return Answer(
        200,
        {
            "keypair": _brief(ask, k)
            | {
                "user_id": k.user_id,
                "id": k.number,
                "created_at": iso_micros(k.created_at),
                "updated_at": None,
                "deleted_at": None,
                "deleted": False,
            }
        },
    )


def _need(ask: Ask[Any]) -> KeyPair:
    found = find_keypair(ask.tx, _user(ask), ask.params["id"])
    if found is None:
        raise KeypairNotFound(name=ask.params["id"], user_id=_user(ask))
    return found


def _drop(ask: Ask[Any]) -> Answer:
    ask.tx.drop(_need(ask))
    return Answer(ask.route.http)


for _since, _until, _http in (("", "2.1", 202), ("2.2", "", 204)):
    compute.verb(
        KeyPair, "delete", rule=f"{RULE}:delete", http=_http, since=_since, until=_until, loads=False, against=_against
    )(_drop)


# -- keys themselves


def fingerprint(kind: str, public: str) -> str:
    """MD5 of an ssh key's blob, SHA-1 of a certificate, in colon-separated hex. 400 when it cannot be read."""
    return _x509_fingerprint(public) if kind == "x509" else _ssh_fingerprint(public)


def _ssh_fingerprint(public: str) -> str:
    words = public.strip().split()
    try:
        if len(words) < 2 or len(public.strip().splitlines()) != 1:
            raise ValueError("not one line of type and key")
        blob = base64.b64decode(words[1], validate=True)
        size = int.from_bytes(blob[:4], "big")
        if blob[4 : 4 + size].decode() != words[0]:
            raise ValueError("the key is of another type than it says")
    except (ValueError, binascii.Error, UnicodeDecodeError):
        raise BadRequest("Keypair data is invalid: failed to generate fingerprint") from None
    return _colons(hashlib.md5(blob, usedforsecurity=False).hexdigest())


def _x509_fingerprint(public: str) -> str:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    try:
        found = x509.load_pem_x509_certificate(public.encode()).fingerprint(hashes.SHA1())  # noqa: S303 - the API's own
    except ValueError as why:
        raise BadRequest(
            f"Keypair data is invalid: failed to generate X509 fingerprint. Error message: {why}"
        ) from None
    return _colons(found.hex())


def _colons(text: str) -> str:
    return ":".join(text[i : i + 2] for i in range(0, len(text), 2))


def generate(kind: str, name: str, user_name: str) -> tuple[str, str]:
    """(private, public): an ed25519 key in OpenSSH form, or an RSA key with its self-signed certificate."""
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

    if kind == "ssh":
        key = ed25519.Ed25519PrivateKey.generate()
        private = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.OpenSSH, form.NoEncryption()).decode()
        public = key.public_key().public_bytes(form.Encoding.OpenSSH, form.PublicFormat.OpenSSH).decode()
        return private, f"{public} Generated-by-Nutshell"
    return _certificate(rsa.generate_private_key(public_exponent=65537, key_size=2048), user_name or name)


def _certificate(key: Any, subject: str) -> tuple[str, str]:
    """A certificate for logging in to Windows guests: valid ten years, for client authentication."""
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.x509.oid import ExtendedKeyUsageOID

    named = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, subject[:64])])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(named)
        .issuer_name(named)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=3650))
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption()).decode()
    return private, made.public_bytes(form.Encoding.PEM).decode()
