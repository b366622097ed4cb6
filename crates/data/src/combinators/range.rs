//! Numbers at equal distances.

use tapeflow_core::{Error, Result, Tensor};

use crate::cardinality::Cardinality;
use crate::dataset::{Dataset, Elements, Pass, Source};

impl Dataset<Tensor> {
    /// The numbers `start`, `start + step`, ... before `stop`, as scalars of `int64`:
    /// `Dataset.range`. A `step` of 0 is an error of the first element.
    ///
    /// ```
    /// use tapeflow_data::{Cardinality, Dataset};
    ///
    /// let odd = Dataset::range(1, 6, 2);
    /// assert_eq!(odd.cardinality(), Cardinality::Finite(3));
    /// let last = odd.iter().last().expect("there are three")?;
    /// assert_eq!(last.to_scalar::<i64>()?, 5);
    /// # Ok::<(), tapeflow_core::Error>(())
    /// ```
    pub fn range(start: i64, stop: i64, step: i64) -> Dataset<Tensor> {
        Dataset::new(Range { start, stop, step })
    }
}

struct Range {
    start: i64,
    stop: i64,
    step: i64,
}

impl Range {
    /// How many numbers there are, for a step that is not 0.
    fn length(&self) -> u64 {
        let (start, stop, step) =
            (i128::from(self.start), i128::from(self.stop), i128::from(self.step));
        let (distance, step) = if step > 0 { (stop - start, step) } else { (start - stop, -step) };
        // Fewer than 2^64: the distance of two values of i64 over at least 1.
        (distance.max(0) as u128).div_ceil(step as u128) as u64
    }
}

impl Source<Tensor> for Range {
    fn elements(&self, _pass: Pass) -> Result<Box<dyn Elements<Tensor>>> {
        if self.step == 0 {
            return Err(Error::invalid_argument("data.range: the step is 0"));
        }
        Ok(Box::new(RangeElements {
            start: self.start,
            step: self.step,
            position: 0,
            length: self.length(),
        }))
    }

    fn cardinality(&self) -> Cardinality {
        if self.step == 0 { Cardinality::Unknown } else { Cardinality::Finite(self.length()) }
    }
}

struct RangeElements {
    start: i64,
    step: i64,
    position: u64,
    length: u64,
}

impl Elements<Tensor> for RangeElements {
    fn next(&mut self) -> Result<Option<Tensor>> {
        if self.position == self.length {
            return Ok(None);
        }
        // Numbers before `stop` are values of i64, and so is the sum modulo 2^64.
        let offset = self.step.wrapping_mul(self.position as i64);
        self.position += 1;
        Ok(Some(Tensor::from(self.start.wrapping_add(offset))))
    }

    fn skip(&mut self, count: u64) -> Result<u64> {
        let skipped = count.min(self.length - self.position);
        self.position += skipped;
        Ok(skipped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_skips, numbers};

    #[test]
    fn steps_go_both_ways() {
        assert_eq!(numbers(&Dataset::range(0, 5, 2)), [0, 2, 4]);
        assert_eq!(numbers(&Dataset::range(5, 0, -2)), [5, 3, 1]);
        assert_eq!(numbers(&Dataset::range(5, 0, 1)), [0; 0]);
        let ends = Dataset::range(i64::MIN, i64::MAX, i64::MAX);
        assert_eq!(numbers(&ends), [i64::MIN, -1, i64::MAX - 1]);
        assert_eq!(Dataset::range(i64::MIN, i64::MAX, 1).cardinality().finite(), Some(u64::MAX));
        assert_skips(&Dataset::range(3, 30, 4));
    }

    #[test]
    fn a_step_of_zero_is_an_error() {
        let mut iter = Dataset::range(0, 5, 0).iter();
        let error = iter.next().unwrap().unwrap_err();
        assert_eq!(error.to_string(), "data.range: the step is 0");
        assert!(iter.next().is_none());
    }
}
