"""Flags that are read before all others, as they decide which others there are."""

from __future__ import annotations

from collections.abc import Collection, Sequence


def pop_all(flags: Collection[str], arguments: Sequence[str]) -> tuple[list[tuple[str, str]], list[str]]:
    """What is given for `flags`, as `--flag value` or `--flag=value`, in its order, and the other arguments.

    Raises ValueError naming a flag without a value.
    """
    given: list[tuple[str, str]] = []
    others: list[str] = []
    words = iter(arguments)
    for word in words:
        flag, equals, value = word.partition("=")
        if flag not in flags:
            others.append(word)
            continue
        value = value if equals else next(words, "")
        if not value or (value.startswith("-") and not equals):
            raise ValueError(f"{flag} needs a value, as {flag} VALUE; {f'got {value}' if value else 'got none'}")
        given.append((flag, value))
    return given, others


def pop_options(flags: Collection[str], arguments: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """The same with the last one of each flag."""
    given, others = pop_all(flags, arguments)
    return dict(given), others
