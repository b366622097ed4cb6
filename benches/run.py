#!/usr/bin/env python3
"""Speed, side by side with the peers, in one run on one machine.

    python3 benches/run.py [--quick] [--rounds N] [--steps N] [--no-burn] [--no-jobs]

Makes a virtual environment with the Python peers in target/bench-venv, builds our programs and those
of the Rust peers, and runs all of them in turns, so that a slow minute of the machine hits all.
Prints a table and writes target/bench.json: a list of rows {what, ours, peer, peer_name,
peer_version, unit, ratio}. --quick does the rows of the lesson's step alone, in under two minutes
once everything is built.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import jobs
import table

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "target"
PEERS = ROOT / "benches" / "peers"


def say(text):
    print(text, file=sys.stderr, flush=True)


def run(command, **options):
    return subprocess.run([str(part) for part in command], check=True, **options)


def venv_python():
    venv = TARGET / "bench-venv"
    python = venv / "bin" / "python"
    if not python.exists():
        say("making target/bench-venv with the Python peers ...")
        run([sys.executable, "-m", "venv", venv])
        run([venv / "bin" / "pip", "install", "-q", "-r", PEERS / "requirements.txt"])
    return python


def build_ours():
    say("building tapeflow's programs ...")
    cargo = ["cargo", "build", "--release", "-q"]
    run([*cargo, "-p", "tapeflow", "--examples"], cwd=ROOT)
    run([*cargo, "-p", "tapeflow-kernels", "--example", "bench_gemm"], cwd=ROOT)
    run([*cargo, "-p", "digits"], cwd=ROOT)


def build_peer(name, program):
    """A peer in Rust, which is a workspace of its own."""
    say(f"building {name} ...")
    target = TARGET / f"bench-{name}"
    run(["cargo", "build", "--release", "-q", "--target-dir", target], cwd=PEERS / name)
    return target / "release" / program


def programs(args):
    """What to run: name, command, and the number of steps for one round."""
    build_ours()
    python = venv_python()
    ours = TARGET / "release" / "examples"
    lesson = [
        ("tapeflow, lesson", [ours / "bench_lesson"], 100),
        ("TensorFlow, lesson", [python, PEERS / "tensorflow_lesson.py"], 60),
        ("PyTorch, lesson", [python, PEERS / "pytorch_lesson.py"], 60),
    ]
    if not args.no_burn:
        lesson.append(("burn, lesson", [build_peer("burn", "burn-lesson")], 30))
    if args.quick:
        return lesson
    return [
        *lesson,
        ("tapeflow, deeper net", [ours / "bench_deep"], 30),
        ("TensorFlow, deeper net", [python, PEERS / "tensorflow_deep.py"], 30),
        ("PyTorch, deeper net", [python, PEERS / "pytorch_deep.py"], 20),
        ("LiteRT", [python, PEERS / "litert_forward.py"], 60),
        ("tapeflow, GEMM", [ours / "bench_gemm"], 60),
        ("PyTorch, GEMM", [python, PEERS / "pytorch_gemm.py"], 60),
        ("crates, GEMM", [build_peer("gemm", "gemm-crates")], 60),
    ]


def measure(commands, rounds, steps):
    """Rows {(what, peer): {"version", "unit", "values"}} of programs that print rows of JSON."""
    rows = {}
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    # Some machines set these for an old OpenBLAS; they slow a current one.
    for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
        environment.pop(name, None)
    for turn in range(rounds):
        for name, command, usual in commands:
            say(f"round {turn + 1} of {rounds}: {name}")
            command = [*command, "--steps", steps or usual]
            done = run(
                command,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            for line in done.stdout.splitlines():
                row = json.loads(line)
                key = (row["what"], row["peer"])
                merged = rows.setdefault(key, row | {"values": []})
                merged["values"] += row["values"]
    return rows


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="the lesson's step alone, one round")
    parser.add_argument("--rounds", type=int, default=3, help="how often each program runs")
    parser.add_argument("--steps", type=int, help="steps per program and round [default: its own]")
    parser.add_argument("--no-burn", action="store_true", help="leave burn out (its build is long)")
    parser.add_argument("--no-jobs", action="store_true", help="leave out the whole jobs")
    args = parser.parse_args()
    started = time.time()

    rounds = 1 if args.quick else args.rounds
    commands = programs(args)
    built = time.time()
    rows = measure(commands, rounds, args.steps)
    if not (args.quick or args.no_jobs):
        rows |= jobs.measure(TARGET, venv_python(), PEERS, say)
    entries = table.entries(rows)
    print(table.text(entries, rows))
    (TARGET / "bench.json").write_text(json.dumps(entries, indent=1) + "\n")
    say(f"building took {built - started:.0f} s, measuring {time.time() - built:.0f} s")


if __name__ == "__main__":
    main()
