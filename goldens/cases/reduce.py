"""math.reduce_sum, reduce_mean, reduce_max, reduce_min, argmax."""

import numpy as np

from .recorder import ACCUMULATED, ALL, FLOATS, NUMERIC


def random_axis(r, rank):
    """None, an int, or a list without repeats; negative or not; the empty list reduces nothing."""
    form = r.pick(["none", "int", "list", "list", "empty"])
    if form == "none":
        return None
    if form == "empty":
        return []
    if rank == 0:
        return []
    if form == "int":
        return r.integer(-rank, rank - 1)
    axes = [int(a) for a in r.rng.permutation(rank)[: r.integer(1, rank)]]
    return [a - rank if r.chance(0.4) else a for a in axes]


def reductions(r):
    for op in ["math.reduce_sum", "math.reduce_mean", "math.reduce_max", "math.reduce_min"]:
        order = FLOATS + NUMERIC
        for i in range(max(r.n, len(order))):
            rank = r.integer(0, 4)
            attrs = {"axis": random_axis(r, rank)}
            if r.chance(0.5):
                attrs["keepdims"] = r.chance(0.7)
            r.add(op, attrs, [r.values(r.shape(rank), order[i % len(order)])], tolerance=ACCUMULATED)
        for axis in [None, 0, 1, [0, 2], [1, 2]]:
            shape = [r.integer(3, 6), r.integer(7, 12), r.integer(17, 40)]
            r.add(op, {"axis": axis}, [r.values(shape, "float32")], tolerance=ACCUMULATED)
        # Nothing to reduce: 0, NaN, -inf, inf; then an empty result.
        r.add(op, {"axis": 0}, [np.zeros([0, 3], np.float32)], grads=False)
        r.add(op, {"axis": 1}, [np.zeros([0, 3], np.float32)], grads=False)
        r.add(op, {"axis": [0]}, [np.zeros([0, 2], np.int32)], grads=False) if op != "math.reduce_mean" else None
        # Ties: the gradient of a maximum is shared equally among the equal values.
        r.add(op, {"axis": 1}, [np.array([[1, 3, 3, 2], [2, 2, 2, 2]], np.float32)])
        r.add(op, {}, [np.array([[5, 5], [1, 5]], np.float64)])
        r.add(op, {"axis": 0}, [np.array([100, 100, 27, 100], np.int8)])
        x = r.values([2, 3], "float32")
        for axis in [2, -3, [0, 0], [0, -2]]:
            r.refuse(op, {"axis": axis}, [x])
        r.refuse(op, {}, [r.values([2, 3], "bool")])


def argmax(r):
    order = FLOATS + ALL
    for i in range(max(r.n, len(order))):
        rank = r.integer(1, 4)
        attrs = {} if i % 4 == 0 else {"axis": r.integer(-rank, rank - 1)}
        if r.chance(0.5):
            attrs["output_type"] = r.pick(["int32", "int64"])
        r.add("math.argmax", attrs, [r.values(r.shape(rank), order[i % len(order)])], grads=False)
    # Equal values: the first.
    r.add("math.argmax", {"axis": 1}, [np.array([[1, 3, 3], [2, 2, 2]], np.float32)], grads=False)
    x = r.values([2, 3], "float32")
    r.refuse("math.argmax", {"axis": 2}, [x])
    r.refuse("math.argmax", {"axis": -3}, [x])
    r.refuse("math.argmax", {"axis": 0}, [np.zeros([0, 3], np.float32)])
    r.refuse("math.argmax", {"axis": 0, "output_type": "float32"}, [x])


def build(r):
    reductions(r)
    argmax(r)
