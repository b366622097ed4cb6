//! Tensors from Rust values.

use crate::dtype::Element;
use crate::error::{Error, Result};
use crate::shape::{MAX_RANK, Shape};
use crate::tensor::Tensor;

impl From<&Tensor> for Tensor {
    fn from(tensor: &Tensor) -> Tensor {
        tensor.clone()
    }
}

/// A value, or an array or `Vec` of nested arrays: what [`constant`](crate::constant) takes.
pub trait NestedArray {
    /// The type of the innermost values.
    type Element: Element;

    /// Writes the extents, outermost first, judged by the first entry of each level.
    fn extents(&self, extents: &mut Vec<usize>);

    /// Appends the values in row-major order.
    ///
    /// # Errors
    /// Entries whose extents are not `extents`.
    fn values(&self, extents: &[usize], values: &mut Vec<Self::Element>) -> Result<()>;
}

impl<T: Element> NestedArray for T {
    type Element = T;

    fn extents(&self, _extents: &mut Vec<usize>) {}

    fn values(&self, _extents: &[usize], values: &mut Vec<T>) -> Result<()> {
        values.push(*self);
        Ok(())
    }
}

impl<A: NestedArray> NestedArray for [A] {
    type Element = A::Element;

    fn extents(&self, extents: &mut Vec<usize>) {
        extents.push(self.len());
        if let Some(first) = self.first() {
            first.extents(extents);
        }
    }

    fn values(&self, extents: &[usize], values: &mut Vec<A::Element>) -> Result<()> {
        if self.len() != extents[0] {
            return Err(Error::shape(format!(
                "a nested array is ragged: {} entries where its first sibling has {}",
                self.len(),
                extents[0]
            )));
        }
        self.iter().try_for_each(|entry| entry.values(&extents[1..], values))
    }
}

impl<A: NestedArray, const N: usize> NestedArray for [A; N] {
    type Element = A::Element;

    fn extents(&self, extents: &mut Vec<usize>) {
        self.as_slice().extents(extents);
    }

    fn values(&self, extents: &[usize], values: &mut Vec<A::Element>) -> Result<()> {
        self.as_slice().values(extents, values)
    }
}

impl<A: NestedArray> NestedArray for Vec<A> {
    type Element = A::Element;

    fn extents(&self, extents: &mut Vec<usize>) {
        self.as_slice().extents(extents);
    }

    fn values(&self, extents: &[usize], values: &mut Vec<A::Element>) -> Result<()> {
        self.as_slice().values(extents, values)
    }
}

/// A tensor of a value or of nested arrays, `tf.constant`.
///
/// # Errors
/// Nested `Vec`s of unequal lengths, or more than [`MAX_RANK`] levels.
///
/// ```
/// use tapeflow_core::constant;
///
/// let x = constant(vec![vec![1, 2, 3], vec![4, 5, 6]])?;
/// assert_eq!(x.shape().dims(), [2, 3]);
/// assert!(constant(vec![vec![1, 2], vec![3]]).unwrap_err().is_shape());
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
pub fn constant(values: impl NestedArray) -> Result<Tensor> {
    let mut extents = Vec::with_capacity(MAX_RANK);
    values.extents(&mut extents);
    let mut flat = Vec::new();
    values.values(&extents, &mut flat)?;
    Tensor::from_slice(&flat, Shape::new(&extents)?)
}

macro_rules! from_values {
    ($($type:ty),*) => {$(
        impl From<$type> for Tensor {
            fn from(value: $type) -> Tensor {
                constant(value).expect("one value fills a scalar")
            }
        }

        impl<const N: usize> From<[$type; N]> for Tensor {
            fn from(values: [$type; N]) -> Tensor {
                constant(values).expect("an array is not ragged")
            }
        }

        impl<const N: usize, const M: usize> From<[[$type; M]; N]> for Tensor {
            fn from(values: [[$type; M]; N]) -> Tensor {
                constant(values).expect("an array is not ragged")
            }
        }

        impl<const N: usize, const M: usize, const L: usize> From<[[[$type; L]; M]; N]> for Tensor {
            fn from(values: [[[$type; L]; M]; N]) -> Tensor {
                constant(values).expect("an array is not ragged")
            }
        }

        impl From<Vec<$type>> for Tensor {
            fn from(values: Vec<$type>) -> Tensor {
                constant(values).expect("a flat vector is not ragged")
            }
        }
    )*};
}

from_values!(half::f16, half::bf16, f32, f64, i8, i16, i32, i64, u8, u16, u32, u64, bool);
