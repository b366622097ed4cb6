//! `tf.linalg`: matrix products.

mod matmul;

pub(crate) use matmul::matrix;
pub use matmul::{MatMul, matmul};
