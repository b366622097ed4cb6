//! Dropping elements at random.

use tapeflow_kernels::vecmath;

use crate::ops::prelude::*;
use crate::random::{stateless_uniform, uniform};

/// Drops elements of a tensor at random: [`dropout`] with all its arguments.
#[derive(Debug, Clone)]
pub struct Dropout {
    /// The probability that an element is dropped.
    pub rate: f64,
    /// The shape of the random decisions, which broadcasts against that of the tensor; an extent
    /// of -1 is the tensor's. Without one, each element has its own.
    pub noise_shape: Option<Vec<i64>>,
    /// Makes the decisions a function of this and the shape alone, as those of
    /// `tf.nn.experimental.stateless_dropout`; without one they come from the global generator.
    pub seed: Option<[i64; 2]>,
}

impl Dropout {
    /// Elements dropped each by itself, by the global generator.
    pub fn new(rate: f64) -> Dropout {
        Dropout { rate, noise_shape: None, seed: None }
    }

    /// `x` with elements dropped.
    ///
    /// # Errors
    /// As for [`dropout`]; a noise shape that does not broadcast against that of `x`.
    ///
    /// ```
    /// use tapeflow_core::{DType, array, nn::Dropout};
    ///
    /// // Whole rows, kept or dropped.
    /// let x = array::ones([100, 2], DType::Float32)?;
    /// let y = Dropout { noise_shape: Some(vec![-1, 1]), ..Dropout::new(0.5) }.call(&x)?;
    /// assert!(y.to_vec::<f32>()?.chunks(2).all(|row| row == [0.0, 0.0] || row == [2.0, 2.0]));
    /// # Ok::<(), tapeflow_core::Error>(())
    /// ```
    pub fn call(self, x: impl Into<Tensor>) -> Result<Tensor> {
        let x = x.into();
        let op = ScaleKept { rate: self.rate };
        check_dtype(op.name(), "x", x.dtype(), DTypes::FLOATING)?;
        if !(0.0..1.0).contains(&self.rate) {
            return Err(Error::invalid_argument(format!(
                "{}: rate {} is outside [0, 1)",
                op.name(),
                self.rate
            )));
        }
        let shape = self.noise_shape(op.name(), x.shape())?;
        op.infer(&[*x.spec(), Spec { shape, dtype: x.dtype() }])?;
        if self.rate == 0.0 {
            return Ok(x);
        }
        let noise = match self.seed {
            Some(seed) => stateless_uniform(shape, seed, 0.0, 1.0, x.dtype())?,
            None => uniform(shape, 0.0, 1.0, x.dtype())?,
        };
        apply_owned(op, [x, noise])
    }

    fn noise_shape(&self, op: &str, x: &Shape) -> Result<Shape> {
        let Some(noise) = &self.noise_shape else { return Ok(*x) };
        let refuse =
            |why| Err(Error::shape(format!("{op}: noise_shape {noise:?} for x {x}: {why}")));
        let lead = noise.len() as isize - x.rank() as isize;
        let mut dims = Vec::with_capacity(noise.len());
        for (axis, &extent) in (0..).zip(noise) {
            match usize::try_from(extent) {
                Ok(extent) => dims.push(extent),
                Err(_) if extent == -1 && axis >= lead => dims.push(x[(axis - lead) as usize]),
                Err(_) => return refuse("an extent is negative"),
            }
        }
        Shape::new(&dims).map_err(|error| error.context(op))
    }
}

/// The op of [`dropout`], whose inputs are a tensor and random values in `[0, 1)` that broadcast:
/// the tensor times `1 / (1 - rate)` where they are at least `rate`, elsewhere zero.
#[derive(Debug, Clone, Copy)]
pub struct ScaleKept {
    /// The probability that an element is dropped.
    pub rate: f64,
}

impl Op for ScaleKept {
    fn name(&self) -> &'static str {
        "nn.dropout"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        elementwise::infer_binary(self.name(), inputs, DTypes::FLOATING)
    }

    fn run(&self, inputs: &[Array<'_>], outputs: &mut [ArrayMut<'_>]) -> Result<()> {
        dispatch!(float, inputs[0].dtype(), T => {
            let (rate, scale) = (T::from_f64(self.rate), T::from_f64(1.0 / (1.0 - self.rate)));
            elementwise::run_binary(inputs, outputs, move |x: T, noise: T| {
                vecmath::scale_kept(x, noise, rate, scale)
            })
        })
    }

    fn gradient(&self) -> Gradient {
        // Linear in the tensor; constant in the random values almost everywhere.
        let op = *self;
        Gradient::rule(Saves::input(1), move |call, input| match input {
            0 => apply(op, &[call.upstream(), call.input(1)]).map(Some),
            _ => Ok(None),
        })
    }

    fn elementwise(&self) -> Option<Function> {
        let scale = 1.0 / (1.0 - self.rate);
        Some(Function::ScaleKept { rate: self.rate as f32, scale: scale as f32 })
    }
}

/// `x` with each element dropped (set to zero) with probability `rate`, the others times
/// `1 / (1 - rate)`, so that the expected sum stays. `tf.nn.dropout`.
///
/// With a seed the choice is a function of it, as in `tf.nn.experimental.stateless_dropout`; with
/// `None` it comes from the global generator, which [`set_seed`](crate::random::set_seed) seeds. A
/// rate of 0 gives `x` itself. [`Dropout`] takes a shape of the noise.
///
/// # Errors
/// `x` is not floating; a rate outside `[0, 1)`.
///
/// ```
/// use tapeflow_core::nn;
///
/// let y = nn::dropout([1.0f32, 2.0, 3.0, 4.0], 0.5, [1, 2])?;
/// assert_eq!(y.to_vec::<f32>()?[..2], [2.0, 0.0]);
/// assert_eq!(
///     nn::dropout([1.0f32], 1.0, None).unwrap_err().to_string(),
///     "nn.dropout: rate 1 is outside [0, 1)",
/// );
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
pub fn dropout(
    x: impl Into<Tensor>,
    rate: f64,
    seed: impl Into<Option<[i64; 2]>>,
) -> Result<Tensor> {
    Dropout { seed: seed.into(), ..Dropout::new(rate) }.call(x)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::array::{cast, ones};
    use crate::ops::math::square;
    use crate::test::check_gradients;

    #[test]
    fn gradients_are_those_of_finite_differences() {
        let x = Tensor::from([[0.5f64, -1.0, 2.0], [0.1, 0.3, -0.4]]);
        check_gradients(|x| square(dropout(&x[0], 0.4, [3, 4])?), std::slice::from_ref(&x));
        let rows = Dropout { noise_shape: Some(vec![2, 1]), seed: Some([1, 2]), rate: 0.4 };
        check_gradients(|x| square(rows.clone().call(&x[0])?), &[x]);
    }

    #[test]
    fn the_expected_sum_stays() {
        for dtype in [DType::Float16, DType::BFloat16, DType::Float32, DType::Float64] {
            let y = dropout(ones([100, 100], dtype).unwrap(), 0.75, [5, 6]).unwrap();
            let y = cast(y, DType::Float64).unwrap().to_vec::<f64>().unwrap();
            assert!(y.iter().all(|&y| y == 0.0 || y == 4.0), "{dtype}");
            let mean = y.iter().sum::<f64>() / 1e4;
            assert!((mean - 1.0).abs() < 0.1, "{dtype}: {mean}");
        }
    }

    #[test]
    fn a_dropped_nan_is_zero() {
        let y = dropout([f32::NAN; 2], 0.5, [1, 2]).unwrap().to_vec::<f32>().unwrap();
        assert!(y[0].is_nan() && y[1] == 0.0);
    }

    #[test]
    fn no_rate_is_no_change() {
        let x = Tensor::from([1.0f32, 2.0]);
        let y = dropout(&x, 0.0, None).unwrap();
        assert_eq!(x.as_bytes().as_ptr(), y.as_bytes().as_ptr());
    }

    #[test]
    fn refusals() {
        for rate in [1.0, -0.1, 1.5, f64::NAN] {
            assert!(dropout([1.0f32], rate, None).unwrap_err().is_invalid_argument());
        }
        assert!(dropout([1], 0.0, None).unwrap_err().is_dtype());
        let of_noise = |noise: &[i64]| {
            let x = ones([4, 3], DType::Float32).unwrap();
            Dropout { noise_shape: Some(noise.to_vec()), ..Dropout::new(0.5) }.call(x)
        };
        assert_eq!(of_noise(&[3]).unwrap().shape().dims(), [4, 3]);
        assert_eq!(
            of_noise(&[4, 2]).unwrap_err().to_string(),
            "nn.dropout: shapes [4, 3] and [4, 2] do not broadcast"
        );
        assert_eq!(
            of_noise(&[-1, 4, 3]).unwrap_err().to_string(),
            "nn.dropout: noise_shape [-1, 4, 3] for x [4, 3]: an extent is negative"
        );
    }
}
