//! The slices of tensors along their first axis.

use tapeflow_core::{Error, Result};

use crate::cardinality::Cardinality;
use crate::dataset::{Dataset, Elements, Pass, Source};
use crate::structure::Structure;

impl<E: Structure> Dataset<E> {
    /// A dataset whose elements are the slices of `tensors` along the first axis,
    /// `Dataset.from_tensor_slices`. They share the tensors' values.
    ///
    /// # Errors
    /// Tensors whose first axes differ, or one without an axis, or none at all.
    ///
    /// ```
    /// use tapeflow_core::Tensor;
    /// use tapeflow_data::Dataset;
    ///
    /// let x = Tensor::from([[1.0f32, 2.0], [3.0, 4.0]]);
    /// let dataset = Dataset::from_tensor_slices((x.clone(), Tensor::from([5i64, 6])))?;
    /// let (row, number) = dataset.iter().nth(1).expect("there are two")?;
    /// assert_eq!(row.to_vec::<f32>()?, [3.0, 4.0]);
    /// assert_eq!(number.to_scalar::<i64>()?, 6);
    ///
    /// let error = Dataset::from_tensor_slices((x, Tensor::from([7i64, 8, 9]))).unwrap_err();
    /// assert!(error.is_shape());
    /// # Ok::<(), tapeflow_core::Error>(())
    /// ```
    pub fn from_tensor_slices(tensors: E) -> Result<Dataset<E>> {
        let length = common_length("data.from_tensor_slices", &tensors)?;
        Ok(Dataset::new(Slices { tensors, length }))
    }
}

/// The extent of the first axis of each component.
pub(crate) fn common_length<E: Structure>(op: &str, tensors: &E) -> Result<usize> {
    let components = tensors.components();
    let length = components.first().and_then(|tensor| tensor.shape().first().copied());
    let same = |length| components.iter().all(|tensor| tensor.shape().first() == Some(&length));
    length.filter(|&length| same(length)).ok_or_else(|| {
        let shapes: Vec<String> =
            components.iter().map(|tensor| tensor.shape().to_string()).collect();
        Error::shape(format!(
            "{op}: the tensors must have first axes of one length, their shapes are {}",
            if shapes.is_empty() { "none".to_owned() } else { shapes.join(", ") }
        ))
    })
}

/// The slice at `index` of each component.
pub(crate) fn row<E: Structure>(tensors: &E, index: usize) -> Result<E> {
    tensors.map_components(&mut |tensor| tensor.row(index))
}

struct Slices<E> {
    tensors: E,
    length: usize,
}

impl<E: Structure> Source<E> for Slices<E> {
    fn elements(&self, _pass: Pass) -> Result<Box<dyn Elements<E>>> {
        Ok(Box::new(SliceElements {
            tensors: self.tensors.clone(),
            position: 0,
            length: self.length,
        }))
    }

    fn cardinality(&self) -> Cardinality {
        Cardinality::Finite(self.length as u64)
    }
}

struct SliceElements<E> {
    tensors: E,
    position: usize,
    length: usize,
}

impl<E: Structure> Elements<E> for SliceElements<E> {
    fn next(&mut self) -> Result<Option<E>> {
        if self.position == self.length {
            return Ok(None);
        }
        self.position += 1;
        row(&self.tensors, self.position - 1).map(Some)
    }

    fn skip(&mut self, count: u64) -> Result<u64> {
        let skipped = count.min((self.length - self.position) as u64);
        self.position += skipped as usize;
        Ok(skipped)
    }
}

#[cfg(test)]
mod tests {
    use tapeflow_core::Tensor;

    use super::*;
    use crate::testing::{assert_skips, numbers};

    #[test]
    fn elements_share_the_values() {
        let x = Tensor::from([[1, 2], [3, 4], [5, 6]]);
        let dataset = Dataset::from_tensor_slices(x.clone()).unwrap();
        for (index, row) in dataset.iter().enumerate() {
            let row = row.unwrap();
            assert_eq!(row.shape().dims(), [2]);
            assert_eq!(row.as_bytes().as_ptr(), x.as_bytes()[index * 8..].as_ptr());
        }
    }

    #[test]
    fn first_axes_that_differ_are_named() {
        let (x, y) = (Tensor::from([[1, 2], [3, 4]]), Tensor::from([1, 2, 3]));
        let error = Dataset::from_tensor_slices((x, y)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "data.from_tensor_slices: the tensors must have first axes of one length, their shapes \
             are [2, 2], [3]"
        );
        assert!(Dataset::from_tensor_slices(Tensor::from(1)).unwrap_err().is_shape());
        assert!(Dataset::from_tensor_slices(Vec::<Tensor>::new()).unwrap_err().is_shape());
    }

    #[test]
    fn skipping_and_emptiness() {
        let dataset = Dataset::from_tensor_slices(Tensor::from(vec![4i64, 5, 6])).unwrap();
        assert_eq!(numbers(&dataset), [4, 5, 6]);
        assert_skips(&dataset);
        let empty = Dataset::from_tensor_slices(Tensor::from(Vec::<i64>::new())).unwrap();
        assert_eq!(empty.cardinality(), Cardinality::Finite(0));
        assert!(empty.iter().next().is_none());
    }
}
