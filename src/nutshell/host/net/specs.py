"""What the driver was last told, one small JSON file a thing, so that a restarted process can repair its world."""

import os
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

_T = TypeVar("_T")


class Specs(Generic[_T]):
    """The specs of one kind by id: all in memory, each also in a file replaced as a whole."""

    def __init__(self, directory: Path, kind: type[_T]) -> None:
        self._directory = directory
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(kind)
        self.held: dict[str, _T] = {}
        if directory.is_dir():
            for half in directory.glob("*.new"):
                half.unlink(missing_ok=True)
            for path in sorted(directory.glob("*.json")):
                try:
                    self.held[path.stem] = self._decoder.decode(path.read_bytes())
                except msgspec.DecodeError:
                    path.unlink()  # of another version, or damaged: whoever wants the thing will say so again

    def put(self, id: str, spec: _T) -> None:
        if self.held.get(id) != spec:
            self._directory.mkdir(parents=True, exist_ok=True)
            fresh = self._directory / f"{id}.new"
            fresh.write_bytes(msgspec.json.encode(spec))
            os.replace(fresh, self._directory / f"{id}.json")
            self.held[id] = spec

    def drop(self, id: str) -> None:
        (self._directory / f"{id}.json").unlink(missing_ok=True)
        self.held.pop(id, None)
