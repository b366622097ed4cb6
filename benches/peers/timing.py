"""What the peers' programs share: their arguments, the clock, the form of a row.

A row is one line of JSON: {"what", "peer", "version", "unit", "values": [...]}.
"""

import argparse
import json
import time


def arguments(steps=100):
    """The number of steps to time, and after how many."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--warm-up", type=int, default=10)
    return parser.parse_args()


def measure(step, args):
    """Milliseconds of each call of `step`, which must wait for its result."""
    times = []
    for i in range(args.warm_up + args.steps):
        start = time.perf_counter()
        step()
        if i >= args.warm_up:
            times.append((time.perf_counter() - start) * 1e3)
    return times


def report(what, peer, version, values, unit="ms"):
    row = {"what": what, "peer": peer, "version": version, "unit": unit, "values": values}
    print(json.dumps(row), flush=True)
