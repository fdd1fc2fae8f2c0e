"""Signed images: accepted with their signature alone, by a certificate the operator knows."""

import base64
import datetime
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from tests.wire.test_image_imports import begin, order, settle, tasks
from tests.wire.test_images import BARE, call, make, put_data

from nutshell import app

DATA = b"signed data" * 1000
KEYS = {
    "RSA-PSS": rsa.generate_private_key(65537, 2048),
    "ECC_SECP384R1": ec.generate_private_key(ec.SECP384R1()),
}


def certificate(folder: Path, key: Any, *, days: int = 1) -> str:
    """A self-signed certificate's id; its file lies in the folder."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "signer")])
    now = datetime.datetime.now(datetime.UTC)
    starts, ends = sorted((now, now + datetime.timedelta(days=days)))
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, starts, ends).sign(key, hashes.SHA256())
    identity = str(uuid.uuid4())
    folder.mkdir(exist_ok=True)
    (folder / f"{identity}.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return identity


def sign(kind: str, data: bytes = DATA) -> str:
    key = KEYS[kind]
    if isinstance(key, rsa.RSAPrivateKey):
        pad = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.MAX_LENGTH)
        return base64.b64encode(key.sign(data, pad, hashes.SHA256())).decode()
    return base64.b64encode(key.sign(data, ec.ECDSA(hashes.SHA256()))).decode()


def properties(kind: str, certificate_id: str, signature: str) -> dict[str, str]:
    return {
        **BARE,
        "img_signature": signature,
        "img_signature_hash_method": "SHA-256",
        "img_signature_key_type": kind,
        "img_signature_certificate_uuid": certificate_id,
    }


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[app.Running]:
    running = begin(tmp_path, certificates=tmp_path / "certificates")
    yield running
    running.close()


@pytest.mark.parametrize("kind", sorted(KEYS))
def test_the_signature_decides(cloud: app.Running, tmp_path: Path, kind: str) -> None:
    known = certificate(tmp_path / "certificates", KEYS[kind])
    good = make(cloud, **properties(kind, known, sign(kind)))["id"]
    assert put_data(cloud, good, DATA + b"x").status_code == 415
    assert call(cloud, "GET", f"/v2/images/{good}").json()["status"] == "queued"
    assert put_data(cloud, good, DATA).status_code == 204
    other = make(cloud, **properties(kind, known, sign(kind)))["id"]
    assert put_data(cloud, other, DATA + b"x", where="stage").status_code == 204
    assert order(cloud, other, method={"name": "glance-direct"}) == 202
    assert settle(cloud, other)["status"] == "queued"
    assert "Signature verification" in tasks(cloud, other)[0]["message"]


def test_what_cannot_be_checked_is_not_accepted(cloud: app.Running, tmp_path: Path) -> None:
    folder = tmp_path / "certificates"
    known, old = certificate(folder, KEYS["RSA-PSS"]), certificate(folder, KEYS["RSA-PSS"], days=-1)
    usual = properties("RSA-PSS", known, sign("RSA-PSS"))
    for change in (
        {"img_signature_certificate_uuid": str(uuid.uuid4())},
        {"img_signature_certificate_uuid": f"../{known}"},
        {"img_signature_certificate_uuid": old},
        {"img_signature_key_type": "ECC_SECP384R1"},
        {"img_signature_key_type": "NONE"},
        {"img_signature_hash_method": "MD5"},
        {"img_signature_hash_method": "SHA-512"},
        {"img_signature": "not base64"},
    ):
        image_id = make(cloud, **{**usual, **change})["id"]
        assert put_data(cloud, image_id, DATA).status_code == 415, change


def test_an_authority_must_have_issued_the_certificate(tmp_path: Path) -> None:
    folder = tmp_path / "certificates"
    known, other = (certificate(folder, KEYS[k]) for k in ("RSA-PSS", "ECC_SECP384R1"))
    for authority, status in ((known, 204), (other, 415)):
        running = begin(tmp_path, certificates=folder, trusted=folder / f"{authority}.pem")
        try:
            image_id = make(running, **properties("RSA-PSS", known, sign("RSA-PSS")))["id"]
            assert put_data(running, image_id, DATA).status_code == status
        finally:
            running.close()
