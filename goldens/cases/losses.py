"""nn.softmax, nn.log_softmax, the two cross-entropies, nn.dropout."""

import numpy as np

from .recorder import FLOATS


def softmaxes(r):
    for op in ["nn.softmax", "nn.log_softmax"]:
        for i in range(r.n + 2):
            rank = r.integer(1, 4)
            attrs = {} if i % 3 == 0 else {"axis": r.integer(-rank, rank - 1)}
            scale = r.pick([1.0, 5.0])
            x = r.values(r.shape(rank, high=5), FLOATS[i % 4], -scale, scale)
            r.add(op, attrs, [x])
        r.add(op, {}, [r.values([7, r.integer(33, 70)], "float32", -5, 5)])
        # Large logits must not overflow.
        r.add(op, {}, [np.array([[1000.0, 0.0, -1000.0], [88.0, 89.0, 90.0]], np.float32)])
        r.add(op, {}, [np.zeros([0, 4], np.float32)])
        x = r.values([2, 3], "float32")
        r.refuse(op, {"axis": 2}, [x])
        r.refuse(op, {"axis": -3}, [x])
        r.refuse(op, {}, [r.values([2, 3], "int32")])


def softmax_cross_entropy(r):
    op = "nn.softmax_cross_entropy_with_logits"
    for i in range(r.n):
        dtype = FLOATS[i % 4]
        rank = r.integer(1, 3)
        # TensorFlow takes -1 or an axis from the front; its own check refuses the other negative ones.
        attrs = {} if i % 3 == 0 else {"axis": r.integer(-1, rank - 1)}
        axis = attrs.get("axis", -1)
        logits = r.values(r.shape(rank, high=5), dtype, -3, 3)
        weights = r.rng.uniform(0.05, 1, logits.shape)
        labels = (weights / weights.sum(axis=axis, keepdims=True)).astype(logits.dtype)
        r.add(op, attrs, [labels, logits])
    classes = r.integer(33, 70)
    r.add(op, {}, [np.eye(classes, dtype=np.float32)[r.rng.integers(0, classes, 7)], r.values([7, classes], "float32")])
    one_hot = np.eye(4, dtype=np.float32)[[0, 3, 1]]
    r.add(op, {}, [one_hot, r.values([3, 4], "float32")])
    r.add(op, {}, [one_hot, np.array([[1000, 0, 0, 0]] * 3, np.float32)])
    r.refuse(op, {}, [one_hot, r.values([3, 5], "float32")])
    r.refuse(op, {}, [one_hot.astype(np.int32), one_hot.astype(np.int32)])
    r.refuse(op, {"axis": 2}, [one_hot, one_hot])


def sparse_softmax_cross_entropy(r):
    op = "nn.sparse_softmax_cross_entropy_with_logits"
    for i in range(r.n):
        logits = r.values(r.shape(r.integer(1, 3), high=5), FLOATS[i % 4], -3, 3)
        labels = r.rng.integers(0, logits.shape[-1], logits.shape[:-1])
        r.add(op, {}, [np.asarray(labels, r.pick([np.int32, np.int64])), logits])
    logits = r.values([3, 4], "float32")
    labels = np.array([0, 3, 1], np.int32)
    for bad in [4, -1]:
        r.refuse(op, {}, [np.array([0, bad, 1], np.int32), logits])
    r.refuse(op, {}, [labels[:2], logits])
    r.refuse(op, {}, [labels[:, None], logits])
    r.refuse(op, {}, [labels.astype(np.float32), logits])
    r.refuse(op, {}, [labels, logits.astype(np.int32)])
    r.refuse(op, {}, [np.array(0, np.int32), np.array(1.0, np.float32)])


def dropout(r):
    for i in range(8):
        r.add("nn.dropout", {"rate": 0.0}, [r.values(r.shape(r.integer(1, 3)), FLOATS[i % 4])])
    x = r.values([2, 3], "float32")
    for rate in [1.0, -0.1, 1.5]:
        r.refuse("nn.dropout", {"rate": rate}, [x])
    r.refuse("nn.dropout", {"rate": 0.5}, [r.values([2, 3], "int32")])


def build(r):
    for make in (softmaxes, softmax_cross_entropy, sparse_softmax_cross_entropy, dropout):
        make(r)
