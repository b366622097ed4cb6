//! The elements that satisfy a predicate.

use std::sync::Arc;

use tapeflow_core::Result;

use crate::cardinality::Cardinality;
use crate::dataset::{Dataset, Elements, Pass, Source};
use crate::structure::Structure;

impl<E: Structure> Dataset<E> {
    /// The elements for which `predicate` is true, `Dataset.filter`.
    ///
    /// ```
    /// use tapeflow_data::Dataset;
    ///
    /// let odd = Dataset::range(0, 5, 1).filter(|x| Ok(x.to_scalar::<i64>()? % 2 == 1));
    /// assert_eq!(odd.iter().count(), 2);
    /// ```
    pub fn filter(
        &self,
        predicate: impl Fn(&E) -> Result<bool> + Send + Sync + 'static,
    ) -> Dataset<E> {
        Dataset::new(Filter { upstream: self.source(), predicate: Arc::new(predicate) })
    }
}

struct Filter<E, F> {
    upstream: Arc<dyn Source<E>>,
    predicate: Arc<F>,
}

impl<E: Structure, F> Source<E> for Filter<E, F>
where
    F: Fn(&E) -> Result<bool> + Send + Sync + 'static,
{
    fn elements(&self, pass: Pass) -> Result<Box<dyn Elements<E>>> {
        let upstream = self.upstream.elements(pass)?;
        Ok(Box::new(FilterElements { upstream, predicate: self.predicate.clone() }))
    }

    fn cardinality(&self) -> Cardinality {
        match self.upstream.cardinality() {
            Cardinality::Finite(0) => Cardinality::Finite(0),
            _ => Cardinality::Unknown,
        }
    }
}

struct FilterElements<E, F> {
    upstream: Box<dyn Elements<E>>,
    predicate: Arc<F>,
}

impl<E, F> Elements<E> for FilterElements<E, F>
where
    F: Fn(&E) -> Result<bool> + Send + Sync,
{
    fn next(&mut self) -> Result<Option<E>> {
        while let Some(element) = self.upstream.next()? {
            if (self.predicate)(&element)? {
                return Ok(Some(element));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_skips, numbers};

    #[test]
    fn only_some_elements_stay() {
        let some = Dataset::range(0, 10, 1).filter(|x| Ok(x.to_scalar::<i64>()? % 3 == 0));
        assert_eq!(numbers(&some), [0, 3, 6, 9]);
        assert_skips(&some);
        assert_eq!(some.cardinality(), Cardinality::Unknown);
    }
}
