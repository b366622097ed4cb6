//! A product with the transpose of a variable that is kept in panels.

use tapeflow_kernels::AllocError;
use tapeflow_kernels::gemm::Matrix;
use tapeflow_kernels::gemm::panels::gemm_panels_transposed;

use crate::ops::prelude::*;

/// `a b^T` where `b` is a variable that a plan keeps in
/// [panels](tapeflow_kernels::gemm::panels): how the gradient passes through a dense layer to its
/// input. It runs in compiled functions alone; elsewhere it is
/// [`MatMul`](crate::linalg::MatMul) with `transpose_b`:
///
/// ```
/// use tapeflow_core::{Tensor, linalg::MatMul};
///
/// let (a, b) = (Tensor::from([[1.0f32, 2.0]]), Tensor::from([[3.0f32, 4.0]]));
/// let y = MatMul { transpose_b: true, ..MatMul::default() }.call(&a, &b)?;
/// assert_eq!(y.to_vec::<f32>()?, [11.0]);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct PanelMatMulTransposed;

impl Op for PanelMatMulTransposed {
    fn name(&self) -> &'static str {
        "panel_matmul_transposed"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        check_dtype(self.name(), "a", inputs[0].dtype, DTypes::of(&[DType::Float32]))?;
        crate::linalg::MatMul { transpose_a: false, transpose_b: true }.infer(inputs)
    }

    fn run(&self, inputs: &[Array<'_>], outputs: &mut [ArrayMut<'_>]) -> Result<()> {
        let (a, b) = (inputs[0], inputs[1]);
        let (m, n, k) = (a.shape()[0], a.shape()[1], b.shape()[0]);
        let a = Matrix::row_major(a.data::<f32>(), n);
        gemm_panels_transposed(m, n, k, a, b.panels(), outputs[0].data()).map_err(
            |_: AllocError| {
                Error::resource_exhausted(format!("{}: no memory to multiply", self.name()))
            },
        )
    }

    fn gradient(&self) -> Gradient {
        // Passes run after differentiation.
        Gradient::NotDifferentiable
    }
}
