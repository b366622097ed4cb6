"""linalg.matmul."""

import numpy as np

from .recorder import ACCUMULATED, FLOATS


def build(r):
    op = "linalg.matmul"
    order = FLOATS * 2 + ["int32", "int64"]
    for i in range(r.n + 10):
        dtype = order[i % len(order)]
        m, k, n = r.shape(3, high=9)
        batch = r.shape(r.integer(0, 2), high=3) if i % 2 else []
        left, right = list(batch), list(batch)
        if batch and r.chance(0.6):
            left = [1 if r.chance(0.4) else d for d in batch]
            right = right[r.integer(0, len(batch)) :]
        attrs = {}
        if r.chance(0.5):
            attrs["transpose_a"] = r.chance(0.7)
        if r.chance(0.5):
            attrs["transpose_b"] = r.chance(0.7)
        a = left + ([k, m] if attrs.get("transpose_a") else [m, k])
        b = right + ([n, k] if attrs.get("transpose_b") else [k, n])
        r.add(op, attrs, [r.values(a, dtype), r.values(b, dtype)], tolerance=ACCUMULATED)
    # Whole tiles and remainders, each way round; a long inner dimension; a vector in effect.
    for flags in [{}, {"transpose_a": True}, {"transpose_b": True}, {"transpose_a": True, "transpose_b": True}]:
        m, k, n = r.integer(29, 40), r.integer(20, 50), r.integer(33, 50)
        a = [k, m] if flags.get("transpose_a") else [m, k]
        b = [n, k] if flags.get("transpose_b") else [k, n]
        r.add(op, flags, [r.values(a, "float32"), r.values(b, "float32")], tolerance=ACCUMULATED)
    for m, k, n in [(3, 700, 17), (1, 70, 40), (40, 70, 1)]:
        r.add(op, {}, [r.values([m, k], "float32"), r.values([k, n], "float32")], tolerance=ACCUMULATED)
    # No inner dimension: zeros.
    r.add(op, {}, [np.zeros([2, 0], np.float32), np.zeros([0, 3], np.float32)], tolerance=ACCUMULATED)
    r.add(op, {}, [np.zeros([0, 2], np.float32), np.zeros([2, 3], np.float32)], tolerance=ACCUMULATED)
    a, b = r.values([2, 3], "float32"), r.values([3, 4], "float32")
    r.refuse(op, {}, [a, a])
    r.refuse(op, {"transpose_b": True}, [a, b])
    r.refuse(op, {}, [a[0], b])
    r.refuse(op, {}, [a, b[:, 0]])
    r.refuse(op, {}, [a, b.astype(np.float64)])
    r.refuse(op, {}, [a > 0, b > 0])
    r.refuse(op, {}, [r.values([2, 2, 3], "float32"), r.values([3, 3, 4], "float32")])
