//! Tensors, variables, ops, gradients and the eager executor of tapeflow.
//!
//! The facade crate `tapeflow` re-exports what users need; this crate is the map's middle: above
//! it `data` and its kin, below it `kernels`, slices in and slices out.
//!
//! - [`Tensor`], [`Variable`], [`DType`], [`Shape`], [`Error`]: the nouns.
//! - [`op`]: the trait that every op implements; [`ops`]: one file per op, by TensorFlow's module.
//! - [`execute`]: the one place where an op meets buffers.
//! - [`function()`]: compiled functions, [`graph`] how they are made and run.
//! - [`random`], [`initializers`], [`optimizers`]: TensorFlow's modules of these names.
//! - [`GradientTape`]: differentiation of what was executed.
//! - [`io`], [`train`]: tensors in files, checkpoints.

#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod config;
mod dtype;
mod error;
pub mod execute;
pub mod graph;
pub mod initializers;
pub mod io;
pub mod op;
pub mod ops;
pub mod optimizers;
pub mod random;
mod shape;
pub mod structure;
mod tape;
mod tensor;
pub mod test;
pub mod train;
mod variable;

pub use dtype::{DType, DTypes, Element};
pub use error::{Error, Result};
pub use graph::{ConcreteFunction, Function, Graph, Passes, function};
pub use half::{bf16, f16};
pub use ops::{array, linalg, math, nn};
pub use shape::{MAX_RANK, Shape, Spec};
pub use structure::Structure;
pub use tape::{Call, GradientTape, Sources, UnconnectedGradients, Watchable, custom_gradient};
pub use tensor::{NestedArray, Tensor, constant};
pub use variable::Variable;
