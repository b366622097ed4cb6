"""The fast net behind FastAPI and uvicorn, as one would write it: TensorFlow, or LiteRT with XNNPACK.

`serve_fastapi.py MODEL PORT tensorflow|litert`: MODEL is a file that `digits train --model fast`
wrote. Answers the `instances` form of TensorFlow Serving's predict.
"""

import os
import sys
import threading

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
import uvicorn
from fastapi import FastAPI
from safetensors.numpy import load_file


def network(weights):
    w = {name: tf.constant(value) for name, value in weights.items()}

    def forward(x):
        for layer in ["conv1", "conv2"]:
            x = tf.nn.conv2d(x, w[f"{layer}_w"], 1, "VALID") + w[f"{layer}_b"]
            x = tf.nn.max_pool(tf.nn.relu(x), 2, 2, "SAME")
        x = tf.reshape(x, [-1, 400])
        x = tf.nn.relu(x @ w["fc1_w"] + w["fc1_b"])
        return tf.nn.softmax(x @ w["fc2_w"] + w["fc2_b"])

    return forward


def with_tensorflow(forward):
    signature = [tf.TensorSpec([None, 28, 28, 1], tf.float32)]
    compiled = tf.function(forward, input_signature=signature)
    return lambda images: compiled(images).numpy()


def with_litert(forward):
    from ai_edge_litert.interpreter import Interpreter

    signature = [tf.TensorSpec([1, 28, 28, 1], tf.float32)]
    concrete = tf.function(forward, input_signature=signature).get_concrete_function()
    content = tf.lite.TFLiteConverter.from_concrete_functions([concrete]).convert()
    mine = threading.local()

    def predict(images):
        # An interpreter serves one thread.
        if not hasattr(mine, "interpreter"):
            mine.interpreter = Interpreter(model_content=content, num_threads=1)
            mine.interpreter.allocate_tensors()
        given = mine.interpreter.get_input_details()[0]["index"]
        result = mine.interpreter.get_output_details()[0]["index"]
        rows = []
        for image in images:
            mine.interpreter.set_tensor(given, image[None])
            mine.interpreter.invoke()
            rows.append(mine.interpreter.get_tensor(result)[0])
        return np.array(rows)

    return predict


def main():
    model, port, kind = sys.argv[1:]
    forward = network(load_file(model))
    predict = {"tensorflow": with_tensorflow, "litert": with_litert}[kind](forward)
    predict(np.zeros([1, 28, 28, 1], np.float32))
    app = FastAPI()

    # Not async: FastAPI runs it on its threads, so that the model holds up no other request.
    @app.post("/v1/models/digits:predict")
    def handle(body: dict):
        images = np.array(body["instances"], np.float32)
        return {"predictions": predict(images).tolist()}

    uvicorn.run(app, host="127.0.0.1", port=int(port), log_level="warning", access_log=False)


main()
