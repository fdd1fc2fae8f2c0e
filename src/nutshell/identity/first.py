"""The first accounts' passwords: made up and hashed while the rest of the code is still being loaded.

A hash takes as long as loading a tenth of the code, and leaves the interpreter to others meanwhile.
"""

import secrets
import string
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from nutshell.identity.passwords import Passwords

ACCOUNTS = ("admin", "demo")
LETTERS = string.ascii_letters + string.digits  # no command takes a password of these for an option


@dataclass(frozen=True)
class FirstPasswords:
    """By account: the password, and as it is stored where it has been hashed."""

    words: dict[str, str]
    stored: dict[str, str]

    def all_hashed(self, hashed: Callable[[list[str]], Iterable[str]]) -> "FirstPasswords":
        """These with what is missing done by `hashed`."""
        left = [name for name in self.words if name not in self.stored]
        return FirstPasswords(
            self.words, self.stored | dict(zip(left, hashed([self.words[name] for name in left]), strict=True))
        )


def make_up(ahead: FirstPasswords | None, admin: str) -> FirstPasswords:
    """Passwords for a new cloud; `ahead` if it has the administrator's that the operator wants, if any."""
    if ahead is not None and admin in ("", ahead.words["admin"]):
        return ahead
    words = {name: "".join(secrets.choice(LETTERS) for _ in range(24)) for name in ACCOUNTS}
    return FirstPasswords(words | ({"admin": admin} if admin else {}), {})


def make_ahead(admin: str) -> FirstPasswords:
    """As `make_up`, hashed: blocks for as long as two hashes take."""
    passwords = Passwords()
    return make_up(None, admin).all_hashed(lambda words: map(passwords.hash, words))
