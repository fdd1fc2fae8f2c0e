"""How volumes of a type are to be encrypted (Block Storage API v3, "Volume type encryption").

Kept and shown. No driver encrypts, so no volume is made of such a type: a promise of secrecy is not kept by halves.
"""

from typing import Any, Literal

from nutshell.core.errors import BadRequest, NotFound
from nutshell.core.resource import Resource, field
from nutshell.core.schema import Body
from nutshell.core.service import Answer, Ask
from nutshell.core.store import Tx
from nutshell.volume.service import volume
from nutshell.volume.tables import Volume, VolumeType

RULE = "volume_extension:volume_type_encryption"
SHOWN = ("volume_type_id", "control_location", "provider", "cipher", "key_size")


class TypeEncryption(
    Resource, service="volume", one="encryption", many="encryptions", path="", unique=(("volume_type_id",),)
):
    """What a type asks for."""

    volume_type_id: str = field()
    provider: str = field(default="")
    control_location: str = field(default="front-end")
    cipher: str | None = field(default=None)
    key_size: int | None = field(default=None)


class NewEncryption(Body, extras="ignore"):
    """Provider (luks, plain), where it is done, cipher and key length in bits."""

    provider: str = field(max_length=255)
    control_location: Literal["front-end", "back-end"] = field()
    cipher: str | None = field(default=None, max_length=255)
    key_size: int | None = field(default=None, lo=0)


class ChangedEncryption(Body, extras="ignore"):
    """What of it may be changed."""

    provider: str | None = field(default=None, max_length=255)
    control_location: Literal["front-end", "back-end"] | None = field(default=None)
    cipher: str | None = field(default=None, max_length=255)
    key_size: int | None = field(default=None, lo=0)


class AlreadyEncrypted(BadRequest):
    """Volume type encryption for type {id} already exists."""


class NotEncrypted(NotFound):
    """Volume type encryption for type {id} does not exist."""


def encryption_of(tx: Tx, type_id: str) -> TypeEncryption | None:
    return tx.one(TypeEncryption, volume_type_id=type_id)


def _shown(row: TypeEncryption) -> dict[str, Any]:
    return {"encryption_id": row.id, **{name: getattr(row, name) for name in SHOWN}}


def _refuse_in_use(ask: Ask[Any], verb: str) -> None:
    if ask.tx.count(Volume, type_id=ask.target.id):
        raise BadRequest(f"Cannot {verb} encryption specs. Volume type in use.")


def _need(ask: Ask[VolumeType]) -> TypeEncryption:
    row = encryption_of(ask.tx, ask.target.id)
    if row is None:
        raise NotEncrypted(id=ask.target.id)
    return row


@volume.verb(VolumeType, "encryption", rule=f"{RULE}:get", method="GET", path="/{id}/encryption")
def show(ask: Ask[VolumeType]) -> Answer:
    row = encryption_of(ask.tx, ask.target.id)
    return Answer(200, _shown(row) if row is not None else {})


@volume.verb(VolumeType, "encrypt", rule=f"{RULE}:create", method="POST", path="/{id}/encryption", http=200,
             body=NewEncryption, wrap="encryption")  # fmt: skip
def create(ask: Ask[VolumeType]) -> Answer:
    _refuse_in_use(ask, "create")
    if encryption_of(ask.tx, ask.target.id) is not None:
        raise AlreadyEncrypted(id=ask.target.id)
    row = ask.tx.add(TypeEncryption(id=ask.new_id(), volume_type_id=ask.target.id, **ask.given))
    return Answer(200, {"encryption": _shown(row)})


@volume.verb(VolumeType, "show_encryption", rule=f"{RULE}:get", method="GET", path="/{id}/encryption/{key}")
def show_one(ask: Ask[VolumeType]) -> Answer:
    found, key = _shown(_need(ask)), ask.params["key"]
    if key not in found:
        raise NotEncrypted(id=ask.target.id)
    return Answer(200, {key: found[key]})


@volume.verb(VolumeType, "change_encryption", rule=f"{RULE}:update", method="PUT", path="/{id}/encryption/{key}",
             http=200, body=ChangedEncryption, wrap="encryption")  # fmt: skip
def update(ask: Ask[VolumeType]) -> Answer:
    _refuse_in_use(ask, "update")
    row = _need(ask)
    given = {k: v for k, v in ask.given.items() if v is not None or k not in ("provider", "control_location")}
    ask.tx.put(row, **given)
    return Answer(200, {"encryption": ask.given})


@volume.verb(VolumeType, "drop_encryption", rule=f"{RULE}:delete", method="DELETE", path="/{id}/encryption/{key}",
             http=202)  # fmt: skip
def remove(ask: Ask[VolumeType]) -> None:
    _refuse_in_use(ask, "delete")
    ask.tx.drop(_need(ask))


@volume.verb(Volume, "encryption", rule="volume_extension:volume_encryption_metadata", method="GET",
             path="/{id}/encryption")  # fmt: skip
def metadata(ask: Ask[Volume]) -> Answer:
    """No volume is encrypted."""
    return Answer(200, {"encryption_key_id": None})


@volume.verb(Volume, "show_encryption", rule="volume_extension:volume_encryption_metadata", method="GET",
             path="/{id}/encryption/{key}")  # fmt: skip
def metadata_item(ask: Ask[Volume]) -> Answer:
    return Answer(200, {ask.params["key"]: None})
