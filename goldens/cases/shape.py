"""reshape, transpose, concat, stack, slice, one_hot, cast, pad, broadcast_to, zeros, ones, fill, range."""

import numpy as np

from .recorder import ALL, EXACT, FLOATS, NUMERIC, UNSIGNED

ORDER = FLOATS + ALL


def dtype_at(i):
    return ORDER[i % len(ORDER)]


def reshape(r):
    for i in range(r.n):
        shape = r.shape(r.integer(0, 4), high=4)
        size = int(np.prod(shape))
        divisors = [d for d in range(1, size + 1) if size % d == 0]
        d = r.pick(divisors)
        target = r.pick([[d, size // d], [d, -1], [-1, d], [-1], [1, size], [d, 1, size // d]])
        r.add("reshape", {"shape": target}, [r.values(shape, dtype_at(i))], tolerance=EXACT)
    r.add("reshape", {"shape": []}, [r.values([1, 1], "float32")], tolerance=EXACT)
    r.add("reshape", {"shape": [-1, 3]}, [np.zeros([0, 3], np.float32)], tolerance=EXACT)
    r.add("reshape", {"shape": [0, -1]}, [np.zeros([3, 0], np.float32)], tolerance=EXACT)
    r.add("reshape", {"shape": [0, 5]}, [np.zeros([3, 0], np.float32)], tolerance=EXACT)
    x = r.values([2, 3], "float32")
    for bad in [[4], [-1, -1], [-1, 4], [-2, 3], []]:
        r.refuse("reshape", {"shape": bad}, [x])


def transpose(r):
    for i in range(r.n):
        rank = r.integer(0, 5)
        perm = [int(p) for p in r.rng.permutation(rank)]
        attrs = {} if i % 4 == 3 else {"perm": perm}
        r.add("transpose", attrs, [r.values(r.shape(rank, high=4), dtype_at(i))], tolerance=EXACT)
    x = r.values([2, 3], "float32")
    for bad in [[0], [0, 0], [0, 2], [0, 1, 2]]:
        r.refuse("transpose", {"perm": bad}, [x])


def concat(r):
    for i in range(r.n):
        rank = r.integer(1, 4)
        axis = r.integer(-rank, rank - 1)
        shape, count = r.shape(rank, high=4), r.integer(1, 4)
        parts = []
        for _ in range(count):
            shape = list(shape)
            shape[axis] = r.integer(0 if r.chance(0.2) else 1, 4)
            parts.append(r.values(shape, dtype_at(i)))
        r.add("concat", {"axis": axis}, parts, groups=[count], tolerance=EXACT)
    x = r.values([2, 3], "float32")
    r.refuse("concat", {"axis": 0}, [x, r.values([2, 4], "float32")], groups=[2])
    r.refuse("concat", {"axis": 2}, [x, x], groups=[2])
    r.refuse("concat", {"axis": -3}, [x, x], groups=[2])
    r.refuse("concat", {"axis": 0}, [x, x.astype(np.float64)], groups=[2])
    r.refuse("concat", {"axis": 0}, [x, x[0]], groups=[2])
    r.refuse("concat", {"axis": 0}, [x[0, 0], x[0, 0]], groups=[2])


def stack(r):
    for i in range(r.n):
        rank = r.integer(0, 3)
        attrs = {} if i % 4 == 0 else {"axis": r.integer(-rank - 1, rank)}
        shape, count = r.shape(rank, high=4), r.integer(1, 4)
        r.add("stack", attrs, [r.values(shape, dtype_at(i)) for _ in range(count)], groups=[count], tolerance=EXACT)
    x = r.values([2, 3], "float32")
    r.refuse("stack", {}, [x, r.values([2, 4], "float32")], groups=[2])
    r.refuse("stack", {"axis": 3}, [x, x], groups=[2])
    r.refuse("stack", {"axis": -4}, [x, x], groups=[2])
    r.refuse("stack", {}, [x, x.astype(np.float64)], groups=[2])


def slice_(r):
    for i in range(r.n):
        shape = r.shape(r.integer(1, 4))
        begin = [r.integer(0, d) for d in shape]
        size = [-1 if r.chance(0.3) else r.integer(0 if r.chance(0.1) else min(1, d - b), d - b) for d, b in zip(shape, begin)]
        r.add("slice", {"begin": begin, "size": size}, [r.values(shape, dtype_at(i))], tolerance=EXACT)
    x = r.values([2, 3], "float32")
    for begin, size in [([0, 0], [3, 1]), ([0, 4], [1, -1]), ([-1, 0], [1, 1]), ([0], [1]), ([0, 0], [1, -2]), ([0, 0, 0], [1, 1, 1]), ([0, 0], [1])]:
        r.refuse("slice", {"begin": begin, "size": size}, [x])


def one_hot(r):
    index_types = [np.uint8, np.int8, np.int32, np.int64]
    for i in range(r.n + 4):
        rank = r.integer(0, 3)
        depth = r.integer(0 if i == 5 else 1, 6)
        index_type = index_types[i % 4]
        indices = r.rng.integers(0 if index_type == np.uint8 else -2, depth + 2, r.shape(rank, high=4)).astype(index_type)
        attrs = {"depth": depth}
        if r.chance(0.5):
            attrs["axis"] = r.pick([-1, *range(rank + 1)])
        style = i % 3
        if style == 1:
            attrs["dtype"] = r.pick(NUMERIC)
        if style == 2:
            attrs["on_value"], attrs["off_value"] = r.pick([(5.0, -1.5), (3, 2), (True, False), (0.25, 0.0)])
        r.add("one_hot", attrs, [indices], tolerance=EXACT)
    x = np.array([0, 2, -1, 7], np.int32)
    r.add("one_hot", {"depth": 3, "on_value": 2.0, "off_value": 1.0, "dtype": "float16"}, [x], tolerance=EXACT)
    r.add("one_hot", {"depth": 3, "on_value": 9.0}, [x], tolerance=EXACT)
    r.add("one_hot", {"depth": 3, "off_value": 4}, [x], tolerance=EXACT)
    r.refuse("one_hot", {"depth": -1}, [x])
    r.refuse("one_hot", {"depth": 3, "axis": 2}, [x])
    r.refuse("one_hot", {"depth": 3, "axis": -2}, [x])
    r.refuse("one_hot", {"depth": 3}, [x.astype(np.float32)])
    r.refuse("one_hot", {"depth": 3}, [x > 0])
    r.refuse("one_hot", {"depth": 3, "on_value": 1.5, "off_value": 0.0, "dtype": "int32"}, [x])


def cast(r):
    """Every pair; the values fit both types, since an overflowing float to integer is undefined."""
    for source in ALL:
        for target in ALL:
            low = 0 if {source, target} & set(UNSIGNED) else -100
            r.add("cast", {"dtype": target}, [r.values(r.shape(r.integer(0, 2), high=5), source, low, 100)], tolerance=EXACT)
    # Integers wrap; a float too large becomes infinite; rounding is to nearest, ties to even.
    r.add("cast", {"dtype": "int8"}, [np.array([127, 128, 255, 256, -129, 300], np.int32)], tolerance=EXACT)
    r.add("cast", {"dtype": "uint8"}, [np.array([-1, 256, 511, -256], np.int64)], tolerance=EXACT)
    r.add("cast", {"dtype": "float16"}, [np.array([65504, 65520, 1e-8, 6e-8, 1 + 2**-11, 1 + 3 * 2**-11], np.float32)], tolerance=EXACT)
    r.add("cast", {"dtype": "bfloat16"}, [np.array([1 + 2**-8, 1 + 3 * 2**-8, 3.4e38, np.inf, np.nan], np.float32)], tolerance=EXACT)
    r.add("cast", {"dtype": "bool"}, [np.array([0.0, -0.0, 1e-30, np.nan, np.inf], np.float32)], tolerance=EXACT)
    r.add("cast", {"dtype": "int32"}, [np.array([1.9, -1.9, 0.5, -0.5, 2.5], np.float32)], tolerance=EXACT)


def pad(r):
    for i in range(r.n + 4):
        mode = ["CONSTANT", "REFLECT", "SYMMETRIC"][i % 3]
        shape = r.shape(r.integer(1, 4), low=2, high=4)
        most = [3 if mode == "CONSTANT" else d - (mode == "REFLECT") for d in shape]
        attrs = {"paddings": [[r.integer(0, m), r.integer(0, m)] if r.chance(0.7) else [0, 0] for m in most]}
        if mode != "CONSTANT" or r.chance(0.5):
            attrs["mode"] = mode
        dtype = dtype_at(i)
        if mode == "CONSTANT" and dtype in NUMERIC and r.chance(0.6):
            attrs["constant_values"] = r.integer(0, 5)
        r.add("pad", attrs, [r.values(shape, dtype)])
    r.add("pad", {"paddings": [[1, 2]], "constant_values": -1.5}, [r.values([2], "float32")])
    x = r.values([2, 3], "float32")
    for bad in [[[1, 1]], [[-1, 1], [0, 0]], [[1], [1]], [[1, 1], [1, 1], [0, 0]]]:
        r.refuse("pad", {"paddings": bad}, [x])
    r.refuse("pad", {"paddings": [[2, 0], [0, 0]], "mode": "REFLECT"}, [x])
    r.refuse("pad", {"paddings": [[3, 0], [0, 0]], "mode": "SYMMETRIC"}, [x])
    r.refuse("pad", {"paddings": [[1, 0], [0, 0]], "mode": "WRAP"}, [x])


def broadcast_to(r):
    for i in range(r.n):
        full = r.shape(r.integer(0, 4), high=4)
        part = [1 if r.chance(0.4) else d for d in full][r.integer(0, len(full)) if full else 0 :]
        r.add("broadcast_to", {"shape": full}, [r.values(part, dtype_at(i))])
    r.add("broadcast_to", {"shape": [0, 3]}, [r.values([1, 3], "float32")])
    x = r.values([2, 3], "float32")
    for bad in [[2, 4], [3], [3, 2], [2, 2]]:
        r.refuse("broadcast_to", {"shape": bad}, [x])


def creation(r):
    for op in ["zeros", "ones"]:
        r.add(op, {"shape": [2, 3]}, [], tolerance=EXACT)
        for dtype in ALL:
            r.add(op, {"shape": r.shape(r.integer(0, 3), low=0 if r.chance(0.2) else 1), "dtype": dtype}, [], tolerance=EXACT)
        r.refuse(op, {"shape": [-1, 2]}, [])
    for i in range(r.n):
        value = r.pick([2.5, -1.0, 7, -3, 0, True, False])
        r.add("fill", {"dims": r.shape(r.integer(0, 3)), "value": value}, [], tolerance=EXACT)
    r.add("fill", {"dims": [0, 2], "value": 1.5}, [], tolerance=EXACT)
    r.refuse("fill", {"dims": [2, -1], "value": 1.0}, [])
    for i in range(r.n):
        start, step = r.integer(-9, 9), r.pick([-3, -2, -1, 1, 2, 3])
        # A whole number of steps, or part of one more.
        limit = start + step * r.integer(0, 6) + (1 if step > 1 else -1 if step < -1 else 0) * r.integer(0, 1)
        attrs = {"start": start, "limit": limit, "delta": step}
        if i % 3 == 1:
            attrs = {k: v / 4 for k, v in attrs.items()}
        if i % 3 == 2:
            attrs["dtype"] = r.pick(FLOATS + ["int32", "int64"])
        r.add("range", attrs, [])
    r.add("range", {"start": 0, "limit": 5}, [])
    # Not an empty range, unlike Python and NumPy.
    r.refuse("range", {"start": 5, "limit": 0}, [])
    r.refuse("range", {"start": 0, "limit": 5, "delta": -1}, [])
    r.refuse("range", {"start": 0, "limit": 5, "delta": 0}, [])
    r.refuse("range", {"start": 0, "limit": 5, "delta": 1, "dtype": "bool"}, [])


def build(r):
    for make in (reshape, transpose, concat, stack, slice_, one_hot, cast, pad, broadcast_to, creation):
        make(r)
