"""k-reciprocal re-ranking (Zhong et al., CVPR 2017), exact, sparse and a block at a time."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Rerank:
    """The parameters of k-reciprocal re-ranking, by the names of the published code."""

    k1: int = 20
    """Neighbours that may be reciprocal."""
    k2: int = 6
    """Neighbours whose encodings are averaged."""
    lambda_value: float = 0.3
    """Weight of the original distance beside the Jaccard distance."""
