"""A run folder as a whole run leaves it, made up but plausible."""

import json
import math

import numpy as np
import pytest
from PIL import Image

from nas.report.query_results import Found, Queries

OPERATIONS = ("none", "part", "max3", "avg3", "sep3", "dil3", "skip")
CELLS = {
    "normal": [["sep3@0", "skip@1"], ["dil3@2", "dil3@0"], ["dil3@3", "sep3@2"], ["dil3@4", "dil3@3"]],
    "reduce": [["max3@0", "part@1"], ["sep3@0", "dil3@2"], ["dil3@2", "max3@0"], ["dil3@4", "dil3@3"]],
}
TEACHER, SEARCHED, RANDOM = "teacher (ResNet-50)", "searched student", "random cells"


def architecture(name="3f2a91c07d5e", **others):
    decisions = {f"backbone.{kind}.{i}": edges for kind, nodes in CELLS.items() for i, edges in enumerate(nodes, 2)}
    return {"format": 1, "space": "ReID", "hash": name, "decisions": decisions | others}


def alphas(epoch, num_epochs):
    """Softmax weights that drift apart, each edge towards another operation."""
    weights = {}
    for kind in CELLS:
        for node in range(2, 6):
            for state in range(node):
                winner = (node * 3 + state * 2 + len(kind) // 7) % len(OPERATIONS)
                logits = [0.02 * i + 2.2 * (i == winner) * epoch / num_epochs for i in range(len(OPERATIONS))]
                total = sum(map(math.exp, logits))
                weights[f"backbone.{kind}.{node}<{state}"] = {
                    key: math.exp(logit) / total for key, logit in zip(OPERATIONS, logits, strict=True)
                }
    return weights


def search_line(epoch, num_epochs):
    done = epoch / num_epochs
    return {
        "epoch": epoch, "temperature": 2 - done, "lr": 0.1 * (1 + math.cos(math.pi * done)) / 2,
        "weight": {"total": 7 - 4 * done, "distill": 5.5 - 3 * done, "triplet": 1.5 - done},
        "alpha": {"total": 7.3 - 3.4 * done, "distill": 5.7 - 2.6 * done, "triplet": 1.6 - 0.8 * done},
        "health": {"entropy": 1 - 0.5 * done, "margin": 0.4 * done, "skip_share": 0.1 + 0.1 * done, "pool_share": 0.2},
        "alphas": alphas(epoch, num_epochs), "predicted": "3f2a91c07d5e" if done > 0.6 else "77b0c2",
        "decisions": architecture()["decisions"],
    }  # fmt: skip


def training_line(epoch, num_epochs, best, temperature=None):
    done = epoch / num_epochs
    loss = {"total": 6 * math.exp(-3 * done), "triplet": math.exp(-4 * done)}
    line = {"epoch": epoch, "temperature": temperature, "lr": 3.5e-4, "loss": loss}
    return line | ({"mAP": best * (1 - math.exp(-5 * done - 0.1))} if epoch % 5 == 4 else {})


def metrics():
    names = {
        TEACHER: (0.640, 0.843, 23_508_032, 2_690_000_000, 9.81, 1.02),
        SEARCHED: (0.612, 0.821, 2_143_872, 412_000_000, 7.2, 0.214),
        RANDOM: (0.571, 0.788, 2_301_440, 450_000_000, 7.4, None),
        "hand-made student (MobileNetV2)": (0.498, 0.749, 2_225_000, 204_000_000, 3.11, 0.171),
    }
    keys = ("mAP", "rank1", "parameters", "multiply_adds", "ms_per_image_1", "ms_per_image_128")
    rows = [{"name": name, **dict(zip(keys, values, strict=True))} for name, values in names.items()]
    for row in rows:
        row |= {"rank5": row["rank1"] + 0.09, "rank10": row["rank1"] + 0.12, "mINP": row["mAP"] - 0.3}
        row["best"] = row["name"] == SEARCHED
    return {
        "format": 1,
        "protocol": {
            "distance": "cosine", "ap": "plain", "same_camera": "remove", "num_queries": 3368, "num_skipped": 0,
        },
        "rows": rows,
        "cmc": {row["name"]: [1 - (1 - row["rank1"]) / (k + 1) ** 0.6 for k in range(50)] for row in rows},
        "strips": [],
    }  # fmt: skip


CONFIG = {
    "recipe": "kdas_market1501", "seed": 0, "out": None,
    "space": {"backbone": {"channels": 32, "num_cells": 8, "reductions": [3, 5, 7]}, "num_ids": 751},
    "teacher": {"network": "resnet50", "weights": "teacher.safetensors"},
    "search": {"epochs": 200, "temperature": {"start": 2.0, "end": 1.0, "until": 0.95}, "split": "image"},
    "retrain": {"epochs": 200, "lr": 3.5e-4, "sampler": {"num_ids": 8, "num_images": 4}},
}  # fmt: skip
ENVIRONMENT = {
    "python": "3.11.9", "torch": "2.15.0", "machine": "1 x H200", "git_commit": "91e1e07",
    "command": "nas run kdas_market1501", "seconds_search": 5123.4, "seconds_retrain": 2204.9,
}  # fmt: skip


HOSTILE = "<img src=x onerror=alert(1)>"


def write_json(path, value):
    path.write_text(json.dumps(value))


def write_lines(path, lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def write_run(folder, num_epochs=40):
    """The files of a run that has gone through every stage."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "architecture.json", architecture(**{"head.width": 512, "backbone.part.stripes": 4}))
    ranked = [{"score": -12.3 - i / 7, "architecture": architecture(f"{i:x}f2a91c07d5e")} for i in range(3)]
    write_json(folder / "architectures.json", {"format": 1, "ranked": ranked})
    write_lines(folder / "search.history.jsonl", [search_line(epoch, num_epochs) for epoch in range(num_epochs)])
    for stage, best in (("teach", 0.64), ("retrain", 0.61), ("baseline", 0.57)):
        temperatures = [None if stage == "teach" else 2 - epoch / num_epochs for epoch in range(num_epochs)]
        lines = [training_line(epoch, num_epochs, best, temperature) for epoch, temperature in enumerate(temperatures)]
        write_lines(folder / f"{stage}.history.jsonl", lines)
    write_json(folder / "metrics.json", metrics())
    write_json(folder / "config.json", CONFIG)
    write_json(folder / "environment.json", ENVIRONMENT)
    return folder


def write_evaluation(folder, num_queries=12, num_gallery=40, pictured=6):
    """What single queries found under three networks, numbers behind plots, and small images of the first queries."""
    rng = np.random.default_rng(0)
    ids, gallery_ids = np.arange(num_queries) % 4, np.arange(num_gallery) % 4
    queries = [f"data/query/{i:05d}_c{i % 3}.jpg" for i in range(num_queries)]
    gallery = [f"data/gallery/{i:05d}_c{i % 3}.jpg" for i in range(num_gallery)]
    rows = []
    for role in ("teacher", "baseline", "student"):
        nearest = np.argsort(rng.random((num_queries, 40)), axis=1)[:, :10] + rng.integers(
            num_gallery - 39, size=(num_queries, 1)
        )
        right = gallery_ids[nearest] == ids[:, None]
        found = tuple(
            tuple(
                Found(name=gallery[j], identity=int(gallery_ids[j]), camera=j % 3, distance=0.01 * rank)
                for rank, j in enumerate(row, 1)
            )
            for row in nearest.tolist()
        )
        Queries(
            names=tuple(queries), ids=ids, cameras=np.arange(num_queries) % 3,
            average_precision=np.round(right.mean(axis=1), 3),
            first_match_rank=np.where(right.any(axis=1), right.argmax(axis=1) + 1, 11), found=found,
        ).save(folder / "queries" / f"{role}.csv")  # fmt: skip
        rows.append(
            {"name": f"{role} (a)", "role": role, "queries": f"queries/{role}.csv", "mAP": 0.5, "parameters": 2e6}
        )
    protocol = {"num_queries": num_queries, "num_gallery": num_gallery}
    write_json(folder / "metrics.json", {"format": 1, "protocol": protocol, "rows": rows, "cmc": {}})
    for name in ("plots", "thumbnails"):
        (folder / name).mkdir()
    counts = {"right": [0, 5, 3, 1], "wrong": [1, 2, 6, 9]}
    write_json(
        folder / "plots" / "distances.json",
        {"format": 1, "distance": "cosine", "edges": [0, 0.1, 0.2, 0.3, 0.4]} | counts,
    )
    table = [[None, 0.5], [0.7, None]]
    cameras = {
        "query_cameras": [0, 1],
        "gallery_cameras": [0, 1],
        "num_queries": [[0, 3], [3, 0]],
        "mAP": table,
        "rank1": table,
    }
    write_json(folder / "plots" / "cameras.json", {"format": 1} | cameras)
    places = {
        "places": rng.random((8, 2)).tolist(),
        "identities": [0, 0, 1, 1] * 2,
        "cameras": [0, 1] * 4,
        "names": gallery[:8],
    }
    write_json(folder / "plots" / "tsne.json", {"format": 1, "perplexity": 3} | places)
    for name in ("distances", "cameras", "tsne"):
        (folder / "plots" / f"{name}.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 90 90"/>')
    Image.new("RGB", (40, 80), "navy").save(folder / "thumbnails" / "a.jpg")
    Image.new("RGB", (40, 80), "red").save(folder / "thumbnails" / "map.jpg")
    write_json(folder / "thumbnails" / "maps.json", {queries[0]: 11 * ["map.jpg"]})
    index = {"query": queries[:pictured], "gallery": gallery[: 4 * pictured]}
    write_json(
        folder / "thumbnails" / "index.json",
        {side: {name: ["a.jpg", 64, 128] for name in names} for side, names in index.items()},
    )


@pytest.fixture
def run_folder(tmp_path):
    return write_run(tmp_path / "run")
