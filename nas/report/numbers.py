"""How numbers are written: one alone, or those of a column in one unit and with the same number of decimals."""

import math
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from nas.errors import SHORT

MISSING = "–"
LIMIT = 1e15
MOST_DECIMALS = 7  # of a plain number; a longer one is written with an exponent
UNIT_DECIMALS = 3  # of a number in a unit; rather than more, a smaller unit is taken


@dataclass(frozen=True)
class Measure:
    """A kind of numbers. `form` chooses, for numbers of one column that are not 0, how each number is written."""

    form: Callable[[Sequence[float]], Callable[[float], str]]

    def __call__(self, value: object) -> str:
        """The number alone, or a dash for what is missing, no number, or beyond anything a network can have."""
        return self.beside([value])(value)

    def beside(self, values: Iterable[object]) -> Callable[[object], str]:
        """How a number is written in a column of `values`."""
        write = self.form([number for value in values if (number := _number(value))])

        def text(value: object) -> str:
            number = _number(value)
            return MISSING if number is None else write(number)

        return text

    def column(self, values: Sequence[object]) -> list[str]:
        return list(map(self.beside(values), values))


def check_number(value: object, what: str) -> None:
    """Raises ValueError naming `what` for anything in a file of results that is no finite number, and not null."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= sys.float_info.max:
        raise ValueError(f"{what} must be a finite number, not {SHORT.repr(value)}")


def _number(value: object) -> float | None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return value if abs(value) < LIMIT else None


def _decimals(number: float, digits: int) -> int:
    """Behind the point, so that `number` has so many significant digits."""
    return max(0, digits - 1 - math.floor(math.log10(abs(number))))


def _percent(numbers: Sequence[float]) -> Callable[[float], str]:
    return lambda share: f"{100 * share:.1f}"


def _in_units(*units: tuple[float, float, str, int]) -> Callable[[Sequence[float]], Callable[[float], str]]:
    """`units` are the number from which on one is taken, its size, its letter and its least decimals, largest first.

    The largest number chooses; where the smallest would not show two digits, a smaller unit is taken.
    """

    def form(numbers: Sequence[float]) -> Callable[[float], str]:
        largest = max(map(abs, numbers), default=0.0)
        fitting = [
            (size, letter, decimals)
            for start, size, letter, least in units
            for decimals in [max([least, *(_decimals(number / size, 2) for number in numbers)])]
            if largest >= start and (decimals <= UNIT_DECIMALS or start == 0)
        ]
        size, letter, decimals = fitting[0]
        return lambda number: f"{number / size:,.{decimals}f} {letter}"

    return form


def _significant(digits: int, *, padded: bool) -> Callable[[Sequence[float]], Callable[[float], str]]:
    """So many significant digits of the largest number and two of the smallest; `padded` keeps zeros at the end."""

    def form(numbers: Sequence[float]) -> Callable[[float], str]:
        largest, smallest = (pick(map(abs, numbers), default=1.0) for pick in (max, min))
        decimals = max(_decimals(largest, digits), _decimals(smallest, 2))
        while not padded and decimals and all(round(n, decimals - 1) == round(n, decimals) for n in numbers):
            decimals -= 1
        if decimals > MOST_DECIMALS:
            return lambda number: f"{number:.{digits - 1}e}"
        return lambda number: f"{number:.{decimals}f}"

    return form


percent = Measure(_percent)
"""A share in [0, 1] as a percentage with one decimal."""

millions = Measure(_in_units((1e8, 1e6, "M", 0), (1e4, 1e6, "M", 2), (0, 1e3, "k", 1)))
"""Counts of parameters, in thousands where there are fewer than ten thousand."""

multiply_adds = Measure(_in_units((1e9, 1e9, "G", 2), (1e7, 1e6, "M", 0), (0, 1e3, "k", 0)))
"""Counts of MACs (multiply-adds): k below ten million, G from a thousand million on."""

milliseconds = Measure(_significant(3, padded=True))
"""Durations with three significant digits."""

general = Measure(_significant(5, padded=False))
"""Any other numbers, with five significant digits."""

setting = Measure(_significant(4, padded=False))
"""Values of fields, with four significant digits."""

MEASURED = {
    "mAP": ("mAP", percent),
    "rank1": ("rank-1", percent),
    "rank5": ("rank-5", percent),
    "rank10": ("rank-10", percent),
    "mINP": ("mINP", percent),
    "detection_AP": ("detection AP", percent),
    "detection_recall": ("recall", percent),
    "parameters": ("parameters", millions),
    "multiply_adds": ("MACs", multiply_adds),
    "ms_per_image_1": ("ms, batch 1", milliseconds),
    "ms_per_image_128": ("ms, batch 128", milliseconds),
}
"""The numbers of a row of `metrics.json`: head of the column, and how they are written."""
