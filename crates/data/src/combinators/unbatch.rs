//! The slices of each element.

use std::sync::Arc;

use tapeflow_core::Result;

use super::from_tensor_slices::{common_length, row};
use crate::cardinality::Cardinality;
use crate::dataset::{Dataset, Elements, Pass, Source};
use crate::structure::Structure;

impl<E: Structure> Dataset<E> {
    /// The slices of each element along its first axis, `Dataset.unbatch`: what
    /// [`batch`](Self::batch) puts together. They share the values.
    ///
    /// An element without a common first axis is an error.
    ///
    /// ```
    /// use tapeflow_data::Dataset;
    ///
    /// let again = Dataset::range(0, 5, 1).batch(3).unbatch();
    /// assert_eq!(again.iter().count(), 5);
    /// ```
    pub fn unbatch(&self) -> Dataset<E> {
        Dataset::new(Unbatch { upstream: self.source() })
    }
}

struct Unbatch<E> {
    upstream: Arc<dyn Source<E>>,
}

impl<E: Structure> Source<E> for Unbatch<E> {
    fn elements(&self, pass: Pass) -> Result<Box<dyn Elements<E>>> {
        Ok(Box::new(UnbatchElements { upstream: self.upstream.elements(pass)?, current: None }))
    }

    fn cardinality(&self) -> Cardinality {
        match self.upstream.cardinality() {
            Cardinality::Finite(0) => Cardinality::Finite(0),
            _ => Cardinality::Unknown,
        }
    }
}

struct UnbatchElements<E> {
    upstream: Box<dyn Elements<E>>,
    current: Option<Current<E>>,
}

/// An element some of whose slices are left.
struct Current<E> {
    element: E,
    position: usize,
    length: usize,
}

impl<E: Structure> UnbatchElements<E> {
    /// An element that has slices left.
    fn current(&mut self) -> Result<Option<&mut Current<E>>> {
        while self.current.as_ref().is_none_or(|current| current.position == current.length) {
            let Some(element) = self.upstream.next()? else { return Ok(None) };
            let length = common_length("data.unbatch", &element)?;
            self.current = Some(Current { element, position: 0, length });
        }
        Ok(self.current.as_mut())
    }
}

impl<E: Structure> Elements<E> for UnbatchElements<E> {
    fn next(&mut self) -> Result<Option<E>> {
        let Some(current) = self.current()? else { return Ok(None) };
        current.position += 1;
        row(&current.element, current.position - 1).map(Some)
    }

    fn skip(&mut self, count: u64) -> Result<u64> {
        let mut skipped = 0;
        while skipped < count {
            let Some(current) = self.current()? else { break };
            let here = (count - skipped).min((current.length - current.position) as u64);
            current.position += here as usize;
            skipped += here;
        }
        Ok(skipped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_skips, numbers};

    #[test]
    fn batches_come_apart() {
        let again = Dataset::range(0, 7, 1).batch(3).unbatch();
        assert_eq!(numbers(&again), [0, 1, 2, 3, 4, 5, 6]);
        assert_skips(&again);
        let scalar = Dataset::range(0, 7, 1).unbatch();
        assert!(scalar.iter().next().unwrap().unwrap_err().is_shape());
    }
}
