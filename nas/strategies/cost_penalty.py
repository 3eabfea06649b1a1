"""What a network's cost adds to the alphas' loss, and the latency table that a run keeps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from warnings import warn

from torch import Tensor, distributed

from nas.system.files import read_json, write_json
from search_spaces.architecture import Architecture
from search_spaces.cost.candidate_latency import CandidateLatency, OtherConditions
from search_spaces.cost.candidates import CandidateCosts, MultiplyAdds
from search_spaces.cost.latency import Deployment
from search_spaces.relaxed import Supernet
from search_spaces.space import SearchSpace

TABLE = "latency.json"
LARGE_ERROR = 0.1


class CostPenalty:
    """What a supernet's expected cost adds to the alphas' loss.

    `weight` for each 10^9 multiply-adds or each ms; with a `target`, `weight` times the relative distance from it. A
    target that no network can have gives way to the closest, with a warning.
    """

    def __init__(self, costs: CandidateCosts, weight: float, target: float | None) -> None:
        self.costs, self.weight, self.target = costs, weight, target
        least, most = costs.bounds()
        if target is not None and not least <= target <= most:
            self.target = min(max(target, least), most)
            warn(
                f"no network of this space has {target:g} {costs.unit}, they have {least:g} to {most:g}: the search "
                f"goes for {self.target:g}",
                stacklevel=2,
            )

    def __call__(self, supernet: Supernet) -> Tensor:
        expected = self.costs.expected(supernet)
        if self.target is None:
            return self.weight * expected / self.costs.per_weight
        return self.weight * (expected / self.target - 1).abs()

    def record(self, supernet: Supernet, predicted: Architecture) -> dict[str, dict[str, float]]:
        """By the cost's name the expected one, and the predicted student's by the sum of its candidates."""
        return {
            self.costs.name: {
                "expected": self.costs.expected(supernet).item(),
                "predicted": self.costs.predicted(predicted),
            }
        }

    def notes(self, supernet: Supernet, found: Architecture) -> dict[str, dict[str, float]]:
        """The record of the found student, classifier included, with its real cost, and its real multiply-adds."""
        notes = self.record(supernet, found)
        notes[self.costs.name]["real"] = self.costs.real(found)
        notes.setdefault(MultiplyAdds.name, {})["real"] = self.costs.multiply_adds(found)
        return notes


def latency_table(
    space: SearchSpace, height: int, width: int, deployment: Deployment, own: Path, shared: Path | None = None
) -> CandidateLatency:
    """The table in the file `shared`, or else in `own`, or else measured and written there.

    A table of another runtime, device, number of threads, size or space is left out with a warning; that in `own` is
    replaced. A new one is written to `shared` too where no file is yet; one that predicts whole networks poorly is used
    with a warning. Processes that search together have the first one's. Raises ValueError naming a file that holds no
    table.
    """

    def found() -> dict[str, Any]:
        paths = [path for path in (shared, own) if path is not None]
        for path in paths:
            table = _read(path, space, height, width, deployment) if path.exists() else None
            if table is not None:
                return table.to_dict()
        table = CandidateLatency.measured(space, height, width, deployment)
        if table.error > LARGE_ERROR:
            warn(
                f"the latency table in {own} is off by {table.error:.0%} for whole networks, as when a machine has "
                "other work to do: delete it and search again when it has none",
                stacklevel=3,
            )
        for path in paths:
            if path == own or not path.exists():
                write_json(path, table.to_dict())
        return table.to_dict()

    return CandidateLatency.from_dict(_of_the_first(found), space, height, width, deployment)


def _read(path: Path, space: SearchSpace, height: int, width: int, deployment: Deployment) -> CandidateLatency | None:
    """The table in a file; None, with a warning, when it does not hold here."""
    try:
        return CandidateLatency.from_dict(read_json(path), space, height, width, deployment)
    except OtherConditions as different:
        warn(f"the latency table {path} does not hold here ({different}): latencies are measured anew", stacklevel=4)
        return None
    except (ValueError, OSError) as problem:
        raise ValueError(
            f"{path} must hold a latency table: {problem}. Delete it, or name another file, and the table is measured"
        ) from None


def _of_the_first(make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `make` gives the first of the processes that search together."""
    if not distributed.is_initialized():
        return make()
    box = [make() if distributed.get_rank() == 0 else {}]
    distributed.broadcast_object_list(box)
    return box[0]
