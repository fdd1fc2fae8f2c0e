"""What a caller may be told when a request is refused: one class per kind, its status and its sentence.

The docstring's first line is the message, formatted with the facts given as keywords. Services subclass the kinds
below for the sentences and type names of their own API; each service renders them in its own error format.
"""

from typing import ClassVar


class Fault(Exception):
    """{why}"""

    http: ClassVar[int] = 500
    code: ClassVar[str] = ""  # the service's machine-readable name, where its format has one

    def __init__(self, why: str = "", *, headers: dict[str, str] | None = None, **facts: object) -> None:
        self.facts: dict[str, object] = {"why": why, **facts}
        self.headers = headers or {}
        super().__init__((self.__doc__ or "{why}").split("\n")[0].format_map(_Facts(self.facts)))


class _Facts(dict[str, object]):
    def __missing__(self, key: str) -> str:
        return ""


class BadRequest(Fault):
    """{why}"""

    http = 400


class Unstorable(BadRequest):
    """The request holds a value that cannot be stored: {why}"""


class Unauthorized(Fault):
    """The request you have made requires authentication."""

    http = 401


class Forbidden(Fault):
    """{why}"""

    http = 403


class PolicyForbids(Forbidden):
    """Policy doesn't allow {rule} to be performed."""


class NotFound(Fault):
    """{kind} {id} could not be found."""

    http = 404


class NoRoute(Fault):
    """The resource could not be found."""

    http = 404


class MethodNotAllowed(Fault):
    """The method {method} is not allowed for this resource."""

    http = 405


class NotAcceptable(Fault):
    """{why}"""

    http = 406


class Conflict(Fault):
    """{why}"""

    http = 409


class Duplicate(Conflict):
    """The request conflicts with something that exists: {why}"""


class Gone(Fault):
    """{why}"""

    http = 410


class LengthRequired(Fault):
    """{why}"""

    http = 411


class PreconditionFailed(Fault):
    """{why}"""

    http = 412


class TooLarge(Fault):
    """{why}"""

    http = 413


class UnsupportedMediaType(Fault):
    """{why}"""

    http = 415


class RangeNotSatisfiable(Fault):
    """{why}"""

    http = 416


class Unprocessable(Fault):
    """{why}"""

    http = 422


class TooManyRequests(Fault):
    """{why}"""

    http = 429


class Unavailable(Fault):
    """{why}"""

    http = 503


class QuotaExceeded(Forbidden):
    """Quota exceeded for {name}: requested {requested}, but already used {used} of {limit}."""


class StaleRow(Fault):
    """{kind} {id} was changed by another request meanwhile."""

    http = 409


class RequestTimedOut(Fault):
    """The request's body did not come within {seconds} seconds."""

    http = 408


class RequestTooLarge(TooLarge):
    """The request body is larger than {limit} bytes."""
