//! The ops, one file each, in the folders of TensorFlow's modules.
//!
//! What several ops of a kind share stands beside them: `elementwise` for those that map element
//! by element, [`Axes`] for those that reduce. [`fused`] has the ops that a compiled graph is
//! rewritten to.

pub mod array;
mod axes;
pub(crate) mod elementwise;
pub mod fused;
pub mod linalg;
pub mod math;
pub mod nn;
pub mod state;
pub mod training;
mod wide;

pub use axes::Axes;

/// What an op file needs.
pub(crate) mod prelude {
    pub(crate) use tapeflow_kernels::chain::Function;
    pub(crate) use tapeflow_kernels::{Float, Number};

    pub(crate) use crate::dtype::{DType, DTypes, dispatch};
    pub(crate) use crate::error::{Error, Result};
    pub(crate) use crate::execute::{apply, apply_owned};
    pub(crate) use crate::op::{
        Array, ArrayMut, Gradient, Op, Saves, check_dtype, check_rank, check_same_dtype,
    };
    pub(crate) use crate::ops::elementwise;
    pub(crate) use crate::ops::wide::dispatch_wide;
    pub(crate) use crate::shape::{Shape, Spec};
    pub(crate) use crate::tensor::Tensor;
}
