//! The elements of two datasets in pairs.

use std::sync::Arc;

use tapeflow_core::Result;

use crate::cardinality::Cardinality;
use crate::dataset::{Dataset, Elements, Pass, Source};
use crate::structure::Structure;

impl<E: Structure> Dataset<E> {
    /// Pairs of an element of each, up to the end of the shorter one: `tf.data.Dataset.zip`.
    ///
    /// ```
    /// use tapeflow_data::Dataset;
    ///
    /// let pairs = Dataset::range(0, 5, 1).zip(&Dataset::range(10, 13, 1));
    /// let (x, y) = pairs.iter().last().expect("there are three")?;
    /// assert_eq!((x.to_scalar::<i64>()?, y.to_scalar::<i64>()?), (2, 12));
    /// # Ok::<(), tapeflow_core::Error>(())
    /// ```
    pub fn zip<T: Structure>(&self, other: &Dataset<T>) -> Dataset<(E, T)> {
        Dataset::new(Zip { left: self.source(), right: other.source() })
    }
}

struct Zip<A, B> {
    left: Arc<dyn Source<A>>,
    right: Arc<dyn Source<B>>,
}

impl<A: Structure, B: Structure> Source<(A, B)> for Zip<A, B> {
    fn elements(&self, pass: Pass) -> Result<Box<dyn Elements<(A, B)>>> {
        let (left, right) = (self.left.elements(pass)?, self.right.elements(pass)?);
        Ok(Box::new(ZipElements { left, right }))
    }

    fn cardinality(&self) -> Cardinality {
        match (self.left.cardinality(), self.right.cardinality()) {
            (Cardinality::Finite(left), Cardinality::Finite(right)) => {
                Cardinality::Finite(left.min(right))
            }
            (Cardinality::Unknown, _) | (_, Cardinality::Unknown) => Cardinality::Unknown,
            (Cardinality::Infinite, other) | (other, Cardinality::Infinite) => other,
        }
    }
}

struct ZipElements<A, B> {
    left: Box<dyn Elements<A>>,
    right: Box<dyn Elements<B>>,
}

impl<A: Structure, B: Structure> Elements<(A, B)> for ZipElements<A, B> {
    fn next(&mut self) -> Result<Option<(A, B)>> {
        let Some(left) = self.left.next()? else { return Ok(None) };
        Ok(self.right.next()?.map(|right| (left, right)))
    }

    fn skip(&mut self, count: u64) -> Result<u64> {
        // The right one is not asked for more than the left one has.
        let left = self.left.skip(count)?;
        self.right.skip(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_skips, numbers};

    #[test]
    fn the_shorter_one_ends_it() {
        let (long, short) = (Dataset::range(0, 9, 1), Dataset::range(10, 13, 1));
        for pairs in [long.zip(&short), short.zip(&long)] {
            assert_eq!(pairs.iter().count(), 3);
            assert_eq!(pairs.cardinality(), Cardinality::Finite(3));
            assert_skips(&pairs);
        }
        let endless = long.repeat_forever().zip(&short);
        assert_eq!(numbers(&endless.map(|(x, _)| Ok(x))), [0, 1, 2]);
        assert_eq!(endless.cardinality(), Cardinality::Finite(3));
    }
}
