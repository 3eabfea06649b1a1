"""The curvature that gradient searches end in before they collapse (Zela et al., 2020: RobustDARTS)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor

TOLERANCE = 1e-6
"""Of ARPACK's residual, relative to the eigenvalue, whose own error goes with its square."""


def largest_eigenvalue(product: Callable[[Tensor], Tensor], like: Tensor) -> float:
    """The largest eigenvalue of the symmetric matrix whose product with a tensor shaped `like` is `product`.

    By ARPACK with the same start each time: about 20 products for the Hessians of a search. Raises ValueError for a
    product that is not finite.
    """

    def multiply(vector: np.ndarray) -> np.ndarray:
        return product(torch.tensor(vector).view(like.shape).to(like)).flatten().cpu().double().numpy()

    size = like.numel()
    start = torch.randn(size, generator=torch.Generator().manual_seed(0), dtype=torch.float64).numpy()
    image = multiply(start)
    if not np.isfinite(image).all():
        raise ValueError(
            "the largest eigenvalue needs a finite Hessian, and its product with a vector is not finite: the loss "
            "overflows, so search with lower learning rates, or without eigenvalue_every"
        )
    if size == 1 or not image.any():  # ARPACK takes neither
        return float(start @ image / (start @ start))
    matrix = LinearOperator((size, size), matvec=multiply, dtype=np.float64)
    return float(eigsh(matrix, k=1, which="LA", v0=start, tol=TOLERANCE, return_eigenvectors=False)[0])


def has_grown(eigenvalues: Sequence[float], window: int, factor: float) -> bool:
    """Whether the mean of the last `window` eigenvalues is more than `factor` times that of the `window` before."""
    if len(eigenvalues) < 2 * window:
        return False
    return fmean(eigenvalues[-window:]) > factor * fmean(eigenvalues[-2 * window : -window])
