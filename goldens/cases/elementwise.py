"""Activations and math, one value at a time: unary, and binary with broadcasting."""

import numpy as np

from .recorder import ALL, ELEMENTWISE, EXACT, FLOATS, INTS, NUMERIC, SIGNED

# A broadcast gradient is a sum of many terms, in an order of TensorFlow's own.
LONG = {**ELEMENTWISE, "float32": (5e-6, 2e-5)}

SPECIAL = [0.0, -0.0, 1.0, -1.0, float("inf"), float("-inf"), float("nan"), 0.5, -2.5]

# op: (dtypes, low, high of the random floats; None for normal numbers)
UNARY = {
    "nn.relu": (FLOATS + INTS, None, None),
    "nn.sigmoid": (FLOATS, None, None),
    "math.sigmoid": (FLOATS, -8, 8),
    "nn.tanh": (FLOATS, None, None),
    "math.tanh": (FLOATS, -4, 4),
    "math.square": (FLOATS + INTS, None, None),
    "math.sqrt": (FLOATS, 0.1, 9),
    "math.exp": (FLOATS, -4, 3),
    "math.log": (FLOATS, 0.1, 9),
    "math.negative": (FLOATS + SIGNED, None, None),
    "math.abs": (FLOATS + SIGNED, None, None),
}


def unary(r, table):
    for op, (dtypes, low, high) in table.items():
        order = dtypes if len(dtypes) == 4 else FLOATS + dtypes
        tolerance = EXACT if op in ("nn.relu", "math.negative", "math.abs") else ELEMENTWISE
        for i in range(r.n):
            dtype = order[i % len(order)]
            x = r.values(r.shape(r.integer(0, 4), high=4), dtype, *((low, high) if dtype in FLOATS else ()))
            r.add(op, {}, [x], tolerance=tolerance)
        r.add(op, {}, [np.zeros([0, 3], np.float32)], tolerance=tolerance)
        # Whole SIMD registers and a remainder.
        for dtype in ["float32", "float64"]:
            r.add(op, {}, [r.values([r.integer(150, 400)], dtype, low, high)], tolerance=tolerance)
        r.add(op, {}, [np.array(SPECIAL, np.float32)], grads=op == "nn.relu" or op == "math.negative")
        # Zero is where the conventions show: the slope of relu and abs is 0, of sqrt and log infinite.
        r.add(op, {}, [np.zeros([2], np.float64)])
        r.refuse(op, {}, [r.values([3], "bool")])
        if len(dtypes) == 4:
            r.refuse(op, {}, [r.values([3], "int32")])


# op: (dtypes, a dtype refused)
BINARY = {
    "math.add": (NUMERIC, "bool"),
    "math.subtract": (NUMERIC, "bool"),
    "math.multiply": (NUMERIC, "bool"),
    "math.divide": (NUMERIC, "bool"),
    "math.maximum": (NUMERIC, "bool"),
    "math.minimum": (NUMERIC, "bool"),
    "math.pow": (FLOATS + SIGNED, "uint32"),
    "math.equal": (ALL, None),
    "math.greater": (NUMERIC, "bool"),
}


def broadcast_pair(r):
    """Two shapes that broadcast: some sizes of one, some leading axes missing."""
    full = r.shape(r.integer(1, 4), high=4)
    left = [1 if r.chance(0.25) else d for d in full]
    right = [1 if r.chance(0.25) else d for d in full]
    if r.chance(0.5):
        right = right[r.integer(0, len(full)) :]
    return (left, right) if r.chance(0.5) else (right, left)


def operands(r, op, dtype, left, right):
    if op == "math.pow":
        if dtype in FLOATS:
            return r.values(left, dtype, 0.3, 2.5), r.values(right, dtype, -2, 3)
        return r.values(left, dtype, -3, 3), r.values(right, dtype, 0, 4)
    x, y = r.values(left, dtype), r.values(right, dtype)
    if op == "math.divide" and dtype in FLOATS:
        y = np.where(np.abs(y) < 0.25, np.ones_like(y), y)
    return x, y


def binary(r):
    for op, (dtypes, refused) in BINARY.items():
        order = FLOATS + dtypes
        for i in range(r.n + 2):
            dtype = order[i % len(order)]
            x, y = operands(r, op, dtype, *broadcast_pair(r))
            r.add(op, {}, [x, y])
        # Whole SIMD registers and a remainder, alike and with a row or a column broadcast.
        m, n = r.integer(5, 9), r.integer(33, 60)
        for left, right in [([m, n], [m, n]), ([m, n], [n]), ([m, 1], [m, n])]:
            r.add(op, {}, list(operands(r, op, "float32", left, right)), tolerance=LONG)
        # Every special value against every other.
        column = np.array(SPECIAL, np.float32)[:, None]
        r.add(op, {}, [column, column.T], grads=False)
        r.add(op, {}, [np.zeros([0, 3], np.float32), np.ones([1, 3], np.float32)])
        # Ties: maximum and minimum give the whole gradient to the first argument.
        tie = np.array([1, 2, 3], np.float32)
        r.add(op, {}, [tie, tie[::-1].copy()])
        x = r.values([2, 3], "float32")
        if op == "math.equal":
            # Shapes that do not broadcast are refused here too.
            r.refuse(op, {}, [x, r.values([2, 4], "float32")])
        else:
            r.refuse(op, {}, [x, r.values([2], "float32")])
        r.refuse(op, {}, [x, r.values([2, 3], "float64")])
        r.refuse(op, {}, [x, r.values([2, 3], "int32")])
        if refused:
            r.refuse(op, {}, [r.values([3], refused), r.values([3], refused)])

    wide = np.array([-128, 127, 100, -100], np.int8)
    for op in ["math.add", "math.subtract", "math.multiply"]:
        r.add(op, {}, [wide, wide[::-1].copy()], tolerance=EXACT)
        r.add(op, {}, [np.array([0, 255, 200], np.uint8), np.array([1, 2, 100], np.uint8)], tolerance=EXACT)
    for dtype in [np.int32, np.int8]:
        r.add("math.divide", {}, [np.array([7, -7, 0, 1, -1], dtype), np.array([2, 2, 0, 0, 0], dtype)])
    r.refuse("math.pow", {}, [np.array([2], np.int32), np.array([-1], np.int32)])
    # x = 0: the gradient of y is 0, not log(0); negative bases with whole exponents have a value.
    x = np.array([0, 0, 0, -2, -2, -1.5], np.float32)
    r.add("math.pow", {}, [x, np.array([2, 1, 3, 3, -2, 2], np.float32)])


def build(r):
    unary(r, UNARY)
    binary(r)
