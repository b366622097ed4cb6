//! Ops that no user calls: what the passes over a compiled graph put in the place of several.

mod elementwise_chain;
mod fused_matmul;
mod matmul_update;
mod panel_matmul_transposed;

pub use elementwise_chain::ElementwiseChain;
pub use fused_matmul::FusedMatMul;
pub use matmul_update::MatMulUpdate;
pub use panel_matmul_transposed::PanelMatMulTransposed;
pub use tapeflow_kernels::chain::{Function, Operand, Step};
