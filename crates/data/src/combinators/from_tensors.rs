//! One element.

use tapeflow_core::Result;

use crate::cardinality::Cardinality;
use crate::dataset::{Dataset, Elements, Pass, Source};
use crate::structure::Structure;

impl<E: Structure> Dataset<E> {
    /// A dataset of one element, `Dataset.from_tensors`.
    ///
    /// ```
    /// use tapeflow_core::Tensor;
    /// use tapeflow_data::Dataset;
    ///
    /// let dataset = Dataset::from_tensors(Tensor::from([1, 2, 3]));
    /// assert_eq!(dataset.iter().count(), 1);
    /// ```
    pub fn from_tensors(tensors: E) -> Dataset<E> {
        Dataset::new(Single(tensors))
    }
}

struct Single<E>(E);

impl<E: Structure> Source<E> for Single<E> {
    fn elements(&self, _pass: Pass) -> Result<Box<dyn Elements<E>>> {
        Ok(Box::new(SingleElement(Some(self.0.clone()))))
    }

    fn cardinality(&self) -> Cardinality {
        Cardinality::Finite(1)
    }
}

struct SingleElement<E>(Option<E>);

impl<E: Structure> Elements<E> for SingleElement<E> {
    fn next(&mut self) -> Result<Option<E>> {
        Ok(self.0.take())
    }
}

#[cfg(test)]
mod tests {
    use tapeflow_core::Tensor;

    use super::*;
    use crate::testing::{assert_skips, numbers};

    #[test]
    fn every_pass_has_the_element() {
        let dataset = Dataset::from_tensors(Tensor::from(7i64));
        assert_eq!(numbers(&dataset), [7]);
        assert_eq!(numbers(&dataset.repeat(3)), [7, 7, 7]);
        assert_skips(&dataset);
    }
}
