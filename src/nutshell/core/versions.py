"""Microversions: which version a request speaks, and whether a declaration exists in it.

https://specs.openstack.org/openstack/api-sig/guidelines/microversion_specification.html
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache

from nutshell.core.errors import BadRequest, NotAcceptable

Version = tuple[int, int]
ALWAYS: Version = (0, 0)
NEVER: Version = (9999, 9999)


def version(text: str) -> Version:
    """ "2.79" → (2, 79); the empty text is `ALWAYS`. Raises ValueError."""
    if not text:
        return ALWAYS
    major, _, minor = text.partition(".")
    if not (major.isdecimal() and minor.isdecimal()) or (len(minor) > 1 and minor[0] == "0"):
        raise ValueError(f"{text!r} is not a version")
    return int(major), int(minor)


@dataclass(frozen=True)
class Span:
    """From `since` to `until`, both included."""

    since: Version = ALWAYS
    until: Version = NEVER

    @classmethod
    @cache  # declarations name the same few over and over, some requests ask for theirs
    def of(cls, since: str, until: str) -> "Span":
        return cls(version(since), version(until) if until else NEVER)

    def __contains__(self, at: Version) -> bool:
        return self.since <= at <= self.until


@dataclass(frozen=True)
class Versions:
    """The range a service speaks. `name` is the service type in the header; `legacy` an older header's name."""

    name: str
    lowest: Version
    highest: Version
    legacy: str = ""
    extra_vary: tuple[str, ...] = field(default=())

    def asked(self, headers: Mapping[str, str]) -> Version:
        """The version the request wants; the lowest when it names none. 400 unreadable, 406 outside the range."""
        text = ""
        for part in headers.get("openstack-api-version", "").split(","):
            words = part.split()
            if len(words) == 2 and words[0].lower() == self.name:
                text = words[1]
            elif len(words) == 1 and words[0].lower() == self.name:
                raise BadRequest(f"Invalid version header for {self.name}.")
        if not text and self.legacy:
            text = headers.get(self.legacy.lower(), "").strip()
        if not text:
            return self.lowest
        if text == "latest":
            return self.highest
        try:
            at = version(text)
        except ValueError:
            raise BadRequest(
                f"API Version String {text} is of invalid format. Must be of format MajorNum.MinorNum."
            ) from None
        if not self.lowest <= at <= self.highest:
            raise NotAcceptable(
                f"Version {text} is not supported by the API. Minimum is {show(self.lowest)} and maximum is"
                f" {show(self.highest)}.",
                max_version=show(self.highest),
                min_version=show(self.lowest),
            )
        return at

    def headers(self, at: Version) -> dict[str, str]:
        found = {"OpenStack-API-Version": f"{self.name} {show(at)}", "Vary": "OpenStack-API-Version"}
        if self.legacy:
            found[self.legacy] = show(at)
            found["Vary"] = f"OpenStack-API-Version, {self.legacy}"
        return found


def show(at: Version) -> str:
    return f"{at[0]}.{at[1]}"
