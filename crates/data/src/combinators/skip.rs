//! All but the first elements.

use std::sync::Arc;

use tapeflow_core::Result;

use crate::cardinality::Cardinality;
use crate::dataset::{Dataset, Elements, Pass, Source};
use crate::structure::Structure;

impl<E: Structure> Dataset<E> {
    /// All but the first `count` elements, `Dataset.skip`.
    ///
    /// Elements that are left out are not made where that is not needed, so a training run goes on
    /// at step `n` with `skip(n)` after [`batch`](Self::batch), at next to no cost.
    ///
    /// ```
    /// use tapeflow_data::Dataset;
    ///
    /// let batches = Dataset::range(0, 100, 1).shuffle(10, 1).batch(10);
    /// let third = batches.iter().nth(2).expect("there are ten")?;
    /// let resumed = Dataset::range(0, 100, 1).shuffle(10, 1).batch(10).skip(2);
    /// let first = resumed.iter().next().expect("there are eight")?;
    /// assert_eq!(first.to_vec::<i64>()?, third.to_vec::<i64>()?);
    /// # Ok::<(), tapeflow_core::Error>(())
    /// ```
    pub fn skip(&self, count: u64) -> Dataset<E> {
        Dataset::new(Skip { upstream: self.source(), count })
    }
}

struct Skip<E> {
    upstream: Arc<dyn Source<E>>,
    count: u64,
}

impl<E: Structure> Source<E> for Skip<E> {
    fn elements(&self, pass: Pass) -> Result<Box<dyn Elements<E>>> {
        Ok(Box::new(SkipElements { upstream: self.upstream.elements(pass)?, ahead: self.count }))
    }

    fn cardinality(&self) -> Cardinality {
        self.upstream.cardinality().map(|length| length.saturating_sub(self.count))
    }
}

struct SkipElements<E> {
    upstream: Box<dyn Elements<E>>,
    /// How many elements are yet to be left out.
    ahead: u64,
}

impl<E> SkipElements<E> {
    /// Leaves out what is yet to be left out; false where the elements end before.
    fn pass_over(&mut self) -> Result<bool> {
        let ahead = std::mem::take(&mut self.ahead);
        Ok(ahead == 0 || self.upstream.skip(ahead)? == ahead)
    }
}

impl<E: Structure> Elements<E> for SkipElements<E> {
    fn next(&mut self) -> Result<Option<E>> {
        if self.pass_over()? { self.upstream.next() } else { Ok(None) }
    }

    fn skip(&mut self, count: u64) -> Result<u64> {
        if self.pass_over()? { self.upstream.skip(count) } else { Ok(0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_skips, numbers};

    #[test]
    fn the_first_are_left_out() {
        let dataset = Dataset::range(0, 5, 1);
        assert_eq!(numbers(&dataset.skip(2)), [2, 3, 4]);
        assert_eq!(numbers(&dataset.skip(9)), [0; 0]);
        assert_eq!(dataset.skip(2).cardinality(), Cardinality::Finite(3));
        assert_eq!(dataset.skip(9).cardinality(), Cardinality::Finite(0));
        assert_skips(&dataset.skip(2));
        assert_skips(&dataset.skip(9));
    }
}
