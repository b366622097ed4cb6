//! A step of gradient descent whose gradient is a matrix product, straight into the variable.

use tapeflow_kernels::AllocError;
use tapeflow_kernels::gemm::panels::panels_update;
use tapeflow_kernels::gemm::{Update, gemm};

use crate::ops::linalg::matrix;
use crate::ops::prelude::*;

/// `var += sign * scale * (a b)`: the product is added to the variable as it is made, so that the
/// gradient never exists in memory. Inputs: the variable, the scale (a scalar of `float32`), `a`
/// and `b`. It runs in compiled functions, in the place of a product and a step of
/// [`SGD`](crate::optimizers::SGD):
///
/// ```
/// use tapeflow_core::{Passes, Tensor, Variable, function, linalg, optimizers::SGD};
///
/// let (w, optimizer) = (Variable::new([[1.0f32, 2.0]]), SGD::new(0.5));
/// let step = function(|(a, b): (Tensor, Tensor)| {
///     optimizer.apply_gradients([(linalg::matmul(a, b)?, &w)])
/// });
/// step.call((Tensor::from([[2.0f32]]), Tensor::from([[1.0f32, 2.0]])))?;
/// assert_eq!(w.value().to_vec::<f32>()?, [0.0, 0.0]);
/// assert!(step.graph().contains("matmul_update"));
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct MatMulUpdate {
    /// Take `a` as its transpose.
    pub transpose_a: bool,
    /// Take `b` as its transpose.
    pub transpose_b: bool,
    /// Subtract instead of adding.
    pub subtract: bool,
    /// The variable is kept in [panels](tapeflow_kernels::gemm::panels).
    pub panels: bool,
}

impl Op for MatMulUpdate {
    fn name(&self) -> &'static str {
        "matmul_update"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        let product =
            crate::linalg::MatMul { transpose_a: self.transpose_a, transpose_b: self.transpose_b };
        let product = product.infer(&inputs[2..])?;
        check_dtype(self.name(), "var", inputs[0].dtype, DTypes::of(&[DType::Float32]))?;
        if inputs[0] != product[0] || inputs[1] != Spec::new(DType::Float32, Shape::SCALAR) {
            return Err(Error::shape(format!(
                "{}: var is {}, the product {}, the scale {}",
                self.name(),
                inputs[0],
                product[0],
                inputs[1]
            )));
        }
        Ok(product)
    }

    fn run(&self, inputs: &[Array<'_>], outputs: &mut [ArrayMut<'_>]) -> Result<()> {
        let (scale, a, b) = (inputs[0].data::<f32>()[0], inputs[1], inputs[2]);
        let alpha = if self.subtract { -scale } else { scale };
        let (rows, cols) = (outputs[0].shape()[0], outputs[0].shape()[1]);
        let inner = a.shape()[usize::from(!self.transpose_a)];
        let a = matrix(a.data::<f32>(), rows, inner, self.transpose_a);
        let b = matrix(b.data::<f32>(), inner, cols, self.transpose_b);
        let done = if self.panels {
            // There W is k x n, and A is given as the transpose of the m x k input.
            panels_update(inner, cols, rows, a, b, alpha, outputs[0].panels())
        } else {
            gemm(rows, cols, inner, a, b, Update::AddScaled(alpha), outputs[0].data())
        };
        done.map_err(|_: AllocError| {
            Error::resource_exhausted(format!("{}: no memory to multiply", self.name()))
        })
    }

    fn gradient(&self) -> Gradient {
        // An assignment is no function of tensors that a tape could follow.
        Gradient::NotDifferentiable
    }

    fn updates(&self) -> usize {
        1
    }
}
