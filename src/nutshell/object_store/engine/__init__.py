"""The engine: bytes on devices, names in an index, both flushed before an answer."""
