"""Splitting the training set in two, for the weights of a supernet and for its alphas.

The data set's own labels decide, once: under label noise they are the right ones, and each half has noise of its own.
"""

import numpy as np


def by_image(labels: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Two halves of the images with `labels` [N]: ascending indices, int64 (train, val).

    The random equal split of KDAS-ReID, with one deviation: each identity is halved by itself, so that one with two
    images or more is in both halves. Odd images go to the halves in turn, so that these stay equal.
    """
    order = rng.permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]  # one identity after the other, each in random order
    halves = order[0::2], order[1::2]
    return np.sort(halves[0]), np.sort(halves[1])


def by_identity(labels: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Ascending indices (train, val) into `labels` [N] with 1/5 of the identities in train only, 2/5 in both (their
    images halved) and 2/5 in val only: the open-set split of MSINet (Gu et al., 2023).

    Raises ValueError for fewer than five identities.
    """
    identities = rng.permutation(np.unique(labels))
    if len(identities) < 5:
        raise ValueError(f"splitting by identity needs at least five identities; got {len(identities)}")
    first, second = round(len(identities) / 5), round(len(identities) * 3 / 5)
    train = np.flatnonzero(np.isin(labels, identities[:first]))
    shared = np.flatnonzero(np.isin(labels, identities[first:second]))
    val = np.flatnonzero(np.isin(labels, identities[second:]))
    train_half, val_half = by_image(labels[shared], rng)
    return np.sort(np.concatenate([train, shared[train_half]])), np.sort(np.concatenate([val, shared[val_half]]))
