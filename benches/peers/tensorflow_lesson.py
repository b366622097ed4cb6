"""The lesson's training step in TensorFlow: eager, as the lesson writes it, and compiled.

Prints one JSON object a line: {"what", "peer", "version", "ms": [...]}.
"""

import argparse
import json
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf


def variables():
    normal = tf.initializers.RandomNormal(stddev=0.05)
    return [
        tf.Variable(normal([3, 3, 1, 32])),
        tf.Variable(tf.zeros([32])),
        tf.Variable(normal([14 * 14 * 32, 1024])),
        tf.Variable(tf.zeros([1024])),
        tf.Variable(normal([1024, 10])),
        tf.Variable(tf.zeros([10])),
    ]


def predict(x, weights):
    conv_w, conv_b, fc1_w, fc1_b, fc2_w, fc2_b = weights
    x = tf.nn.conv2d(x, conv_w, strides=1, padding="SAME")
    x = tf.nn.relu(tf.nn.bias_add(x, conv_b))
    x = tf.nn.max_pool(x, ksize=2, strides=2, padding="SAME")
    x = tf.reshape(x, [-1, fc1_w.shape[0]])
    x = tf.nn.relu(tf.matmul(x, fc1_w) + fc1_b)
    return tf.nn.softmax(tf.matmul(x, fc2_w) + fc2_b)


def train_step(x, y, weights, optimizer):
    with tf.GradientTape() as tape:
        pred = predict(x, weights)
        loss = -tf.reduce_sum(tf.one_hot(y, 10) * tf.math.log(pred))
    gradients = tape.gradient(loss, weights)
    optimizer.apply_gradients(zip(gradients, weights))
    return loss


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch", type=int, default=128)
    args = parser.parse_args()

    rng = np.random.default_rng(0)
    x = tf.constant(rng.random([args.batch, 28, 28, 1], dtype=np.float32))
    y = tf.constant(rng.integers(0, 10, [args.batch]), dtype=tf.uint8)
    for what, wrap in [("step, eager", lambda f: f), ("step, compiled", tf.function)]:
        weights = variables()
        optimizer = tf.keras.optimizers.SGD(0.001)
        optimizer.build(weights)
        step = wrap(lambda: train_step(x, y, weights, optimizer))
        times = []
        for i in range(args.steps + 10):
            start = time.perf_counter()
            step().numpy()
            if i >= 10:
                times.append((time.perf_counter() - start) * 1e3)
        row = {"what": what, "peer": "TensorFlow", "version": tf.__version__, "ms": times}
        print(json.dumps(row), flush=True)


main()
