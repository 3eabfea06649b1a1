"""What the page of a comparison draws and says, as plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nas.report import plots, search_data
from nas.report.comparison import MEASURES
from nas.report.numbers import percent
from nas.report.style import SERIES_COLOURS

ROLES = ("teacher", "baseline", "student", "random-cell", "taught-baseline")
"""In the order of the rows of a run, whose plots colour them one after the other."""
TRAINED = ("weight", "loss")
"""The losses of the histories that a network's weights are trained with."""
LONGEST = 120
"""Characters of a setting that is shown."""


def colours(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A colour for each network: the first of its role has that of the run's page, the others what is left."""
    first: dict[str, int] = {}
    for place, row in enumerate(rows):
        first.setdefault(row["role"], place)
    own = {first[role]: SERIES_COLOURS[number] for number, role in enumerate(ROLES) if role in first}
    left = [colour for colour in SERIES_COLOURS if colour not in own.values()] or list(SERIES_COLOURS)
    others = iter(left * len(rows))
    return [own[place] if place in own else next(others) for place in range(len(rows))]


def sentences(comparison: Mapping[str, Any]) -> list[str]:
    """For each network but the first how it differs from that one, and whether another choice of persons could turn
    this round."""
    first, *others = comparison["rows"]
    return [
        f"{row['name']} has {_amount(row['difference'][key], name, first['name'])}. {_sure(row['difference'][key])}"
        for row in others
        for key, name in MEASURES.items()
    ]


def _amount(difference: Mapping[str, Any], name: str, first: str) -> str:
    points = percent(abs(difference["value"]))
    if float(points) == 0:
        return f"the same {name} as {first}"
    return f"{points} points {'more' if difference['value'] > 0 else 'less'} {name} than {first}"


def _sure(difference: Mapping[str, Any]) -> str:
    if not any(difference["identities"]):
        return "No choice of these persons changes that."
    low, high = (percent(end) for end in difference["identities"])
    said = f"With other persons of the same kind the difference would lie between {low} and {high} in 95 of 100 tests"
    if difference["excludes_zero"]["identities"]:
        return f"{said}: which of the two is better does not hang on who was asked for."
    return f"{said}, which has 0 in it: these queries do not tell which of the two is better."


def settings(configs: Mapping[str, Mapping[str, Any] | None]) -> dict[str, Any]:
    """The fields in which configurations differ, a column for each run; None: the run has no configuration."""
    flat = {name: _flat(config) if config else {} for name, config in configs.items()}
    fields = dict.fromkeys(field for each in flat.values() for field in each)
    rows = [
        [field, *(each.get(field, "–") for each in flat.values())]
        for field in fields
        if len({each.get(field) for name, each in flat.items() if configs[name]}) > 1
    ]
    return {"label": "Settings that differ", "columns": ["field", *flat], "rows": rows}


def _flat(value: Any, place: str = "") -> dict[str, str]:
    """Each field of a configuration by its dotted name, as text."""
    if isinstance(value, Mapping):
        fields: dict[str, str] = {}
        for key, item in value.items():
            fields |= _flat(item, f"{place}.{key}" if place else str(key))
        return fields
    text = str(value)
    return {place: text if len(text) <= LONGEST else f"{text[:LONGEST]}…"}


def losses(histories: Mapping[str, Sequence[Mapping[str, Any]]], title: str) -> list[dict[str, Any]]:
    """The total losses of one stage, a curve for each run that has it; and its validated mAP."""
    panels: list[plots.Panel] = []
    for key in (*TRAINED, "mAP"):
        curves: list[plots.Curve] = []
        for name, history in histories.items():
            points = [
                (line["epoch"], 100 * value if key == "mAP" else value)
                for line in history
                if (value := line.get(key) if key == "mAP" else (line.get(key) or {}).get("total")) is not None
            ]
            if points:
                curves.append((name, [epoch for epoch, _ in points], [value for _, value in points]))
        if curves:
            panels.append((f"{title}: {'mAP (%)' if key == 'mAP' else 'loss'}", "", curves))
    return search_data.lines_of(panels, title)


def coloured_costs(plots: Sequence[Mapping[str, Any]], of: Mapping[str, str]) -> list[dict[str, Any]]:
    """Plots of costs with their points in the colours of their networks."""
    return [
        {**plot, "points": [{**point, "colour": of.get(point["name"])} for point in plot["points"]]} for plot in plots
    ]


def coloured(plot: Mapping[str, Any], of: Mapping[str, str]) -> dict[str, Any]:
    """The plot with its series in the colours of their networks or runs."""
    return {**plot, "series": [{**each, "colour": of.get(each["name"])} for each in plot["series"]]}
