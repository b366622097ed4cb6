"""`digits` from outside: its model file in Python, its answers on image files that Pillow made."""

import json

import numpy as np
import tensorflow as tf
from conftest import digits
from PIL import Image
from safetensors import safe_open


def weights(path):
    with safe_open(path, framework="np") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()


def predict(weights, images):
    """The all-conv network in TensorFlow, with the weights that tapeflow trained."""
    x = tf.constant(images, tf.float32)[..., None] / 255
    for layer in ["conv1", "conv2"]:
        x = tf.nn.conv2d(x, weights[f"{layer}_w"], 1, "SAME") + weights[f"{layer}_b"]
        x = tf.nn.max_pool(tf.nn.relu(x), 2, 2, "SAME")
    x = tf.nn.conv2d(x, weights["head_w"], 1, "VALID") + weights["head_b"]
    return tf.nn.softmax(tf.reshape(x, [-1, 10])).numpy()


def strokes(digit):
    """A plain picture of a digit, white on black, drawn as lines; placed as MNIST's are, so that it is
    read as it is."""
    picture = np.zeros([28, 28], np.uint8)
    if digit == 1:
        picture[4:24, 13:16] = 255
    elif digit == 7:
        picture[7:10, 7:21] = 255
        for y in range(10, 26):
            x = 19 - (y - 10) // 2
            picture[y, x - 1 : x + 2] = 255
    elif digit == 0:
        y, x = np.mgrid[0:28, 0:28]
        ring = ((y - 13.5) / 9) ** 2 + ((x - 13.5) / 6) ** 2
        picture[(ring < 1.15) & (ring > 0.55)] = 255
    return picture


def test_the_model_file_opens_in_python(model):
    path, events = model
    tensors, metadata = weights(path)
    assert metadata["format"] == "tapeflow-digits-model"
    assert metadata["architecture"] == "all-conv"
    assert tensors["conv1_w"].shape == (3, 3, 1, 32)
    assert tensors["head_b"].dtype == np.float32
    assert all(np.isfinite(tensor).all() for tensor in tensors.values())
    assert events[-1]["test_accuracy"] > 0.95


def test_tensorflow_computes_the_same_probabilities(model, tmp_path):
    path, _ = model
    tensors, _ = weights(path)
    pictures = [strokes(digit) for digit in [0, 1, 7]]
    files = []
    for i, picture in enumerate(pictures):
        files.append(tmp_path / f"{i}.png")
        Image.fromarray(picture).save(files[-1])
    lines = digits("predict", "--model", path, *files, "--json").stdout.splitlines()
    ours = np.array([json.loads(line)["digits"][0]["probabilities"] for line in lines])
    np.testing.assert_allclose(ours, predict(tensors, np.stack(pictures)), rtol=1e-3, atol=1e-5)


def test_pictures_of_many_kinds_are_read(model, tmp_path):
    path, _ = model
    white_on_black = Image.fromarray(strokes(1))
    large = white_on_black.resize([280, 280])
    dark = Image.eval(large, lambda value: 255 - value)
    kinds = {
        "gray.png": white_on_black,
        "large.png": large,
        "dark.png": dark,
        "dark.jpg": dark,
        "rgb.png": dark.convert("RGB"),
        "palette.png": dark.convert("P"),
        "dark.webp": dark,
        "dark.bmp": dark,
        "dark.gif": dark,
        "dark.tiff": dark,
        "sixteen.png": Image.fromarray(strokes(1).astype(np.uint16) * 257),
        "alpha.png": Image.merge("LA", [Image.new("L", large.size, 0), large]),
    }
    for name, picture in kinds.items():
        picture.save(tmp_path / name)
    files = [tmp_path / name for name in kinds]
    lines = digits("predict", "--model", path, *files, "--json").stdout.splitlines()
    read = {name: json.loads(line)["text"] for name, line in zip(kinds, lines)}
    assert read == dict.fromkeys(kinds, "1")


def test_an_unreadable_picture_does_not_stop_the_rest(model, tmp_path):
    path, _ = model
    good, bad = tmp_path / "good.png", tmp_path / "bad.png"
    Image.fromarray(strokes(7)).save(good)
    bad.write_bytes(b"\x89PNG\r\n\x1a\n, not a picture")
    run = digits("predict", path, bad, good, tmp_path / "missing.png", "--json", check=False)
    lines = [json.loads(line) for line in run.stdout.splitlines()]
    assert run.returncode == 2
    assert "error" in lines[0] and "error" in lines[2]
    assert lines[1]["text"] == "7"


def test_the_model_in_the_program_reads_mnist():
    result = json.loads(digits("evaluate", "--json").stdout)
    assert (result["images"], result["architecture"]) == (10_000, "best")
    assert result["test_accuracy"] >= 0.9975


def test_evaluate_prints_what_machines_read(model):
    path, events = model
    result = json.loads(digits("evaluate", path, "--json").stdout)
    assert result["images"] == 10000
    assert result["test_accuracy"] == events[-1]["test_accuracy"]
    confusion = np.array(result["confusion"])
    assert confusion.shape == (10, 10) and confusion.sum() == 10000
    assert np.trace(confusion) / 10000 == result["test_accuracy"]
