"""Load on `digits serve`, side by side with the same model behind FastAPI and uvicorn.

    target/bench-venv/bin/python benches/serve.py [--model fast.safetensors] [--seconds 4] [--rounds 3]

Needs the packages of benches/peers/requirements.txt in this Python. Everything stays on loopback and
stops by itself. The servers take turns, so that a noisy machine is noisy for all. Prints a table and
writes target/serve.json.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
PATH = "/v1/models/digits:predict"
CONNECTIONS = [1, 16, 64]
SERVERS = ["digits serve", "FastAPI + LiteRT", "FastAPI + TensorFlow"]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(name, model, port):
    if name == "digits serve":
        command = [ROOT / "target/release/digits", "serve", "--quiet", "--model", model]
        command += ["--addr", f"127.0.0.1:{port}"]
    else:
        peer = ROOT / "benches/peers/serve_fastapi.py"
        command = [sys.executable, peer, model, port, name.split()[-1].lower()]
    return subprocess.Popen([str(word) for word in command], stderr=subprocess.DEVNULL)


def ask(port, body):
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}{PATH}", body.encode(), headers)
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.load(response)


def wait_for(port, body):
    for _ in range(300):
        try:
            return ask(port, body)
        except OSError:
            time.sleep(0.2)
    raise SystemExit("a server does not start")


def resident_mb(process):
    pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / 1e6


def bodies(count):
    """Requests of one image of ink and paper each, with as many digits as Python writes."""
    random = np.random.default_rng(0)
    for _ in range(count):
        image = random.integers(0, 256, [28, 28, 1])
        image[random.random([28, 28, 1]) < 0.8] = 0
        yield json.dumps({"instances": [(image / 255).astype(np.float32).tolist()]})


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="a fast model [default: train one]")
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    build = "cargo build --release -p digits -p tapeflow --bin digits --example bench_load"
    subprocess.run(build.split(), cwd=ROOT, check=True)
    model = args.model
    if model is None:
        model = ROOT / "target/serve-fast.safetensors"
        train = [ROOT / "target/release/digits", "train", "--model", "fast", "--out", model]
        subprocess.run(train, check=True, stdout=subprocess.DEVNULL)

    ports = {name: free_port() for name in SERVERS}
    processes = {name: start(name, model, ports[name]) for name in SERVERS}
    try:
        asked = list(bodies(64))
        expected = {}
        for name in SERVERS:
            wait_for(ports[name], asked[0])
            rows = [ask(ports[name], body)["predictions"][0] for body in asked]
            expected.setdefault("rows", rows)
            assert np.allclose(rows, expected["rows"], rtol=1e-3, atol=1e-5), name
        requests = ROOT / "target/serve-requests.txt"
        lines = [f"{np.argmax(row)} {body}\n" for row, body in zip(expected["rows"], asked)]
        requests.write_text("".join(lines))

        runs = []
        memory = {name: [resident_mb(processes[name])] for name in SERVERS}
        for _ in range(args.rounds):
            for connections in CONNECTIONS:
                for name in SERVERS:
                    load = [ROOT / "target/release/examples/bench_load", f"127.0.0.1:{ports[name]}"]
                    load += [PATH, requests, connections, args.seconds]
                    done = subprocess.run(
                        [str(word) for word in load], check=True, capture_output=True, text=True
                    )
                    runs.append({"server": name} | json.loads(done.stdout))
                    memory[name].append(resident_mb(processes[name]))
    finally:
        for process in processes.values():
            process.terminate()
        for process in processes.values():
            process.wait(30)

    print("| connections | server | requests/s | p50 ms | p99 ms | lost, refused, wrong |")
    print("|---|---|---|---|---|---|")
    for connections in CONNECTIONS:
        for name in SERVERS:
            these = [r for r in runs if (r["server"], r["connections"]) == (name, connections)]
            middle = lambda key: statistics.median(run[key] for run in these)
            bad = "/".join(str(sum(run[key] for run in these)) for key in ["lost", "refused", "wrong"])
            print(
                f"| {connections} | {name} | {middle('per_second'):.0f} | {middle('p50_ms'):.2f} "
                f"| {middle('p99_ms'):.2f} | {bad} |"
            )
    for name, megabytes in memory.items():
        print(f"{name}: {megabytes[0]:.0f} MB resident at first, {megabytes[-1]:.0f} MB at last")
    report = {"runs": runs, "resident_mb": memory}
    (ROOT / "target/serve.json").write_text(json.dumps(report, indent=1) + "\n")


main()
