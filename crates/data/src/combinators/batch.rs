//! Consecutive elements side by side.

use std::sync::Arc;

use tapeflow_core::{Error, Result, Tensor};

use crate::cardinality::Cardinality;
use crate::dataset::{Dataset, Elements, Pass, Source};
use crate::structure::Structure;

impl<E: Structure> Dataset<E> {
    /// Elements in groups of `size`, each stacked along a new first axis, `Dataset.batch`. What is
    /// left at the end makes a smaller batch.
    ///
    /// A `size` of 0, elements of different shapes or dtypes, and `Vec`s of different lengths are
    /// errors of the batch they would make.
    ///
    /// ```
    /// use tapeflow_data::Dataset;
    ///
    /// let mut batches = Dataset::range(0, 5, 1).batch(3).iter();
    /// assert_eq!(batches.next().expect("there are two")?.to_vec::<i64>()?, [0, 1, 2]);
    /// assert_eq!(batches.next().expect("there are two")?.to_vec::<i64>()?, [3, 4]);
    /// # Ok::<(), tapeflow_core::Error>(())
    /// ```
    pub fn batch(&self, size: usize) -> Dataset<E> {
        self.batch_with(size, false)
    }

    /// Like [`batch`](Self::batch); with `drop_remainder` elements that do not fill a batch at the
    /// end are left out, so that all batches have one shape.
    ///
    /// ```
    /// use tapeflow_data::Dataset;
    ///
    /// assert_eq!(Dataset::range(0, 5, 1).batch_with(3, true).iter().count(), 1);
    /// ```
    pub fn batch_with(&self, size: usize, drop_remainder: bool) -> Dataset<E> {
        Dataset::new(Batch { upstream: self.source(), size, drop_remainder })
    }
}

struct Batch<E> {
    upstream: Arc<dyn Source<E>>,
    size: usize,
    drop_remainder: bool,
}

/// How many batches `count` elements make.
fn batches(count: u64, size: usize, drop_remainder: bool) -> u64 {
    if drop_remainder { count / size as u64 } else { count.div_ceil(size as u64) }
}

impl<E: Structure> Source<E> for Batch<E> {
    fn elements(&self, pass: Pass) -> Result<Box<dyn Elements<E>>> {
        if self.size == 0 {
            return Err(Error::invalid_argument("data.batch: the batch size is 0"));
        }
        Ok(Box::new(BatchElements {
            upstream: self.upstream.elements(pass)?,
            size: self.size,
            drop_remainder: self.drop_remainder,
        }))
    }

    fn cardinality(&self) -> Cardinality {
        if self.size == 0 {
            return Cardinality::Unknown;
        }
        self.upstream.cardinality().map(|count| batches(count, self.size, self.drop_remainder))
    }
}

struct BatchElements<E> {
    upstream: Box<dyn Elements<E>>,
    size: usize,
    drop_remainder: bool,
}

impl<E: Structure> Elements<E> for BatchElements<E> {
    fn next(&mut self) -> Result<Option<E>> {
        let mut elements = Vec::new();
        while elements.len() < self.size {
            match self.upstream.next()? {
                Some(element) => elements.push(element),
                None if self.drop_remainder => return Ok(None),
                None => break,
            }
        }
        stack(&elements)
    }

    fn skip(&mut self, count: u64) -> Result<u64> {
        let skipped = self.upstream.skip(count.saturating_mul(self.size as u64))?;
        Ok(batches(skipped, self.size, self.drop_remainder))
    }
}

/// The elements side by side, component by component; none where there are no elements.
fn stack<E: Structure>(elements: &[E]) -> Result<Option<E>> {
    let Some(first) = elements.first() else { return Ok(None) };
    let width = first.components().len();
    let mut components = Vec::with_capacity(elements.len() * width);
    for element in elements {
        let before = components.len();
        element.flatten(&mut components);
        if components.len() - before != width {
            return Err(Error::shape(format!(
                "data.batch: an element of {} tensors follows one of {width}",
                components.len() - before
            )));
        }
    }
    let mut index = 0;
    let batch = first.map_components(&mut |_| {
        let column: Vec<&Tensor> = components[index..].iter().copied().step_by(width).collect();
        index += 1;
        Tensor::from_rows(&column).map_err(|error| error.context("data.batch"))
    })?;
    Ok(Some(batch))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_skips, rows};

    #[test]
    fn the_remainder_is_kept_or_dropped() {
        let numbers = Dataset::range(0, 5, 1);
        assert_eq!(rows(&numbers.batch(2)), [vec![0, 1], vec![2, 3], vec![4]]);
        assert_eq!(rows(&numbers.batch_with(2, true)), [vec![0, 1], vec![2, 3]]);
        assert_eq!(rows(&numbers.batch(usize::MAX)), [vec![0, 1, 2, 3, 4]]);
        assert_eq!(numbers.batch(2).cardinality(), Cardinality::Finite(3));
        assert_eq!(numbers.batch_with(2, true).cardinality(), Cardinality::Finite(2));
        for drop_remainder in [false, true] {
            assert_skips(&numbers.batch_with(2, drop_remainder));
            assert_skips(&Dataset::range(0, 6, 1).batch_with(2, drop_remainder));
        }
    }

    #[test]
    fn batches_of_batches_and_of_structures() {
        let nested = Dataset::range(0, 8, 1).batch(2).batch(2);
        let first = nested.iter().next().unwrap().unwrap();
        assert_eq!(first.shape().dims(), [2, 2]);
        let pairs = Dataset::range(0, 3, 1).map(|x| Ok((x.clone(), vec![x.clone(), x])));
        let (x, pair) = pairs.batch(3).iter().next().unwrap().unwrap();
        assert_eq!(x.to_vec::<i64>().unwrap(), [0, 1, 2]);
        assert_eq!(pair[1].to_vec::<i64>().unwrap(), [0, 1, 2]);
    }

    #[test]
    fn what_cannot_be_stacked_is_refused() {
        let error = |dataset: &Dataset<Tensor>| dataset.iter().next().unwrap().unwrap_err();
        let zero = error(&Dataset::range(0, 5, 1).batch(0));
        assert_eq!(zero.to_string(), "data.batch: the batch size is 0");
        let pair = Dataset::from_tensors(Tensor::from([1.0f32, 2.0]));
        let triple = Dataset::from_tensors(Tensor::from([1.0f32, 2.0, 3.0]));
        let shapes = error(&pair.concatenate(&triple).batch(2));
        assert!(shapes.is_shape());
        assert_eq!(
            shapes.to_string(),
            "data.batch: row 1 is float32 [3], row 0 float32 [2]; they cannot be stacked"
        );
        let other = Dataset::from_tensors(Tensor::from([1i32, 2]));
        assert!(error(&pair.concatenate(&other).batch(2)).is_dtype());
        let lists = Dataset::range(0, 2, 1)
            .map(|x| Ok(vec![x.clone(); 1 + x.to_scalar::<i64>()? as usize]));
        let lengths = lists.batch(2).iter().next().unwrap().unwrap_err();
        assert_eq!(lengths.to_string(), "data.batch: an element of 2 tensors follows one of 1");
    }
}
