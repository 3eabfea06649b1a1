"""Whether what a page and its pictures say can be read, on a light page and on a dark one."""

import re
from importlib import resources

import pytest

from nas.report.inline import THEME, inline_svg
from nas.report.plots import training
from nas.report.style import contrast, legend_label
from nas.report.tuning import LINE_COLOURS

LIGHT, DARK = (
    dict(re.findall(r"(--[\w-]+): (#\w+);", block))
    for block in (resources.files("nas.report") / "colours.css").read_text().split("@media")[:2]
)
GROUNDS = ("--page", "--panel", "--best", "--fill-input", "--fill-output")


def test_contrast_is_that_of_the_guidelines():
    assert contrast("#000000", "#ffffff") == pytest.approx(21) and contrast("#777", "#777") == 1
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.01)


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
class TestScheme:
    def test_every_text_can_be_read_on_every_ground(self, colours):
        assert all(contrast(colours[ink], colours[on]) >= 4.5 for ink in ("--ink", "--muted") for on in GROUNDS)
        assert all(contrast(colours["--accent"], colours[on]) >= 4.5 for on in ("--panel", "--best"))

    def test_every_colour_of_a_picture_that_the_page_changes_is_one_of_the_page(self, colours):
        assert {*THEME.values(), *GROUNDS} <= {*colours}

    def test_lines_of_a_study_can_be_seen_from_the_worst_to_the_best(self, colours):
        assert all(contrast(LINE_COLOURS(share)[:3], colours["--panel"]) >= 3 for share in (0, 0.25, 0.5, 0.75, 1.0))


def test_text_in_a_curve_has_a_colour_of_the_page():
    svg = inline_svg(training([{"epoch": 0, "loss": {"a": 1.0}}, {"epoch": 1, "loss": {"a": 2.0}}]), "a", "a")
    texts = re.findall(r"<text[^>]*>", svg)
    assert texts and all("fill: var(--ink" in text or "fill: var(--muted" in text for text in texts)


@pytest.mark.parametrize("name", ["", "_x", "a" * 200, "a b " * 50, "two\nlines"])
def test_a_legend_is_short_and_shows_every_name(name):
    lines = legend_label(name).split("\n")
    assert len(lines) <= 3 and max(map(len, lines)) <= 31 and not lines[0].startswith("_")
