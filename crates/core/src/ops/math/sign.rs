//! Element-wise sign.

use tapeflow_kernels::vecmath;

use crate::ops::array::zeros;
use crate::ops::prelude::*;

/// The op of [`sign`].
#[derive(Debug, Clone, Copy)]
pub struct Sign;

impl Op for Sign {
    fn name(&self) -> &'static str {
        "math.sign"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        elementwise::infer_unary(self.name(), inputs, DTypes::FLOATING.or(DTypes::SIGNED))
    }

    fn run(&self, inputs: &[Array<'_>], outputs: &mut [ArrayMut<'_>]) -> Result<()> {
        dispatch_wide!(number, self, inputs, outputs, inputs[0].dtype(), T => {
            elementwise::run_unary(inputs, outputs, vecmath::sign::<T>)
        })
    }

    fn gradient(&self) -> Gradient {
        // Constant but for a step: TensorFlow says 0 everywhere.
        Gradient::rule(Saves::NOTHING, |call, _| {
            let x = call.input_spec(0);
            zeros(x.shape, x.dtype).map(Some)
        })
    }

    fn elementwise(&self) -> Option<Function> {
        Some(Function::Sign)
    }
}

/// 1, 0 or -1 as `x` is above, at or below 0; NaN where it is NaN. Its gradient is 0.
/// `tf.math.sign`.
///
/// # Errors
/// `x` is unsigned or `bool`.
///
/// ```
/// use tapeflow_core::math;
///
/// assert_eq!(math::sign([3.0f32, -2.0, 0.0])?.to_vec::<f32>()?, [1.0, -1.0, 0.0]);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
pub fn sign(x: impl Into<Tensor>) -> Result<Tensor> {
    apply_owned(Sign, [x.into()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test::check_gradients;

    #[test]
    fn the_gradient_is_zero() {
        check_gradients(|x| sign(&x[0]), &[Tensor::from([1.5f64, -0.5])]);
    }

    #[test]
    fn integers_and_special_values() {
        assert_eq!(sign([i8::MIN, 0, 9]).unwrap().to_vec::<i8>().unwrap(), [-1, 0, 1]);
        let y = sign([f32::NAN, -0.0, f32::NEG_INFINITY]).unwrap().to_vec::<f32>().unwrap();
        assert!(y[0].is_nan());
        assert_eq!(y[1..], [0.0, -1.0]);
        assert!(sign([1u8]).unwrap_err().is_dtype());
    }
}
