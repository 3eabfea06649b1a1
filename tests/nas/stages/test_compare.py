"""Comparisons: intervals against the bootstrap done by hand, and folders that do not fit together."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import ttest_rel

from nas.cli.compare import default_folder
from nas.cli.main import main
from nas.metrics.bootstrap import percentile_interval, resampled_means
from nas.report.query_results import Queries
from nas.stages.compare import compare
from nas.system.files import write_json

PROTOCOL = {
    "distance": "cosine",
    "ap": "plain",
    "same_camera": "remove",
    "num_queries": 40,
    "num_skipped": 1,
    "height": 64,
    "width": 32,
}


def queries(accuracy, num=40, where="/data/query", order=None):
    """Queries of eight identities, the last one skipped; a better network is better at the very same queries."""
    order = np.arange(num) if order is None else order
    hardness = np.random.default_rng(7).random(num)
    average_precision = np.clip(accuracy + 0.5 - hardness, 0.01, 1.0)
    first = np.where(average_precision > 0.6, 1, 3)
    average_precision[-1], first[-1] = math.nan, 0
    return Queries(
        names=tuple(f"{where}/{i:03d}.jpg" for i in order),
        ids=(np.arange(num) % 8)[order],
        cameras=None,
        average_precision=average_precision[order],
        first_match_rank=first[order],
    )


def evaluated(folder, by_role=None, protocol=None, seed=0, rules=PROTOCOL, **changes):
    """A folder as `nas evaluate` leaves it, with one row for each role."""
    rows = []
    for role, found in (by_role or {"student": queries(0.6)}).items():
        rows.append(
            {
                "name": f"{role} (A net)",
                "role": role.removesuffix("+rerank"),
                "queries": f"queries/{role}.csv",
                "mAP": float(np.nanmean(found.average_precision)),
                "rank1": 0.5,
                "parameters": 2_000_000,
                "multiply_adds": 400_000_000,
                "ms_per_image_1": 7.0 + len(rows),
                "ms_per_image_128": 1.0,
            }
        )
        if role.endswith("+rerank"):
            rows[-1]["rerank"] = {"k1": 20}
        found.save(folder / rows[-1]["queries"])
    write_json(
        folder / "metrics.json",
        {"format": 1, "data": "Drawn", "protocol": rules | (protocol or {}), "rows": rows, "cmc": {}} | changes,
    )
    write_json(folder / "config.json", {"format": 1, "recipe": "demo", "config": {"seed": seed, "space": "cells"}})
    return str(folder)


@pytest.fixture
def pair(tmp_path):
    return [evaluated(tmp_path / "a"), evaluated(tmp_path / "b", {"student": queries(0.7)})]


def test_intervals_are_those_of_the_bootstrap_done_by_hand(pair):
    baseline, better = compare(pair, seed=3)["rows"]
    one, two = (queries(accuracy) for accuracy in (0.6, 0.7))
    values = np.array(
        [one.average_precision, one.first_match_rank == 1, two.average_precision, two.first_match_rank == 1],
        dtype=float,
    ).T[:-1]
    rng = np.random.default_rng(3)
    for over, clusters in (("queries", None), ("identities", one.ids[:-1])):
        means = resampled_means(values, rng, 2000, clusters)
        for i, measure in enumerate(("mAP", "rank1")):
            own, other, paired = (
                percentile_interval(column).tolist()
                for column in (means[:, i], means[:, 2 + i], means[:, 2 + i] - means[:, i])
            )
            assert baseline["intervals"][measure][over] == pytest.approx(own)
            assert better["intervals"][measure][over] == pytest.approx(other)
            assert better["difference"][measure][over] == pytest.approx(paired)
    assert baseline["difference"] is None
    assert better["difference"]["mAP"]["value"] == pytest.approx(np.nanmean(values[:, 2]) - np.nanmean(values[:, 0]))
    assert better["difference"]["mAP"]["excludes_zero"] == {"queries": True, "identities": True}


def test_equal_networks_do_not_differ(tmp_path):
    runs = [evaluated(tmp_path / name) for name in "ab"]
    difference = compare(runs)["rows"][1]["difference"]["rank1"]
    assert difference == {
        "value": 0.0,
        "queries": [0.0, 0.0],
        "identities": [0.0, 0.0],
        "excludes_zero": {"queries": False, "identities": False},
    }


def test_order_of_queries_and_place_of_data_do_not_matter(pair, tmp_path):
    shuffled = queries(0.7, where="elsewhere/my data", order=np.random.default_rng(0).permutation(40))
    moved = evaluated(tmp_path / "moved" / "b", {"student": shuffled})
    first, second = compare(pair), compare([pair[0], moved])
    assert first["rows"][1]["intervals"] == second["rows"][1]["intervals"]
    assert first["rows"][1]["difference"] == second["rows"][1]["difference"]


def test_rows_are_picked_by_role(tmp_path):
    roles = ("teacher", "student", "student+rerank")
    run = evaluated(tmp_path / "run", {role: queries(0.5 + i / 10) for i, role in enumerate(roles)})
    alone = evaluated(tmp_path / "alone", {"model": queries(0.4)})

    def names(*subjects, **how):
        return [row["name"] for row in compare(subjects, **how)["rows"]]

    assert names(run, f"{run}:teacher", alone) == ["run", "run:teacher", "alone"]
    assert names(f"{run}:student+rerank", run) == ["run:student+rerank", "run"]
    assert names(run, all_rows=True) == ["run:teacher", "run", "run:student+rerank"]
    assert names(run, f"{alone}:model", role="teacher") == ["run:teacher", "alone"]
    with pytest.raises(ValueError, match="no row 'techer' .did you mean 'teacher'.*it has teacher, student, student"):
        compare([f"{run}:techer", alone])
    with pytest.raises(ValueError, match="run is compared with itself"):
        compare([run, run])
    with pytest.raises(ValueError, match="two networks or more, got 1"):
        compare([alone])


def test_names_go_as_deep_as_they_must(tmp_path):
    rows = compare([evaluated(tmp_path / place / "net") for place in ("x", "y")])["rows"]
    assert [row["name"] for row in rows] == ["x/net", "y/net"]


@pytest.mark.parametrize(
    ("by_role", "protocol", "message"),
    [
        (None, {"ap": "trapezoid", "distance": "euclidean"}, "distance: cosine, euclidean; ap: plain, trapezoid"),
        (None, {"num_gallery": 9}, "num_gallery: None, 9"),
        ({"student": queries(0.5, num=42)}, None, r"queries: 40, 42; 2 in \S*b alone, such as 040.jpg"),
    ],
)
def test_what_cannot_be_compared_says_how_it_differs(tmp_path, by_role, protocol, message):
    runs = [evaluated(tmp_path / "a"), evaluated(tmp_path / "b", by_role, protocol)]
    with pytest.raises(ValueError, match=message):
        compare(runs)


def test_other_identities_or_other_skipped_queries_are_named(tmp_path):
    one = evaluated(tmp_path / "a")
    other = queries(0.5)
    other.ids[4] = 99
    with pytest.raises(ValueError, match="identities of 1 queries, such as 004.jpg: 4, 99"):
        compare([one, evaluated(tmp_path / "b", {"student": other})])
    other = queries(0.5)
    other.average_precision[[0, -1]], other.first_match_rank[[0, -1]] = [math.nan, 0.5], [0, 2]
    with pytest.raises(ValueError, match="queries that have a match"):
        compare([one, evaluated(tmp_path / "c", {"student": other})])


def test_folders_that_are_not_evaluated_say_what_to_do(pair, tmp_path):
    with pytest.raises(ValueError, match="nowhere is not a folder"):
        compare([pair[0], "nowhere"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"no metrics.json yet: `nas evaluate \S*empty` comes first"):
        compare([pair[0], str(tmp_path / "empty")])
    with pytest.raises(ValueError, match="seed of the bootstrap must be 0 or more, got -1"):
        compare(pair, seed=-1)
    with pytest.raises(ValueError, match="did not keep single queries"):
        compare([pair[0], evaluated(tmp_path / "old", rows=[{"name": "student", "mAP": 0.5}])])
    with pytest.raises(ValueError, match="format 2, this version reads 1"):
        compare([pair[0], evaluated(tmp_path / "new", format=2)])
    queries(0.3).save(tmp_path / "a" / "queries" / "student.csv")
    with pytest.raises(ValueError, match="they are of different evaluations"):
        compare(pair)
    (tmp_path / "a" / "queries" / "student.csv").unlink()
    with pytest.raises(ValueError, match=r"student.csv does not exist: `nas evaluate` writes it"):
        compare(pair)


def test_what_else_differs_is_noted(pair, tmp_path):
    wide = evaluated(tmp_path / "wide", protocol={"width": 48, "flip": True}, data="Others")
    assert compare([pair[0], wide])["notes"] == [
        "image sizes differ: a 64x32, wide 64x48",
        "names of the data differ: a Drawn, wide Others",
        "uses of flip-averaging differ: a False, wide True",
    ]
    assert compare(pair)["notes"] == []
    reranked = evaluated(tmp_path / "reranked", {"model+rerank": queries(0.5)})
    (note,) = compare([pair[0], f"{reranked}:model+rerank"])["notes"]
    assert "without re-ranking" in note


def test_of_repeats_the_first_is_compared(pair, tmp_path):
    run = evaluated(tmp_path / "repeated")
    metrics = json.loads((tmp_path / "repeated" / "metrics.json").read_text())
    metrics["rows"][0] |= {"repeats": 10, "mAP": 0.1}
    write_json(tmp_path / "repeated" / "metrics.json", metrics)
    compared = compare([pair[0], run])
    assert compared["rows"][1]["mAP"] == compared["rows"][0]["mAP"]
    assert compared["notes"] == ["accuracy is that of the protocol's first repeat; metrics.json has the mean of 10"]


def test_seeds_of_one_recipe_are_summed_up(tmp_path):
    runs = [evaluated(tmp_path / f"s{seed}", {"student": queries(0.5 + seed / 10)}, seed=seed) for seed in range(3)]
    (group,) = compare(runs)["seeds"]
    precision = [np.nanmean(queries(0.5 + seed / 10).average_precision) for seed in range(3)]
    assert (group["recipe"], group["role"], group["seeds"]) == ("demo", "student", [0, 1, 2])
    assert group["mAP"] == pytest.approx({"mean": np.mean(precision), "sd": np.std(precision, ddof=1)})
    assert compare([runs[0], evaluated(tmp_path / "again", seed=0)])["seeds"] == []


def test_runs_of_the_same_seeds_are_compared_pair_by_pair(tmp_path):
    runs = []
    for name, better in (("plain", (0, 0, 0)), ("taught", (0.1, 0.12, 0.05))):
        for seed, more in enumerate(better):
            run = evaluated(tmp_path / f"{name}-seed{seed}", {"student": queries(0.5 + seed / 10 + more)}, seed=seed)
            config = {"format": 1, "recipe": "demo", "config": {"seed": seed, "space": name}}
            write_json(tmp_path / f"{name}-seed{seed}" / "config.json", config)
            runs.append(run)
    compared = compare(runs, out=tmp_path / "out")
    (paired,) = compared["paired"]
    means = np.array([row["mAP"] for row in compared["rows"]]).reshape(2, 3)
    assert (paired["first"], paired["second"], paired["seeds"]) == ("taught", "plain", [0, 1, 2])
    oracle = ttest_rel(means[1], means[0])
    assert paired["mAP"]["p"] == paired["mAP"]["p_holm"] == pytest.approx(oracle.pvalue)
    assert paired["mAP"]["mean"] == pytest.approx((means[1] - means[0]).mean())
    assert "run by run" in (tmp_path / "out" / "compare.md").read_text()
    assert compare(runs[:2])["paired"] == [] and compare([runs[0], runs[3]])["paired"] == []


@pytest.mark.medium
def test_the_command_writes_tables_and_pictures(pair, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["compare", *pair, "--out", str(out), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    files = said.pop("files")
    assert files[-1] == str(out / "compare.html") and said == json.loads((out / "compare.json").read_text())
    assert sorted(path.name for path in out.iterdir()) == [
        *("compare.html", "compare.json", "compare.md", "pareto.png", "pareto.svg")
    ]
    page = (out / "compare.md").read_text()
    assert "| a | " in page and "## Differences in points" in page and "2.00 M" in page and "(pareto.svg)" in page
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert main(["compare", *pair, "--out", str(out)]) == 0
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    shown = capsys.readouterr().out
    assert "minus the first" in shown and "ms, batch 128" in shown and "compare.md" in shown
    assert main(["compare", pair[1], pair[0], "--out", str(out)]) == 2
    assert "holds a comparison of" in capsys.readouterr().err


def test_default_folder_is_named_after_the_runs():
    assert default_folder(["runs/out/a", "elsewhere/b:teacher"]).as_posix() == "runs/out/compare-a-b-teacher"
    assert len(default_folder(["x" * 70] * 9).name) == 100


class TestPersonSearch:
    PROTOCOL = {"same_camera": "keep", "min_score": 0.5, "min_iou": 0.5, "num_queries": 40, "num_skipped": 1,
                "num_frames": 9, "num_boxes": 20, "short_side": 64, "long_side": 96}  # fmt: skip

    @pytest.fixture
    def searched(self, tmp_path):
        """A folder by its name, of queries of which two are in each frame, with what the protocol changes."""

        def searched(name, accuracy=0.6, **changes):
            found = queries(accuracy)
            boxes = tuple((float(i), 0.0, i + 5.0, 9.0) for i in range(40))
            found = replace(found, names=tuple(f"/data/{i // 2:02d}.png" for i in range(40)), boxes=boxes)
            return evaluated(tmp_path / name, {"student": found}, changes, rules=self.PROTOCOL)

        return searched

    def test_queries_are_paired_by_frame_and_box(self, searched, tmp_path):
        one, two = compare([searched("a"), searched("b", 0.7)], out=tmp_path / "out")["rows"]
        assert two["difference"]["mAP"]["value"] == pytest.approx(two["mAP"] - one["mAP"]) and two["mAP"] > one["mAP"]
        assert "9 frames with 20 persons; boxes count from a score of 0.5 on, same camera: keep" in (
            tmp_path / "out" / "compare.md"
        ).read_text(encoding="utf-8")

    @pytest.mark.parametrize("rule", [{"min_score": 0.2}, {"same_camera": "remove"}, {"num_frames": 8}])
    def test_other_rules_are_refused(self, searched, rule):
        ((name, value),) = rule.items()
        with pytest.raises(ValueError, match=f"differ in {name}: {self.PROTOCOL[name]}, {value}"):
            compare([searched("a"), searched("b", **rule)])

    def test_crops_are_something_else(self, searched, pair):
        one = searched("search")
        for subjects in ([one, pair[0]], [pair[0], one]):
            with pytest.raises(ValueError, match=f"{one} searches whole frames and {pair[0]} ranks crops"):
                compare(subjects)

    def test_a_detector_alone_has_no_queries(self, searched, tmp_path):
        one = searched("a")
        metrics = json.loads((tmp_path / "a" / "metrics.json").read_text())
        metrics["rows"] = [{"name": "student", "role": "student", "detection_AP": 0.9, "detection_recall": 0.9}]
        write_json(tmp_path / "a" / "metrics.json", metrics)
        with pytest.raises(ValueError, match="results of a detector alone"):
            compare([one, one])
