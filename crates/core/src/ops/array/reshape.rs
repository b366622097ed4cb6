//! The same elements under another shape.

use crate::ops::prelude::*;

/// The op of [`reshape`].
#[derive(Debug, Clone)]
pub struct Reshape {
    /// The wanted shape.
    pub shape: Dims,
}

/// A shape in which one extent may be -1: as large as the number of elements makes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dims(Vec<i64>);

impl Dims {
    /// The shape for `elements` elements.
    fn resolve(&self, op: &str, from: &Shape) -> Result<Shape> {
        let dims = &self.0;
        let refuse = |why: &str| Err(Error::shape(format!("{op}: {from} to {dims:?}: {why}")));
        if dims.iter().filter(|&&dim| dim == -1).count() > 1 {
            return refuse("only one extent can be -1");
        }
        if dims.iter().any(|&dim| dim < -1) {
            return refuse("an extent is negative");
        }
        let mut resolved: Vec<usize> = dims.iter().map(|&dim| dim as usize).collect();
        if let Some(free) = dims.iter().position(|&dim| dim == -1) {
            // Where 0 is asked for, -1 is what the extents that are not 0 leave, as in TensorFlow.
            let zero = dims.contains(&0);
            let known = product(dims.iter().filter(|&&dim| dim > 0).map(|&dim| dim as usize));
            let elements = match zero {
                true => product(from.iter().copied().filter(|&dim| dim > 0)),
                false => from.num_elements(),
            };
            resolved[free] = elements / known;
        }
        let shape = Shape::new(&resolved).map_err(|error| error.context(op))?;
        if shape.num_elements() != from.num_elements() {
            return refuse("the numbers of elements differ");
        }
        Ok(shape)
    }
}

fn product(dims: impl Iterator<Item = usize>) -> usize {
    dims.fold(1, usize::saturating_mul)
}

impl From<Shape> for Dims {
    fn from(shape: Shape) -> Dims {
        Dims(shape.iter().map(|&dim| i64::try_from(dim).unwrap_or(i64::MAX)).collect())
    }
}

impl<const N: usize> From<[i64; N]> for Dims {
    fn from(dims: [i64; N]) -> Dims {
        Dims(dims.to_vec())
    }
}

impl From<&[i64]> for Dims {
    fn from(dims: &[i64]) -> Dims {
        Dims(dims.to_vec())
    }
}

impl From<Vec<i64>> for Dims {
    fn from(dims: Vec<i64>) -> Dims {
        Dims(dims)
    }
}

impl Op for Reshape {
    fn name(&self) -> &'static str {
        "reshape"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        let shape = self.shape.resolve(self.name(), &inputs[0].shape)?;
        Ok(vec![Spec { shape, ..inputs[0] }])
    }

    fn view(&self, _inputs: &[Spec]) -> Option<usize> {
        Some(0)
    }

    fn run(&self, _inputs: &[Array<'_>], _outputs: &mut [ArrayMut<'_>]) -> Result<()> {
        Err(Error::unsupported("reshape: a view is not run"))
    }

    fn gradient(&self) -> Gradient {
        Gradient::rule(Saves::NOTHING, |call, _| {
            reshape(call.upstream(), call.input_spec(0).shape).map(Some)
        })
    }
}

/// `x` under another shape with as many elements; shares the values. `tf.reshape`.
///
/// One extent may be -1.
///
/// # Errors
/// A shape with another number of elements, two extents of -1, or one below.
///
/// ```
/// use tapeflow_core::{Tensor, array};
///
/// let x = Tensor::from([[1, 2, 3], [4, 5, 6]]);
/// assert_eq!(array::reshape(&x, [-1, 2])?.shape().dims(), [3, 2]);
/// assert_eq!(
///     array::reshape(&x, [4, -1]).unwrap_err().to_string(),
///     "reshape: [2, 3] to [4, -1]: the numbers of elements differ",
/// );
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
pub fn reshape(x: impl Into<Tensor>, shape: impl Into<Dims>) -> Result<Tensor> {
    apply(Reshape { shape: shape.into() }, &[&x.into()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::math::square;
    use crate::test::check_gradients;

    #[test]
    fn gradients_are_those_of_finite_differences() {
        let x = Tensor::from([[1.0f64, 2.0, 3.0], [4.0, 5.0, 6.0]]);
        check_gradients(|x| reshape(square(&x[0])?, [3, -1]), &[x]);
    }

    #[test]
    fn values_are_shared() {
        let x = Tensor::from([[1.0f32, 2.0], [3.0, 4.0]]);
        let y = reshape(&x, [4]).unwrap();
        assert_eq!(x.as_bytes().as_ptr(), y.as_bytes().as_ptr());
    }

    #[test]
    fn an_empty_tensor_reshapes_where_the_extent_is_known() {
        let x = zeros_of([0, 3]);
        assert_eq!(reshape(&x, [3, -1]).unwrap().shape().dims(), [3, 0]);
        assert_eq!(reshape(&x, [0, -1]).unwrap().shape().dims(), [0, 3]);
        assert_eq!(reshape(&x, [-1, 5]).unwrap().shape().dims(), [0, 5]);
        assert!(reshape([1, 2], [0, -1]).unwrap_err().is_shape());
        assert!(reshape(&x, [i64::MAX, i64::MAX]).is_err());
    }

    fn zeros_of(shape: [usize; 2]) -> Tensor {
        crate::ops::array::zeros(shape, DType::Float32).unwrap()
    }
}
