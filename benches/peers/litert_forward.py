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

    normal = tf.initializers.RandomNormal(stddev=0.05)
    conv_w, fc1_w, fc2_w = (
        tf.constant(normal(shape).numpy())
        for shape in ([3, 3, 1, 32], [14 * 14 * 32, 1024], [1024, 10])
    )
    conv_b, fc1_b, fc2_b = (tf.zeros([n]) for n in (32, 1024, 10))

    @tf.function(input_signature=[tf.TensorSpec([batch, 28, 28, 1], tf.float32)])
    def predict(x):
        x = tf.nn.conv2d(x, conv_w, strides=1, padding="SAME")
        x = tf.nn.relu(tf.nn.bias_add(x, conv_b))
        x = tf.nn.max_pool(x, ksize=2, strides=2, padding="SAME")
        x = tf.reshape(x, [batch, fc1_w.shape[0]])
        x = tf.nn.relu(tf.matmul(x, fc1_w) + fc1_b)
        return tf.nn.softmax(tf.matmul(x, fc2_w) + fc2_b)

    concrete = predict.get_concrete_function()
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
