"""What the interop tests share: the released program and a model trained with it."""

import json
import os
import subprocess
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
