//! Shapes and specs.

use std::fmt;
use std::ops::Deref;

use crate::dtype::DType;
use crate::error::{Error, Result};

/// The most axes a tensor can have.
pub const MAX_RANK: usize = 8;

/// The extent of a tensor along each axis, held inline.
///
/// ```
/// use tapeflow_core::Shape;
///
/// let shape = Shape::from([128, 28, 28, 1]);
/// assert_eq!(shape.rank(), 4);
/// assert_eq!(shape[0], 128);
/// assert_eq!(shape.num_elements(), 128 * 28 * 28);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    // Extents past the rank are zero, so that equal shapes are equal as structs.
    dims: [usize; MAX_RANK],
    rank: u8,
}

impl Shape {
    /// The shape of a single value.
    pub const SCALAR: Shape = Shape { dims: [0; MAX_RANK], rank: 0 };

    /// A shape of these extents.
    ///
    /// # Errors
    /// More than [`MAX_RANK`] axes.
    pub fn new(dims: &[usize]) -> Result<Shape> {
        if dims.len() > MAX_RANK {
            return Err(Error::shape(format!(
                "shape {dims:?} has {} axes, the most is {MAX_RANK}",
                dims.len()
            )));
        }
        let mut shape = Shape { dims: [0; MAX_RANK], rank: dims.len() as u8 };
        shape.dims[..dims.len()].copy_from_slice(dims);
        Ok(shape)
    }

    /// The number of axes.
    pub fn rank(&self) -> usize {
        self.rank as usize
    }

    /// The extents.
    pub fn dims(&self) -> &[usize] {
        &self.dims[..self.rank()]
    }

    /// The product of the extents, 1 for a scalar; `usize::MAX` where it does not fit, which no
    /// allocation can satisfy.
    pub fn num_elements(&self) -> usize {
        if self.dims().contains(&0) {
            return 0;
        }
        self.dims().iter().fold(1, |product: usize, &dim| product.saturating_mul(dim))
    }

    /// The index of `axis`, which counts from the end where it is negative.
    ///
    /// # Errors
    /// `axis` outside `-rank..rank`; `op` is named in the message.
    pub fn axis(&self, op: &str, axis: i64) -> Result<usize> {
        let rank = self.rank() as i64;
        if axis < -rank || axis >= rank {
            return Err(Error::invalid_argument(format!(
                "{op}: axis {axis} is outside [-{rank}, {rank}) of shape {self}"
            )));
        }
        Ok(if axis < 0 { axis + rank } else { axis } as usize)
    }

    /// The shape both broadcast to by NumPy's rule, or none where an axis differs and neither
    /// extent is 1.
    pub fn broadcast(&self, other: &Shape) -> Option<Shape> {
        let (long, short) = if self.rank >= other.rank { (self, other) } else { (other, self) };
        let mut shape = *long;
        let lead = long.rank() - short.rank();
        for (dim, &small) in shape.dims[lead..long.rank()].iter_mut().zip(short.dims()) {
            match (*dim, small) {
                (a, b) if a == b => {}
                (_, 1) => {}
                (1, b) => *dim = b,
                _ => return None,
            }
        }
        Some(shape)
    }
}

impl Deref for Shape {
    type Target = [usize];

    fn deref(&self) -> &[usize] {
        self.dims()
    }
}

impl<const N: usize> From<[usize; N]> for Shape {
    fn from(dims: [usize; N]) -> Shape {
        const { assert!(N <= MAX_RANK, "a shape has at most 8 axes") };
        Shape::new(&dims).expect("the rank is checked at compile time")
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.dims(), f)
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What is known of a tensor without its values: what `infer` maps from and to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Spec {
    /// The element type.
    pub dtype: DType,
    /// The extents.
    pub shape: Shape,
}

impl Spec {
    /// A spec of these two.
    pub fn new(dtype: DType, shape: impl Into<Shape>) -> Spec {
        Spec { dtype, shape: shape.into() }
    }

    /// The bytes that the values take, `usize::MAX` where that does not fit.
    pub fn num_bytes(&self) -> usize {
        self.shape.num_elements().saturating_mul(self.dtype.size())
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.dtype, self.shape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broadcasting_follows_numpy() {
        let broadcast = |a: &[usize], b: &[usize]| {
            let (a, b) = (Shape::new(a).unwrap(), Shape::new(b).unwrap());
            assert_eq!(a.broadcast(&b), b.broadcast(&a));
            a.broadcast(&b).map(|shape| shape.to_vec())
        };
        assert_eq!(broadcast(&[2, 3], &[3]), Some(vec![2, 3]));
        assert_eq!(broadcast(&[2, 1], &[1, 3]), Some(vec![2, 3]));
        assert_eq!(broadcast(&[], &[4]), Some(vec![4]));
        assert_eq!(broadcast(&[0, 3], &[1, 3]), Some(vec![0, 3]));
        assert_eq!(broadcast(&[2], &[3]), None);
        assert_eq!(broadcast(&[0], &[3]), None);
    }

    #[test]
    fn sizes_saturate_and_an_empty_axis_wins() {
        assert_eq!(Shape::from([usize::MAX, 3]).num_elements(), usize::MAX);
        assert_eq!(Shape::from([usize::MAX, 3, 0]).num_elements(), 0);
        assert!(Shape::new(&[1; 9]).unwrap_err().is_shape());
    }

    #[test]
    fn axes_count_from_the_end() {
        let shape = Shape::from([2, 3]);
        assert_eq!(shape.axis("op", -1).unwrap(), 1);
        assert!(shape.axis("op", 2).unwrap_err().is_invalid_argument());
        assert!(Shape::SCALAR.axis("op", 0).is_err());
    }
}
