//! One dataset after another.

use std::sync::Arc;

use tapeflow_core::Result;

use crate::cardinality::Cardinality;
use crate::dataset::{Dataset, Elements, Pass, Source};
use crate::structure::Structure;

impl<E: Structure> Dataset<E> {
    /// The elements of this dataset, then those of `other`, `Dataset.concatenate`.
    ///
    /// ```
    /// use tapeflow_data::Dataset;
    ///
    /// let both = Dataset::range(0, 2, 1).concatenate(&Dataset::range(7, 9, 1));
    /// let third = both.iter().nth(2).expect("there are four")?;
    /// assert_eq!(third.to_scalar::<i64>()?, 7);
    /// # Ok::<(), tapeflow_core::Error>(())
    /// ```
    pub fn concatenate(&self, other: &Dataset<E>) -> Dataset<E> {
        Dataset::new(Concatenate { first: self.source(), second: other.source() })
    }
}

struct Concatenate<E> {
    first: Arc<dyn Source<E>>,
    second: Arc<dyn Source<E>>,
}

impl<E: Structure> Source<E> for Concatenate<E> {
    fn elements(&self, pass: Pass) -> Result<Box<dyn Elements<E>>> {
        Ok(Box::new(ConcatenateElements {
            first: Some(self.first.elements(pass)?),
            second: self.second.elements(pass)?,
        }))
    }

    fn cardinality(&self) -> Cardinality {
        match (self.first.cardinality(), self.second.cardinality()) {
            (Cardinality::Infinite, _) | (_, Cardinality::Infinite) => Cardinality::Infinite,
            (Cardinality::Unknown, _) | (_, Cardinality::Unknown) => Cardinality::Unknown,
            (Cardinality::Finite(first), Cardinality::Finite(second)) => {
                Cardinality::Finite(first.saturating_add(second))
            }
        }
    }
}

struct ConcatenateElements<E> {
    /// None once it has ended.
    first: Option<Box<dyn Elements<E>>>,
    second: Box<dyn Elements<E>>,
}

impl<E: Structure> Elements<E> for ConcatenateElements<E> {
    fn next(&mut self) -> Result<Option<E>> {
        if let Some(first) = &mut self.first {
            if let Some(element) = first.next()? {
                return Ok(Some(element));
            }
            self.first = None;
        }
        self.second.next()
    }

    fn skip(&mut self, count: u64) -> Result<u64> {
        let mut skipped = 0;
        if let Some(first) = &mut self.first {
            skipped = first.skip(count)?;
            if skipped == count {
                return Ok(count);
            }
            self.first = None;
        }
        Ok(skipped + self.second.skip(count - skipped)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_skips, numbers};

    #[test]
    fn the_second_follows_the_first() {
        let both = Dataset::range(0, 3, 1).concatenate(&Dataset::range(7, 9, 1));
        assert_eq!(numbers(&both), [0, 1, 2, 7, 8]);
        assert_eq!(both.cardinality(), Cardinality::Finite(5));
        assert_skips(&both);
    }
}
