//! The error function.

use crate::ops::math::{exp, multiply, negative, square};
use crate::ops::prelude::*;

/// The op of [`erf`].
#[derive(Debug, Clone, Copy)]
pub struct Erf;

impl Op for Erf {
    fn name(&self) -> &'static str {
        "math.erf"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        elementwise::infer_unary(self.name(), inputs, DTypes::FLOATING)
    }

    fn run(&self, inputs: &[Array<'_>], outputs: &mut [ArrayMut<'_>]) -> Result<()> {
        elementwise::run_unary_float(inputs, outputs, Function::Erf, Float::erf, Float::erf)
    }

    fn gradient(&self) -> Gradient {
        Gradient::rule(Saves::INPUTS, |call, _| {
            let x = call.input(0);
            let scale = Tensor::scalar(std::f64::consts::FRAC_2_SQRT_PI, x.dtype())?;
            let slope = multiply(scale, exp(negative(square(x)?)?)?)?;
            multiply(call.upstream(), slope).map(Some)
        })
    }

    fn elementwise(&self) -> Option<Function> {
        Some(Function::Erf)
    }
}

/// The error function, `2 / sqrt(pi)` times the integral of `e^(-t^2)` from 0 to `x`. `tf.math.erf`.
///
/// # Errors
/// `x` is not floating.
///
/// ```
/// use tapeflow_core::math;
///
/// assert_eq!(math::erf([0.0f32, 9.0, -9.0])?.to_vec::<f32>()?, [0.0, 1.0, -1.0]);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
pub fn erf(x: impl Into<Tensor>) -> Result<Tensor> {
    apply_owned(Erf, [x.into()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test::check_gradients;

    #[test]
    fn gradients_are_those_of_finite_differences() {
        check_gradients(|x| erf(&x[0]), &[Tensor::from([0.4f64, -1.2, 2.0, 0.0])]);
    }

    #[test]
    fn every_float_agrees() {
        use crate::ops::array::cast;
        let want = 0.842_700_792_949_714_9;
        for (dtype, tolerance) in [
            (DType::Float16, 1e-3),
            (DType::BFloat16, 1e-2),
            (DType::Float32, 1e-7),
            (DType::Float64, 1e-15),
        ] {
            let y = erf(cast(1.0f64, dtype).unwrap()).unwrap();
            let y = cast(y, DType::Float64).unwrap().to_scalar::<f64>().unwrap();
            assert!((y - want).abs() <= tolerance, "{dtype}: {y}");
        }
        assert!(erf(f32::NAN).unwrap().to_scalar::<f32>().unwrap().is_nan());
        assert!(erf(1i32).unwrap_err().is_dtype());
    }
}
