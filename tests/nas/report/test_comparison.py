"""A comparison's tables: what stands in their cells."""

from nas.report.comparison import accuracy_table, as_page, difference_table


def row(name, share, difference=None):
    ends = {"queries": [share - 0.01, share + 0.02], "identities": [share - 0.03, share + 0.04]}
    return {"name": name, "mAP": share, "rank1": share + 0.1, "intervals": {"mAP": ends, "rank1": ends},
            "parameters": 2_100_000, "multiply_adds": None, "ms_per_image_1": 7.2, "ms_per_image_128": 0.21,
            "difference": difference}  # fmt: skip


BETTER = {"value": 0.061, "queries": [0.01, 0.1], "identities": [-0.0001, 0.1],
          "excludes_zero": {"queries": True, "identities": False}}  # fmt: skip
COMPARISON = {
    "protocol": {"distance": "cosine", "ap": "plain", "same_camera": "remove"},
    "bootstrap": {"resamples": 2000, "seed": 0, "level": 0.95, "num_queries": 40, "num_identities": 8},
    "rows": [row("a|b", 0.5), row("c_d", 0.561, {"mAP": BETTER, "rank1": BETTER | {"value": -0.02}})],
    "paired": [],
        "seeds": [{"recipe": "demo", "role": "student", "seeds": [0, 1], "mAP": {"mean": 0.5305, "sd": 0.043},
               "rank1": {"mean": 0.6, "sd": 0.0}}],
    "notes": ["image sizes differ"],
}  # fmt: skip


def test_cells_hold_percent_intervals_and_costs():
    table = accuracy_table(COMPARISON)
    assert table.columns[:5] == ("network", "mAP", "queries", "identities", "rank-1")
    assert table.rows[0].cells == ("a|b", "50.0", "49.0–52.0", "47.0–54.0", "60.0", "49.0–52.0", "47.0–54.0",
                                   "2.10 M", "–", "7.20", "0.210")  # fmt: skip


def test_differences_are_signed_and_starred_where_zero_is_left_out():
    (only,) = difference_table(COMPARISON).rows
    assert only.cells == ("c_d", "+6.1", "+1.0 to +10.0 *", "+0.0 to +10.0", "-2.0", "+1.0 to +10.0 *", "+0.0 to +10.0")


def test_page_says_how_the_numbers_came_about():
    page = as_page(COMPARISON, "plot.svg")
    for text in ("40 queries of 8 identities; cosine distance", "2000 resamples, seed 0", r"| a\|b | 50.0 |",
                 "demo, student, seeds 0, 1: mAP 53.0 ± 4.3, rank-1 60.0 ± 0.0", "Note: image sizes differ.",
                 "![mAP against cost](plot.svg)"):  # fmt: skip
        assert text in page
    assert "![" not in as_page(COMPARISON)
