"""What the engine refuses."""


class EngineError(Exception):
    """The object store cannot do this now."""


class HeldElsewhere(EngineError):
    """Another process of this cloud has the objects."""


class NoRoom(EngineError):
    """No device has room for these bytes."""


class NotWritable(EngineError):
    """A device does not take writes."""


class DamagedBytes(EngineError):
    """No replica of these bytes is whole."""
