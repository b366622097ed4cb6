//! Datasets ready to load: `tf.keras.datasets`.

pub mod mnist;
