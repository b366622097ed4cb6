"""`tf::summary` against TensorFlow's own writer, and read by TensorBoard itself."""

import base64
import io
import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from conftest import DIGITS, ROOT, digits
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto import event_pb2, graph_pb2
from tensorboard.plugins.hparams import api as hp
from tensorboard.plugins.hparams import metadata as hparams_metadata
from tensorboard.util import tensor_util

SUMMARIES = ROOT / os.environ.get("SUMMARIES", "target/release/examples/summaries")


def values(seed, count):
    """The same numbers as `values` in examples/summaries.rs."""
    i = np.arange(count)
    return ((i * i + 37 * i + 11 * seed) % 101).astype(np.float32) / np.float32(101)


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ours")
    subprocess.run([SUMMARIES, folder], check=True)
    return folder


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    """What examples/summaries.rs writes in `kinds`, written by TensorFlow."""
    folder = tmp_path_factory.mktemp("theirs")
    with tf.summary.create_file_writer(str(folder)).as_default():
        for step in range(100):
            tf.summary.scalar("curve/loss", 1 / (1 + step), step)
            tf.summary.histogram("values", values(step, 1000), step)
        tf.summary.scalar("curve/integer", 7, 3, description="A number, *described*.")
        nan, inf = float("nan"), float("inf")
        for name, data in [
            ("one_value", [0.5] * 5),
            ("none", []),
            ("not_a_number", [1, nan, 2]),
            ("infinite", [1, inf, 2]),
        ]:
            tf.summary.histogram(f"edges/{name}", np.array(data, np.float32), 0, buckets=4)
        for channels in range(1, 5):
            shape = [5, 12, 16, channels]
            floats = values(channels, np.prod(shape)).reshape(shape)
            tf.summary.image(f"float/{channels}", floats, 1)
            tf.summary.image(f"uint8/{channels}", (floats * 255).astype(np.uint8), 1, max_outputs=9)
        tf.summary.text("words", "Text is **Markdown**: | `a` | ä 中 |", 2)
    return folder


def events_of(file):
    # TFRecordDataset verifies both checksums.
    return [event_pb2.Event.FromString(r.numpy()) for r in tf.data.TFRecordDataset([str(file)])]


def events(folder):
    (file,) = Path(folder).glob("events.out.tfevents.*")
    return events_of(file)


def by_tag(folder):
    """Of each tag the steps, metadata and values in order."""
    tags = {}
    for event in events(folder):
        for value in event.summary.value:
            entry = (event.step, value.metadata, tensor_util.make_ndarray(value.tensor))
            tags.setdefault(value.tag, []).append(entry)
    return tags


def pixels(png):
    image = Image.open(io.BytesIO(png))
    return image.mode, image.size, image.tobytes()


def test_every_summary_is_the_one_that_tensorflow_writes(ours, theirs):
    ours, theirs = by_tag(ours / "kinds"), by_tag(theirs)
    assert ours.keys() == theirs.keys()
    for tag in theirs:
        assert len(ours[tag]) == len(theirs[tag]), tag
        for our, their in zip(ours[tag], theirs[tag]):
            assert our[:2] == their[:2], tag
            if their[1].plugin_data.plugin_name == "images":
                assert our[2][:2].tolist() == their[2][:2].tolist()
                assert list(map(pixels, our[2][2:])) == list(map(pixels, their[2][2:])), tag
            else:
                # To the last bit, edges of buckets too.
                np.testing.assert_array_equal(our[2], their[2], strict=True, err_msg=tag)


def test_the_first_event_is_the_version_and_the_name_is_tensorflows(ours, theirs):
    for folder in [ours / "kinds", theirs]:
        assert events(folder)[0].file_version == "brain.Event:2"
        (file,) = folder.glob("*")
        assert re.fullmatch(r"events\.out\.tfevents\.\d{10}\.[\w.-]+\.\d+\.\d+\.v2", file.name)


def test_tensorboard_accumulates_every_kind(ours):
    board = EventAccumulator(str(ours / "kinds"), size_guidance={"tensors": 0})
    board.Reload()
    losses = board.Tensors("curve/loss")
    assert [loss.step for loss in losses] == list(range(100))
    for step, loss in enumerate(losses):
        assert tensor_util.make_ndarray(loss.tensor_proto) == np.float32(1 / (1 + step))
    plugins = {
        plugin: set(board.PluginTagToContent(plugin))
        for plugin in ["scalars", "histograms", "images", "text"]
    }
    assert plugins["scalars"] == {"curve/loss", "curve/integer"}
    assert "values" in plugins["histograms"] and len(plugins["images"]) == 8
    assert plugins["text"] == {"words"}


def test_the_graph_is_a_graph_of_tensorflow(ours):
    board = EventAccumulator(str(ours / "kinds"))
    board.Reload()
    graph = board.Graph()
    names = {node.name for node in graph.node}
    assert len(names) == len(graph.node) >= 6
    for node in graph.node:
        for source in node.input:
            assert source.split(":")[0] in names
    kinds = {node.op for node in graph.node}
    assert {"Placeholder", "VarHandleOp", "AssignVariableOp", "math.square"} <= kinds
    (weights,) = [node for node in graph.node if node.name == "dense/w"]
    assert weights.op == "VarHandleOp"
    (shape,) = weights.attr["_output_shapes"].list.shape
    assert [dim.size for dim in shape.dim] == [6]
    assert weights.attr["dtype"].type == 1


def test_hyperparameters_are_those_that_tensorboard_writes(ours, tmp_path):
    def content(folder, tag, parse):
        ((_, metadata, nothing),) = by_tag(folder)[tag]
        assert metadata.plugin_data.plugin_name == "hparams" and nothing.size == 0
        return parse(metadata.plugin_data.content)

    tag, parse = (
        hparams_metadata.EXPERIMENT_TAG,
        hparams_metadata.parse_experiment_plugin_data,
    )
    with tf.summary.create_file_writer(str(tmp_path)).as_default():
        hp.hparams_config(
            hparams=[
                hp.HParam("learning_rate", hp.RealInterval(0.0, 1.0)),
                hp.HParam("optimizer", hp.Discrete(["sgd", "adam"], dtype=str)),
                hp.HParam("nesterov", hp.Discrete([False, True])),
            ],
            metrics=[hp.Metric("accuracy", display_name="Test accuracy")],
        )
        hp.hparams({"learning_rate": 0.5, "optimizer": "sgd", "nesterov": False})
    our, their = content(ours, tag, parse), content(tmp_path, tag, parse)
    our.time_created_secs = their.time_created_secs = 0
    # Ours says of the last one only that it is a bool.
    their.hparam_infos[2].ClearField("domain_discrete")
    # The order of a set is not defined.
    for infos in our, their:
        assert len(infos.hparam_infos[1].domain_discrete.values) == 2
        infos.hparam_infos[1].ClearField("domain_discrete")
    assert our == their

    tag, parse = (
        hparams_metadata.SESSION_START_INFO_TAG,
        hparams_metadata.parse_session_start_info_plugin_data,
    )
    our, their = content(ours / "sgd", tag, parse), content(tmp_path, tag, parse)
    assert our.hparams == their.hparams
    assert our.group_name != content(ours / "adam", tag, parse).group_name


@contextmanager
def tensorboard(folder):
    """A running TensorBoard; gives a function from a path below its address to what is there."""
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", folder, "--host", "127.0.0.1"]
    command += ["--port", "0", "--reload_interval", "1"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        seen = ""
        for line in process.stdout:
            seen += line
            if found := re.search(r"http://127\.0\.0\.1:\d+/", line):
                break
        else:
            pytest.fail(seen)

        def get(path):
            with urllib.request.urlopen(found[0] + path, timeout=30) as answer:
                return answer.read()

        yield get
    finally:
        process.terminate()
        process.wait(30)


def wait_for(what, seconds=90):
    """The first result that is true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if result := what():
            return result
        time.sleep(0.5)
    pytest.fail("nothing came")


def test_a_running_tensorboard_shows_a_run_of_digits(tmp_path):
    runs = tmp_path / "runs"
    train = ["train", "--model", "fast", "--epochs", 1]
    digits(*train, "--logdir", runs / "1", "--out", tmp_path / "m")
    with tensorboard(runs) as get:

        def data(path):
            return json.loads(get(f"data/plugin/{path}"))

        tags = wait_for(lambda: data("scalars/tags").get("1"))
        assert {"train/loss", "train/accuracy", "train/learning_rate", "test/accuracy"} <= set(tags)
        losses = data("scalars/scalars?run=1&tag=train/loss")
        assert [step for _, step, _ in losses][:3] == [1, 10, 20]
        assert losses[-1][2] < losses[0][2]
        histograms = data("histograms/histograms?run=1&tag=weights/conv1_w")
        assert [step for _, step, _ in histograms] == [0, 100, 200, 235]
        assert all(sum(count for *_, count in rows) == 200 for _, _, rows in histograms)
        (sheet,) = data("images/images?run=1&tag=test/misreadings&sample=0")
        png = get(f"data/plugin/images/individualImage?{sheet['query']}")
        width, height = Image.open(io.BytesIO(png)).size
        assert width == 8 * 68 and height % 80 == 0
        (text,) = data("text/text?run=1&tag=settings")
        assert "<table>" in text["text"] and "quick-adam" in text["text"]
        graph = get("data/plugin/graphs/graph?run=1&conceptual=false").decode()
        assert "nn.conv2d" in graph and "conv1_w" in graph


def test_a_running_tensorboard_follows(tmp_path):
    """What training has written is seen before it is over."""
    runs = tmp_path / "runs"
    command = ["train", "--model", "lesson", "--epochs", 50, "--logdir", runs / "1"]
    with tensorboard(runs) as get:
        training = subprocess.Popen(
            [DIGITS, *map(str, command), "--out", tmp_path / "m"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:

            def last_step():
                tags = json.loads(get("data/plugin/scalars/tags")).get("1", {})
                if "train/loss" not in tags:
                    return 0
                points = json.loads(get("data/plugin/scalars/scalars?run=1&tag=train/loss"))
                return points[-1][1]

            first = wait_for(last_step)
            wait_for(lambda: last_step() > first)
            assert training.poll() is None
        finally:
            training.kill()
            training.wait()


def test_a_second_run_in_the_same_directory_replaces_the_first(tmp_path):
    train = ["train", "--model", "fast", "--epochs", 1, "--out", tmp_path / "m"]
    for seed in [1, 2]:
        digits(*train, "--logdir", tmp_path / "runs" / "1", "--seed", seed)
    newer = max((tmp_path / "runs" / "1").glob("*"))
    expected = [
        (event.step, tensor_util.make_ndarray(value.tensor).item())
        for event in events_of(newer)
        for value in event.summary.value
        if value.tag == "train/loss"
    ]
    with tensorboard(tmp_path / "runs") as get:

        def points():
            answer = get("data/plugin/scalars/scalars?run=1&tag=train/loss")
            return [(step, loss) for _, step, loss in json.loads(answer)]

        wait_for(lambda: "train/loss" in json.loads(get("data/plugin/scalars/tags")).get("1", {}))
        wait_for(lambda: points() == expected)


def test_a_report_is_a_well_formed_page(model, tmp_path):
    path, events = model
    digits("evaluate", path, "--report", tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    misread = 10000 - round(10000 * events[-1]["test_accuracy"])
    assert f"<strong>{misread}</strong>" in page
    sources = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    assert len(sources) == min(misread, 60)
    for source in sources:
        assert Image.open(io.BytesIO(base64.b64decode(source))).size == (28, 28)


def test_tfrecords_are_read_by_tensorflow(ours):
    (file,) = (ours / "kinds").glob("*")
    records = list(tf.data.TFRecordDataset([str(file)]))
    graph = [e.graph_def for e in events(ours / "kinds") if e.graph_def]
    assert len(records) > 200 and len(graph) == 1
    assert graph_pb2.GraphDef.FromString(graph[0]).versions.producer > 0
