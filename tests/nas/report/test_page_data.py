"""What a page's script is given: numbers against naive loops, files that are not as they were written, packed data."""

import base64
import gzip
import json
import re

import numpy as np
import pytest

from nas.metrics.camera_pairs import CameraPairs
from nas.metrics.pairs import PairDistances
from nas.report.query_data import browsed, interval, read_queries
from nas.report.query_results import FoundBox, Queries
from nas.report.retrieval_data import camera_numbers, distance_numbers, matching_rates, plane_numbers, read_plot
from nas.report.scripts import LONG, as_json, shortened
from nas.report.search_data import listed, searched, tried
from nas.report.thumbnails import read_thumbnails
from nas.system.files import write_json
from tests.nas.report.conftest import write_evaluation


def queries(first, precision, ids):
    first = np.array(first)
    return Queries(
        names=tuple(f"q/{i}.jpg" for i in range(len(first))), ids=np.array(ids), cameras=None,
        average_precision=np.array(precision, dtype=float), first_match_rank=first,
    )  # fmt: skip


def test_an_edge_has_its_weights_what_is_kept_and_its_cost():
    line = {"alphas": {"c.3<0": {"skip": 0.25, "none": 0.75}, "width": {"8": 1.0}}, "health": {"entropy": 1.0}}
    history = [
        {"epoch": 0, **line, "decisions": {"c.3": ["skip@0", "none@1"], "width": 8}},
        {"epoch": 1, **line, "decisions": {"c.3": ["skip@10"]}},
    ]
    cell, others = searched(history, {"macs": {"c.3<0": {"skip": 0, "none": 12345}}})["groups"]
    assert (cell["name"], cell["numNodes"], others["numNodes"]) == ("c", 2, 0)
    assert cell["edges"] == [
        {
            "name": "c.3<0", "from": 0, "to": 3, "options": ["skip", "none"], "weights": [[0.25, 0.75]] * 2,
            "kept": [0, -1], "macs": [0.0, 12340.0],
        }
    ]  # fmt: skip
    assert others["edges"][0]["kept"] == [0, -1]
    assert searched([{"epoch": 0}]) is None


def test_trials_and_ranked_architectures_say_what_they_are_measured_in():
    decisions = {"a": 1}
    line = {"epoch": 0, "score": 0.5, "cost": 2e6, "best": 0.5, "architecture": {"decisions": decisions}}
    found = {
        "value": "mAP",
        "cost": "multiply_adds",
        "ranked": [{"score": 0.5, "architecture": {"decisions": decisions}}],
    }
    trials = tried([line, {"epoch": 1}], found)
    assert trials["value"] == {"name": "mAP", "percent": True} and trials["cost"]["size"] == 1e6
    assert trials["trials"] == [
        {"score": 0.5, "cost": 2e6, "best": 0.5, "epochs": None, "further": {}, "pruned": False, "decisions": decisions}
    ]
    assert listed(found)["entries"][0] == {
        "score": 0.5,
        "further": {},
        "cost": None,
        "parameters": None,
        "hash": "",
        "decisions": decisions,
    }
    assert tried([{"epoch": 0}], {}) is None and listed({}) is None


def test_a_ranked_architecture_costs_what_its_student_costs():
    """A search by gradient counts the network that it searches with, which is smaller."""
    entry = {"score": 1.0, "cost": 1e6, "architecture": {"decisions": {}}}
    student = {"parameters": 5, "multiply_adds": 4e6}
    for found, cost in (({"cost": "multiply_adds"}, 4e6), ({"cost": "latency_ms"}, 1e6)):
        [shown] = listed({**found, "ranked": [{**entry, "student": student}]})["entries"]
        assert shown["cost"] == cost and shown["parameters"] == 5


def test_the_best_by_chance_is_that_of_many_searches_by_chance():
    rng = np.random.default_rng(0)
    scores = rng.random(12).tolist()
    lines = [{"epoch": place, "score": score, "best": score} for place, score in enumerate(scores)]
    found = tried(lines, {}, {"kind": "Evolution", "population": 7})["byChance"]
    drawn = rng.choice(scores[:7], (40_000, 12))
    best = np.maximum.accumulate(drawn, axis=1)
    for name, share in {"low": 0.1, "middle": 0.5, "high": 0.9}.items():
        low, high = [np.quantile(best, share + step, axis=0, method="inverted_cdf") for step in (-0.01, 0.01)]
        assert np.all(low - 1e-6 <= found[name]) and np.all(found[name] <= high + 1e-6)
    assert found["num"] == 7
    assert tried(lines, {}, {"kind": "RandomSearch"})["byChance"]["num"] == 12
    assert tried(lines, {}, {"kind": "Evolution", "population": 4})["byChance"] is None
    assert tried(lines, {}, {"kind": "DARTS"})["byChance"] is None
    assert tried(lines, {}, {"kind": "Evolution", "population": 7, "warm_start": "naswot"})["byChance"] is None


def test_matching_rates_are_those_of_a_loop_up_to_the_gallery():
    rng = np.random.default_rng(1)
    first, precision = rng.integers(1, 30, size=50), rng.random(50)
    first[:5], precision[:5] = 0, np.nan
    first[5:8] = 0  # nothing right was found, though there is something
    curve = matching_rates({"a": queries(first, precision, np.arange(50))}, 400)["series"][0]
    answered = first[5:]
    for rank, rate in zip(curve["x"], curve["y"], strict=True):
        assert rate == pytest.approx(100 * np.mean([0 < each <= rank for each in answered]), rel=1e-3)
    assert curve["x"][0] == 1 and curve["x"][-1] == 400


def test_an_interval_needs_two_identities_and_holds_the_mean():
    low, high = interval(queries([1] * 6, [0.1, 0.2, 0.3, 0.7, 0.8, np.nan], [1, 1, 2, 2, 3, 4]))
    assert 0.1 < low < 0.42 < high < 0.81
    assert interval(queries([1, 1], [0.5, 0.6], [3, 3])) is None


def test_numbers_behind_plots_come_back_as_they_were_written(tmp_path):
    rng = np.random.default_rng(0)
    right, wrong = rng.integers(0, 9, size=(2, 1000))
    right[:100] = wrong[:100] = 0
    pairs = PairDistances(edges=np.linspace(0, 2, 1001), right=right, wrong=wrong, distance="cosine")
    write_json(tmp_path / "distances.json", distance_numbers(pairs))
    found = read_plot(tmp_path / "distances.json")
    assert sum(found["right"]) == right.sum() and sum(found["wrong"]) == wrong.sum() and len(found["edges"]) <= 402
    for place, edge in enumerate(found["edges"]):
        inside = pairs.edges[1:] <= edge + 1e-9
        assert sum(found["right"][:place]) == right[inside].sum()
    table = np.array([[np.nan, 0.5]])
    cameras = CameraPairs(
        query_cameras=np.array([3]),
        gallery_cameras=np.array([3, 4]),
        num_queries=np.array([[0, 7]]),
        mAP=table,
        rank1=table,
    )
    write_json(tmp_path / "cameras.json", camera_numbers(cameras))
    assert read_plot(tmp_path / "cameras.json") == {
        "rows": [3], "columns": [3, 4], "num_queries": [[0, 7]], "mAP": [[None, 0.5]], "rank1": [[None, 0.5]],
    }  # fmt: skip
    write_json(tmp_path / "tsne.json", plane_numbers(np.zeros((2, 2)), 5.0, np.array([1, 2]), None, ["a", "b"]))
    assert read_plot(tmp_path / "tsne.json")["names"] == ["a", "b"]
    assert read_plot(tmp_path / "none.json") is None


BROKEN = {
    "too few edges": ("distances", {"distance": "cosine", "edges": [0, 1], "right": [1, 2], "wrong": [1, 2]}),
    "no number": ("distances", {"distance": "cosine", "edges": [0, 1], "right": ["<b>"], "wrong": [1]}),
    "a short row": (
        "cameras",
        {"query_cameras": [1], "gallery_cameras": [1, 2], "num_queries": [[1]], "mAP": [[1]], "rank1": [[1]]},
    ),
    "a camera that is none": ("cameras", {"query_cameras": ["x"], "gallery_cameras": []}),
    "too few names": ("tsne", {"perplexity": 3, "places": [[0, 0]], "identities": [1], "cameras": [1], "names": []}),
}  # fmt: skip


@pytest.mark.parametrize(("name", "content"), BROKEN.values(), ids=BROKEN)
def test_numbers_that_are_none_are_named(tmp_path, name, content):
    write_json(tmp_path / f"{name}.json", {"format": 1} | content)
    with pytest.raises(ValueError, match=rf"{name}\.json"):
        read_plot(tmp_path / f"{name}.json")


def test_queries_name_each_image_of_the_gallery_once(tmp_path):
    write_evaluation(tmp_path)
    networks = read_queries(tmp_path, json.loads((tmp_path / "metrics.json").read_text()))
    data = browsed(tmp_path, networks)
    names = [data["gallery"]["root"] + name for name in data["gallery"]["names"]]
    assert (
        data["gallery"]["root"] == "data/gallery/"
        and len(names) == len(set(names))
        and data["gallery"]["folder"] is None
    )
    for shown, each in zip(data["networks"], networks.values(), strict=True):
        for flat, found in zip(shown["found"], each.found, strict=True):
            assert [names[place] for place in flat[::2]] == [one.name for one in found]
            assert [data["gallery"]["ids"][place] for place in flat[::2]] == [one.identity for one in found]
    assert set(read_thumbnails(tmp_path)["query"]) < {data["query"]["root"] + name for name in data["query"]["names"]}


def test_boxes_of_frames_have_their_corners(tmp_path):
    box = FoundBox(name="frame.jpg", box=(1.0, 2.0, 3.0, 4.0), camera=None, right=True, similarity=0.5)
    asked = Queries(
        names=("a.jpg",), ids=np.array([1]), cameras=None, average_precision=np.array([1.0]),
        first_match_rank=np.array([1]), boxes=((0.0, 0.0, 9.0, 9.0),), found=((box,),),
    )  # fmt: skip
    data = browsed(tmp_path, {"student": asked})
    assert data["frames"] and data["networks"][0]["found"] == [[0, 0.5, 1, 1.0, 2.0, 3.0, 4.0]]
    assert browsed(tmp_path, {}) is None


def test_data_ends_no_element_and_is_packed_where_it_is_long():
    data = {"short": "</script><!--", "long": ["</script>" * LONG]}
    text = as_json(data)
    assert not re.search("[<>&]", text) and len(text) < LONG
    held = json.loads(text)
    assert held["short"] == data["short"]
    assert json.loads(gzip.decompress(base64.b64decode(held["long"]["gzip"]))) == data["long"]


@pytest.mark.parametrize(
    ("value", "short"), [(0.123456, 0.1235), (float("nan"), None), (True, None), ("1", None), (3, 3.0)]
)
def test_what_is_no_number_is_none(value, short):
    assert shortened(value) == short
