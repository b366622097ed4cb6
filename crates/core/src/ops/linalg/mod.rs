//! `tf.linalg`: matrices.
