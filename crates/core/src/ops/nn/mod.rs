//! `tf.nn`: layers' arithmetic and losses.

mod relu;

pub use relu::{Relu, ReluGrad, relu};
