"""What compute refuses, in its own words (the Compute API's fault messages)."""

from nutshell.core.errors import BadRequest, Conflict, Forbidden, NotFound


class InstanceNotFound(NotFound):
    """Instance {id} could not be found."""


class FlavorNotFound(NotFound):
    """Flavor {id} could not be found."""


class FlavorUnknown(BadRequest):
    """Flavor {id} could not be found."""


class FlavorExists(Conflict):
    """Flavor with {what} {value} already exists."""


class ExtraSpecNotFound(NotFound):
    """Flavor {id} has no extra specs with key {key}."""


class KeypairNotFound(NotFound):
    """Keypair {name} not found for user {user_id}"""


class KeypairExists(Conflict):
    """Key pair '{name}' already exists."""


class KeypairUnknown(BadRequest):
    """Invalid key_name provided."""


class WrongState(Conflict):
    """Cannot '{action}' instance {id} while it is in {attr} {state}"""


class Locked(Conflict):
    """Instance {id} is locked"""


class TooMany(Forbidden):
    """{why}"""


class VolumeNotAttached(NotFound):
    """Instance {server_id} is not attached to volume {volume_id}."""
