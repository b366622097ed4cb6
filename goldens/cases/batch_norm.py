"""nn.moments, nn.batch_normalization, compat.v1.nn.fused_batch_norm.

An attribute `output`, which TensorFlow has not, says which of several results a case is about.
"""

import numpy as np
import tensorflow as tf

from .recorder import ACCUMULATED, FLOATS


def chosen(function, inference=False):
    """`function` with the result that `output` chooses."""

    def call(*arguments, output, **attrs):
        if inference:
            attrs["mean"], attrs["variance"] = arguments[3:]
            arguments = arguments[:3]
        return function(*arguments, **attrs)[output]

    return call


def moments(r):
    op = "nn.moments"
    for i in range(r.n):
        rank = r.integer(1, 4)
        axes = sorted(r.rng.choice(rank, r.integer(1, rank), replace=False).tolist())
        attrs = {"axes": axes, "output": i % 2}
        if r.chance(0.5):
            attrs["keepdims"] = True
        x = r.values(r.shape(rank, high=5), FLOATS[i // 2 % 4])
        r.add(op, attrs, [x], call=chosen(tf.nn.moments), tolerance=ACCUMULATED)


def batch_normalization(r):
    op = "nn.batch_normalization"
    for i in range(r.n):
        dtype = FLOATS[i % 4]
        shape = r.shape(r.integer(2, 4), high=5)
        x = r.values(shape, dtype)
        mean, offset, scale = (r.values(shape[-1:], dtype) for _ in range(3))
        variance = r.values(shape[-1:], dtype, 0.5, 2.0)
        attrs = {"variance_epsilon": r.pick([1e-3, 1e-2])}
        r.add(op, attrs, [x, mean, variance, offset, scale], tolerance=ACCUMULATED)


def fused_batch_norm(r):
    op = "compat.v1.nn.fused_batch_norm"
    function = tf.compat.v1.nn.fused_batch_norm
    for i in range(r.n + 6):
        dtype = ["float32", "float32", "float16", "bfloat16"][i % 4]
        shape = [r.integer(1, 4), r.integer(2, 6), r.integer(1, 6), r.integer(1, 20)]
        x = r.values(shape, dtype)
        scale, offset, mean = (r.values(shape[-1:], "float32") for _ in range(3))
        variance = r.values(shape[-1:], "float32", 0.5, 2.0)
        attrs = {"output": 0 if i % 3 else i // 3 % 3}
        if r.chance(0.5):
            attrs["epsilon"] = r.pick([1e-2, 1e-6])
        grads = attrs["output"] == 0
        if i % 2:
            attrs["is_training"] = False
            inputs = [x, scale, offset, mean, variance]
            r.add(op, attrs, inputs, call=chosen(function, True), tolerance=ACCUMULATED, grads=grads)
        else:
            r.add(op, attrs, [x, scale, offset], call=chosen(function), tolerance=ACCUMULATED, grads=grads)
    x = r.values([8, 7, 7, 33], "float32", 3.0, 5.0)
    scale, offset = r.values([33], "float32"), r.values([33], "float32")
    for output in range(3):
        r.add(op, {"output": output}, [x, scale, offset], call=chosen(function), tolerance=ACCUMULATED, grads=output == 0)
    r.refuse(op, {}, [x[0, 0], scale, offset])
    r.refuse(op, {}, [x, scale[:5], offset])
    r.refuse(op, {}, [x, scale, offset.astype(np.float64)])
    r.refuse(op, {"is_training": False}, [x, scale, offset])


def build(r):
    for make in (moments, batch_normalization, fused_batch_norm):
        make(r)
