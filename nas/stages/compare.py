"""`nas compare`: evaluated networks beside each other, and which differences are more than the luck of the queries."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from nas.errors import near_misses
from nas.metrics.bootstrap import percentile_interval, resampled_means
from nas.report.comparison import COSTS, DETECTED, as_page
from nas.report.metrics import outdated, read_metrics, searches_frames
from nas.report.pareto import pareto
from nas.report.query_results import Queries
from nas.report.style import png, svg
from nas.stages.compare_page import write_page
from nas.study.contrasts import contrast, measured, with_holm
from nas.system.files import blamed_on, read_object, write_bytes, write_json, write_text

FORMAT = 1
RERANKED = "+rerank"
MEASURES = ("mAP", "rank1")
RULES = ("distance", "ap", "same_camera", "num_queries", "num_skipped", "num_gallery")
RULES_IN_FRAMES = ("same_camera", "min_score", "min_iou", "num_queries", "num_skipped", "num_frames", "num_boxes")
"""What must be the same in two protocols before their numbers may be compared: of crops, and of person search."""
OF_SEED = re.compile(r"-seed\d+$")
SIZES = ("height", "width", "short_side", "long_side")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One row of one folder's `metrics.json`. `role` ends in `+rerank` for a row after re-ranking."""

    folder: Path
    role: str
    row: dict[str, Any]
    metrics: dict[str, Any]
    queries: Queries

    @property
    def is_search(self) -> bool:
        return searches_frames(self.metrics)

    @property
    def rules(self) -> dict[str, Any]:
        """How it was measured, as far as its numbers depend on it."""
        protocol = self.metrics["protocol"]
        return {key: protocol.get(key) for key in (RULES_IN_FRAMES if self.is_search else RULES)}

    @property
    def answered(self) -> np.ndarray:
        """Which queries have a match to be found."""
        return ~np.isnan(self.queries.average_precision)


def compare(
    subjects: Sequence[str],
    *,
    role: str = "",
    all_rows: bool = False,
    resamples: int = 2000,
    seed: int = 0,
    out: Path | None = None,
) -> dict[str, Any]:
    """Compares rows of evaluated folders with the first of them, and writes pictures and tables into `out`.

    subjects: folders that `nas evaluate` wrote; `FOLDER:ROLE` picks a row (`teacher`, `student+rerank`), which is
    otherwise that of `role`, the student's, or the only one. all_rows: all rows of folders without a role.

    Returns what `compare.json` holds: `rows`, whose first is the baseline, each with `name`, `run`, `role`, accuracy
    (shares) and cost as in `metrics.json`; `intervals`, by measure the 95% interval `[low, high]` over `queries` and
    over `identities`; and `difference` to the baseline (None for itself), by measure its `value`, the same two paired
    intervals, and of which of them `excludes_zero`. `bootstrap` says how the intervals were drawn, `notes` what else
    differs between the folders, and `seeds` has mean and deviation over runs that differ in their seed alone. Where two
    groups of such runs share seeds, `paired` has their differences pair by pair, each group minus the first.

    Raises ValueError, before anything is computed, for a seed below 0, folders that are not evaluated, rows that do not
    exist, other queries or another protocol than the first's, and an `out` that holds a comparison of others.
    """
    entries = [entry for subject in subjects for entry in _entries(subject, role, all_rows)]
    if seed < 0:
        raise ValueError(f"the seed of the bootstrap must be 0 or more, got {seed}")
    if len(entries) < 2:
        raise ValueError(
            f"a comparison needs two networks or more, got {len(entries)}: name another run, a run's row "
            "as RUN:ROLE, or --all-rows"
        )
    for other in entries[1:]:
        _check_comparable(entries[0], other)
    _check_out(out, entries)
    comparison = _compared(entries, resamples, seed)
    if out is not None:
        write(comparison, out)
        write_page(comparison, [Queries.load(entry.folder / entry.row["queries"]) for entry in entries], out)
    return comparison


def write(comparison: dict[str, Any], out: Path) -> None:
    """Writes `compare.json`, `compare.md` and, where costs are known, `pareto.svg` and `pareto.png`."""
    figure = pareto(comparison["rows"])
    write_text(out / "compare.md", as_page(comparison, "pareto.svg" if figure else ""))
    if figure:
        write_text(out / "pareto.svg", svg(figure, transparent=False))
        write_bytes(out / "pareto.png", png(figure))
    write_json(out / "compare.json", comparison)


def _entries(subject: str, role: str, all_rows: bool) -> list[Entry]:
    """The rows that a subject of the command line means."""
    head, colon, tail = subject.rpartition(":")
    named = bool(colon) and not Path(subject).is_dir()
    folder, wanted = (Path(head), tail) if named else (Path(subject), role)
    metrics = _metrics(folder)
    rows = {row.get("role", "") + (RERANKED if row.get("rerank") else ""): row for row in metrics["rows"]}
    if all_rows and not named:
        return [_entry(folder, key, metrics, row) for key, row in rows.items()]
    if not wanted:
        plain = [key for key in rows if not key.endswith(RERANKED)]
        wanted = plain[0] if len(plain) == 1 else "student"
    if wanted not in rows:
        raise ValueError(
            f"{folder} has no row {wanted!r}{near_misses(wanted, rows)}; it has {', '.join(rows)}: choose "
            f"one as {folder}:ROLE or with --role"
        )
    return [_entry(folder, wanted, metrics, rows[wanted])]


def _metrics(folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder: a comparison takes folders that `nas evaluate` wrote")
    if not (folder / "metrics.json").is_file():
        raise ValueError(f"{folder} has no metrics.json yet: `nas evaluate {folder}` comes first")
    metrics = read_metrics(folder / "metrics.json")
    if lacking := [key for key in ("data", "protocol", "rows") if not metrics.get(key)]:
        raise ValueError(f"{folder}/metrics.json is not as `nas evaluate` writes it: it lacks {', '.join(lacking)}")
    if any("detection_AP" in row and "mAP" not in row for row in metrics["rows"]):
        raise ValueError(
            f"{folder} has the results of a detector alone, and a comparison is of single queries, which a detector "
            "cannot tell apart: compare networks that have an embedding"
        )
    if not all("queries" in row for row in metrics["rows"]):
        raise ValueError(
            f"{folder} was evaluated by an earlier version, which did not keep single queries: "
            f"`nas evaluate {folder}` again"
        )
    if lacking := [key for key in ("name", *MEASURES) if not all(key in row for row in metrics["rows"])]:
        raise ValueError(f"{folder}/metrics.json has rows without {', '.join(lacking)}: `nas evaluate {folder}` again")
    return metrics


def _entry(folder: Path, role: str, metrics: dict, row: dict) -> Entry:
    queries = Queries.load(folder / row["queries"])
    labels = queries.labels
    order = sorted(range(len(labels)), key=labels.__getitem__)
    ordered = replace(
        queries,
        names=tuple(labels[i] for i in order),
        boxes=None,
        ids=queries.ids[order],
        cameras=None,
        average_precision=queries.average_precision[order],
        first_match_rank=queries.first_match_rank[order],
        found=(),
    )
    found = float(np.nanmean(queries.average_precision))
    if "repeats" not in row and abs(found - row["mAP"]) > 1e-6:
        raise ValueError(
            f"{folder}/{row['queries']} has an mAP of {found:.6f}, metrics.json one of {row['mAP']:.6f}: "
            f"they are of different evaluations; `nas evaluate {folder}` again"
        )
    return Entry(folder=folder, role=role, row=row, metrics=metrics, queries=ordered)


def _check_comparable(first: Entry, other: Entry) -> None:
    """Raises ValueError saying in what two evaluations differ that makes their numbers incomparable."""
    if first.is_search != other.is_search:
        search, crops = (first, other) if first.is_search else (other, first)
        raise ValueError(
            f"{search.folder} searches whole frames and {crops.folder} ranks crops, so that their numbers have nothing "
            "in common: compare runs of one task"
        )
    two = other.rules
    differ = [f"{key}: {value}, {two[key]}" for key, value in first.rules.items() if value != two[key]]
    names, others = (_short_names(entry.queries.names) for entry in (first, other))
    if names != others:
        missing, added = sorted(set(names) - set(others)), sorted(set(others) - set(names))
        examples = [
            f"{len(some)} in {entry.folder} alone, such as {some[0]}"
            for entry, some in ((first, missing), (other, added))
            if some
        ]
        differ.append(f"queries: {len(names)}, {len(others)}" + "".join(f"; {text}" for text in examples))
    elif changed := np.flatnonzero(first.queries.ids != other.queries.ids).tolist():
        ids = [entry.queries.ids[changed[0]] for entry in (first, other)]
        differ.append(f"identities of {len(changed)} queries, such as {names[changed[0]]}: {ids[0]}, {ids[1]}")
    elif (first.answered != other.answered).any():
        differ.append("queries that have a match in the gallery")
    if differ:
        raise ValueError(
            f"{first.folder} and {other.folder} cannot be compared, they differ in {'; '.join(differ)}. "
            "Evaluate both on the same data set with the same --evaluation options"
        )


def _short_names(names: Sequence[str]) -> list[str]:
    """Names without the folders that all share: another machine keeps its data elsewhere."""
    folders = [name.rpartition("/")[0] + "/" for name in names]
    shared = os.path.commonprefix(folders).rpartition("/")[0]  # noqa: RUF071 - cut back to whole folders
    return [name.removeprefix(f"{shared}/") for name in names]


def _check_out(out: Path | None, entries: Sequence[Entry]) -> None:
    if out is None or not (out / "compare.json").exists():
        return
    with blamed_on(out / "compare.json"):
        held = [(row["run"], row["role"]) for row in read_object(out / "compare.json")["rows"]]
    if held != [(str(entry.folder.resolve()), entry.role) for entry in entries]:
        raise ValueError(
            f"{out} holds a comparison of {', '.join(f'{run}:{role}' for run, role in held)}: give --out another folder"
        )


def _compared(entries: Sequence[Entry], resamples: int, seed: int) -> dict[str, Any]:
    ids = entries[0].queries.ids[entries[0].answered]
    values = _by_query(entries)
    found = values.mean(axis=2)
    flat, rng = values.reshape(-1, values.shape[2]).T, np.random.default_rng(seed)
    samples = {
        over: resampled_means(flat, rng, resamples, clusters).reshape(-1, *found.shape)
        for over, clusters in (("queries", None), ("identities", ids))
    }
    own = {over: percentile_interval(means) for over, means in samples.items()}
    paired = {over: percentile_interval(means - means[:, :1]) for over, means in samples.items()}
    rows = [
        {
            "name": name,
            "run": str(entry.folder.resolve()),
            "role": entry.role,
            "network": entry.row["name"],
            **dict(zip(MEASURES, found[i].tolist(), strict=True)),
            **{key: entry.row.get(key) for key in (*DETECTED, *COSTS, "timing")},
            "intervals": _by_measure(i, own),
            "difference": _difference(i, found, paired) if i else None,
        }
        for i, (entry, name) in enumerate(zip(entries, _labels(entries), strict=True))
    ]
    groups = _groups(entries)
    return {
        "format": FORMAT,
        "protocol": {key: value for key, value in entries[0].rules.items() if value is not None},
        "bootstrap": {
            "resamples": resamples,
            "seed": seed,
            "level": 0.95,
            "num_queries": len(ids),
            "num_identities": len(np.unique(ids)),
        },
        "rows": rows,
        "seeds": _seeds(entries, groups),
        "paired": _paired(entries, groups, [row["name"] for row in rows], seed),
        "notes": _notes(entries, rows),
    }


def _by_query(entries: Sequence[Entry]) -> np.ndarray:
    """The measures of each query that all answer: `[network, measure, query]`."""
    answered = entries[0].answered
    measures = [
        [entry.queries.average_precision[answered], entry.queries.first_match_rank[answered] == 1] for entry in entries
    ]
    return np.array(measures, dtype=np.float64)


def _difference(network: int, found: np.ndarray, paired: dict[str, np.ndarray]) -> dict[str, dict[str, Any]]:
    """To the first network by measure: the value, its intervals, and which of them leave out 0."""
    difference = _by_measure(network, paired)
    for m, measure in enumerate(MEASURES):
        difference[measure] |= {
            "value": float(found[network, m] - found[0, m]),
            "excludes_zero": {over: low > 0 or high < 0 for over, (low, high) in difference[measure].items()},
        }
    return difference


def _by_measure(network: int, ends: dict[str, np.ndarray]) -> dict[str, dict[str, Any]]:
    """The intervals of one network by measure and by what they are over; `ends` are `[2, network, measure]`."""
    return {
        measure: {over: both[:, network, m].tolist() for over, both in ends.items()}
        for m, measure in enumerate(MEASURES)
    }


def _labels(entries: Sequence[Entry]) -> list[str]:
    """Short names that tell the rows apart, as the command line takes them: the folder's last parts, and the role."""
    folders = list(dict.fromkeys(entry.folder.resolve() for entry in entries))
    depth = next(depth for depth in range(1, 99) if len({folder.parts[-depth:] for folder in folders}) == len(folders))
    labels = []
    for entry in entries:
        name = "/".join(entry.folder.resolve().parts[-depth:])
        is_plain = entry.role == "student" or len(entry.metrics["rows"]) == 1
        labels.append(name if is_plain else f"{name}:{entry.role}")
    twice = [label for label in labels if labels.count(label) > 1]
    if twice:
        raise ValueError(f"{twice[0]} is compared with itself: name each row once")
    return labels


def _groups(entries: Sequence[Entry]) -> dict[str, dict[int, int]]:
    """By a key and their seeds the places of the entries whose configurations differ in the seed alone."""
    groups: dict[str, dict[int, int]] = {}
    for place, entry in enumerate(entries):
        if (entry.folder / "config.json").is_file():
            written = read_object(entry.folder / "config.json")
            with blamed_on(entry.folder / "config.json"):
                config = {key: value for key, value in written["config"].items() if key not in ("seed", "machine")}
                key = json.dumps([written["recipe"], entry.role, config], sort_keys=True)
                groups.setdefault(key, {})[written["config"]["seed"]] = place
    return groups


def _seeds(entries: Sequence[Entry], groups: Mapping[str, Mapping[int, int]]) -> list[dict[str, Any]]:
    """Mean and standard deviation of the measures over the seeds of each group that has several."""
    found = []
    for key, group in groups.items():
        if len(group) > 1:
            recipe, role, _ = json.loads(key)
            facts: dict[str, Any] = {"recipe": recipe, "role": role, "seeds": list(group)}
            for measure in MEASURES:
                values = [entries[place].row[measure] for place in group.values()]
                facts[measure] = {"mean": float(np.mean(values)), "sd": float(np.std(values, ddof=1))}
            found.append(facts)
    return found


def _paired(
    entries: Sequence[Entry], groups: Mapping[str, Mapping[int, int]], names: Sequence[str], seed: int
) -> list[dict[str, Any]]:
    """Each further group minus the first over the seeds that both have, where these are two or more: as
    `nas.study.contrasts.contrast`. A group is called as its first run, without the seed. `seed`: of the bootstrap."""
    first, *others = list(groups.values()) or [{}]
    found = []
    for other in others:
        if len(first.keys() & other.keys()) > 1:
            sides = [
                {seed: measured(entries[place].row, entries[place].queries) for seed, place in group.items()}
                for group in (other, first)
            ]
            titles = [OF_SEED.sub("", names[min(group.values())]) for group in (other, first)]
            found.append(
                {"first": titles[0], "second": titles[1], "primary": False, **contrast(sides[0], sides[1], seed)}
            )
    return with_holm(found)


def _notes(entries: Sequence[Entry], rows: Sequence[dict]) -> list[str]:
    """What differs without making the numbers incomparable."""
    names, protocols = [row["name"] for row in rows], [entry.metrics["protocol"] for entry in entries]
    sizes = ["x".join(str(protocol[key]) for key in SIZES if key in protocol) or "?" for protocol in protocols]
    facts = {
        "image sizes": sizes,
        "names of the data": [entry.metrics["data"] for entry in entries],
        "uses of flip-averaging": [protocol.get("flip", False) for protocol in protocols],
    }
    notes = [
        f"{what} differ: " + ", ".join(f"{name} {value}" for name, value in zip(names, values, strict=True))
        for what, values in facts.items()
        if len(set(values)) > 1
    ]
    notes += dict.fromkeys(filter(None, (outdated(entry.folder, entry.metrics) for entry in entries)))
    repeats = max(entry.row.get("repeats", 1) for entry in entries)
    if repeats > 1:
        notes.append(f"accuracy is that of the protocol's first repeat; metrics.json has the mean of {repeats}")
    if any(entry.row.get("rerank") for entry in entries):
        notes.append("costs are those of the network alone, without re-ranking")
    return notes
