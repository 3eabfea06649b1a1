"""How numbers are written, alone and in a column."""

import math

import pytest

from nas.report import numbers


@pytest.mark.parametrize(
    ("text", "value", "expected"),
    [
        (numbers.percent, 1, "100.0"),
        (numbers.percent, 0.0, "0.0"),
        (numbers.millions, 411_000, "0.41 M"),
        (numbers.millions, 632_000_000, "632 M"),
        (numbers.millions, 2_880, "2.9 k"),
        (numbers.multiply_adds, 94_321, "94 k"),
        (numbers.multiply_adds, 94_000_000, "94 M"),
        (numbers.milliseconds, 0.21449, "0.214"),
        (numbers.milliseconds, 1234.5, "1234"),
        (numbers.general, -12.345678, "-12.346"),
    ],
)
def test_formats(text, value, expected):
    assert text(value) == expected


@pytest.mark.parametrize("text", [numbers.percent, numbers.millions, numbers.multiply_adds, numbers.milliseconds])
def test_what_is_no_measurement_is_a_dash(text):
    for value in (None, math.nan, math.inf, 10**400, "0.5", True, [1]):
        assert text(value) == numbers.MISSING


@pytest.mark.parametrize(
    ("text", "values", "expected"),
    [
        (numbers.multiply_adds, [32_100_000, 5_546_000], ["32.1 M", "5.5 M"]),
        (numbers.multiply_adds, [2_690_000_000, 412_000_000, None], ["2.69 G", "0.41 G", "–"]),
        (numbers.millions, [246_320, 46_510, 1_900], ["246.3 k", "46.5 k", "1.9 k"]),
        (numbers.millions, [23_508_032, 2_143_872, 0], ["23.51 M", "2.14 M", "0.00 M"]),
        (numbers.milliseconds, [7.2, 103.4], ["7.2", "103.4"]),
        (numbers.general, [1.0, 2.5, -12.25], ["1.00", "2.50", "-12.25"]),
        (numbers.general, [1e-9, 2.5], ["1.0000e-09", "2.5000e+00"]),
        (numbers.setting, [0.1, 0.25, 5.0], ["0.10", "0.25", "5.00"]),
        (numbers.percent, [1, 0.055], ["100.0", "5.5"]),
    ],
)
def test_a_column_has_one_unit_and_one_number_of_decimals(text, values, expected):
    assert text.column(values) == expected
