"""Writes the golden sets with real TensorFlow. See README.md."""

import argparse
import json
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf

import parity
import safetensors_file
from cases import batch_norm, conv_pool, elementwise, functions, losses, matmul, random, reduce, shape
from cases.recorder import Recorder

FAMILIES = [conv_pool, elementwise, losses, reduce, matmul, shape, random, batch_norm, functions]


def write_ops(folder, seed, cases_per_op):
    recorder = Recorder(seed, cases_per_op)
    for family in FAMILIES:
        family.build(recorder)
    safetensors_file.save(os.path.join(folder, "tensors.safetensors"), recorder.tensors)
    with open(os.path.join(folder, "cases.json"), "w") as file:
        lines = ",\n".join(json.dumps(case, allow_nan=False) for case in recorder.cases)
        file.write(f"[\n{lines}\n]\n")
    counts = {}
    for case in recorder.cases:
        count = counts.setdefault(case["op"], [0, 0, 0])
        count[0] += 1
        count[1] += "grads" in case
        count[2] += "error" in case
    print("| op | cases | with gradients | refusals |\n|---|---|---|---|")
    for op in sorted(counts):
        print(f"| {op} | {counts[op][0]} | {counts[op][1]} | {counts[op][2]} |")
    print(f"| all | {len(recorder.cases)} | {sum(c[1] for c in counts.values())} | {sum(c[2] for c in counts.values())} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--out", default=os.path.dirname(os.path.abspath(__file__)), help="gets ops/ and parity/")
    parser.add_argument("--cases-per-op", type=int, default=12)
    parser.add_argument("--mnist", help="folder of the four gzipped IDX files; without it no parity set is made")
    parser.add_argument("--units", type=int, default=64, help="width of fc1 in the parity set")
    parser.add_argument("--steps", type=int, default=100, help="updates in the parity set")
    options = parser.parse_args()
    print(f"TensorFlow {tf.__version__}, seed {options.seed}")
    write_ops(os.path.join(options.out, "ops"), options.seed, options.cases_per_op)
    if options.mnist:
        tensors = parity.make(options.seed, options.mnist, options.units, options.steps)
        safetensors_file.save(os.path.join(options.out, "parity", "parity.safetensors"), tensors)
        print("losses, first and last:", tensors["losses"][0], tensors["losses"][-1])


if __name__ == "__main__":
    main()
