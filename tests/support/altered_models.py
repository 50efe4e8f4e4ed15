"""Saved models that somebody altered: each is loaded and asked, in a process of its own. Run as a program."""

from __future__ import annotations

import copy
import io
import json
import random
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from taxi.models.families import ModelError, load
from tests.support.ubjson import dumps

NODES = ("base_weights", "default_left", "left_children", "loss_changes", "parents", "right_children",
         "split_conditions", "split_indices", "split_type", "sum_hessian")  # fmt: skip
CODES = ("categories", "categories_nodes", "categories_segments", "categories_sizes")
WHOLE = (-(2**31), -2, -1, 0, 1, 2, 7, 100, 10_000, 2**20, 2**31 - 1)
REAL = (float("nan"), float("inf"), -float("inf"), 1e38, 0.0)


def boosters(raw: bytes, seed: int) -> Iterator[tuple[str, bytes]]:
    """What was done to the file, and its bytes then."""
    from taxi.models.xgboost_file import _Reader

    chance, model = random.Random(seed), _Reader(raw).whole()
    trees = len(model["learner"]["gradient_booster"]["model"]["trees"])

    def altered(what: str, change) -> tuple[str, bytes]:
        forged = copy.deepcopy(model)
        change(forged["learner"], forged["learner"]["gradient_booster"]["model"])
        return what, dumps(forged)

    def tree_with(name: str, change):
        def apply(learner, booster):
            tree = booster["trees"][chance.randrange(trees)]
            tree[name] = change(tree[name].copy())

        return apply

    for name in (*NODES, *CODES):
        kind = model["learner"]["gradient_booster"]["model"]["trees"][0][name].dtype.kind
        for value in REAL if kind == "f" else (0, 1, 2, 255) if kind == "u" else WHOLE:

            def put(array, value=value):
                if len(array):
                    array[chance.randrange(len(array))] = value
                return array

            def fill(array, value=value):
                array[:] = value
                return array

            yield altered(f"{name} one {value}", tree_with(name, put))
            yield altered(f"{name} all {value}", tree_with(name, fill))
        yield altered(f"{name} shuffled", tree_with(name, lambda array: np.roll(array, 1)))
        yield altered(f"{name} shorter", tree_with(name, lambda array: array[:-1]))
        yield altered(
            f"{name} longer", tree_with(name, lambda array: np.concatenate([array, array]).astype(array.dtype))
        )
        yield altered(f"{name} empty", tree_with(name, lambda array: array[:0]))
        yield altered(
            f"{name} wide", tree_with(name, lambda array: array.astype(">f8" if array.dtype.kind == "f" else ">i8"))
        )
        yield altered(f"{name} absent", lambda learner, booster, name=name: booster["trees"][0].pop(name))
    for text in ("-1", "0", "1", "3", "1000", str(2**31), "x", "", "nan"):
        for name in ("num_feature", "num_class", "num_target", "base_score"):
            yield altered(
                f"learner {name} {text}",
                lambda learner, booster, name=name, text=text: learner["learner_model_param"].update({name: text}),
            )
        for name in ("num_feature", "num_nodes", "num_deleted", "size_leaf_vector"):
            yield altered(
                f"tree {name} {text}",
                lambda learner, booster, name=name, text=text: booster["trees"][0]["tree_param"].update({name: text}),
            )
        for name in ("num_trees", "num_parallel_tree"):
            yield altered(
                f"booster {name} {text}",
                lambda learner, booster, name=name, text=text: booster["gbtree_model_param"].update({name: text}),
            )
    for name in ("tree_info", "iteration_indptr"):
        for value in WHOLE:
            yield altered(
                f"{name} {value}", lambda learner, booster, name=name, value=value: booster[name].__setitem__(1, value)
            )
        yield altered(f"{name} shorter", lambda learner, booster, name=name: booster[name].pop())
    yield altered("a tree less", lambda learner, booster: booster["trees"].pop())
    yield altered("types of one feature", lambda learner, booster: learner.update(feature_types=["c"]))
    yield altered(
        "all codes", lambda learner, booster: learner.update(feature_types=["c"] * len(learner["feature_types"]))
    )
    yield altered(
        "no codes", lambda learner, booster: learner.update(feature_types=["float"] * len(learner["feature_types"]))
    )
    for name in ("binary:logistic", "multi:softmax", "rank:ndcg", "survival:cox", "", "x"):
        yield altered(f"objective {name}", lambda learner, booster, name=name: learner["objective"].update(name=name))
    for name in ("dart", "gblinear", "x"):
        yield altered(
            f"booster {name}", lambda learner, booster, name=name: learner["gradient_booster"].update(name=name)
        )
    for _ in range(60):
        yield "truncated", raw[: chance.randrange(len(raw))]
    for _ in range(120):
        flipped = bytearray(raw)
        for _ in range(chance.choice((1, 1, 4))):
            flipped[chance.randrange(len(raw))] ^= chance.randrange(1, 256)
        yield "flipped", bytes(flipped)


def forests(saved: bytes, seed: int) -> Iterator[tuple[str, bytes]]:
    """The same for a random forest's skops file: the nodes of a tree, and what the tree is made with."""
    chance = random.Random(seed)
    with zipfile.ZipFile(io.BytesIO(saved)) as parts:
        content = {name: parts.read(name) for name in parts.namelist()}
    trees = [name for name in content if name.endswith(".npy") and np.load(io.BytesIO(content[name])).dtype.names]

    def packed(changed: dict[str, bytes]) -> bytes:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as parts:
            for name, part in {**content, **changed}.items():
                parts.writestr(name, part)
        return out.getvalue()

    for field in ("left_child", "right_child", "feature", "threshold", "missing_go_to_left"):
        for value in (
            WHOLE if field not in ("threshold", "missing_go_to_left") else REAL if field == "threshold" else (9,)
        ):
            name = chance.choice(trees)
            nodes, out = np.load(io.BytesIO(content[name])), io.BytesIO()
            nodes[field][chance.randrange(len(nodes)) if chance.random() < 0.5 else slice(None)] = value
            np.save(out, nodes)
            yield f"{field} {value}", packed({name: out.getvalue()})
    schema = content["schema.json"].decode()
    at = schema.index('"__class__":"Tree"')
    for old, new in (('"content":"3"', '"content":"9"'), ('"content":"3"', '"content":"100000000"'),
                     ('"content":"1"', '"content":"2"'), ('"content":"1"', '"content":"100000000"'),
                     ('"node_count"', '"nodecount"'), ('"max_depth"', '"maxdepth"')):  # fmt: skip
        yield f"{old} {new}", packed({"schema.json": (schema[:at] + schema[at:].replace(old, new, 1)).encode()})
    for count in (-1, 0, 1, 10**6, 10**12):
        node = schema.index('"node_count":', at)
        start = schema.index('"content":"', node) + len('"content":"')
        changed = schema[:start] + str(count) + schema[schema.index('"', start) :]
        yield f"node_count {count}", packed({"schema.json": changed.encode()})
    for _ in range(30):
        yield "truncated", saved[: chance.randrange(len(saved))]


FORGERS = {"xgboost": ("model.ubj", boosters), "random_forest": ("model.skops", forests)}


def main(family: str, folder: Path, rows: Path, seed: int) -> None:
    """Load and ask each forgery of the model in `folder`; print how many were refused and how many answered."""
    file, forger = FORGERS[family]
    X, counts = np.load(rows), {"refused": 0, "answered": 0}
    for what, forged in forger((folder / file).read_bytes(), seed):
        print(what, file=sys.stderr, flush=True)  # the last line tells which one crashed
        with tempfile.TemporaryDirectory() as name:
            copied = shutil.copytree(folder, Path(name, "model"))
            (copied / file).write_bytes(forged)
            try:
                answer = load(family, copied).predict(X)
                assert np.isfinite(answer).all(), f"{what}: an answer that is no number"
                counts["answered"] += 1
            except ModelError:
                counts["refused"] += 1
    print(json.dumps(counts))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
