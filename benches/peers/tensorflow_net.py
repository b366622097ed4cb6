"""The lesson's net in TensorFlow."""

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
