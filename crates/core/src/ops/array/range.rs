//! Evenly spaced numbers.

use crate::graph::trace;
use crate::ops::array::cast;
use crate::ops::prelude::*;

/// The dtypes a range can have, in the order in which one yields to the next.
const PRECEDENCE: [DType; 6] =
    [DType::Int32, DType::Int64, DType::Float16, DType::BFloat16, DType::Float32, DType::Float64];

/// `start`, `start + delta`, ... up to and without `limit`. `tf.range`.
///
/// The three are scalars; the result has the dtype that comes last in the order `int32`, `int64`,
/// `float16`, `bfloat16`, `float32`, `float64`.
///
/// # Errors
/// A `delta` of 0, or one that leads away from `limit`; another dtype; no scalar; a bound that is
/// not finite, or more numbers than fit into memory.
///
/// ```
/// use tapeflow_core::array;
///
/// assert_eq!(array::range(3, 18, 3)?.to_vec::<i32>()?, [3, 6, 9, 12, 15]);
/// assert_eq!(array::range(3.0f32, 1.0f32, -0.5f32)?.to_vec::<f32>()?, [3.0, 2.5, 2.0, 1.5]);
/// assert!(array::range(5, 3, 1).unwrap_err().is_invalid_argument());
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
pub fn range(
    start: impl Into<Tensor>,
    limit: impl Into<Tensor>,
    delta: impl Into<Tensor>,
) -> Result<Tensor> {
    let arguments = [("start", start.into()), ("limit", limit.into()), ("delta", delta.into())];
    // The shape follows from the values, so they must be there, also while a function is traced.
    trace::suspended(|| values(arguments))
}

fn values(arguments: [(&str, Tensor); 3]) -> Result<Tensor> {
    let mut rank = 0;
    for (name, value) in &arguments {
        if value.shape().num_elements() != 1 || value.shape().rank() > 1 {
            let shape = value.shape();
            return Err(Error::shape(format!("range: {name} must be a scalar, has shape {shape}")));
        }
        check_dtype("range", name, value.dtype(), DTypes::of(&PRECEDENCE))?;
        rank = rank.max(PRECEDENCE.iter().position(|&d| d == value.dtype()).unwrap_or(0));
    }
    let dtype = PRECEDENCE[rank];
    let [start, limit, delta] = arguments.map(|(_, value)| cast(value, dtype));
    let (start, limit, delta) = (start?, limit?, delta?);
    if dtype.is_integer() {
        let value = |x: &Tensor| cast(x, DType::Int64)?.to_vec::<i64>();
        let (first, limit, delta) = (value(&start)?[0], value(&limit)?[0], value(&delta)?[0]);
        let size = integer_size(first, limit, delta)?;
        let values: Vec<i64> = collect(size, |i| first.wrapping_add(delta.wrapping_mul(i as i64)))?;
        return cast(Tensor::from_slice(&values, [size])?, dtype);
    }
    dispatch!(float, dtype, T => {
        let value = |x: &Tensor| Ok(x.array()?.data::<T>()[0]);
        let (first, limit, delta) = (value(&start)?, value(&limit)?, value(&delta)?);
        let size = float_size(first, limit, delta)?;
        let at = |i: usize| first.add(delta.mul(Number::from_f64(i as f64)));
        Tensor::from_slice(&collect(size, at)?, [size])
    })
}

/// Refuses a step that never reaches `limit`; NaN reaches nothing.
fn check_direction<T: PartialOrd + std::fmt::Debug>(
    start: T,
    limit: T,
    delta: T,
    zero: T,
) -> Result<()> {
    let reaches = if delta > zero { start <= limit } else { delta < zero && start >= limit };
    if reaches {
        return Ok(());
    }
    Err(Error::invalid_argument(format!(
        "range: steps of {delta:?} do not lead from {start:?} to {limit:?}"
    )))
}

fn integer_size(start: i64, limit: i64, delta: i64) -> Result<usize> {
    check_direction(start, limit, delta, 0)?;
    let size = limit.abs_diff(start).div_ceil(delta.unsigned_abs());
    Ok(usize::try_from(size).unwrap_or(usize::MAX))
}

fn float_size<T: Float>(start: T, limit: T, delta: T) -> Result<usize> {
    check_direction(start, limit, delta, T::ZERO)?;
    let size = Float::ceil(Number::abs(limit.sub(start).div(delta))).to_f64();
    if !start.is_finite() || !size.is_finite() {
        return Err(Error::invalid_argument(format!(
            "range: there is no end of steps of {delta:?} from {start:?} to {limit:?}"
        )));
    }
    Ok(size as usize)
}

fn collect<T>(size: usize, at: impl Fn(usize) -> T) -> Result<Vec<T>> {
    let mut values = Vec::new();
    values
        .try_reserve_exact(size)
        .map_err(|_| Error::resource_exhausted(format!("range: no memory for {size} numbers")))?;
    values.extend((0..size).map(at));
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::f16;

    #[test]
    fn floats_are_computed_in_their_own_type() {
        let x = range(0.0f32, 1.0f32, 0.3f32).unwrap();
        assert_eq!(x.to_vec::<f32>().unwrap(), [0.0, 0.3, 0.6, 0.900_000_04]);
        let x = range(f16::ZERO, f16::ONE, f16::from_f32(0.1)).unwrap();
        let x: Vec<f32> = x.to_vec::<f16>().unwrap().iter().map(|x| x.to_f32()).collect();
        assert_eq!(x.len(), 10);
        assert_eq!(x[1..4], [0.099_975_586, 0.199_951_17, 0.299_804_7]);
        assert_eq!(
            range(1, 5.5f32, 1).unwrap().to_vec::<f32>().unwrap(),
            [1.0, 2.0, 3.0, 4.0, 5.0]
        );
        assert_eq!(range(1, 5i64, 1).unwrap().dtype(), DType::Int64);
    }

    #[test]
    fn nothing_lies_between_equal_bounds() {
        assert_eq!(range(3, 3, 1).unwrap().shape().dims(), [0]);
        assert_eq!(range(3.0f64, 3.0f64, -1.0f64).unwrap().shape().dims(), [0]);
    }

    #[test]
    fn what_is_refused() {
        let error = range(5, 3, 1).unwrap_err();
        assert_eq!(error.to_string(), "range: steps of 1 do not lead from 5 to 3");
        for (start, limit, delta) in [(3, 5, -1), (3, 5, 0), (0, -2, 1)] {
            assert!(range(start, limit, delta).unwrap_err().is_invalid_argument());
        }
        assert!(range(0.0f32, f32::NAN, 1.0f32).unwrap_err().is_invalid_argument());
        assert!(range(0.0f32, f32::INFINITY, 1.0f32).unwrap_err().is_invalid_argument());
        assert!(range(0i8, 5i8, 1i8).unwrap_err().is_dtype());
        assert!(range([0, 1], 5, 1).unwrap_err().is_shape());
        assert!(range(i64::MIN, i64::MAX, 1i64).unwrap_err().is_resource_exhausted());
    }
}
