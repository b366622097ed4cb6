"""Reads MNIST's four IDX files, plain or gzipped, as `digits train --data` does."""

import gzip
from pathlib import Path

import numpy as np


def idx(directory, name):
    path = Path(directory) / name
    if path.exists():
        data = path.read_bytes()
    else:
        data = gzip.decompress(path.with_name(name + ".gz").read_bytes())
    shape = np.frombuffer(data, ">u4", data[3], offset=4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * data[3]).reshape(shape)


def load(directory):
    """(images [n, 28, 28], labels [n]) for training, and the same for the test, as bytes."""
    return tuple(
        (idx(directory, f"{split}-images-idx3-ubyte"), idx(directory, f"{split}-labels-idx1-ubyte"))
        for split in ("train", "t10k")
    )
