//! The first elements.

use std::sync::Arc;

use tapeflow_core::Result;

use crate::cardinality::Cardinality;
use crate::dataset::{Dataset, Elements, Pass, Source};
use crate::structure::Structure;

impl<E: Structure> Dataset<E> {
    /// The first `count` elements, or all where there are fewer, `Dataset.take`.
    ///
    /// ```
    /// use tapeflow_data::Dataset;
    ///
    /// assert_eq!(Dataset::range(0, 5, 1).take(3).iter().count(), 3);
    /// ```
    pub fn take(&self, count: u64) -> Dataset<E> {
        Dataset::new(Take { upstream: self.source(), count })
    }
}

struct Take<E> {
    upstream: Arc<dyn Source<E>>,
    count: u64,
}

impl<E: Structure> Source<E> for Take<E> {
    fn elements(&self, pass: Pass) -> Result<Box<dyn Elements<E>>> {
        Ok(Box::new(TakeElements { upstream: self.upstream.elements(pass)?, left: self.count }))
    }

    fn cardinality(&self) -> Cardinality {
        match self.upstream.cardinality() {
            Cardinality::Finite(length) => Cardinality::Finite(length.min(self.count)),
            Cardinality::Infinite => Cardinality::Finite(self.count),
            Cardinality::Unknown if self.count == 0 => Cardinality::Finite(0),
            Cardinality::Unknown => Cardinality::Unknown,
        }
    }
}

struct TakeElements<E> {
    upstream: Box<dyn Elements<E>>,
    left: u64,
}

impl<E: Structure> Elements<E> for TakeElements<E> {
    fn next(&mut self) -> Result<Option<E>> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        self.upstream.next()
    }

    fn skip(&mut self, count: u64) -> Result<u64> {
        let skipped = self.upstream.skip(count.min(self.left))?;
        self.left -= skipped;
        Ok(skipped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_skips, numbers};

    #[test]
    fn at_most_so_many() {
        let dataset = Dataset::range(0, 5, 1);
        assert_eq!(numbers(&dataset.take(2)), [0, 1]);
        assert_eq!(numbers(&dataset.take(9)), [0, 1, 2, 3, 4]);
        assert_eq!(dataset.take(9).cardinality(), Cardinality::Finite(5));
        assert_eq!(dataset.repeat_forever().take(9).cardinality(), Cardinality::Finite(9));
        assert_skips(&dataset.take(3));
        assert_skips(&dataset.take(9));
    }
}
