//! Element-wise quotient.

use crate::ops::array::cast;
use crate::ops::math::{multiply, negative};
use crate::ops::prelude::*;

/// The op of [`divide`], on floats.
#[derive(Debug, Clone, Copy)]
pub struct Divide;

impl Op for Divide {
    fn name(&self) -> &'static str {
        "math.divide"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        elementwise::infer_binary(self.name(), inputs, DTypes::FLOATING)
    }

    fn run(&self, inputs: &[Array<'_>], outputs: &mut [ArrayMut<'_>]) -> Result<()> {
        dispatch_wide!(float, self, inputs, outputs, inputs[0].dtype(), T => {
            elementwise::run_binary::<T, T>(inputs, outputs, Float::div)
        })
    }

    fn gradient(&self) -> Gradient {
        Gradient::rule(Saves::INPUTS, |call, input| {
            let (x, y) = (call.input(0), call.input(1));
            match input {
                0 => divide(call.upstream(), y).map(Some),
                // -x / y^2, in the order that loses least.
                _ => multiply(call.upstream(), divide(divide(negative(x)?, y)?, y)?).map(Some),
            }
        })
    }

    fn elementwise(&self) -> Option<Function> {
        Some(Function::Divide)
    }
}

/// `x / y`, broadcast. `tf.math.divide`.
///
/// Integers are converted first, as Python 3 divides: those of 8 and 16 bits to `float32`, wider
/// ones to `float64`. Division by zero gives infinity or NaN.
///
/// # Errors
/// Dtypes that differ or are `bool`; shapes that do not broadcast.
///
/// ```
/// use tapeflow_core::math;
///
/// assert_eq!(math::divide([1.0f32, 3.0], 2.0f32)?.to_vec::<f32>()?, [0.5, 1.5]);
/// assert_eq!(math::divide(1, 2)?.to_scalar::<f64>()?, 0.5);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
pub fn divide(x: impl Into<Tensor>, y: impl Into<Tensor>) -> Result<Tensor> {
    let (x, y) = (x.into(), y.into());
    check_same_dtype("math.divide", x.spec(), y.spec())?;
    if !x.dtype().is_integer() {
        return apply_owned(Divide, [x, y]);
    }
    let dtype = if x.dtype().size() <= 2 { DType::Float32 } else { DType::Float64 };
    apply_owned(Divide, [cast(x, dtype)?, cast(y, dtype)?])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test::check_gradients;

    #[test]
    fn gradients_are_those_of_finite_differences() {
        check_gradients(
            |x| divide(&x[0], &x[1]),
            &[Tensor::from([[1.0f64, -2.0], [3.0, 4.0]]), Tensor::from([0.5f64, -1.5])],
        );
    }

    #[test]
    fn dtypes_follow_python() {
        assert_eq!(divide([1u8], [2u8]).unwrap().dtype(), DType::Float32);
        assert_eq!(divide([1i64], [2i64]).unwrap().dtype(), DType::Float64);
        assert!(divide([true], [true]).unwrap_err().is_dtype());
        assert_eq!(divide(1.0f32, 0.0f32).unwrap().to_scalar::<f32>().unwrap(), f32::INFINITY);
    }
}
