"""Where a latency table comes from: the user's file, the run's, or the clock."""

import json
from dataclasses import replace

import pytest

from nas.strategies import cost_penalty as price
from nas.strategies.cost_penalty import CostPenalty, latency_table
from search_spaces.cost.candidate_latency import CandidateLatency
from search_spaces.cost.candidates import MultiplyAdds
from search_spaces.cost.latency import Deployment, Eager
from tests.search_spaces.cost.test_candidates import CELLS
from tests.search_spaces.test_relaxed import TwoNodes

TORCH = Deployment(runtime=Eager())
SPACE = TwoNodes()


@pytest.fixture
def runs(monkeypatch):
    """Each measurement is noted, and says how many there were before."""
    measured = []

    def count(space, height, width, deployment):
        costs = MultiplyAdds.counted(space, height, width)
        measured.append(space)
        return CandidateLatency(
            space=space,
            height=height,
            width=width,
            nodes=costs.nodes,
            of=costs.of,
            fixed=float(len(measured)),
            deployment=deployment,
            error=0.0,
        )

    monkeypatch.setattr(price.CandidateLatency, "measured", count)
    return measured


def table(folder, shared=None, space=SPACE):
    return latency_table(space, 16, 8, TORCH, folder / "latency.json", shared)


def from_elsewhere(path):
    path.write_text(json.dumps(json.loads(path.read_text()) | {"device": "abacus"}))


def test_a_table_is_measured_once(tmp_path, runs):
    assert table(tmp_path) == table(tmp_path)
    assert len(runs) == 1 and [path.name for path in tmp_path.iterdir()] == ["latency.json"]


def test_runs_share_a_file(tmp_path, runs):
    shared = tmp_path / "shared.json"
    first = table(tmp_path / "a", shared)
    assert table(tmp_path / "b", shared) == first and len(runs) == 1
    assert (tmp_path / "a" / "latency.json").read_text() == shared.read_text()


def test_another_machines_table_in_the_runs_folder_is_replaced(tmp_path, runs):
    table(tmp_path)
    from_elsewhere(tmp_path / "latency.json")
    with pytest.warns(UserWarning, match="latency.json does not hold here .device abacus, here .*measured anew"):
        assert table(tmp_path).fixed == 2
    assert table(tmp_path).fixed == 2


def test_another_machines_file_of_the_user_is_left_alone(tmp_path, runs):
    shared = tmp_path / "shared.json"
    table(tmp_path / "a", shared)
    from_elsewhere(shared)
    kept = shared.read_text()
    for _ in range(2):
        with pytest.warns(UserWarning, match="shared.json does not hold here .device abacus"):
            assert table(tmp_path / "b", shared).fixed == 2
    assert shared.read_text() == kept and len(runs) == 2


def test_another_spaces_table_is_not_used(tmp_path, runs):
    table(tmp_path)
    with pytest.warns(UserWarning, match="other decisions"):
        table(tmp_path, space=TwoNodes(keys=("sep3", "skip")))
    assert runs == [SPACE, TwoNodes(keys=("sep3", "skip"))]


def test_a_table_that_is_far_off_is_said(tmp_path, runs, monkeypatch):
    poor = replace(table(tmp_path / "good"), error=0.31)
    monkeypatch.setattr(price.CandidateLatency, "measured", lambda *_: poor)
    with pytest.warns(UserWarning, match="bad/latency.json is off by 31% for whole networks"):
        assert table(tmp_path / "bad") == poor
    assert table(tmp_path / "bad") == poor


def test_processes_that_search_together_have_the_first_ones_table(tmp_path, runs, monkeypatch):
    sent = []
    monkeypatch.setattr(price.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(price.distributed, "get_rank", lambda: len(sent))
    monkeypatch.setattr(
        price.distributed,
        "broadcast_object_list",
        lambda box: box.__setitem__(0, sent[0]) if sent else sent.append(box[0]),
    )
    assert table(tmp_path / "first") == table(tmp_path / "second")
    assert len(runs) == 1 and not (tmp_path / "second").exists()


@pytest.mark.parametrize("content", ["", "[1, 2]", '{"device": "here"}', None])
def test_a_file_without_a_table_is_named(tmp_path, runs, content):
    shared = tmp_path / "shared.json"
    shared.mkdir() if content is None else shared.write_text(content)
    with pytest.raises(ValueError, match="shared.json must hold a latency table: .*Delete it, or name another"):
        table(tmp_path, shared)
    assert not runs


@pytest.mark.medium
def test_a_target_out_of_reach_is_said():
    costs = MultiplyAdds.counted(CELLS, 32, 16)
    fewest, most = costs.bounds()
    with pytest.warns(UserWarning, match=f"no network of this space has 1 multiply-adds, .* goes for {fewest:g}"):
        assert CostPenalty(costs, 1.0, 1.0).target == fewest
    with pytest.warns(UserWarning, match=f"no network of this space has 1e.12 multiply-adds, .* goes for {most:g}"):
        assert CostPenalty(costs, 1.0, 1e12).target == most
