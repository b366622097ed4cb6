"""Collects golden cases: calls TensorFlow, keeps the tensors, checks that refusals are refused."""

import numpy as np
import tensorflow as tf

FLOATS = ["float16", "bfloat16", "float32", "float64"]
SIGNED = ["int8", "int16", "int32", "int64"]
UNSIGNED = ["uint8", "uint16", "uint32", "uint64"]
INTS = SIGNED + UNSIGNED
NUMERIC = FLOATS + INTS
ALL = NUMERIC + ["bool"]

# (rtol, atol) per dtype of the result. Integers and bools are exact.
ELEMENTWISE = {"float16": (5e-3, 5e-3), "bfloat16": (4e-2, 4e-2), "float32": (2e-6, 2e-6), "float64": (1e-10, 1e-12)}
ACCUMULATED = {"float16": (5e-3, 1e-2), "bfloat16": (4e-2, 4e-2), "float32": (2e-4, 2e-5), "float64": (1e-10, 1e-10)}
EXACT = {}


class Recorder:
    def __init__(self, seed, cases_per_op):
        self.rng = np.random.default_rng(seed)
        self.n = cases_per_op
        self.cases = []
        self.tensors = {}
        self._count = {}

    def pick(self, options):
        return options[int(self.rng.integers(len(options)))]

    def chance(self, p):
        return bool(self.rng.random() < p)

    def integer(self, low, high):
        """A Python int in low..=high."""
        return int(self.rng.integers(low, high + 1))

    def shape(self, rank, low=1, high=5):
        return [self.integer(low, high) for _ in range(rank)]

    def values(self, shape, dtype, low=None, high=None):
        """A tensor of `dtype`: normal floats, or uniform in [low, high] where given; small integers."""
        if dtype == "bool":
            return self.rng.random(shape) < 0.5
        np_dtype = tf.as_dtype(dtype).as_numpy_dtype
        if dtype in FLOATS:
            x = self.rng.normal(size=shape) if low is None else self.rng.uniform(low, high, shape)
            return np.asarray(x).astype(np_dtype)
        low = (0 if dtype in UNSIGNED else -9) if low is None else max(low, 0 if dtype in UNSIGNED else low)
        return self.rng.integers(low, 10 if high is None else high + 1, shape).astype(np_dtype)

    def _name(self, op):
        self._count[op] = self._count.get(op, -1) + 1
        return f"{op}/{self._count[op]:04d}"

    def _keep(self, name, value):
        self.tensors[name] = np.asarray(value)
        return name

    def _begin(self, op, attrs, inputs, groups):
        name = self._name(op)
        inputs = [np.asarray(x) for x in inputs]
        groups = [-1] * len(inputs) if groups is None else groups
        names = [self._keep(f"{name}/in{i}", x) for i, x in enumerate(inputs)]
        case = {"name": name, "op": op, "attrs": attrs, "inputs": names, "groups": groups}
        return case, [tf.constant(x) for x in inputs], groups

    def add(self, op, attrs, inputs, groups=None, call=None, tolerance=ELEMENTWISE, grads=True):
        """A case with values. `call(*arguments, **attrs)` stands in for the function where TensorFlow's
        CPU lacks a form of it. `tolerance` is a table per dtype or one (rtol, atol)."""
        case, inputs, groups = self._begin(op, attrs, inputs, groups)
        name = case["name"]
        with tf.GradientTape() as tape:
            tape.watch([x for x in inputs if x.dtype.is_floating])
            output = invoke(op, attrs, inputs, groups, call)
        case["outputs"] = [self._keep(f"{name}/out0", output.numpy())]
        dtype = output.dtype.name
        found = []
        if grads and output.dtype.is_floating and any(x.dtype.is_floating for x in inputs):
            upstream = tf.constant(self.values(output.shape.as_list(), dtype))
            try:
                found = tape.gradient(output, inputs, output_gradients=upstream)
            except tf.errors.InvalidArgumentError as refused:
                # Forward accepted, backward not built for the CPU (dilated f64 convolution): values only.
                print(f"no gradient: {name}: {str(refused).splitlines()[0][:100]}")
            if any(g is not None for g in found):
                case["upstream"] = [self._keep(f"{name}/up0", upstream.numpy())]
                case["grads"] = [
                    None if g is None else self._keep(f"{name}/grad{i}", tf.convert_to_tensor(g).numpy())
                    for i, g in enumerate(found)
                ]
        case["rtol"], case["atol"] = tolerance if isinstance(tolerance, tuple) else tolerance.get(dtype, (0, 0))
        if dtype in ("float16", "bfloat16") and case["atol"]:
            # Sums of rounded terms are off by a rounding of the largest term.
            results = [output] + [tf.convert_to_tensor(g) for g in found if g is not None]
            case["atol"] *= max([1.0] + [magnitude(r.numpy()) for r in results])
        self.cases.append(case)

    def refuse(self, op, attrs, inputs, groups=None):
        """A case that TensorFlow refuses; fails if it does not."""
        case, inputs, groups = self._begin(op, attrs, inputs, groups)
        try:
            value = invoke(op, attrs, inputs, groups, None)
        except (ValueError, TypeError, tf.errors.OpError) as error:
            case["error"] = str(error).strip().splitlines()[0][:160]
        else:
            raise AssertionError(f"{case['name']} {attrs}: TensorFlow gave {value}")
        self.cases.append(case)


def invoke(op, attrs, inputs, groups, call):
    function = tf
    for part in op.split("."):
        function = getattr(function, part)
    attrs = {k: tf.as_dtype(v) if k in ("dtype", "output_type") and v else v for k, v in attrs.items()}
    arguments, rest = [], list(inputs)
    for size in groups:
        arguments.append(rest.pop(0) if size < 0 else [rest.pop(0) for _ in range(size)])
    return (call or function)(*arguments, **attrs)


def magnitude(array):
    array = np.abs(array.astype(np.float64))
    finite = array[np.isfinite(array)]
    return float(finite.max()) if finite.size else 0.0
