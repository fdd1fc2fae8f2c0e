"""Signed images: data is accepted only with its signature, by a certificate the operator knows (Image API v2,
"Image signature verification"; PKCS #1 v2.2 for RSA-PSS, FIPS 186-4 for the elliptic curves)."""

import base64
import binascii
import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from nutshell.core.cloud import Cloud
from nutshell.image.formats import ImageRefused
from nutshell.image.settings import ImageConfig

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

NAMES = ("img_signature", "img_signature_hash_method", "img_signature_key_type", "img_signature_certificate_uuid")
HASHES = {"SHA-224": "sha224", "SHA-256": "sha256", "SHA-384": "sha384", "SHA-512": "sha512"}
KEY_TYPES = ("RSA-PSS", "DSA", *(f"ECC_{c}" for c in ("SECT571K1", "SECT409K1", "SECT571R1", "SECT409R1", "SECP521R1",
             "SECP384R1")))  # fmt: skip


class Certificates(Protocol):
    """Where signing certificates come from: a key manager of the cloud may offer it as a port."""

    def pem(self, certificate_id: str) -> bytes | None: ...


@dataclass(frozen=True)
class CertificateFiles:
    """A directory of <uuid>.pem files."""

    directory: Path | None

    def pem(self, certificate_id: str) -> bytes | None:
        path = self.directory / f"{certificate_id}.pem" if self.directory is not None else None
        return path.read_bytes() if path is not None and path.is_file() else None


@dataclass
class Verifier:
    """Fed the data; `verify` says whether the signature fits. ImageRefused."""

    certificate: "Certificate"
    key_type: str
    signature: bytes
    hash_name: str
    digest: Any = field(init=False)

    def __post_init__(self) -> None:
        self.digest = hashlib.new(self.hash_name)

    def update(self, data: bytes) -> None:
        self.digest.update(data)

    def verify(self) -> None:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import dsa, ec, padding, rsa, utils

        algorithm = getattr(hashes, self.hash_name.upper())()
        whole, key = utils.Prehashed(algorithm), self.certificate.public_key()
        try:
            if self.key_type == "RSA-PSS" and isinstance(key, rsa.RSAPublicKey):
                pad = padding.PSS(padding.MGF1(algorithm), padding.PSS.AUTO)
                key.verify(self.signature, self.digest.digest(), pad, whole)
            elif self.key_type == "DSA" and isinstance(key, dsa.DSAPublicKey):
                key.verify(self.signature, self.digest.digest(), whole)
            elif isinstance(key, ec.EllipticCurvePublicKey) and self.key_type == f"ECC_{key.curve.name.upper()}":
                key.verify(self.signature, self.digest.digest(), ec.ECDSA(whole))
            else:
                raise ImageRefused(f"the certificate's key is not of type {self.key_type}")
        except InvalidSignature:
            raise ImageRefused("Signature verification for the image failed") from None


def verifier(cloud: Cloud, properties: Mapping[str, str]) -> Verifier | None:
    """What checks the data of a signed image; None for one that is not. ImageRefused when it cannot be checked."""
    if not all(properties.get(n) for n in NAMES):
        return None
    text, hash_method, key_type, certificate_id = (properties[n] for n in NAMES)
    if hash_method not in HASHES:
        raise ImageRefused(f"Invalid signature hash method: {hash_method}; there are: {', '.join(HASHES)}")
    if key_type not in KEY_TYPES:
        raise ImageRefused(f"Invalid signature key type: {key_type}; there are: {', '.join(KEY_TYPES)}")
    try:
        signature = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ImageRefused("The signature data was not properly encoded using base64") from None
    return Verifier(_certificate(cloud, certificate_id), key_type, signature, HASHES[hash_method])


def _certificate(cloud: Cloud, certificate_id: str) -> "Certificate":
    from cryptography import x509

    settings = cloud.settings[ImageConfig]
    try:
        certificate_id = str(uuid.UUID(certificate_id))
    except ValueError:
        raise ImageRefused(f"{certificate_id} is no certificate's UUID") from None
    source: Certificates = cloud.ports.get(Certificates) or CertificateFiles(settings.certificates)
    pem = source.pem(certificate_id)
    if pem is None:
        raise ImageRefused(f"Unable to retrieve certificate with ID: {certificate_id}")
    try:
        found = x509.load_pem_x509_certificate(pem)
    except ValueError:
        raise ImageRefused(f"Unable to load certificate with ID: {certificate_id}") from None
    now = datetime.now(UTC)
    if not found.not_valid_before_utc <= now <= found.not_valid_after_utc:
        raise ImageRefused(f"Certificate {certificate_id} is not valid at this time")
    if settings.trusted is not None and not _issued(found, settings.trusted.read_bytes()):
        raise ImageRefused(f"Certificate {certificate_id} is issued by none of the trusted authorities")
    return found


def _issued(certificate: "Certificate", authorities: bytes) -> bool:
    """Whether one of the authorities signed the certificate itself."""
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature

    for authority in x509.load_pem_x509_certificates(authorities):
        try:
            certificate.verify_directly_issued_by(authority)
        except (ValueError, TypeError, InvalidSignature):
            continue
        return True
    return False
