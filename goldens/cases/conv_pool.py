"""nn.conv2d, nn.max_pool, nn.avg_pool, nn.bias_add."""

import numpy as np
import tensorflow as tf

from .recorder import ACCUMULATED, EXACT, FLOATS, NUMERIC


def window(r, size_low, size_high, layout, plain_int=True):
    """A random H, W pair in one of TensorFlow's forms: int, or a list of 1, 2 or 4 (N and C are 1)."""
    h, w = r.integer(size_low, size_high), r.integer(size_low, size_high)
    form = r.pick(["int", "one", "two", "four"] if plain_int else ["one", "two", "four"])
    if form == "int":
        return h
    if form == "one":
        return [h]
    if form == "two":
        return [h, w]
    return [1, h, w, 1] if layout == "NHWC" else [1, 1, h, w]


def explicit(r, layout, most):
    pads = [[r.integer(0, most), r.integer(0, most)] for _ in range(2)]
    return [[0, 0], *pads, [0, 0]] if layout == "NHWC" else [[0, 0], [0, 0], *pads]


def to_nhwc_form(value):
    """[N, C, H, W] settings -> [N, H, W, C]; ints and lists of 1 and 2 need no change."""
    return [value[0], value[2], value[3], value[1]] if isinstance(value, list) and len(value) == 4 else value


def through_nhwc(function):
    """TensorFlow's CPU lacks most NCHW kernels: transpose, call the NHWC one, transpose back."""

    def call(x, *others, **attrs):
        attrs = {k: to_nhwc_form(v) for k, v in attrs.items() if k != "data_format"}
        y = function(tf.transpose(x, [0, 2, 3, 1]), *others, **attrs)
        return tf.transpose(y, [0, 3, 1, 2])

    return call


def image_shape(r, n, h, w, c, layout):
    return [n, h, w, c] if layout == "NHWC" else [n, c, h, w]


def conv2d(r):
    for i in range(r.n + 8):
        dtype = FLOATS[i % 4]
        layout = "NCHW" if i % 5 == 4 else "NHWC"
        groups = 2 if i % 7 == 6 else 1
        channels, per_group = r.integer(1, 3), r.integer(1, 4)
        kh, kw = r.integer(1, 3), r.integer(1, 3)
        h, w = r.integer(5, 9), r.integer(5, 9)
        attrs = {"strides": window(r, 1, 3, layout)}
        padding = ["SAME", "VALID", "explicit"][i % 3]
        attrs["padding"] = explicit(r, layout, min(kh, kw) - 1) if padding == "explicit" else padding
        if layout == "NCHW":
            attrs["data_format"] = layout
        if i % 4 == 1 or i % 11 == 10:
            attrs["strides"] = 1
            attrs["dilations"] = window(r, 1, 2, layout)
        x = r.values(image_shape(r, r.integer(1, 2), h, w, channels * groups, layout), dtype)
        f = r.values([kh, kw, channels, per_group * groups], dtype)
        call = through_nhwc(tf.nn.conv2d) if layout == "NCHW" else None
        r.add("nn.conv2d", attrs, [x, f], call=call, tolerance=ACCUMULATED)

    # Wide enough for whole SIMD tiles, with remainders; the lesson's layer; 1x1.
    sizes = [([2, 9, 10, 17], [3, 3, 17, 35]), ([2, 14, 14, 1], [3, 3, 1, 32]), ([1, 7, 9, 40], [1, 1, 40, 33]), ([1, 12, 11, 8], [5, 5, 8, 16])]
    for x, f in sizes:
        attrs = {"strides": r.integer(1, 2), "padding": r.pick(["SAME", "VALID"])}
        r.add("nn.conv2d", attrs, [r.values(x, "float32"), r.values(f, "float32")], tolerance=ACCUMULATED)

    x, f = r.values([1, 6, 6, 2], "int32"), r.values([3, 3, 2, 3], "int32")
    r.add("nn.conv2d", {"strides": 1, "padding": "SAME"}, [x, f], tolerance=EXACT)
    x, f = r.values([1, 5, 5, 2], "float32"), r.values([3, 3, 2, 3], "float32")
    ok = {"strides": 1, "padding": "SAME"}
    # The lesson's own example: stride 3 on 28 x 28.
    lesson = [r.values([1, 28, 28, 1], "float32"), r.values([3, 3, 1, 4], "float32")]
    for padding in ["SAME", "VALID"]:
        r.add("nn.conv2d", {"strides": [1, 3, 3, 1], "padding": padding}, lesson, tolerance=ACCUMULATED, grads=False)
    # No images. In float64, since oneDNN gives a float32 result the input's shape.
    r.add("nn.conv2d", ok, [np.zeros([0, 5, 5, 2]), f.astype(np.float64)], tolerance=ACCUMULATED, grads=False)
    r.refuse("nn.conv2d", ok, [r.values([1, 5, 5, 3], "float32"), f])
    # No case of an input of rank below 4 (TensorFlow 2.21 aborts the process there), of a filter larger
    # than a VALID input (oneDNN returns uninitialized memory), nor of padding in N or C (it is ignored).
    r.refuse("nn.conv2d", ok, [x, r.values([3, 3, 2], "float32")])
    r.refuse("nn.conv2d", ok, [x, f.astype(np.float64)])
    r.refuse("nn.conv2d", ok, [x.astype(np.int64), f.astype(np.int64)])
    for bad in [0, -1, [1, 2, 2], [2, 1, 1, 1], [1, 1, 1, 2]]:
        r.refuse("nn.conv2d", {"strides": bad, "padding": "SAME"}, [x, f])
    for bad in ["FULL", [[0, 0], [1, 1], [1, 1]], [[0, 0], [-1, 1], [1, 1], [0, 0]]]:
        r.refuse("nn.conv2d", {"strides": 1, "padding": bad}, [x, f])
    r.refuse("nn.conv2d", {**ok, "dilations": [1, 0, 1, 1]}, [x, f])
    r.refuse("nn.conv2d", {**ok, "dilations": [2, 1, 1, 1]}, [x, f])
    r.refuse("nn.conv2d", {**ok, "data_format": "HWCN"}, [x, f])


def pool(r, op, function, dtypes, explicit_pads):
    for i in range(r.n + 4):
        dtype = dtypes[i % len(dtypes)]
        layout = "NCHW" if i % 4 == 3 else "NHWC"
        attrs = {"ksize": window(r, 1, 3, layout), "strides": window(r, 1, 3, layout)}
        attrs["padding"] = r.pick(["SAME", "VALID"])
        if explicit_pads and i % 5 == 2:
            attrs["ksize"] = 3
            attrs["padding"] = explicit(r, layout, 2)
        if layout == "NCHW":
            attrs["data_format"] = layout
        shape = image_shape(r, r.integer(1, 2), r.integer(4, 8), r.integer(4, 8), r.integer(1, 3), layout)
        x = r.values(shape, dtype)
        call = through_nhwc(function) if layout == "NCHW" else None
        r.add(op, attrs, [x], call=call)
    # The lesson's pool, on an odd size too.
    lesson = {"ksize": [1, 2, 2, 1], "strides": [1, 2, 2, 1], "padding": "SAME"}
    for size, channels in [(8, 3), (7, 3), (10, 33)]:
        r.add(op, lesson, [r.values([2, size, size, channels], "float32")])
    x = r.values([1, 5, 5, 2], "float32")
    ok = {"ksize": 2, "strides": 2, "padding": "SAME"}
    for key, bad in [("ksize", 0), ("strides", 0), ("ksize", [1, 2, 2]), ("padding", "FULL"), ("ksize", [1, 2, 2, 2])]:
        r.refuse(op, {**ok, key: bad}, [x])
    # Not tried: a VALID window larger than the input and an input of low rank, which abort the process.
    r.refuse(op, ok, [x > 0])


def max_pool(r):
    pool(r, "nn.max_pool", tf.nn.max_pool, FLOATS * 2 + ["int8", "int16", "int32", "int64", "uint8", "uint16"], True)
    # Equal values: the whole gradient goes to the first in row-major order.
    ties = np.floor(r.values([1, 6, 6, 2], "float32"))
    for k, s in [(2, 2), (3, 1)]:
        r.add("nn.max_pool", {"ksize": k, "strides": s, "padding": "VALID"}, [ties])


def avg_pool(r):
    pool(r, "nn.avg_pool", tf.nn.avg_pool, FLOATS, False)
    x = r.values([1, 5, 5, 2], "int32")
    r.refuse("nn.avg_pool", {"ksize": 2, "strides": 2, "padding": "SAME"}, [x])


def bias_add(r):
    dtypes = FLOATS * 2 + NUMERIC
    for i in range(r.n + 4):
        dtype = dtypes[i % len(dtypes)]
        channels_first = i % 3 == 2
        shape = r.shape(r.integer(3, 5) if channels_first else r.integer(2, 5), high=4)
        channels = shape[1] if channels_first else shape[-1]
        attrs = {"data_format": "NCHW"} if channels_first else r.pick([{}, {"data_format": "NHWC"}])
        r.add("nn.bias_add", attrs, [r.values(shape, dtype), r.values([channels], dtype)])
    x, b = r.values([2, 3], "float32"), r.values([3], "float32")
    r.refuse("nn.bias_add", {}, [x, b[:2]])
    r.refuse("nn.bias_add", {}, [x, x])
    r.refuse("nn.bias_add", {}, [x, b.astype(np.float64)])
    r.refuse("nn.bias_add", {}, [b, b])
    r.refuse("nn.bias_add", {"data_format": "CHWN"}, [x, b])


def build(r):
    for make in (conv2d, max_pool, avg_pool, bias_add):
        make(r)
