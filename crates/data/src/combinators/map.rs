//! A function of each element.

use std::sync::Arc;

use tapeflow_core::Result;

use crate::cardinality::Cardinality;
use crate::dataset::{Dataset, Elements, Pass, Source};
use crate::structure::Structure;

impl<E: Structure> Dataset<E> {
    /// `f` of each element, `Dataset.map`.
    ///
    /// `f` should depend on nothing but the element: it is not called for elements that are
    /// skipped.
    ///
    /// ```
    /// use tapeflow_core::math;
    /// use tapeflow_data::Dataset;
    ///
    /// let squares = Dataset::range(0, 5, 1).map(|x| math::square(x));
    /// let last = squares.iter().last().expect("there are five")?;
    /// assert_eq!(last.to_scalar::<i64>()?, 16);
    /// # Ok::<(), tapeflow_core::Error>(())
    /// ```
    pub fn map<T: Structure>(
        &self,
        f: impl Fn(E) -> Result<T> + Send + Sync + 'static,
    ) -> Dataset<T> {
        Dataset::new(Map { upstream: self.source(), f: Arc::new(f) })
    }
}

struct Map<E, F> {
    upstream: Arc<dyn Source<E>>,
    f: Arc<F>,
}

impl<E, T, F> Source<T> for Map<E, F>
where
    E: Structure,
    T: Structure,
    F: Fn(E) -> Result<T> + Send + Sync + 'static,
{
    fn elements(&self, pass: Pass) -> Result<Box<dyn Elements<T>>> {
        Ok(Box::new(MapElements { upstream: self.upstream.elements(pass)?, f: self.f.clone() }))
    }

    fn cardinality(&self) -> Cardinality {
        self.upstream.cardinality()
    }
}

struct MapElements<E, F> {
    upstream: Box<dyn Elements<E>>,
    f: Arc<F>,
}

impl<E, T, F> Elements<T> for MapElements<E, F>
where
    F: Fn(E) -> Result<T> + Send + Sync,
{
    fn next(&mut self) -> Result<Option<T>> {
        self.upstream.next()?.map(|element| (self.f)(element)).transpose()
    }

    fn skip(&mut self, count: u64) -> Result<u64> {
        self.upstream.skip(count)
    }
}

#[cfg(test)]
mod tests {
    use tapeflow_core::Error;

    use super::*;
    use crate::testing::{assert_skips, numbers};

    #[test]
    fn each_element_is_mapped() {
        let negated = Dataset::range(0, 4, 1).map(|x| Ok(-x));
        assert_eq!(numbers(&negated), [0, -1, -2, -3]);
        assert_eq!(negated.cardinality(), Cardinality::Finite(4));
        assert_skips(&negated);
    }

    #[test]
    fn an_error_ends_the_iteration() {
        let failing = Dataset::range(0, 4, 1).map(|x| match x.to_scalar::<i64>()? {
            2 => Err(Error::data("two")),
            _ => Ok(x),
        });
        let results: Vec<bool> = failing.iter().map(|element| element.is_ok()).collect();
        assert_eq!(results, [true, true, false]);
    }
}
