"""`digits serve` as a client of TensorFlow Serving meets it: with `requests`, and with
TensorFlow Serving's own messages."""

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import requests
import tensorflow as tf
from google.protobuf import json_format
from safetensors.numpy import load_file
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2


@pytest.fixture(scope="module")
def client():
    with requests.Session() as session:
        yield session


def network(weights, images):
    """The fast network in TensorFlow."""
    x = tf.constant(images, tf.float32)
    for layer in ["conv1", "conv2"]:
        x = tf.nn.conv2d(x, weights[f"{layer}_w"], 1, "VALID") + weights[f"{layer}_b"]
        x = tf.nn.max_pool(tf.nn.relu(x), 2, 2, "SAME")
    x = tf.reshape(x, [-1, weights["fc1_w"].shape[0]])
    x = tf.nn.relu(x @ weights["fc1_w"] + weights["fc1_b"])
    return tf.nn.softmax(x @ weights["fc2_w"] + weights["fc2_b"]).numpy()


def batch(count, seed=0):
    """Blobs of ink, as the network takes them."""
    random = np.random.default_rng(seed)
    images = random.random([count, 28, 28, 1], np.float32)
    images[images < 0.7] = 0
    return images


def test_both_forms_answer_what_tensorflow_computes(server, client, fast_model):
    images = batch(70)
    expected = network(load_file(fast_model), images)
    url = f"{server.address}/v1/models/digits:predict"
    for body, key in [
        ({"instances": images.tolist()}, "predictions"),
        ({"instances": [{"images": image.tolist()} for image in images]}, "predictions"),
        ({"inputs": images.tolist(), "signature_name": "serving_default"}, "outputs"),
        ({"inputs": {"images": images.tolist()}}, "outputs"),
    ]:
        response = client.post(url, json=body, timeout=30)
        response.raise_for_status()
        assert response.headers["Content-Type"] == "application/json"
        answer = response.json()
        assert list(answer) == [key]
        np.testing.assert_allclose(answer[key], expected, rtol=1e-3, atol=1e-5)


def test_status_and_metadata_are_tensorflow_servings_messages(server, client):
    text = client.get(f"{server.address}/v1/models/digits", timeout=30).text
    status = json_format.Parse(text, get_model_status_pb2.GetModelStatusResponse())
    [version] = status.model_version_status
    assert (version.version, version.State.Name(version.state)) == (1, "AVAILABLE")
    assert version.status.error_code == 0

    metadata = client.get(f"{server.address}/v1/models/digits/metadata", timeout=30).json()
    text = json.dumps(metadata["metadata"]["signature_def"])
    signatures = json_format.Parse(text, get_model_metadata_pb2.SignatureDefMap()).signature_def
    signature = signatures["serving_default"]
    assert signature.method_name == "tensorflow/serving/predict"
    [(name, images)] = signature.inputs.items()
    assert (name, images.dtype) == ("images", tf.float32.as_datatype_enum)
    assert [dim.size for dim in images.tensor_shape.dim] == [-1, 28, 28, 1]
    [(name, probabilities)] = signature.outputs.items()
    assert (name, probabilities.dtype) == ("probabilities", tf.float32.as_datatype_enum)
    assert [dim.size for dim in probabilities.tensor_shape.dim] == [-1, 10]


def test_errors(server, client):
    url = f"{server.address}/v1/models"
    for path, body, status, message in [
        ("digits:predict", "{", 400, "JSON Parse error: Missing a name for object member."),
        ("digits:predict", "{}", 400, "Missing 'inputs' or 'instances' key"),
        ("half:predict", '{"instances": [1]}', 404, "Servable not found for request: Latest(half)"),
        ("digits:predicts", "{}", 400, "Malformed request: POST /v1/models/digits:predicts"),
    ]:
        response = client.post(f"{url}/{path}", data=body, timeout=30)
        assert response.status_code == status
        assert response.json()["error"].startswith(message)


def test_a_body_that_is_too_long_is_refused_to_a_client_that_sends_it_all(server, client):
    url = f"{server.address}/v1/models/digits:predict"
    response = client.post(url, data=b" " * (20 << 20), timeout=30)
    assert response.status_code == 413
    assert response.json()["error"] == "The body has more than 16777216 bytes"
    assert response.headers["Connection"] == "close"


def test_python_writes_and_reads_numbers_that_json_lacks(server, client):
    images = batch(2)
    images[1, 3, 3, 0] = np.nan
    body = json.dumps({"instances": images.tolist()})
    assert "NaN" in body
    response = client.post(f"{server.address}/v1/models/digits:predict", data=body, timeout=30)
    good, bad = np.array(response.json()["predictions"])
    assert np.isclose(good.sum(), 1) and np.isnan(bad).all()


def test_many_clients_at_once_lose_nothing(server, fast_model):
    images = batch(32, seed=5)
    expected = network(load_file(fast_model), images)
    url = f"{server.address}/v1/models/digits:predict"

    def ask(first):
        right = 0
        with requests.Session() as session:
            for i in range(25):
                index = (first + i) % len(images)
                body = {"instances": [images[index].tolist()]}
                row = session.post(url, json=body, timeout=30).json()["predictions"][0]
                right += np.allclose(row, expected[index], rtol=1e-3, atol=1e-5)
        return right

    with ThreadPoolExecutor(16) as clients:
        assert sum(clients.map(ask, range(16))) == 16 * 25
