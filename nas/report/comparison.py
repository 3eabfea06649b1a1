"""A comparison of networks as tables and as a page of Markdown."""

from collections.abc import Sequence

from nas.report.numbers import MISSING, millions, milliseconds, multiply_adds, percent
from nas.report.table import Row, Table, as_markdown, escape_markdown

MEASURES = {"mAP": "mAP", "rank1": "rank-1"}
COSTS = {
    "parameters": ("parameters", millions),
    "multiply_adds": ("MACs", multiply_adds),
    "ms_per_image_1": ("ms, batch 1", milliseconds),
    "ms_per_image_128": ("ms, batch 128", milliseconds),
}
OVER = ("queries", "identities")


def accuracy_table(comparison: dict) -> Table:
    """What `compare.json` says of each network: accuracy (%), its intervals over queries and over identities, cost."""
    measured = [title for name in MEASURES.values() for title in (name, *OVER)]
    costs = [text.column([row[key] for row in comparison["rows"]]) for key, (_, text) in COSTS.items()]
    rows = []
    for row, *cost in zip(comparison["rows"], *costs, strict=True):
        cells = [row["name"]]
        for key in MEASURES:
            ends = [row["intervals"][key][over] for over in OVER]
            cells += [percent(row[key]), *(f"{percent(low)}{MISSING}{percent(high)}" for low, high in ends)]
        rows.append(Row((*cells, *cost)))
    titles = (title for title, _ in COSTS.values())
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
    drawn, protocol = comparison["bootstrap"], comparison["protocol"]
    parts = [
        "# Comparison",
        f"{drawn['num_queries']} queries of {drawn['num_identities']} identities; "
        f"{protocol['distance']} distance, {protocol['ap']} average precision, same camera: {protocol['same_camera']}. "
        f"Intervals ({drawn['level']:.0%}): paired percentile bootstrap, {drawn['resamples']} resamples, seed "
        f"{drawn['seed']}. They are of the choice of queries: training again with another seed moves the numbers too.",
        "## Accuracy and cost",
        as_markdown(accuracy_table(comparison)).rstrip(),
        "## Differences in points",
        as_markdown(difference_table(comparison)).rstrip(),
        "\\* the interval leaves out 0.",
        *map(escape_markdown, seed_lines(comparison["seeds"])),
        *(f"Note: {escape_markdown(note)}." for note in comparison["notes"]),
        *([f"![mAP against cost]({picture})"] if picture else []),
    ]
    return "\n\n".join(parts) + "\n"


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
