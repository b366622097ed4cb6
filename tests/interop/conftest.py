"""What the interop tests share: the released program and a model trained with it."""

import contextlib
import json
import os
import subprocess
import threading
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DIGITS = ROOT / os.environ.get("DIGITS", "target/release/digits")


def digits(*args, check=True):
    """Runs the program; gives the finished process with its output as text."""
    return subprocess.run(
        [DIGITS, *map(str, args)], check=check, capture_output=True, text=True, timeout=600
    )


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """The all-conv model after one epoch on the embedded MNIST, and what the training printed."""
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    run = digits("train", "--model", "all-conv", "--epochs", 1, "--out", path, "--json")
    events = [json.loads(line) for line in run.stdout.splitlines()]
    return path, events


@pytest.fixture(scope="session")
def fast_model(tmp_path_factory):
    """The fast model, which reads 99 % of MNIST's test images."""
    path = tmp_path_factory.mktemp("fast") / "fast.safetensors"
    digits("train", "--model", "fast", "--out", path)
    return path


@contextlib.contextmanager
def serving(model, address="127.0.0.1:0"):
    """A running `digits serve`: gives its process, with `address`, and `log` as it grows."""
    command = [DIGITS, "serve", "--addr", address, "--json", "--model", model]
    process = subprocess.Popen([str(word) for word in command], stderr=subprocess.PIPE, text=True)
    try:
        first = json.loads(process.stderr.readline())
        assert first["event"] == "listening"
        process.address = f"http://{first['address']}"
        process.log = []
        keep = lambda: process.log.extend(json.loads(line) for line in process.stderr)
        threading.Thread(target=keep, daemon=True).start()
        yield process
        process.terminate()
        assert process.wait(timeout=30) == 0
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def server(fast_model):
    """The fast model, served."""
    with serving(fast_model) as process:
        yield process
