"""The lesson's forward pass in LiteRT with XNNPACK on all cores: 256 images, and 1.

TensorFlow only makes the model file. Prints rows as timing.py describes them.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import importlib.metadata

import numpy as np
from ai_edge_litert.interpreter import Interpreter

import timing


def model_file(batch):
    """The lesson's net for images [batch, 28, 28, 1] as a LiteRT model."""
    import tensorflow as tf
    from tensorflow_net import predict, variables

    weights = [tf.constant(variable.numpy()) for variable in variables()]
    signature = [tf.TensorSpec([batch, 28, 28, 1], tf.float32)]
    forward = tf.function(lambda x: predict(x, weights), input_signature=signature)
    concrete = forward.get_concrete_function()
    return tf.lite.TFLiteConverter.from_concrete_functions([concrete]).convert()


def main():
    args = timing.arguments()
    rng = np.random.default_rng(0)
    for batch, what in [(256, "forward of 256 images"), (1, "forward of 1 image")]:
        interpreter = Interpreter(model_content=model_file(batch), num_threads=os.cpu_count())
        interpreter.allocate_tensors()
        given = interpreter.get_input_details()[0]["index"]
        result = interpreter.get_output_details()[0]["index"]
        interpreter.set_tensor(given, rng.random([batch, 28, 28, 1], dtype=np.float32))

        def forward():
            interpreter.invoke()
            interpreter.get_tensor(result)

        if batch == 1:
            args.steps, args.warm_up = 20 * args.steps, 20 * args.warm_up
        times = timing.measure(forward, args)
        timing.report(what, "LiteRT", importlib.metadata.version("ai-edge-litert"), times)


main()
