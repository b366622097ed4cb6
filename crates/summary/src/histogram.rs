//! Distributions: `tf.summary.histogram`.

use tapeflow_core::{DType, Result, Tensor, array};

use crate::tensor::Data;

pub(crate) const PLUGIN: &str = "histograms";
/// The number of buckets where the caller names none.
pub(crate) const BUCKETS: usize = 30;

/// The buckets, `[buckets, 3]`: left edge, right edge, how many values.
pub(crate) fn data(values: &Tensor, buckets: usize) -> Result<Data> {
    let rows = match values.dtype() {
        // Without a copy: these are the weights of networks.
        DType::Float32 => {
            rows(values.as_slice::<f32>()?.iter().map(|&value| f64::from(value)), buckets)
        }
        DType::Float64 => rows(values.as_slice::<f64>()?.iter().copied(), buckets),
        _ => {
            let values = array::cast(values, DType::Float64)?;
            rows(values.as_slice::<f64>()?.iter().copied(), buckets)
        }
    };
    Ok(Data::Tensor(Tensor::from_slice(rows.as_flattened(), [buckets, 3])?))
}

/// The same numbers in the same order of computing as TensorFlow's, so with the same rounding.
fn rows(values: impl ExactSizeIterator<Item = f64> + Clone, buckets: usize) -> Vec<[f64; 3]> {
    let count = values.len();
    if count == 0 || buckets == 0 {
        return vec![[0.0; 3]; buckets];
    }
    let (min, max) = extremes(values.clone());
    if min == max {
        let mut rows = vec![[min, max, 0.0]; buckets];
        rows[buckets - 1][2] = count as f64;
        return rows;
    }
    let width = (max - min) / buckets as f64;
    let mut counts = vec![0u64; buckets];
    for value in values {
        let place = ((value - min) / width).floor();
        // Infinities make edges that no value is between.
        if !place.is_nan() {
            counts[(place as usize).min(buckets - 1)] += 1;
        }
    }
    let edge = |i: usize| match i {
        0 => min,
        i if i == buckets => max,
        i => min + width * i as f64,
    };
    let row = |(i, count): (usize, u64)| [edge(i), edge(i + 1), count as f64];
    counts.into_iter().enumerate().map(row).collect()
}

/// The least and the largest value, both NaN where one is.
fn extremes(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (mut min, mut max, mut nan) = (f64::INFINITY, f64::NEG_INFINITY, false);
    for value in values {
        min = if value < min { value } else { min };
        max = if value > max { value } else { max };
        nan |= value.is_nan();
    }
    if nan { (f64::NAN, f64::NAN) } else { (min, max) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(values: &[f64], buckets: usize) -> Vec<[f64; 3]> {
        rows(values.iter().copied(), buckets)
    }

    // The tables are what tf.summary.histogram of TensorFlow 2.21 writes.

    #[test]
    fn buckets_have_equal_widths_and_the_last_one_its_right_edge() {
        assert_eq!(histogram(&[1.0, 2.0, 3.0, 4.0], 2), [[1.0, 2.5, 2.0], [2.5, 4.0, 2.0]]);
        let thirds = histogram(&[0.0, 0.1, 0.7, 1.0, 1.0], 3);
        assert_eq!(thirds.iter().map(|row| row[2]).collect::<Vec<_>>(), [2.0, 0.0, 3.0]);
        assert_eq!(thirds[2][1], 1.0);
    }

    #[test]
    fn nothing_one_value_and_no_buckets() {
        assert_eq!(histogram(&[], 2), [[0.0; 3]; 2]);
        assert_eq!(histogram(&[1.0; 5], 2), [[1.0, 1.0, 0.0], [1.0, 1.0, 5.0]]);
        assert!(histogram(&[1.0, 2.0], 0).is_empty());
    }

    #[test]
    fn what_is_not_finite() {
        let infinite = histogram(&[1.0, f64::INFINITY, 2.0], 2);
        assert_eq!(infinite, [[1.0, f64::INFINITY, 2.0], [f64::INFINITY, f64::INFINITY, 0.0]]);
        for [left, right, count] in histogram(&[1.0, f64::NAN, 2.0], 2) {
            assert!(left.is_nan() && right.is_nan() && count == 0.0);
        }
    }

    #[test]
    fn every_dtype_is_counted() {
        for dtype in DType::ALL {
            let values = array::cast(Tensor::from([[0u8, 1], [1, 1]]), dtype).unwrap();
            let Data::Tensor(rows) = data(&values, 2).unwrap() else { panic!("strings") };
            assert_eq!(rows.to_vec::<f64>().unwrap(), [0.0, 0.5, 1.0, 0.5, 1.0, 3.0], "{dtype}");
        }
    }
}
