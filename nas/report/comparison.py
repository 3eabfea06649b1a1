"""A comparison of networks as tables and as a page of Markdown."""

from collections.abc import Sequence

from nas.report.ablation import contrasts_table
from nas.report.metrics import searches_frames
from nas.report.numbers import MEASURED, MISSING, percent
from nas.report.table import Row, Table, as_markdown, escape_markdown
from nas.report.timing import conditions_line

MEASURES = {"mAP": "mAP", "rank1": "rank-1"}
DETECTED = ("detection_AP", "detection_recall")
COSTS = ("parameters", "multiply_adds", "ms_per_image_1", "ms_per_image_128")
IF_KNOWN = (*DETECTED, "ms_per_image_128")
"""The columns of a table that are left out when no network has a value."""
OVER = ("queries", "identities")


def accuracy_table(comparison: dict) -> Table:
    """What `compare.json` says of each network: accuracy (%), its intervals over queries and over identities, what it
    detects if it does, cost."""
    measured = [title for name in MEASURES.values() for title in (name, *OVER)]
    keys = [
        key
        for key in (*DETECTED, *COSTS)
        if key not in IF_KNOWN or any(row.get(key) is not None for row in comparison["rows"])
    ]
    further = [MEASURED[key][1].column([row.get(key) for row in comparison["rows"]]) for key in keys]
    rows = []
    for row, *others in zip(comparison["rows"], *further, strict=True):
        cells = [row["name"]]
        for key in MEASURES:
            ends = [row["intervals"][key][over] for over in OVER]
            cells += [percent(row[key]), *(f"{percent(low)}{MISSING}{percent(high)}" for low, high in ends)]
        rows.append(Row((*cells, *others)))
    titles = (MEASURED[key][0] for key in keys)
    return Table(("network", *measured, *titles), tuple(rows), attached=OVER)


def difference_table(comparison: dict) -> Table:
    """Differences to the first network in points; a star stands where the interval leaves out 0."""
    measured = [title for name in MEASURES.values() for title in (name, *OVER)]
    cells = [
        (row["name"], *(cell for key in MEASURES for cell in _difference(row["difference"][key])))
        for row in comparison["rows"][1:]
    ]
    return Table(("minus the first", *measured), tuple(map(Row, cells)), attached=OVER)


def as_page(comparison: dict, picture: str = "") -> str:
    """The comparison as Markdown; `picture` is the file of the plot of accuracy against cost."""
    drawn = comparison["bootstrap"]
    parts = [
        "# Comparison",
        f"{drawn['num_queries']} queries of {drawn['num_identities']} identities; "
        f"{_rules(comparison)}. "
        f"Intervals ({drawn['level']:.0%}): paired percentile bootstrap, {drawn['resamples']} resamples, seed "
        f"{drawn['seed']}. They are of the choice of queries: training again with another seed moves the numbers too.",
        "## Accuracy and cost",
        as_markdown(accuracy_table(comparison)).rstrip(),
        *filter(None, [escape_markdown(conditions_line(comparison["rows"]))]),
        "## Differences in points",
        as_markdown(difference_table(comparison)).rstrip(),
        "\\* the interval leaves out 0.",
        *map(escape_markdown, seed_lines(comparison["seeds"])),
        *_paired(comparison),
        *(f"Note: {escape_markdown(note)}." for note in comparison["notes"]),
        *([f"![mAP against cost]({picture})"] if picture else []),
    ]
    return "\n\n".join(parts) + "\n"


def _paired(comparison: dict) -> list[str]:
    """The differences over seeds, where there are pairs of runs."""
    if not comparison["paired"]:
        return []
    return [
        "## Differences over seeds in points, run by run",
        as_markdown(contrasts_table(comparison["paired"])).rstrip(),
    ]


def _rules(comparison: dict) -> str:
    if searches_frames(comparison):
        kind = "{num_frames} frames with {num_boxes} persons; boxes count from a score of {min_score} on"
    else:
        kind = "{distance} distance, {ap} average precision"
    return f"{kind}, same camera: {{same_camera}}".format(**comparison["protocol"])


def seed_lines(seeds: Sequence[dict]) -> list[str]:
    """A line for each recipe that was run with several seeds."""
    lines = []
    for group in seeds:
        means = [
            f"{name} {percent(group[key]['mean'])} ± {percent(group[key]['sd'])}" for key, name in MEASURES.items()
        ]
        lines.append(
            f"{group['recipe']}, {group['role']}, seeds {', '.join(map(str, group['seeds']))}: "
            f"{', '.join(means)} (mean ± standard deviation)"
        )
    return lines


def _difference(difference: dict) -> list[str]:
    ends = [
        f"{_points(difference[over][0])} to {_points(difference[over][1])}"
        + (" *" if difference["excludes_zero"][over] else "")
        for over in OVER
    ]
    return [_points(difference["value"]), *ends]


def _points(share: float) -> str:
    return f"{round(100 * share, 1) + 0.0:+.1f}"  # adding 0.0 takes the sign off a zero that was rounded up to
