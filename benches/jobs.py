"""The lesson's whole job, from the start of the process to the evaluated model: seconds and memory."""

import gzip
import json
import os
import subprocess
import time


def measure(target, python, peers, say, rounds=2):
    """Rows as run.py's `measure` gives them."""
    data = mnist_files(target)
    digits = target / "release" / "digits"
    out = target / "bench-model.safetensors"
    # fmt: off
    commands = [
        ("tapeflow", [digits, "train", "--data", data, "--out", out, "--json"]),
        ("TensorFlow tf.function", [python, peers / "tensorflow_job.py", data]),
        ("PyTorch eager", [python, peers / "pytorch_job.py", data]),
    ]
    # fmt: on
    rows = {}
    for turn in range(rounds):
        for name, command in commands:
            say(f"whole job, round {turn + 1} of {rounds}: {name}")
            seconds, megabytes, told = timed(command)
            version = told.get("version") or version_of(digits)
            accuracy = told.get("accuracy") or told["test_accuracy"]
            for what, unit, value in [
                ("whole job", "s", seconds),
                ("whole job, peak memory", "MB", megabytes),
                ("whole job, test accuracy", "%", 100 * accuracy),
            ]:
                row = {"what": what, "peer": name, "version": version, "unit": unit, "values": []}
                rows.setdefault((what, name), row)["values"].append(value)
    return rows


def timed(command):
    """Seconds of wall time, peak resident megabytes, and the last line as JSON."""
    start = time.perf_counter()
    child = subprocess.Popen(
        [str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    told = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        raise RuntimeError(f"{command} ended with {child.returncode}")
    return seconds, usage.ru_maxrss / 1024, json.loads(told.splitlines()[-1])


def version_of(digits):
    return subprocess.run(
        [digits, "--version"], check=True, stdout=subprocess.PIPE, text=True
    ).stdout.split()[-1]


def mnist_files(target):
    """The embedded MNIST as the four gzipped IDX files, which all of the programs read."""
    folder = target / "bench-mnist"
    names = ["train-images-idx3-ubyte", "train-labels-idx1-ubyte"]
    names += ["t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"]
    if not all((folder / f"{name}.gz").exists() for name in names):
        raw = target / "bench-mnist-raw"
        export = target / "release" / "examples" / "export_mnist"
        subprocess.run([export, raw], check=True)
        folder.mkdir(exist_ok=True)
        for name in names:
            (folder / f"{name}.gz").write_bytes(gzip.compress((raw / name).read_bytes()))
    return folder
