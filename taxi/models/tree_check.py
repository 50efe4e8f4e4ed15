"""Decision trees as arrays of nodes: checked before native code walks them, which never looks where an index leads."""

import numpy as np

LEAF = -1


def walkable(left: np.ndarray, right: np.ndarray, depth: int) -> str | None:
    """What is wrong with a binary tree whose root is node 0; None when every walk ends in a leaf.

    left, right: the children of each node, shape (n_nodes,), -1 in leaves. depth: levels of splits, at most.
    """
    count = len(left)
    if count == 0 or len(right) != count:
        return "its nodes have not two children each"
    inner = left != LEAF
    if not np.array_equal(inner, right != LEAF):
        return "a node has one child"
    children = np.concatenate([left[inner], right[inner]])
    if len(children) and (children.min() < 1 or children.max() >= count):
        return "a child is no node"
    if len(children) != count - 1 or np.bincount(children, minlength=count).max(initial=0) > 1:
        return "a node has not one parent"
    level, reached = np.zeros(1, np.int64), 1
    for _ in range(depth):
        level = level[inner[level]]
        level = np.concatenate([left[level], right[level]])
        reached += len(level)
    return None if reached == count else f"it is deeper than {depth} levels, or a node is never reached"
