"""`nas bench`: how fast we are, measured in one run. Each bench is a function of named numbers that returns rows."""

from collections.abc import Callable
from typing import Any

from nas.bench.loader import loader
from nas.bench.retrieval import evaluate, rerank
from nas.bench.search import search
from nas.bench.strategies import strategies

BENCHES: dict[str, Callable[..., dict[str, Any]]] = {
    "search": search,
    "loader": loader,
    "evaluate": evaluate,
    "rerank": rerank,
    "strategies": strategies,
}
