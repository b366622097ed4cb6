"""The lesson's training step in TensorFlow: eager, as the lesson writes it, and compiled.

Prints rows as timing.py describes them.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

import timing
from tensorflow_net import predict, variables

BATCH = 128


def train_step(x, y, weights, optimizer):
    with tf.GradientTape() as tape:
        pred = predict(x, weights)
        loss = -tf.reduce_sum(tf.one_hot(y, 10) * tf.math.log(pred))
    gradients = tape.gradient(loss, weights)
    optimizer.apply_gradients(zip(gradients, weights))
    return loss


def main():
    args = timing.arguments()
    rng = np.random.default_rng(0)
    x = tf.constant(rng.random([BATCH, 28, 28, 1], dtype=np.float32))
    y = tf.constant(rng.integers(0, 10, [BATCH]), dtype=tf.uint8)
    for what, name, wrap in [
        ("lesson's step, eager", "TensorFlow eager", lambda f: f),
        ("lesson's step, compiled", "tf.function", tf.function),
        ("lesson's step, compiled", "tf.function jit_compile", lambda f: tf.function(f, jit_compile=True)),
    ]:
        weights = variables()
        optimizer = tf.keras.optimizers.SGD(0.001)
        optimizer.build(weights)
        step = wrap(lambda x, y: train_step(x, y, weights, optimizer))
        times = timing.measure(lambda: step(x, y).numpy(), args)
        timing.report(what, name, tf.__version__, times)


main()
