//! Uniform values of a seed.

use half::{bf16, f16};
use tapeflow_kernels::philox as kernel;

use super::{Limit, start};
use crate::ops::prelude::*;

const DTYPES: DTypes =
    DTypes::FLOATING.or(DTypes::of(&[DType::Int32, DType::Int64, DType::UInt32, DType::UInt64]));

/// The op of [`stateless_uniform`], whose input is where the stream begins, a `uint64 [3]`: the
/// counter's low and high half and the key.
#[derive(Debug, Clone, Copy)]
pub struct StatelessUniform {
    /// The wanted shape.
    pub shape: Shape,
    /// The lowest value.
    pub minval: Limit,
    /// What the values stay below.
    pub maxval: Limit,
    /// The wanted dtype.
    pub dtype: DType,
}

impl StatelessUniform {
    fn fill_floats<T: kernel::RandomFloat>(
        &self,
        stream: kernel::Philox,
        output: &mut ArrayMut<'_>,
    ) -> Result<()> {
        let (minval, maxval) = self.float_limits()?;
        kernel::uniform(stream, output.data::<T>(), minval, maxval);
        Ok(())
    }

    fn fill_integers<T: kernel::RandomInteger>(
        &self,
        stream: kernel::Philox,
        output: &mut ArrayMut<'_>,
        from_i64: impl Fn(i64) -> T,
    ) -> Result<()> {
        match self.integer_limits()? {
            None => kernel::integers(stream, output.data::<T>()),
            Some((minval, maxval)) => {
                let (minval, maxval) = (from_i64(minval), from_i64(maxval));
                kernel::integers_in(stream, output.data(), minval, maxval);
            }
        }
        Ok(())
    }

    fn float_limits<T: Number>(&self) -> Result<(T, T)> {
        let minval = self.minval.to_float(self.name(), "minval")?;
        match self.maxval {
            Limit::None => Ok((minval, T::ONE)),
            maxval => Ok((minval, maxval.to_float(self.name(), "maxval")?)),
        }
    }

    /// None for the full range.
    fn integer_limits(&self) -> Result<Option<(i64, i64)>> {
        let (op, dtype) = (self.name(), self.dtype);
        match (self.minval, self.maxval) {
            (Limit::None, Limit::None) => return Ok(None),
            (Limit::None, _) | (_, Limit::None) => {
                return Err(Error::invalid_argument(format!(
                    "{op}: for {dtype} minval and maxval must be both None or both given, they \
                     are {} and {}",
                    self.minval, self.maxval
                )));
            }
            _ => {}
        }
        if DTypes::UNSIGNED.contains(dtype) {
            return Err(Error::dtype(format!(
                "{op}: {dtype} has only its full range, minval and maxval must be None"
            )));
        }
        let minval = self.minval.to_integer(op, "minval", dtype)?;
        let maxval = self.maxval.to_integer(op, "maxval", dtype)?;
        if minval >= maxval {
            return Err(Error::invalid_argument(format!(
                "{op}: minval must be below maxval, they are {minval} and {maxval}"
            )));
        }
        Ok(Some((minval, maxval)))
    }
}

impl Op for StatelessUniform {
    fn name(&self) -> &'static str {
        "random.stateless_uniform"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        start::check(self.name(), &inputs[0])?;
        check_dtype(self.name(), "dtype", self.dtype, DTYPES)?;
        if self.dtype.is_floating() {
            self.float_limits::<f64>()?;
        } else {
            self.integer_limits()?;
        }
        Ok(vec![Spec::new(self.dtype, self.shape)])
    }

    fn run(&self, inputs: &[Array<'_>], outputs: &mut [ArrayMut<'_>]) -> Result<()> {
        let (stream, output) = (start::stream(&inputs[0]), &mut outputs[0]);
        match self.dtype {
            DType::Float16 => self.fill_floats::<f16>(stream, output),
            DType::BFloat16 => self.fill_floats::<bf16>(stream, output),
            DType::Float32 => self.fill_floats::<f32>(stream, output),
            DType::Float64 => self.fill_floats::<f64>(stream, output),
            DType::Int32 => self.fill_integers(stream, output, |limit| limit as i32),
            DType::Int64 => self.fill_integers(stream, output, |limit| limit),
            DType::UInt32 => self.fill_integers(stream, output, |limit| limit as u32),
            DType::UInt64 => self.fill_integers(stream, output, |limit| limit as u64),
            other => Err(Error::unsupported(format!("{}: no kernel for {other}", self.name()))),
        }
    }

    fn gradient(&self) -> Gradient {
        Gradient::NotDifferentiable
    }
}

/// Values spread evenly over `[minval, maxval)`, a function of the arguments alone: the same bits
/// as `tf.random.stateless_uniform` on a CPU.
///
/// Dtypes: floats, `int32`, `int64`, `uint32`, `uint64`. For floats `maxval` may be `None`, which
/// is 1. For integers both bounds may be `None`: then every bit is random, which is the only
/// choice for the unsigned ones. A range that does not divide the integers there are is slightly
/// uneven, as in TensorFlow.
///
/// # Errors
/// Another dtype; bounds that are missing, empty or not of the dtype.
///
/// ```
/// use tapeflow_core::{DType, random};
///
/// let x = random::stateless_uniform([2, 3], [1, 2], 0.0, 1.0, DType::Float32)?;
/// assert_eq!(x.to_vec::<f32>()?[..2], [0.844_060_4, 0.192_045_33]);
/// let dice = random::stateless_uniform([5], [1, 2], 1, 7, DType::Int32)?;
/// assert!(dice.to_vec::<i32>()?.iter().all(|eyes| (1..=6).contains(eyes)));
/// let bits = random::stateless_uniform([5], [1, 2], None, None, DType::UInt64)?;
/// assert_eq!(bits.shape().dims(), [5]);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
pub fn stateless_uniform(
    shape: impl Into<Shape>,
    seed: [i64; 2],
    minval: impl Into<Limit>,
    maxval: impl Into<Limit>,
    dtype: DType,
) -> Result<Tensor> {
    let (minval, maxval) = (minval.into(), maxval.into());
    let op = StatelessUniform { shape: shape.into(), minval, maxval, dtype };
    apply(op, &[&start::tensor(start::of_seed(seed))])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::Element;

    fn draw<T: Element>(
        len: usize,
        seed: [i64; 2],
        minval: impl Into<Limit>,
        maxval: impl Into<Limit>,
    ) -> Vec<T> {
        stateless_uniform([len], seed, minval, maxval, T::DTYPE).unwrap().to_vec().unwrap()
    }

    // The numbers are those of TensorFlow 2.21:
    //     tf.random.stateless_uniform([5], [1, 2], dtype=...)
    //     tf.random.stateless_uniform([5], [-9, 2**40 + 3], -3, 7.3, dtype=...)
    const SEED: [i64; 2] = [-9, (1 << 40) + 3];

    #[test]
    fn float32_is_tensorflows() {
        let bits = |x: Vec<f32>| -> Vec<u32> { x.into_iter().map(f32::to_bits).collect() };
        let expected = [0x3f581458, 0x3e44a788, 0x3f7f087c, 0x3e243c98, 0x3e8b424c];
        assert_eq!(bits(draw(5, [1, 2], 0.0, None)), expected);
        let expected = [0x40dbc062, 0xbfaf840e, 0x40d7b5c6, 0x403cf454, 0x3f83ce9c];
        assert_eq!(bits(draw(5, SEED, -3, 7.3)), expected);
    }

    #[test]
    fn float64_is_tensorflows() {
        let bits = |x: Vec<f64>| -> Vec<u64> { x.into_iter().map(f64::to_bits).collect() };
        let expected = [
            0x3fe81458cf3129e2,
            0x3fef087c2c290f26,
            0x3fc6849f8a98ee28,
            0x3feb60b64610ae7c,
            0x3fe07956bf15b35e,
        ];
        assert_eq!(bits(draw(5, [1, 2], 0.0, None)), expected);
        let expected = [
            0x400eb3f98c883dfa,
            0x40069ec254835aba,
            0xbffa97c1d5a09860,
            0x4005fadcba3a58d8,
            0x401cf220cbbed51a,
        ];
        assert_eq!(bits(draw(5, SEED, -3, 7.3)), expected);
    }

    #[test]
    fn sixteen_bits_are_tensorflows() {
        let bits = |x: Vec<f16>| -> Vec<u16> { x.into_iter().map(f16::to_bits).collect() };
        let expected = [0x3858, 0x3388, 0x2bc0, 0x3b26, 0x3098];
        assert_eq!(bits(draw(5, [1, 2], 0.0, None)), expected);
        let expected = [0x4546, 0x3df0, 0x395c, 0xbc28, 0xc1b3];
        assert_eq!(bits(draw(5, SEED, -3, 7.3)), expected);
        let bits = |x: Vec<bf16>| -> Vec<u16> { x.into_iter().map(bf16::to_bits).collect() };
        let expected = [0x3eb0, 0x3f62, 0x3ef8, 0x3e18, 0x3e18];
        assert_eq!(bits(draw(5, [1, 2], 0.0, None)), expected);
        let expected = [0x3fb8, 0x4000, 0x40ba, 0x401a, 0xbfe5];
        assert_eq!(bits(draw(5, SEED, -3, 7.3)), expected);
    }

    #[test]
    fn integers_are_tensorflows() {
        // tf.random.stateless_uniform([5], [1, 2], -5, 1000, dtype=...)
        assert_eq!(draw::<i32>(5, [1, 2], -5, 1000), [710, 819, 829, 169, 137]);
        assert_eq!(draw::<i64>(5, [1, 2], -5, 1000), [499, 943, 87, 673, 238]);
        // tf.random.stateless_uniform([3], [1, 2], -2**63, 2**63 - 1, dtype='int64')
        assert_eq!(
            draw::<i64>(3, [1, 2], i64::MIN, i64::MAX),
            [-1758491890574161364, -7632326399096814530, 8165903281309274259]
        );
        // tf.random.stateless_uniform([5], [1, 2], None, None, dtype=...)
        let full = [1105988140, 1738052849, 3959391294, 370444179, 10670227];
        assert_eq!(draw::<u32>(5, [1, 2], None, None), full);
        assert_eq!(draw::<i32>(5, [1, 2], None, None), full.map(|bits| bits as i32));
        let full = [7464880146280614444, 1591045637757961278, 17389275318164050067];
        assert_eq!(draw::<u64>(3, [1, 2], None, None), full);
        assert_eq!(draw::<i64>(3, [1, 2], None, None), full.map(|bits| bits as i64));
    }

    #[test]
    fn refusals_are_tensorflows() {
        let draw = |minval: Limit, maxval: Limit, dtype| {
            stateless_uniform([2], [1, 2], minval, maxval, dtype).unwrap_err()
        };
        let (none, one, half) = (Limit::None, Limit::Integer(1), Limit::Float(0.5));
        assert!(draw(one, one, DType::Int32).is_invalid_argument());
        assert!(draw(none, one, DType::Int64).is_invalid_argument());
        assert!(draw(none, one, DType::Float32).is_invalid_argument());
        assert!(draw(Limit::Integer(0), one, DType::UInt32).is_dtype());
        assert!(draw(half, one, DType::Int32).is_dtype());
        assert!(draw(one, Limit::Integer(1 << 31), DType::Int32).is_dtype());
        assert!(draw(one, one, DType::Int8).is_dtype());
        assert!(draw(one, one, DType::Bool).is_dtype());
    }

    #[test]
    fn the_number_of_threads_changes_nothing() {
        let draw = || draw::<f32>(100_003, [7, 8], -1.0, 1.0);
        tapeflow_kernels::parallel::set_threads(1);
        let one = draw();
        tapeflow_kernels::parallel::set_threads(2);
        let two = draw();
        tapeflow_kernels::parallel::set_threads(0);
        assert_eq!(one, two);
    }
}
