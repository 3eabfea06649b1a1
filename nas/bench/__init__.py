"""`nas bench`: how fast we are, measured in one run. Each bench is a function of named values that returns rows."""

from collections.abc import Callable
from typing import Any

from nas.bench.deploy import deploy
from nas.bench.gpu import gpu
from nas.bench.loader import loader
from nas.bench.person_search import person_search
from nas.bench.proxies import proxies
from nas.bench.retrieval import evaluate, rerank
from nas.bench.search import search
from nas.bench.stores import stores
from nas.bench.strategies import strategies

BENCHES: dict[str, Callable[..., dict[str, Any]]] = {
    "search": search,
    "gpu": gpu,
    "loader": loader,
    "evaluate": evaluate,
    "rerank": rerank,
    "person_search": person_search,
    "strategies": strategies,
    "proxies": proxies,
    "deploy": deploy,
    "stores": stores,
}
TAKES = {
    "channels": "Channels of the first cell.",
    "cells": "Cells of the network.",
    "height": "Height of the images in pixels.",
    "width": "Width of the images in pixels.",
    "batch": "Images in a batch.",
    "images": "Images that are read, from the first on.",
    "data": "The data set, by its name, as `nas data check` takes it.",
    "path": "The folder or file of the data set.",
    "queries": "Images that are looked for.",
    "gallery": "Images among which they are looked for.",
    "depth": "Layers of the ResNet.",
    "frames": "Frames among which persons are looked for.",
    "detections": "Boxes that were detected in them.",
    "dim": "Numbers in a feature.",
    "identities": "Identities among the images.",
    "threads": "Threads that read the images.",
    "repeats": "Turns in which each way is timed once.",
    "compare": "Time the plain ways too.",
    "tables": "The folder with the tables of networks.",
    "seeds": "Searches of each strategy on each table.",
    "trials": "Networks that a search may try.",
    "sample": "Networks of a table that are looked at.",
    "only": "Which ones of those that there are.",
    "processes": "Processes that search at a time.",
    "workers": "How many workers a study has; several numbers are measured one after the other.",
    "minutes": "Minutes that a trial takes.",
    "heartbeat": "Seconds between a worker's signs of life.",
    "ended": "Trials that have ended before.",
    "turns": "Trials that end while the clock runs, each followed by another one.",
    "storage": "The address of a database, which is measured as it is, and behind gRPC.",
    "folder": "Where the files of the stores are; by default where the system has temporary ones.",
    "run": "The folder of a run.",
    "runtimes": "The runtimes; none given: all that are here.",
    "out": "The folder of the results.",
}
"""What each value means, where it is not an object whose fields say so themselves."""
