"""NumPy and safetensors files: written here, read by tapeflow, and back, for every dtype."""

import os
import subprocess

import ml_dtypes
import numpy as np
import pytest
from conftest import ROOT
from safetensors import safe_open
from safetensors.numpy import save_file

CONVERT = ROOT / os.environ.get("CONVERT", "target/release/examples/convert")
DTYPES = "float16 float32 float64 int8 int16 int32 int64 uint8 uint16 uint32 uint64 bool".split()


def convert(*args, check=True):
    return subprocess.run([CONVERT, *map(str, args)], check=check, capture_output=True, text=True)


def sample(dtype, shape=(3, 4)):
    values = np.random.default_rng(0).integers(0, 100, shape)
    return (values % 2 == 0) if dtype == "bool" else (values / 8).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_numpy_to_safetensors_and_back(tmp_path, dtype):
    x = sample(dtype)
    np.save(tmp_path / "x.npy", x)
    convert(tmp_path / "x.npy", tmp_path / "x.safetensors", "x")
    with safe_open(tmp_path / "x.safetensors", framework="np") as file:
        np.testing.assert_array_equal(file.get_tensor("x"), x, strict=True)
    convert(tmp_path / "x.safetensors", tmp_path / "y.npy", "x")
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), x, strict=True)


@pytest.mark.parametrize("shape", [(), (0,), (2, 0, 3), (5,), (2, 3, 4, 1)])
def test_every_shape(tmp_path, shape):
    x = sample("float32", shape)
    np.save(tmp_path / "x.npy", x)
    convert(tmp_path / "x.npy", tmp_path / "x.safetensors")
    convert(tmp_path / "x.safetensors", tmp_path / "y.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), x, strict=True)


@pytest.mark.parametrize("x", [np.asfortranarray(sample("float64")), sample("int32").astype(">i4")])
def test_fortran_order_and_big_endian(tmp_path, x):
    np.save(tmp_path / "x.npy", x)
    convert(tmp_path / "x.npy", tmp_path / "y.safetensors")
    convert(tmp_path / "y.safetensors", tmp_path / "z.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "z.npy"), x)


def test_bfloat16_goes_through_safetensors_and_is_no_numpy_dtype(tmp_path):
    save_file({"x": sample("float32").astype(ml_dtypes.bfloat16)}, tmp_path / "x.safetensors")
    printed = convert(tmp_path / "x.safetensors", tmp_path / "y.safetensors", "x").stdout
    assert "bfloat16" in printed
    refused = convert(tmp_path / "x.safetensors", tmp_path / "y.npy", "x", check=False)
    assert refused.returncode == 2 and "bfloat16" in refused.stderr
    assert not (tmp_path / "y.npy").exists()


def test_printing_is_tensorflows(tmp_path):
    import tensorflow as tf

    for dtype in DTYPES:
        x = sample(dtype, (2, 3))
        np.save(tmp_path / "x.npy", x)
        printed = convert(tmp_path / "x.npy", tmp_path / "y.npy").stdout
        assert printed.rstrip("\n") == str(tf.constant(x))
