//! `tf.linalg`: matrix products.

mod matmul;

pub use matmul::{MatMul, matmul};
