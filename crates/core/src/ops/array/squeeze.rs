//! Axes of extent one, removed.

use crate::ops::Axes;
use crate::ops::array::reshape;
use crate::ops::prelude::*;

/// `x` without the axes that `axes` names, all of extent 1; `..` removes every axis of extent 1.
/// Shares the values. `tf.squeeze`.
///
/// # Errors
/// An axis that `x` has not, that is named twice or whose extent is not 1.
///
/// ```
/// use tapeflow_core::{DType, array};
///
/// let x = array::zeros([1, 2, 1], DType::Float32)?;
/// assert_eq!(array::squeeze(&x, ..)?.shape().dims(), [2]);
/// assert_eq!(array::squeeze(&x, -1)?.shape().dims(), [1, 2]);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
pub fn squeeze(x: impl Into<Tensor>, axes: impl Into<Axes>) -> Result<Tensor> {
    let (x, axes) = (x.into(), axes.into());
    let named = axes.reduced("squeeze", x.shape())?;
    let mut dims = Vec::with_capacity(x.shape().rank());
    for (axis, &dim) in x.shape().iter().enumerate() {
        if !named[axis] || (axes.is_all() && dim != 1) {
            dims.push(dim);
        } else if dim != 1 {
            return Err(Error::shape(format!(
                "squeeze: axis {axis} of shape {} has extent {dim}, not 1",
                x.shape()
            )));
        }
    }
    reshape(&x, Shape::new(&dims)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::math::square;
    use crate::test::check_gradients;

    #[test]
    fn gradients_are_those_of_finite_differences() {
        check_gradients(|x| squeeze(square(&x[0])?, 0), &[Tensor::from([[1.0f64, 2.0]])]);
    }

    #[test]
    fn only_extents_of_one() {
        let error = squeeze([[1, 2]], 1).unwrap_err();
        assert_eq!(error.to_string(), "squeeze: axis 1 of shape [1, 2] has extent 2, not 1");
        assert!(squeeze([[1, 2]], 2).unwrap_err().is_invalid_argument());
        assert!(squeeze([[1, 2]], [0, -2]).unwrap_err().is_invalid_argument());
        assert_eq!(squeeze([[1]], ..).unwrap().shape().rank(), 0);
    }
}
