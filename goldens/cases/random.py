"""random.stateless_uniform and stateless_normal: the Philox streams."""

import tensorflow as tf

from .recorder import EXACT, FLOATS

SEEDS = [[0, 0], [1, 2], [-1, -2], [2**31 - 1, -(2**31)], [2**40 + 7, -(2**62)], [2**63 - 1, -(2**63)]]
BITS = (0, 0)


def with_int64_seed(function):
    """A seed is two int64: Python lists of small numbers would be int32, of the same value and stream."""
    return lambda seed, **attrs: function(seed=tf.constant(seed, tf.int64), **attrs)


def seed(r, i):
    return SEEDS[i] if i < len(SEEDS) else [int(x) for x in r.rng.integers(-(2**63), 2**63 - 1, 2)]


def uniform(r):
    op, call = "random.stateless_uniform", with_int64_seed(tf.random.stateless_uniform)

    def add(i, shape, **attrs):
        r.add(op, {"shape": shape, "seed": seed(r, i), **attrs}, [], call=call, tolerance=BITS)

    for i in range(r.n + 4):
        add(i, r.shape(r.integer(0, 3)), dtype=FLOATS[i % 4])
    add(1, [7])
    add(9, [1300], dtype="float32")
    for i, dtype in enumerate(FLOATS):
        low = r.pick([-2.0, 0.5, -10.0])
        add(i + 4, [3, 3], minval=low, maxval=low + r.pick([0.75, 3.0, 100.0]), dtype=dtype)
    for i in range(8):
        dtype = ["int32", "int64"][i % 2]
        bits = 31 if dtype == "int32" else 62
        low = r.pick([0, -5, -(2**bits), 100])
        high = low + r.pick([1, 7, 10, 2**20 + 3, 2**bits])
        high = min(high, 2**31 - 1) if dtype == "int32" else high
        add(i, r.shape(2), minval=low, maxval=high, dtype=dtype)
    for i, dtype in enumerate(["int32", "int64", "uint32", "uint64"]):
        add(i + 3, [2, 5], minval=None, maxval=None, dtype=dtype)
    add(2, [0, 3])
    ok = {"shape": [3], "seed": [1, 2]}
    r.refuse(op, {"shape": [3], "seed": [1, 2, 3]}, [])
    r.refuse(op, {"shape": [-3], "seed": [1, 2]}, [])
    r.refuse(op, {**ok, "minval": 5, "maxval": 5, "dtype": "int32"}, [])
    r.refuse(op, {**ok, "minval": 0, "maxval": 5, "dtype": "uint32"}, [])
    r.refuse(op, {**ok, "minval": 0, "maxval": 5, "dtype": "int8"}, [])
    r.refuse(op, {**ok, "dtype": "bool"}, [])


def normal(r):
    op, call = "random.stateless_normal", with_int64_seed(tf.random.stateless_normal)
    # Two units in the last place of float32; half types may round the other way, by one unit.
    tolerance = {"float16": (1e-3, 1e-6), "bfloat16": (8e-3, 1e-6), "float32": (2.4e-7, 1e-9), "float64": (4.5e-16, 1e-18)}
    for i in range(r.n + 4):
        attrs = {"shape": r.shape(r.integer(0, 3)), "seed": seed(r, i), "dtype": FLOATS[i % 4]}
        r.add(op, attrs, [], call=call, tolerance=tolerance)
    for i, dtype in enumerate(FLOATS):
        attrs = {"shape": [3, 3], "seed": seed(r, i + 5), "mean": 0.0, "stddev": r.pick([0.05, 2.0]), "dtype": dtype}
        r.add(op, attrs, [], call=call, tolerance=tolerance)
    # Adding the mean cancels: a unit in the last place of the larger term, not of the sum.
    for i in range(2):
        mean = r.pick([-1.0, 3.0])
        attrs = {"shape": [7], "seed": seed(r, i + 8), "mean": mean, "stddev": 0.5}
        r.add(op, attrs, [], call=call, tolerance=(2.4e-7, 5e-7))
    r.add(op, {"shape": [1300], "seed": seed(r, 4)}, [], call=call, tolerance=tolerance)
    r.add(op, {"shape": [2, 0], "seed": [1, 2]}, [], call=call, tolerance=EXACT)
    r.refuse(op, {"shape": [3], "seed": [1]}, [])
    r.refuse(op, {"shape": [-1], "seed": [1, 2]}, [])
    r.refuse(op, {"shape": [3], "seed": [1, 2], "dtype": "int32"}, [])


def build(r):
    uniform(r)
    normal(r)
