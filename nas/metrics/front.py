"""The Pareto front of accuracies and cost."""

from collections.abc import Sequence

import numpy as np


def front(costs: Sequence[float] | np.ndarray, *accuracies: Sequence[float] | np.ndarray) -> np.ndarray:
    """A mask `[N]` of the points that no other beats: none costs as little and is as accurate in every way, and better
    in one."""
    values = np.stack([-np.asarray(costs, dtype=float), *(np.asarray(each, dtype=float) for each in accuracies)])
    no_worse = (values[:, :, None] >= values[:, None]).all(axis=0)
    better = (values[:, :, None] > values[:, None]).any(axis=0)
    return np.logical_not((no_worse & better).any(axis=0))
