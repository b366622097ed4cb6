//! The numeric kernels of tapeflow: slices in, slices out.
//!
//! Nothing here knows a tensor, a shape or a dtype enum; callers check shapes first and pass plain
//! slices. This is the only crate of the workspace with `unsafe` code and CPU intrinsics.
//!
//! - [`element`]: the scalar types and the arithmetic that TensorFlow defines on them.
//! - [`buffer`]: aligned memory that is reused instead of being returned to the system.
//! - [`simd`]: the choice of vector instructions at run time.
//! - [`parallel`]: splitting work over threads, by shape.
//! - [`elementwise`], [`reduce`], [`movement`]: maps, reductions, gathers and scatters.
//! - [`vecmath`], [`chain`]: functions of one element, and chains of them over blocks.
//! - [`softmax`]: softmax and the losses on it.
//! - [`gemm`], [`conv`]: matrix products and convolutions with their gradients.
//! - [`pool`]: max and average pooling with their gradients.
//! - [`batch_norm`]: batch normalisation with its gradients.
//! - [`philox`]: random numbers.
//! - [`naive`]: the oracle of the fast kernels.

pub mod arena;
pub mod batch_norm;
pub mod buffer;
pub mod chain;
pub mod conv;
pub mod element;
pub mod elementwise;
pub mod gemm;
mod lanes;
pub mod movement;
pub mod naive;
pub mod parallel;
pub mod philox;
pub mod pool;
mod prefetch;
pub mod reduce;
pub mod simd;
pub mod softmax;
mod strided;
pub mod vecmath;

pub use buffer::{AllocError, Buffer};
pub use element::{Element, Float, Number};
pub use half::{bf16, f16};

/// The most axes that a strided kernel walks.
pub const MAX_AXES: usize = 8;
