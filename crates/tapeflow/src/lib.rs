//! TensorFlow 2's low-level API in pure Rust.
//!
//! ```
//! use tapeflow as tf;
//!
//! let x = tf::constant([[1.0f32, 2.0], [3.0, 4.0]])?;
//! let w = tf::Variable::new([[0.5f32], [-0.5]]);
//!
//! let tape = tf::GradientTape::new();
//! let y = tf::matmul(&x, &w)?;
//! let loss = tf::reduce_mean(tf::square(&y)?, ..)?;
//! let gradient = tape.gradient(&loss, &w)?;
//!
//! let optimizer = tf::optimizers::SGD::new(0.1);
//! optimizer.apply_gradients([(gradient, &w)])?;
//! # Ok::<(), tf::Error>(())
//! ```
//!
//! The modules and functions have TensorFlow's names: what Python calls `tf.nn.conv2d` is
//! [`tf::nn::conv2d`](nn::conv2d), and `tf.data.Dataset` is [`tf::data::Dataset`](data::Dataset).
//! Functions take tensors, variables, numbers and arrays alike (`impl Into<Tensor>`) and return a
//! [`Result`]; the operators `+ - * /` panic where those return an error. An op with many optional
//! arguments has a short function and a struct: `nn::conv2d(&x, &w, 1, Padding::Same)` or
//! `nn::Conv2D { .. }.call(&x, &w)`.
//!
//! `examples/lesson.rs` in the repository is a whole program: MNIST from loading to 97 %.

#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub use tapeflow_core::{
    Call, ConcreteFunction, DType, DTypes, Element, Error, Function, GradientTape, Graph, MAX_RANK,
    NestedArray, Passes, Result, Shape, Sources, Spec, Structure, Tensor, UnconnectedGradients,
    Variable, Watchable, bf16, constant, custom_gradient, f16, function,
};

pub use tapeflow_core::{config, initializers, linalg, math, nn, optimizers, random, test, train};
pub use tapeflow_data as data;
pub use tapeflow_summary as summary;

pub use tapeflow_core::array::*;
pub use tapeflow_core::linalg::matmul;
pub use tapeflow_core::math::{
    abs, add, argmax, divide, equal, erf, exp, greater, maximum, minimum, multiply, negative, pow,
    reduce_max, reduce_mean, reduce_min, reduce_sum, sigmoid, sqrt, square, subtract, tanh,
};
pub use tapeflow_core::ops::Axes;

/// Datasets ready to load: `tf.keras.datasets`.
pub mod datasets {
    pub use tapeflow_data::datasets::*;
}

/// Tensors in files: NumPy's `.npy`, safetensors, TFRecord, PNG.
pub mod io {
    pub use tapeflow_core::io::*;
    pub use tapeflow_data::encode_png;
    pub use tapeflow_data::tfrecord::{TFRecordReader, TFRecordWriter};
}
