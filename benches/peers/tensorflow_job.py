"""The lesson's whole job in TensorFlow: read MNIST from a directory, train, measure on the test
images.

    python tensorflow_job.py DIRECTORY [--epochs N]

The step is a tf.function. The pipeline shuffles numbers of images and gathers whole batches, which
is several times faster than the lesson's batching of single images. Prints one JSON object,
{"peer", "version", "accuracy"}.
"""

import argparse
import json
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf

import mnist
from tensorflow_net import predict, variables

BATCH = 128


def preprocess(images):
    return tf.cast(images, tf.float32)[..., tf.newaxis] / 255.0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("directory")
    parser.add_argument("--epochs", type=int, default=2)
    args = parser.parse_args()

    tf.random.set_seed(0)
    (images, labels), (test_images, test_labels) = mnist.load(args.directory)
    images, labels = tf.constant(images), tf.constant(labels)
    weights = variables()
    optimizer = tf.keras.optimizers.SGD(0.001)
    optimizer.build(weights)

    @tf.function(reduce_retracing=True)
    def train_step(x, y):
        with tf.GradientTape() as tape:
            pred = predict(x, weights)
            loss = -tf.reduce_sum(tf.one_hot(y, 10) * tf.math.log(pred))
        gradients = tape.gradient(loss, weights)
        optimizer.apply_gradients(zip(gradients, weights))
        return loss

    @tf.function(reduce_retracing=True)
    def correct(x, y):
        read = tf.argmax(predict(preprocess(x), weights), 1)
        return tf.reduce_sum(tf.cast(read == tf.cast(y, tf.int64), tf.int32))

    batches = (
        tf.data.Dataset.range(len(labels))
        .repeat(args.epochs)
        .shuffle(5000, seed=0)
        .batch(BATCH)
        .map(lambda i: (preprocess(tf.gather(images, i)), tf.gather(labels, i)))
        .prefetch(tf.data.AUTOTUNE)
    )
    for x, y in batches:
        train_step(x, y)
    test = tf.data.Dataset.from_tensor_slices((test_images, test_labels)).batch(500)
    accuracy = sum(correct(x, y).numpy() for x, y in test) / len(test_labels)
    print(json.dumps({"peer": "TensorFlow", "version": tf.__version__, "accuracy": accuracy}))


main()
