//! Element-wise powers.

use num_traits::AsPrimitive;

use crate::ops::array::select;
use crate::ops::math::{greater, log, multiply, subtract};
use crate::ops::prelude::*;

/// The op of [`pow`].
#[derive(Debug, Clone, Copy)]
pub struct Pow;

impl Op for Pow {
    fn name(&self) -> &'static str {
        "math.pow"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        elementwise::infer_binary(self.name(), inputs, DTypes::FLOATING.or(DTypes::SIGNED))
    }

    fn run(&self, inputs: &[Array<'_>], outputs: &mut [ArrayMut<'_>]) -> Result<()> {
        let dtype = inputs[0].dtype();
        if dtype.is_floating() {
            return dispatch_wide!(float, self, inputs, outputs, dtype, T => {
                elementwise::run_binary::<T, T>(inputs, outputs, Float::powf)
            });
        }
        dispatch_wide!(integer, self, inputs, outputs, dtype, T => {
            let negative = first_negative(inputs[1].data::<T>());
            if let (Some(exponent), true) = (negative, !outputs[0].shape().contains(&0)) {
                return Err(Error::invalid_argument(format!(
                    "{}: integers have no negative powers, an exponent is {exponent:?}",
                    self.name()
                )));
            }
            elementwise::run_binary::<T, T>(inputs, outputs, |x, y| integer_power(x, y.as_()))
        })
    }

    fn gradient(&self) -> Gradient {
        Gradient::rule(Saves::ALL, |call, input| {
            let (x, y) = (call.input(0), call.input(1));
            let (zero, one) = (Tensor::scalar(0.0, x.dtype())?, Tensor::scalar(1.0, x.dtype())?);
            if input == 0 {
                let slope = multiply(y, pow(x, subtract(y, one)?)?)?;
                return multiply(call.upstream(), slope).map(Some);
            }
            // The logarithm only of what has one, so that no NaN or infinity comes from the rest.
            let has_log = greater(x, &zero)?;
            let log_x = select(&has_log, log(select(&has_log, x, one)?)?, zero)?;
            multiply(multiply(call.upstream(), call.output(0))?, log_x).map(Some)
        })
    }

    fn elementwise(&self) -> Option<Function> {
        Some(Function::Pow)
    }
}

fn first_negative<T: Number>(exponents: &[T]) -> Option<T> {
    exponents.iter().copied().find(|&exponent| exponent < T::ZERO)
}

/// `x` to the power `exponent` by repeated squaring; wraps.
fn integer_power<T: Number>(mut x: T, mut exponent: u64) -> T {
    let mut power = T::ONE;
    while exponent > 0 {
        if exponent & 1 == 1 {
            power = power.mul(x);
        }
        x = x.mul(x);
        exponent >>= 1;
    }
    power
}

/// `x` to the power `y`, broadcast; integers wrap. `tf.math.pow`.
///
/// The gradient with respect to `y` is 0 where `x` is not positive.
///
/// # Errors
/// Dtypes that differ, are unsigned or `bool`; shapes that do not broadcast; a negative exponent of
/// integers.
///
/// ```
/// use tapeflow_core::math;
///
/// assert_eq!(math::pow([2.0f32, 9.0], [3.0f32, 0.5])?.to_vec::<f32>()?, [8.0, 3.0]);
/// assert_eq!(math::pow([2, 3], 3)?.to_vec::<i32>()?, [8, 27]);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
pub fn pow(x: impl Into<Tensor>, y: impl Into<Tensor>) -> Result<Tensor> {
    apply_owned(Pow, [x.into(), y.into()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::GradientTape;
    use crate::ops::array::zeros;
    use crate::test::check_gradients;

    #[test]
    fn gradients_are_those_of_finite_differences() {
        check_gradients(
            |x| pow(&x[0], &x[1]),
            &[Tensor::from([[1.5f64, 0.5], [3.0, 0.1]]), Tensor::from([2.5f64, -1.5])],
        );
        check_gradients(|x| pow(&x[0], 3.0f64), &[Tensor::from([-2.0f64, 0.5])]);
    }

    #[test]
    fn gradients_at_and_below_zero_are_those_of_tensorflow() {
        let x = Tensor::from([-2.0f32, 0.0, 0.0, 0.0, 2.0]);
        let y = Tensor::from([3.0f32, 0.0, 1.0, 2.0, -1.0]);
        let tape = GradientTape::new();
        tape.watch(&x);
        tape.watch(&y);
        let gradients = tape.gradient(&pow(&x, &y).unwrap(), &[&x, &y]).unwrap();
        let values = |i: usize| gradients[i].as_ref().unwrap().to_vec::<f32>().unwrap();
        let dx = values(0);
        assert!(dx[1].is_nan());
        assert_eq!((dx[0], &dx[2..]), (12.0, &[1.0, 0.0, -0.25][..]));
        assert_eq!(values(1), [0.0, 0.0, 0.0, 0.0, 0.5 * 2f32.ln()]);
    }

    #[test]
    fn integers_wrap_and_have_no_negative_powers() {
        assert_eq!(pow([3i8], [7i8]).unwrap().to_vec::<i8>().unwrap(), [-117]);
        let error = pow([2, 1], [0, -1]).unwrap_err();
        assert!(error.is_invalid_argument());
        assert_eq!(
            error.to_string(),
            "math.pow: integers have no negative powers, an exponent is -1"
        );
        let empty = zeros([0], DType::Int32).unwrap();
        assert_eq!(pow(empty, -1).unwrap().shape().dims(), [0]);
        assert!(pow([2u8], [1u8]).unwrap_err().is_dtype());
    }

    #[test]
    fn special_values() {
        let y = pow([-2.0f32, 0.0, 0.0, f32::NAN, 1.0], [0.5f32, 0.0, -1.0, 0.0, f32::NAN]);
        let y = y.unwrap().to_vec::<f32>().unwrap();
        assert!(y[0].is_nan());
        assert_eq!(y[1..], [1.0, f32::INFINITY, 1.0, 1.0]);
        let half = pow(half::f16::from_f32(3.0), half::f16::from_f32(2.5)).unwrap();
        assert_eq!(half.to_scalar::<half::f16>().unwrap().to_f32(), 15.585_937_5);
    }
}
