//! Conversion between dtypes.

use num_traits::AsPrimitive;

use crate::ops::prelude::*;

/// The op of [`cast`].
#[derive(Debug, Clone, Copy)]
pub struct Cast {
    /// The wanted dtype.
    pub dtype: DType,
}

impl Op for Cast {
    fn name(&self) -> &'static str {
        "cast"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        Ok(vec![Spec { dtype: self.dtype, ..inputs[0] }])
    }

    fn view(&self, inputs: &[Spec]) -> Option<usize> {
        (inputs[0].dtype == self.dtype).then_some(0)
    }

    fn run(&self, inputs: &[Array<'_>], outputs: &mut [ArrayMut<'_>]) -> Result<()> {
        // bool is stored as the numbers 0 and 1, so only what becomes a bool needs care.
        if self.dtype == DType::Bool {
            return dispatch!(number, inputs[0].dtype(), S => {
                elementwise::run_unary(inputs, outputs, |x: S| u8::from(x != S::ZERO))
            });
        }
        dispatch!(any, inputs[0].dtype(), S => dispatch!(number, self.dtype, T => {
            elementwise::run_unary(inputs, outputs, |x: S| -> T { x.as_() })
        }))
    }

    fn gradient(&self) -> Gradient {
        if !self.dtype.is_floating() {
            return Gradient::NotDifferentiable;
        }
        Gradient::rule(Saves::NOTHING, |call, _| {
            let dtype = call.input_spec(0).dtype;
            if !dtype.is_floating() {
                return Ok(None);
            }
            cast(call.upstream(), dtype).map(Some)
        })
    }

    fn elementwise(&self) -> Option<Function> {
        (self.dtype == DType::Float32).then_some(Function::Cast)
    }
}

/// `x` in another dtype. `tf.cast`.
///
/// Floats become integers by truncation towards zero, saturating where they do not fit (TensorFlow
/// leaves that case to the CPU); integers wrap; numbers become `bool` by being non-zero.
///
/// # Errors
/// Memory that cannot be had.
///
/// ```
/// use tapeflow_core::{DType, array};
///
/// let x = array::cast([1.9f32, -1.9], DType::Int32)?;
/// assert_eq!(x.to_vec::<i32>()?, [1, -1]);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
pub fn cast(x: impl Into<Tensor>, dtype: DType) -> Result<Tensor> {
    apply(Cast { dtype }, &[&x.into()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::math::square;
    use crate::test::check_gradients;

    #[test]
    fn gradients_pass_between_floats() {
        let x = Tensor::from([1.0f64, 2.0]);
        check_gradients(|x| square(cast(cast(&x[0], DType::Float64)?, DType::Float64)?), &[x]);
    }

    #[test]
    fn every_pair_of_dtypes_casts() {
        for from in DType::ALL {
            for to in DType::ALL {
                let x = cast([0.0f32, 1.0], from).unwrap();
                let y = cast(cast(&x, to).unwrap(), DType::Float64).unwrap();
                assert_eq!(y.to_vec::<f64>().unwrap(), [0.0, 1.0], "{from} to {to}");
            }
        }
    }

    #[test]
    fn integers_wrap_and_any_number_but_zero_is_true() {
        let x = cast([-1i32, 256, 257], DType::UInt8).unwrap();
        assert_eq!(x.to_vec::<u8>().unwrap(), [255, 0, 1]);
        let x = cast([0.0f32, -0.0, 0.5, f32::NAN], DType::Bool).unwrap();
        assert_eq!(x.to_vec::<bool>().unwrap(), [false, false, true, true]);
    }
}
