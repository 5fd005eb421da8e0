"""Strict reader of XGBoost's own JSON: only sound binary classifiers are accepted.

Each refusal names its reason. Nodes are renumbered level by level, so that the right child always
follows the left one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from decimal import Context, Decimal
from typing import Final

import msgspec
import numpy as np

from claimtrace.errors import ModelError

MAX_DEPTH: Final = 16
"""Most levels below a root; a fixed-length walk through deeper, lopsided trees wastes steps."""

MAX_NODES: Final = 20_000_000
"""Most nodes of all trees together; their arrays then stay below half a GiB."""

MAX_FEATURES: Final = 4096
"""Most columns of the matrix; the two copies of a block of rows then take at most 1 MiB."""

_LEAF: Final = -1
_FLOAT32_MAX: Final = float(np.finfo(np.float32).max)


class UnsupportedModelError(ModelError):
    """The error for a sound model that the kernels don't support; XGBoost itself can score it."""


@dataclass(slots=True)
class XgboostModel:
    """A model's trees as columns over their nodes; `forest.Forest` documents each column."""

    features: int
    feature_names: tuple[str, ...]
    base_margin: np.float32
    column: list[int] = field(default_factory=list)
    threshold: list[float] = field(default_factory=list)
    left: list[int] = field(default_factory=list)
    leaf: list[float] = field(default_factory=list)
    cover: list[float] = field(default_factory=list)
    roots: list[int] = field(default_factory=lambda: [0])
    depths: list[int] = field(default_factory=list)


def read_model(document: bytes, where: str = "model.json") -> XgboostModel:
    """Read the output of `Booster.save_raw("json")` of XGBoost 2 or 3.

    The model must have the objective `binary:logistic` and the booster `gbtree`.

    Raises:
        ModelError: the document is damaged, or not a binary classifier with logistic loss.
        UnsupportedModelError: dart, categorical splits, or deeper than `MAX_DEPTH`.
    """
    learner = _parse(document, where)
    trees = _binary_trees(learner, where)
    features = _whole(learner.learner_model_param.num_feature, "num_feature", where)
    if not 1 <= features <= MAX_FEATURES:
        raise ModelError(f"{features} features are not within 1 .. {MAX_FEATURES}", where=where)
    names = tuple(learner.feature_names)
    if names and len(names) != features:
        raise ModelError(f"{len(names)} feature names for {features} features", where=where)
    if sum(len(tree.left_children) for tree in trees) > MAX_NODES:
        raise UnsupportedModelError(f"more than {MAX_NODES} nodes", where=where)
    base_margin = _log_odds(learner.learner_model_param.base_score, where)
    model = XgboostModel(features, names, base_margin)
    for number, tree in enumerate(trees):
        _flatten(tree, model, f"{where}, tree {number}")
    return model


class _Parameters(msgspec.Struct):
    base_score: str
    num_feature: str
    num_class: str = "0"
    num_target: str = "1"


class _Objective(msgspec.Struct):
    name: str


class _TreeParameters(msgspec.Struct, frozen=True):
    size_leaf_vector: str = "1"


class _Tree(msgspec.Struct):
    left_children: list[int]
    right_children: list[int]
    split_indices: list[int]
    split_conditions: list[float]
    default_left: list[bool | int]
    sum_hessian: list[float]
    split_type: list[int] = []
    tree_param: _TreeParameters = _TreeParameters()


class _Trees(msgspec.Struct):
    trees: list[_Tree]
    weight_drop: list[float] = []
    """Weights of trees under dropout; XGBoost 3.4 writes them for `gbtree`, which dart became."""


class _Booster(msgspec.Struct):
    name: str
    model: _Trees | None = None


class _Learner(msgspec.Struct):
    gradient_booster: _Booster
    learner_model_param: _Parameters
    objective: _Objective
    feature_names: list[str] = []


class _Document(msgspec.Struct):
    version: tuple[int, int, int]
    learner: _Learner


def _parse(document: bytes, where: str) -> _Learner:
    try:
        parsed = msgspec.json.decode(document, type=_Document)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ModelError(f"not a model in XGBoost's JSON: {error}", where=where) from error
    if parsed.version[0] not in (2, 3):
        version = ".".join(map(str, parsed.version))
        raise UnsupportedModelError(f"written by XGBoost {version}, not 2 or 3", where=where)
    return parsed.learner


def _binary_trees(learner: _Learner, where: str) -> list[_Tree]:
    """Return the trees of a binary classifier that the kernels support.

    Raises:
        ModelError: the model isn't a binary classifier.
        UnsupportedModelError: the model is one, but only XGBoost itself can score it.
    """
    objective, booster = learner.objective.name, learner.gradient_booster
    parameters = learner.learner_model_param
    if objective != "binary:logistic":
        raise ModelError(
            f"objective {objective}", where=where, hint="fit with objective='binary:logistic'"
        )
    if parameters.num_class not in ("0", "1") or parameters.num_target not in ("0", "1"):
        raise ModelError("more than one class or target", where=where)
    if booster.name != "gbtree":
        raise UnsupportedModelError(f"booster {booster.name}", where=where)
    if booster.model is None:
        raise ModelError("a gbtree without a model", where=where)
    if any(weight != 1.0 for weight in booster.model.weight_drop):
        raise UnsupportedModelError("booster dart: its trees have weights", where=where)
    for number, tree in enumerate(booster.model.trees):
        if any(tree.split_type):
            raise UnsupportedModelError(f"tree {number} splits on a category", where=where)
        if tree.tree_param.size_leaf_vector not in ("0", "1"):
            raise ModelError(f"tree {number} has vectors at its leaves", where=where)
    return booster.model.trees


def _whole(text: str, what: str, where: str) -> int:
    if not text.isdecimal() or len(text) > 9:
        raise ModelError(f"{what} is not a whole number: {text[:40]!r}", where=where)
    return int(text)


def _log_odds(base_score: str, where: str) -> np.float32:
    """Compute the base margin `-log(1 / p - 1)` in float32 as XGBoost does.

    `base_score` is `5E-1`, or `[5E-1]` since XGBoost 3.1. The base margin is part of every margin,
    so its logarithm is taken from `decimal`, which rounds correctly on every machine.
    """
    text = base_score.strip()
    text = text[1:-1] if text[:1] == "[" and text[-1:] == "]" else text
    try:
        probability = np.float32(float(text))
    except ValueError:
        probability = np.float32(np.nan)
    if not 0.0 < probability < 1.0:
        raise ModelError(f"base_score {base_score[:40]!r} is not within (0, 1)", where=where)
    odds = np.float32(1.0) / probability - np.float32(1.0)
    if odds == 0.0:
        raise ModelError(f"base_score {base_score[:40]!r} is too near to 1", where=where)
    return np.float32(-Decimal(float(odds)).ln(Context(prec=40)))


def _flatten(tree: _Tree, model: XgboostModel, where: str) -> None:
    """Append a tree's nodes level by level; checks that the nodes form a tree.

    `placed` counts the nodes that have a number. More numbers than nodes mean that a node has two
    parents or is its own ancestor, so the check also ends the walk on a cyclic document.
    """
    _check_lengths(tree, where)
    features, start = model.features, len(model.column)
    level, depth, placed = [0], 0, 1
    while level:
        if depth > MAX_DEPTH:
            raise UnsupportedModelError(f"deeper than {MAX_DEPTH}", where=where)
        below: list[int] = []
        for node in level:
            left, right = tree.left_children[node], tree.right_children[node]
            value, cover = tree.split_conditions[node], tree.sum_hessian[node]
            if not (abs(value) <= _FLOAT32_MAX and 0.0 <= cover < math.inf):
                raise ModelError(
                    f"node {node} has a value that isn't a finite float32", where=where
                )
            model.cover.append(cover)
            if left == _LEAF:
                model.left.append(len(model.left))
                model.column.append(0)
                model.threshold.append(math.nan)
                model.leaf.append(value)
                continue
            size, feature = len(tree.left_children), tree.split_indices[node]
            if not (0 < left < size and 0 < right < size and 0 <= feature < features):
                raise ModelError(f"node {node} points outside of the tree", where=where)
            model.left.append(start + placed)
            model.column.append(feature if tree.default_left[node] else features + feature)
            model.threshold.append(value)
            model.leaf.append(0.0)
            below += (left, right)
            placed += 2
            if placed > size:
                raise ModelError("the nodes don't form a tree", where=where)
        level, depth = below, depth + 1
    model.roots.append(len(model.column))
    model.depths.append(depth - 1)


def _check_lengths(tree: _Tree, where: str) -> None:
    columns = (
        tree.left_children, tree.right_children, tree.split_indices, tree.split_conditions,
        tree.default_left, tree.sum_hessian,
    )  # fmt: skip
    if not tree.left_children or len({len(column) for column in columns}) != 1:
        raise ModelError("the columns of the nodes are empty or of different lengths", where=where)
