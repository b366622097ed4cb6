//! The natural logarithm.

use crate::ops::math::divide;
use crate::ops::prelude::*;

/// The op of [`log`].
#[derive(Debug, Clone, Copy)]
pub struct Log;

impl Op for Log {
    fn name(&self) -> &'static str {
        "math.log"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        elementwise::infer_unary(self.name(), inputs, DTypes::FLOATING)
    }

    fn run(&self, inputs: &[Array<'_>], outputs: &mut [ArrayMut<'_>]) -> Result<()> {
        elementwise::run_unary_float(inputs, outputs, Function::Log, Float::ln, Float::ln)
    }

    fn gradient(&self) -> Gradient {
        Gradient::rule(Saves::INPUTS, |call, _| divide(call.upstream(), call.input(0)).map(Some))
    }

    fn elementwise(&self) -> Option<Function> {
        Some(Function::Log)
    }
}

/// The natural logarithm of `x`; that of 0 is negative infinity, of less NaN. `tf.math.log`.
///
/// # Errors
/// `x` is not floating.
///
/// ```
/// use tapeflow_core::math;
///
/// assert_eq!(math::log([1.0f32, 0.0])?.to_vec::<f32>()?, [0.0, f32::NEG_INFINITY]);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
pub fn log(x: impl Into<Tensor>) -> Result<Tensor> {
    apply_owned(Log, [x.into()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test::check_gradients;

    #[test]
    fn gradients_are_those_of_finite_differences() {
        check_gradients(|x| log(&x[0]), &[Tensor::from([1.5f64, 0.5, 3.0])]);
    }

    #[test]
    fn special_values() {
        let y = log([f32::INFINITY, -0.0, f32::NAN, -1.0]).unwrap().to_vec::<f32>().unwrap();
        assert_eq!((y[0], y[1]), (f32::INFINITY, f32::NEG_INFINITY));
        assert!(y[2].is_nan() && y[3].is_nan());
    }

    #[test]
    fn only_floats() {
        let error = log([1]).unwrap_err();
        assert!(error.is_dtype() && error.to_string().starts_with("math.log: x is int32"));
        for dtype in [DType::Float16, DType::BFloat16, DType::Float32, DType::Float64] {
            let empty = crate::ops::array::zeros([0, 2], dtype).unwrap();
            assert_eq!(log(&empty).unwrap().spec(), empty.spec());
        }
    }
}
