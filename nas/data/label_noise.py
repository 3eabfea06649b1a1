"""Label noise: a share of the training labels is wrong, and which ones changes from epoch to epoch (KSL, Figure 6)."""

import numpy as np


def noisy_labels(labels: np.ndarray, share: float, num_ids: int, seed: int, epoch: int) -> np.ndarray:
    """`labels` [N], in 0 .. num_ids - 1, with exactly round(share * N) redrawn evenly among the other identities.

    KSL (section 4.7): "Noisy labels are randomly generated in each epoch. Noise Level is the ratio of noisy labels over
    the all training set." Every process, and a run that goes on after a kill, gets the same. Raises ValueError for a
    single identity, which has no other.
    """
    if share == 0:
        return labels
    if num_ids < 2:
        raise ValueError(f"label_noise={share} needs at least two identities to mistake for each other; got {num_ids}")
    rng = np.random.default_rng(np.random.SeedSequence([seed, epoch], spawn_key=(1,)))  # apart from the sampler's
    redrawn = rng.choice(len(labels), round(share * len(labels)), replace=False)
    noisy = labels.copy()
    noisy[redrawn] = (labels[redrawn] + rng.integers(1, num_ids, len(redrawn))) % num_ids
    return noisy


def fewest_identities(labels: np.ndarray, share: float) -> int:
    """How many identities have an image in `noisy_labels` in any case: it may wipe out those with the fewest images."""
    counts = np.sort(np.unique(labels, return_counts=True)[1])
    return int((counts.cumsum() > round(share * len(labels))).sum())
