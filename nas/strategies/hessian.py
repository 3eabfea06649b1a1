"""The curvature that gradient searches end in before they collapse (Zela et al., 2020: RobustDARTS)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean

import torch
from torch import Tensor

NUM_STEPS = 30


def largest_eigenvalue(product: Callable[[Tensor], Tensor], like: Tensor, num_steps: int = NUM_STEPS) -> float:
    """The largest eigenvalue of the symmetric matrix whose product with a tensor shaped `like` is `product`.

    Lanczos with full reorthogonalisation and the same start each time: at most `num_steps` products.
    """
    start = torch.randn(like.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    basis, diagonal, beside = [start.flatten() / start.norm()], [], []
    for _ in range(min(num_steps, like.numel())):
        image = product(basis[-1].view(like.shape).to(like)).flatten().to(basis[0])
        diagonal.append(image @ basis[-1])
        known = torch.stack(basis)
        for _ in range(2):  # once leaves rounding errors that grow into copies of the largest eigenvalue
            image = image - known.T @ (known @ image)
        beside.append(image.norm())
        if beside[-1] <= 1e-6 * torch.stack(diagonal).abs().max():
            break
        basis.append(image / beside[-1])
    off = torch.diag(torch.stack(beside[: len(diagonal) - 1]), 1) if len(diagonal) > 1 else 0.0
    return torch.linalg.eigvalsh(torch.diag(torch.stack(diagonal)) + off, UPLO="U")[-1].item()


def has_grown(eigenvalues: Sequence[float], window: int, factor: float) -> bool:
    """Whether the mean of the last `window` eigenvalues is more than `factor` times that of the `window` before."""
    if len(eigenvalues) < 2 * window:
        return False
    return fmean(eigenvalues[-window:]) > factor * fmean(eigenvalues[-2 * window : -window])
