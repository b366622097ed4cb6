#!/usr/bin/env python3
"""How soon `digits train --model fast` reaches 99 %: ten seeds, each a process of its own.

    python3 benches/time_to_accuracy.py [--seeds N] [--model NAME] [-- OPTIONS OF digits train]

Prints the test accuracy and the seconds of wall time of each run, from the start of the process to
its end with the evaluation in it, then their means and the worst.
"""

import argparse
import json
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DIGITS = ROOT / "target" / "release" / "digits"


def run(options, seed, out):
    """Test accuracy and seconds of one training run."""
    command = [DIGITS, "train", *options, "--seed", str(seed), "--out", out, "--json"]
    start = time.perf_counter()
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    seconds = time.perf_counter() - start
    return json.loads(output.splitlines()[-1])["test_accuracy"], seconds


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--model", default="fast")
    parser.add_argument("options", nargs="*", help="more options of `digits train`, after --")
    args = parser.parse_args()

    cargo = ["cargo", "build", "--release", "-q", "-p", "digits"]
    subprocess.run(cargo, cwd=ROOT, check=True)
    runs = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(args.seeds):
            options = ["--model", args.model, *args.options]
            accuracy, seconds = run(options, seed, Path(folder) / "model")
            print(f"seed {seed}: test accuracy {accuracy:.4f}, {seconds:.2f} s", flush=True)
            runs.append((accuracy, seconds))
    accuracies, seconds = zip(*runs)
    print(
        f"{len(runs)} seeds: test accuracy {statistics.mean(accuracies):.4f} in the mean, "
        f"{min(accuracies):.4f} the worst; {statistics.mean(seconds):.2f} s in the mean, "
        f"{max(seconds):.2f} s the longest"
    )


main()
