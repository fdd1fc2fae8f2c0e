"""The passwords of a new cloud's first accounts."""

from nutshell.identity.first import ACCOUNTS, LETTERS, FirstPasswords, make_up


def test_made_up_ones_are_long_different_and_never_look_like_an_option() -> None:
    made = [make_up(None, "") for _ in range(300)]
    words = [one.words[name] for one in made for name in ACCOUNTS]
    assert len(set(words)) == len(words)
    assert all(len(word) == 24 and set(word) <= set(LETTERS) for word in words)


def test_what_the_operator_wants_goes_first() -> None:
    ahead = FirstPasswords({"admin": "mine", "demo": "x"}, {"admin": "h", "demo": "h"})
    assert make_up(ahead, "mine") is ahead
    assert make_up(ahead, "") is ahead
    assert make_up(ahead, "other").words["admin"] == "other"
    assert make_up(ahead, "other").stored == {}
