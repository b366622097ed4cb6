//! Ops that no user calls: what the passes over a compiled graph put in the place of several.

mod elementwise_chain;

pub use elementwise_chain::ElementwiseChain;
pub use tapeflow_kernels::chain::{Function, Operand, Step};
