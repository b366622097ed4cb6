"""The training case: the lesson's network, the loss summed over the batch, SGD.

TensorFlow computes it in float64 and it is saved as float32, and the learning rate is a fifth of the
lesson's. At 0.001 the first hundred steps are chaotic: TensorFlow's own float32 and float64 part by
5 % of the loss. At 0.0002 they part by 0.002 % of the loss, and by 0.0012 in a bias."""

import gzip
import os

import numpy as np
import tensorflow as tf

LEARNING_RATE = 0.0002
BATCH = 128
NAMES = ["conv_w", "conv_b", "fc1_w", "fc1_b", "fc2_w", "fc2_b"]


def idx(path):
    """The array of a gzipped IDX file of unsigned bytes."""
    with gzip.open(path, "rb") as file:
        data = file.read()
    rank = data[3]
    shape = np.frombuffer(data, ">i4", rank, 4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * rank).reshape(shape)


def mnist(folder, part):
    images = idx(os.path.join(folder, f"{part}-images-idx3-ubyte.gz"))
    labels = idx(os.path.join(folder, f"{part}-labels-idx1-ubyte.gz"))
    return images.astype(np.float32)[..., None] / np.float32(255), labels.astype(np.int32)


def initial(rng, units):
    def normal(*shape):
        return (0.05 * rng.standard_normal(shape)).astype(np.float32)

    zeros = lambda n: np.zeros(n, np.float32)
    return [normal(3, 3, 1, 32), zeros(32), normal(14 * 14 * 32, units), zeros(units), normal(units, 10), zeros(10)]


def predict(variables, images):
    conv_w, conv_b, fc1_w, fc1_b, fc2_w, fc2_b = variables
    x = tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(images, conv_w, [1, 1, 1, 1], "SAME"), conv_b))
    x = tf.nn.max_pool(x, [1, 2, 2, 1], [1, 2, 2, 1], "SAME")
    x = tf.reshape(x, [-1, fc1_w.shape[0]])
    x = tf.nn.relu(tf.add(tf.matmul(x, fc1_w), fc1_b))
    return tf.nn.softmax(tf.add(tf.matmul(x, fc2_w), fc2_b))


@tf.function
def step(variables, images, labels):
    with tf.GradientTape() as tape:
        one_hot = tf.one_hot(labels, 10, dtype=images.dtype)
        loss = -tf.reduce_sum(one_hot * tf.math.log(predict(variables, images)))
    for variable, gradient in zip(variables, tape.gradient(loss, variables)):
        variable.assign_sub(LEARNING_RATE * gradient)
    return loss


def train(variables, images, labels, batches):
    return np.array([step(variables, images[b], labels[b]).numpy() for b in batches], np.float32)


def accuracy(variables, images, labels):
    guesses = [np.argmax(predict(variables, images[i : i + 1000]), 1) for i in range(0, len(images), 1000)]
    return float((np.concatenate(guesses) == labels).mean())


def make(seed, data, units, steps):
    """The tensors of parity.safetensors."""
    rng = np.random.default_rng(seed)
    images, labels = mnist(data, "train")
    start = initial(rng, units)
    batches = rng.permutation(len(images))[: steps * BATCH].reshape(steps, BATCH).astype(np.int32)
    variables = [tf.Variable(v.astype(np.float64)) for v in start]
    tensors = dict(zip(NAMES, start))
    tensors["batches"] = batches
    tensors["losses"] = train(variables, images.astype(np.float64), labels, batches)
    tensors["lr"] = np.array(LEARNING_RATE, np.float32)
    tensors |= {f"final_{name}": v.numpy().astype(np.float32) for name, v in zip(NAMES, variables)}
    return tensors
