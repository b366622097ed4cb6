//! Elements with their numbers.

use std::sync::Arc;

use tapeflow_core::{Result, Tensor};

use crate::cardinality::Cardinality;
use crate::dataset::{Dataset, Elements, Pass, Source};
use crate::structure::Structure;

impl<E: Structure> Dataset<E> {
    /// Pairs of a number, counted from `start`, and an element, `Dataset.enumerate`. The number is
    /// a scalar of `int64`.
    ///
    /// ```
    /// use tapeflow_data::Dataset;
    ///
    /// let (number, x) = Dataset::range(0, 5, 1).enumerate(10).iter().nth(2).expect("there are 5")?;
    /// assert_eq!((number.to_scalar::<i64>()?, x.to_scalar::<i64>()?), (12, 2));
    /// # Ok::<(), tapeflow_core::Error>(())
    /// ```
    pub fn enumerate(&self, start: i64) -> Dataset<(Tensor, E)> {
        Dataset::new(Enumerate { upstream: self.source(), start })
    }
}

struct Enumerate<E> {
    upstream: Arc<dyn Source<E>>,
    start: i64,
}

impl<E: Structure> Source<(Tensor, E)> for Enumerate<E> {
    fn elements(&self, pass: Pass) -> Result<Box<dyn Elements<(Tensor, E)>>> {
        let upstream = self.upstream.elements(pass)?;
        Ok(Box::new(EnumerateElements { upstream, number: self.start }))
    }

    fn cardinality(&self) -> Cardinality {
        self.upstream.cardinality()
    }
}

struct EnumerateElements<E> {
    upstream: Box<dyn Elements<E>>,
    number: i64,
}

impl<E: Structure> Elements<(Tensor, E)> for EnumerateElements<E> {
    fn next(&mut self) -> Result<Option<(Tensor, E)>> {
        let Some(element) = self.upstream.next()? else { return Ok(None) };
        let number = Tensor::from(self.number);
        self.number = self.number.wrapping_add(1);
        Ok(Some((number, element)))
    }

    fn skip(&mut self, count: u64) -> Result<u64> {
        let skipped = self.upstream.skip(count)?;
        self.number = self.number.wrapping_add(skipped as i64);
        Ok(skipped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_skips, numbers};

    #[test]
    fn numbers_count_up() {
        let pairs = Dataset::range(5, 8, 1).enumerate(-1);
        assert_eq!(numbers(&pairs.map(|(number, _)| Ok(number))), [-1, 0, 1]);
        assert_eq!(numbers(&pairs.map(|(_, x)| Ok(x))), [5, 6, 7]);
        assert_skips(&pairs);
    }
}
