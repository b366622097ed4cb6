//! A matrix product, bias and activation as one op.

use tapeflow_kernels::AllocError;
use tapeflow_kernels::gemm::panels::gemm_panels;
use tapeflow_kernels::gemm::{Activation, Epilogue, Matrix, gemm_with_epilogue};

use crate::ops::linalg::matrix;
use crate::ops::prelude::*;

/// `activation(a b + bias)` of matrices: [`matmul`](crate::linalg::matmul), a vector added to each
/// row and [`relu`](crate::nn::relu) in one sweep over the result. The third input, the bias, may be
/// left out.
///
/// ```
/// use tapeflow_core::execute::apply;
/// use tapeflow_core::ops::fused::FusedMatMul;
/// use tapeflow_core::Tensor;
///
/// let (a, b) = (Tensor::from([[1.0f32, 2.0]]), Tensor::from([[1.0f32, 0.0], [0.0, 1.0]]));
/// let op = FusedMatMul { relu: true, ..FusedMatMul::default() };
/// let y = apply(op, &[&a, &b, &Tensor::from([-3.0f32, 0.5])])?;
/// assert_eq!(y.to_vec::<f32>()?, [0.0, 2.5]);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct FusedMatMul {
    /// Take `a` as its transpose.
    pub transpose_a: bool,
    /// Take `b` as its transpose.
    pub transpose_b: bool,
    /// End with relu.
    pub relu: bool,
    /// `b` is a variable that a plan keeps in [panels](tapeflow_kernels::gemm::panels): `float32`,
    /// not transposed.
    pub panels: bool,
}

impl Op for FusedMatMul {
    fn name(&self) -> &'static str {
        "fused_matmul"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        for input in inputs {
            check_same_dtype(self.name(), &inputs[0], input)?;
        }
        check_rank(self.name(), "a", &inputs[0].shape, 2)?;
        check_rank(self.name(), "b", &inputs[1].shape, 2)?;
        let product =
            crate::linalg::MatMul { transpose_a: self.transpose_a, transpose_b: self.transpose_b };
        let outputs = product.infer(&inputs[..2])?;
        match inputs.get(2) {
            Some(bias) if bias.shape.dims() != &outputs[0].shape[1..] => {
                Err(Error::shape(format!(
                    "{}: the bias is {}, the product {}",
                    self.name(),
                    bias.shape,
                    outputs[0].shape
                )))
            }
            _ => Ok(outputs),
        }
    }

    fn run(&self, inputs: &[Array<'_>], outputs: &mut [ArrayMut<'_>]) -> Result<()> {
        let (a, b) = (inputs[0], inputs[1]);
        let (m, n) = (outputs[0].shape()[0], outputs[0].shape()[1]);
        let k = a.shape()[usize::from(!self.transpose_a)];
        let activation = self.relu.then_some(Activation::Relu);
        let no_memory = |_: AllocError| {
            Error::resource_exhausted(format!("{}: no memory to multiply", self.name()))
        };
        if outputs[0].shape().num_elements() == 0 {
            return Ok(());
        }
        if self.panels {
            let a = matrix(a.data::<f32>(), m, k, self.transpose_a);
            let bias = inputs.get(2).map(|bias| bias.data::<f32>());
            let epilogue = Epilogue { bias, activation };
            let c = outputs[0].data::<f32>();
            return gemm_panels(m, n, k, a, b.panels(), epilogue, c).map_err(no_memory);
        }
        dispatch_wide!(product, self, inputs, outputs, a.dtype(), T => {
            let a: Matrix<'_, T> = matrix(a.data(), m, k, self.transpose_a);
            let b = matrix(b.data(), k, n, self.transpose_b);
            let bias = inputs.get(2).map(|bias| bias.data::<T>());
            let epilogue = Epilogue { bias, activation };
            gemm_with_epilogue(m, n, k, a, b, epilogue, outputs[0].data()).map_err(no_memory)
        })
    }

    fn gradient(&self) -> Gradient {
        // Passes run after differentiation.
        Gradient::NotDifferentiable
    }
}
