//! The smaller of two, element by element.

use crate::ops::array::select;
use crate::ops::math::less_equal;
use crate::ops::prelude::*;

/// The op of [`minimum`].
#[derive(Debug, Clone, Copy)]
pub struct Minimum;

impl Op for Minimum {
    fn name(&self) -> &'static str {
        "math.minimum"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        elementwise::infer_binary(self.name(), inputs, DTypes::NUMERIC)
    }

    fn run(&self, inputs: &[Array<'_>], outputs: &mut [ArrayMut<'_>]) -> Result<()> {
        dispatch_wide!(number, self, inputs, outputs, inputs[0].dtype(), T => {
            elementwise::run_binary::<T, T>(inputs, outputs, Number::minimum)
        })
    }

    fn gradient(&self) -> Gradient {
        Gradient::rule(Saves::INPUTS, |call, input| {
            let upstream = call.upstream();
            let from_x = less_equal(call.input(0), call.input(1))?;
            let zero = Tensor::scalar(0.0, upstream.dtype())?;
            match input {
                0 => select(from_x, upstream, zero).map(Some),
                _ => select(from_x, zero, upstream).map(Some),
            }
        })
    }

    fn elementwise(&self) -> Option<Function> {
        Some(Function::Minimum)
    }
}

/// The smaller of `x` and `y`, broadcast; NaN where either is. `tf.math.minimum`.
///
/// The gradient goes to `x` where `x <= y`, elsewhere to `y`.
///
/// # Errors
/// Dtypes that differ or are `bool`; shapes that do not broadcast.
///
/// ```
/// use tapeflow_core::math;
///
/// assert_eq!(math::minimum([1.0f32, 3.0], 2.0f32)?.to_vec::<f32>()?, [1.0, 2.0]);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
pub fn minimum(x: impl Into<Tensor>, y: impl Into<Tensor>) -> Result<Tensor> {
    apply_owned(Minimum, [x.into(), y.into()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::GradientTape;
    use crate::ops::math::square;
    use crate::test::check_gradients;

    #[test]
    fn gradients_are_those_of_finite_differences() {
        check_gradients(
            |x| square(minimum(&x[0], &x[1])?),
            &[Tensor::from([[1.0f64, -2.0], [3.0, 4.0]]), Tensor::from([0.5f64, -1.5])],
        );
    }

    #[test]
    fn a_tie_goes_to_x_and_nan_to_y() {
        let (x, y) = (Tensor::from([2.0f32, f32::NAN]), Tensor::from([2.0f32, 1.0]));
        let tape = GradientTape::new();
        tape.watch(&x);
        tape.watch(&y);
        let z = minimum(&x, &y).unwrap();
        let gradients = tape.gradient(&z, &[&x, &y]).unwrap();
        assert_eq!(gradients[0].as_ref().unwrap().to_vec::<f32>().unwrap(), [1.0, 0.0]);
        assert_eq!(gradients[1].as_ref().unwrap().to_vec::<f32>().unwrap(), [0.0, 1.0]);
        assert!(z.to_vec::<f32>().unwrap()[1].is_nan());
    }

    #[test]
    fn what_is_refused() {
        assert!(minimum([true], [false]).unwrap_err().is_dtype());
        assert!(minimum([1.0f32], [1i32]).unwrap_err().is_dtype());
        assert!(minimum([1, 2], [1, 2, 3]).unwrap_err().is_shape());
    }
}
