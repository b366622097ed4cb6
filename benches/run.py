#!/usr/bin/env python3
"""Speed, side by side with the peers, in one run on one machine.

    python3 benches/run.py [--quick] [--steps N] [--no-burn]

Makes a virtual environment with TensorFlow and PyTorch in target/bench-venv, builds tapeflow's and
burn's programs, runs all of them in turns, prints a table and writes target/bench.json: a list of
rows {what, ours, peer, peer_name, peer_version, unit, ratio}.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "target"
PEERS = ROOT / "benches" / "peers"


def venv_python():
    venv = TARGET / "bench-venv"
    python = venv / "bin" / "python"
    if not python.exists():
        print("making target/bench-venv with TensorFlow and PyTorch ...", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        requirements = PEERS / "requirements.txt"
        subprocess.run([venv / "bin" / "pip", "install", "-q", "-r", requirements], check=True)
    return python


def programs(args):
    """The programs to run, each a command that prints rows of JSON."""
    steps = ["--steps", str(args.steps)]
    cargo = ["cargo", "build", "--release", "-q"]
    subprocess.run([*cargo, "-p", "tapeflow", "--example", "bench_lesson"], cwd=ROOT, check=True)
    python = venv_python()
    found = {
        "tapeflow": [TARGET / "release" / "examples" / "bench_lesson", *steps],
        "TensorFlow": [python, PEERS / "tensorflow_lesson.py", *steps],
        "PyTorch": [python, PEERS / "pytorch_lesson.py", *steps],
    }
    if not args.no_burn:
        burn = PEERS / "burn"
        target = TARGET / "bench-burn"
        subprocess.run([*cargo, "--target-dir", target], cwd=burn, check=True)
        found["burn"] = [target / "release" / "burn-lesson", *steps]
    return found


def measure(commands, rounds):
    """Runs the programs in turns, so that a slow minute of the machine hits all of them."""
    rows = {}
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
        environment.pop(name, None)
    for turn in range(rounds):
        for name, command in commands.items():
            print(f"round {turn + 1} of {rounds}: {name}", file=sys.stderr)
            output = subprocess.run(
                command, env=environment, check=True, stdout=subprocess.PIPE, text=True
            ).stdout
            for line in output.splitlines():
                row = json.loads(line)
                key = (row["what"], row["peer"])
                merged = rows.setdefault(key, {"version": row["version"], "ms": []})
                merged["ms"] += row["ms"]
    return rows


def cpu_name():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--steps", type=int, default=100, help="steps per program and round")
    parser.add_argument("--rounds", type=int, default=3, help="how often each program runs")
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--no-burn", action="store_true", help="leave burn out (its build is long)")
    args = parser.parse_args()
    if args.quick:
        args.rounds, args.steps = 1, 50

    rows = measure(programs(args), args.rounds)
    ours = {what: row for (what, peer), row in rows.items() if peer == "tapeflow"}
    table = []
    print(f"\n{cpu_name()}, {os.cpu_count()} threads, f32, batch 128; ms, median (min)\n")
    print("| what | program | median | min | tapeflow takes |")
    print("|---|---|---|---|---|")
    for (what, peer), row in sorted(rows.items()):
        median, least = statistics.median(row["ms"]), min(row["ms"])
        ratio = None
        if peer != "tapeflow" and what in ours:
            own = statistics.median(ours[what]["ms"])
            ratio = own / median
            table.append(
                {
                    "what": what,
                    "ours": own,
                    "peer": median,
                    "peer_name": peer,
                    "peer_version": row["version"],
                    "unit": "ms",
                    "ratio": ratio,
                }
            )
        share = "" if ratio is None else f"{ratio:.2f} of it"
        print(f"| {what} | {peer} {row['version']} | {median:.1f} | {least:.1f} | {share} |")
    (TARGET / "bench.json").write_text(json.dumps(table, indent=1) + "\n")


main()
