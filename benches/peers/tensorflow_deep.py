"""A training step of the deeper net in TensorFlow, compiled.

The net: four 3x3 convolutions, each with batch normalization and relu (32, 32, pool, 64, 64, pool),
a dense layer of 256 with dropout, ten classes; Adam. Prints rows as timing.py describes them.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

import timing

BATCH = 128
CHANNELS = [(1, 32), (32, 32), (32, 64), (64, 64)]


class Net:
    def __init__(self):
        he = tf.initializers.HeNormal()
        self.filters = [tf.Variable(he([3, 3, i, o])) for i, o in CHANNELS]
        self.scales = [tf.Variable(tf.ones([o])) for _, o in CHANNELS]
        self.offsets = [tf.Variable(tf.zeros([o])) for _, o in CHANNELS]
        self.means = [tf.Variable(tf.zeros([o]), trainable=False) for _, o in CHANNELS]
        self.variances = [tf.Variable(tf.ones([o]), trainable=False) for _, o in CHANNELS]
        self.dense = [
            tf.Variable(he([7 * 7 * 64, 256])),
            tf.Variable(tf.zeros([256])),
            tf.Variable(he([256, 10])),
            tf.Variable(tf.zeros([10])),
        ]
        self.weights = self.filters + self.scales + self.offsets + self.dense

    def logits(self, x):
        for i in range(4):
            x = tf.nn.conv2d(x, self.filters[i], strides=1, padding="SAME")
            x, mean, variance = tf.compat.v1.nn.fused_batch_norm(
                x,
                self.scales[i],
                self.offsets[i],
                mean=self.means[i],
                variance=self.variances[i],
                exponential_avg_factor=0.1,
            )
            self.means[i].assign(mean)
            self.variances[i].assign(variance)
            x = tf.nn.relu(x)
            if i % 2 == 1:
                x = tf.nn.max_pool2d(x, ksize=2, strides=2, padding="SAME")
        fc1_w, fc1_b, fc2_w, fc2_b = self.dense
        x = tf.nn.relu(tf.matmul(tf.reshape(x, [-1, fc1_w.shape[0]]), fc1_w) + fc1_b)
        return tf.matmul(tf.nn.dropout(x, 0.5), fc2_w) + fc2_b


def main():
    args = timing.arguments(steps=30)
    rng = np.random.default_rng(0)
    x = tf.constant(rng.random([BATCH, 28, 28, 1], dtype=np.float32))
    y = tf.constant(rng.integers(0, 10, [BATCH]), dtype=tf.int64)
    net = Net()
    optimizer = tf.keras.optimizers.Adam(0.001)
    optimizer.build(net.weights)

    @tf.function
    def step(x, y):
        with tf.GradientTape() as tape:
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=net.logits(x))
            loss = tf.reduce_mean(losses)
        gradients = tape.gradient(loss, net.weights)
        optimizer.apply_gradients(zip(gradients, net.weights))
        return loss

    times = timing.measure(lambda: step(x, y).numpy(), args)
    timing.report("deeper net's step, compiled", "tf.function", tf.__version__, times)


main()
