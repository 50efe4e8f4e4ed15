"""XGBoost's saved models (UBJSON), looked through before XGBoost reads one: it trusts each index in a file, and a
forged one crashes the process or reads foreign memory.

Read here is what XGBoost itself writes of our models and nothing else: one booster of plain trees for squared error,
one target, splits on numbers or on sets of codes. No library for UBJSON that is kept up reads XGBoost's typed arrays.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from taxi.models.family import ModelError
from taxi.models.tree_check import LEAF, walkable

MOST_CODES = 1 << 17  # a set of codes is a set of bits, as many as its largest code; 265 x 265 pairs of zones are fewer
NESTING = 10  # containers in one another; XGBoost's trees lie six deep
NO_PARENT = 2**31 - 1  # of the root

_ARRAYS = {"d": ">f4", "D": ">f8", "l": ">i4", "L": ">i8", "U": "u1"}  # marker -> values
_NUMBERS = {"i": "i1", "U": "u1", "I": ">i2", **_ARRAYS}
_NODES = {  # of a tree: an array with a value for each node
    "base_weights": "f", "default_left": "u", "left_children": "i", "loss_changes": "f", "parents": "i",
    "right_children": "i", "split_conditions": "f", "split_indices": "i", "split_type": "u", "sum_hessian": "f",
}  # fmt: skip
_CODES = ("categories", "categories_nodes", "categories_segments", "categories_sizes")


def check(raw: bytes, columns: int, depth: int, trees: int) -> None:
    """Raise ModelError unless `raw` is a booster of `trees` trees at most `depth` deep, over `columns` columns."""
    try:
        _Check(columns, depth, trees).model(_Reader(raw).whole())
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, RecursionError) as error:
        raise ModelError(f"it is not what XGBoost writes of such a model: {str(error)[:200]}") from error


class _Reader:
    """UBJSON as XGBoost writes it; anything else, and any length beyond the end, is a ValueError."""

    def __init__(self, raw: bytes):
        self.raw, self.at = raw, 0

    def whole(self) -> Any:
        if self.raw[:2] != b"{L":  # which XGBoost would read as JSON, or as a format of its past
            raise ValueError("no UBJSON")
        value = self._value(self._marker(), 0)
        if self.at != len(self.raw):
            raise ValueError("bytes behind the end")
        return value

    def _marker(self) -> str:
        self.at += 1
        return chr(self.raw[self.at - 1])

    def _array(self, kind: str, count: int) -> np.ndarray:
        values = np.frombuffer(self.raw, kind, count, self.at)  # ValueError beyond the end
        self.at += values.nbytes
        return values

    def _length(self) -> int:
        if self._marker() != "L" or not 0 <= (length := int(self._array(">i8", 1)[0])) <= len(self.raw) - self.at:
            raise ValueError("a length that cannot be")
        return length

    def _text(self) -> str:
        length = self._length()
        self.at += length
        return self.raw[self.at - length : self.at].decode()

    def _value(self, marker: str, depth: int) -> Any:
        if depth > NESTING:
            raise ValueError("nested too deep")
        if marker == "S":
            return self._text()
        if marker == "{":
            return self._object(depth)
        if marker == "[":
            return self._list(depth)
        if marker not in _NUMBERS:
            raise ValueError(f"the marker {marker!a}")
        return self._array(_NUMBERS[marker], 1)[0].item()

    def _object(self, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while self.raw[self.at : self.at + 1] != b"}":
            name = self._text()
            if name in found:
                raise ValueError("a name twice")
            found[name] = self._value(self._marker(), depth + 1)
        self.at += 1
        return found

    def _list(self, depth: int) -> np.ndarray | list[Any]:
        form = self._marker()
        if form == "$":
            kind = _ARRAYS[self._marker()]
            if self._marker() != "#":
                raise ValueError("an array without a length")
            return self._array(kind, self._length())
        if form != "#":
            raise ValueError("a list without a length")
        return [self._value(self._marker(), depth + 1) for _ in range(self._length())]


class _Check:
    """What is read must fit together; else a ValueError that says where it does not."""

    def __init__(self, columns: int, depth: int, trees: int):
        self.columns, self.depth, self.trees = columns, depth, trees

    def model(self, model: Any) -> None:
        _keys(model, "learner", "version")
        if len(model["version"]) != 3 or not all(type(part) is int and 0 <= part < 100 for part in model["version"]):
            raise ValueError("no version")
        learner = model["learner"]
        _keys(learner, "attributes", "feature_names", "feature_types", "gradient_booster", "learner_model_param",
              "objective")  # fmt: skip
        if learner["attributes"] != {} or list(learner["feature_names"]) != []:
            raise ValueError("attributes or names of features, which our models have not")
        _equal(learner["objective"], "objective",
               {"name": "reg:squarederror", "reg_loss_param": {"scale_pos_weight": "1"}})  # fmt: skip
        params = dict(learner["learner_model_param"])
        score = params.pop("base_score")
        if not (score[:1] == "[" and score[-1:] == "]" and math.isfinite(float(score[1:-1]))):
            raise ValueError("base_score is no number")
        _equal(params, "learner_model_param", {
            "boost_from_average": "1", "num_class": "0", "num_feature": str(self.columns), "num_target": "1",
        })  # fmt: skip
        kinds = list(learner["feature_types"])
        if len(kinds) != self.columns or not set(kinds) <= {"float", "c"}:
            raise ValueError(f"its features are not {self.columns} numbers and codes")
        self.booster(learner["gradient_booster"], np.array([kind == "c" for kind in kinds], bool))

    def booster(self, booster: Any, of_codes: np.ndarray) -> None:
        _keys(booster, "model", "name")
        model, trees = booster["model"], booster["model"]["trees"]
        _keys(model, "cats", "gbtree_model_param", "iteration_indptr", "tree_info", "trees")
        _equal(booster["name"], "booster", "gbtree")
        _keys(model["cats"], "enc", "feature_segments", "sorted_idx")
        if any(len(part) for part in model["cats"].values()):
            raise ValueError("named categories, which our models have not")
        count = len(trees)
        if count != self.trees:
            raise ValueError(f"{count} trees of {self.trees}")
        _equal(model["gbtree_model_param"], "gbtree_model_param",
               {"num_parallel_tree": "1", "num_trees": str(count)})  # fmt: skip
        _equal(list(model["iteration_indptr"]), "iteration_indptr", list(range(count + 1)))
        _equal(list(model["tree_info"]), "tree_info", [0] * count)
        for number, tree in enumerate(trees):
            try:
                _equal(tree["id"], "id", number)
                self.tree(tree, of_codes)
            except ValueError as error:
                raise ValueError(f"tree {number}: {error}") from error

    def tree(self, tree: Mapping[str, Any], of_codes: np.ndarray) -> None:
        _keys(tree, "id", "tree_param", *_NODES, *_CODES)
        left = tree["left_children"]
        nodes = len(left)
        _equal(tree["tree_param"], "tree_param", {
            "num_deleted": "0", "num_feature": str(self.columns), "num_nodes": str(nodes), "size_leaf_vector": "1",
        })  # fmt: skip
        for name, kind in _NODES.items():
            if tree[name].dtype.kind != kind or tree[name].dtype.itemsize != (1 if kind == "u" else 4):
                raise ValueError(f"{name} is of another type")
            if len(tree[name]) != nodes:
                raise ValueError(f"{name} has {len(tree[name])} values for {nodes} nodes")
            if kind == "u" and nodes and tree[name].max() > 1:
                raise ValueError(f"{name} is neither 0 nor 1")
        if wrong := walkable(left, tree["right_children"], self.depth):
            raise ValueError(wrong)
        inner, feature = left != LEAF, tree["split_indices"]
        parents = np.full(nodes, NO_PARENT)
        for side in ("left_children", "right_children"):
            parents[tree[side][inner]] = np.flatnonzero(inner)
        if not np.array_equal(parents, tree["parents"]):
            raise ValueError("parents are not those of the children")
        if feature.min() < 0 or feature.max() >= self.columns:
            raise ValueError(f"it splits on a feature that is none of {self.columns}")
        by_codes = tree["split_type"] == 1
        if (by_codes & ~(inner & of_codes[feature])).any() or (inner & of_codes[feature] & ~by_codes).any():
            raise ValueError("it splits on numbers as on codes, or on codes as on numbers")
        for name in ("split_conditions", "base_weights", "loss_changes", "sum_hessian"):
            if not np.isfinite(tree[name][~by_codes if name == "split_conditions" else slice(None)]).all():
                raise ValueError(f"{name} is not finite")
        codes, owners, starts, sizes = (tree[name] for name in _CODES)
        self.codes(codes, owners, starts, sizes, np.flatnonzero(by_codes))

    def codes(self, codes: np.ndarray, nodes: np.ndarray, starts: np.ndarray, sizes: np.ndarray,
              wanted: np.ndarray) -> None:  # fmt: skip
        """The sets of codes, one behind the other, of the nodes that split by one."""
        if [array.dtype.str for array in (codes, nodes, starts, sizes)] != [">i4", ">i4", ">i8", ">i8"]:
            raise ValueError("its sets of codes are of another type")
        if not np.array_equal(nodes, wanted) or len(starts) != len(nodes) or len(sizes) != len(nodes):
            raise ValueError("its sets of codes are not those of its splits")
        if len(sizes) and (sizes.min() < 1 or sizes.max() > len(codes)):
            raise ValueError("a set of codes has a size that cannot be")
        if sizes.sum() != len(codes) or not np.array_equal(starts, np.cumsum(sizes) - sizes):
            raise ValueError("its sets of codes do not lie one behind the other")
        if len(codes) and (codes.min() < 0 or codes.max() >= MOST_CODES):
            raise ValueError("a code that cannot be")


def _keys(table: Any, *names: str) -> None:
    if not isinstance(table, dict) or table.keys() != set(names):
        raise ValueError(f"a table without {names[0]}, or with what XGBoost does not write")


def _equal(found: Any, what: str, wanted: Any) -> None:
    if found != wanted:
        raise ValueError(f"{what} is not {str(wanted)[:60]}")
