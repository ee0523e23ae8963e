"""Options typed by a user: spelling, and whether a value has the type of the default."""

import difflib
from collections.abc import Sequence
from typing import Any

_DESCRIPTIONS: dict[type, str] = {
    int: "an integer",
    float: "a number",
    bool: "true or false",
    str: "text",
    list: "a list such as [1, 2]",
    dict: "a mapping such as {a: 1}",
}


def expected_type(value: Any, default: Any) -> str | None:
    """What was expected instead of a value, in words; None if the value can be meant.

    A number takes integers too. An option whose default is None or an empty text, and a value
    that is null or refers to another option, are not judged.

    Args:
        value: What was typed.
        default: The option's default, a plain value.
    """
    if value is None or default in (None, "") or (isinstance(value, str) and "${" in value):
        return None
    expected = type(default)
    accepted = (int, float) if expected is float else (expected,)
    wrong_flag = isinstance(value, bool) and expected is not bool
    if isinstance(value, accepted) and not wrong_flag:
        return None
    return _DESCRIPTIONS[expected]


def nearest(word: str, words: Sequence[str]) -> str:
    """A hint at the most similar of the valid words, empty if none is."""
    found = difflib.get_close_matches(word, words, n=1, cutoff=0.5)
    return f"did you mean {found[0]!r}? " if found else ""
