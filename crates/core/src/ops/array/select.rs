//! Elements of one tensor or another, by a condition.

use tapeflow_kernels::elementwise::select as select_kernel;

use crate::ops::prelude::*;

/// The op of [`select`].
#[derive(Debug, Clone, Copy)]
pub struct Select;

impl Op for Select {
    fn name(&self) -> &'static str {
        "where"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        let [condition, x, y] = [&inputs[0], &inputs[1], &inputs[2]];
        check_dtype(self.name(), "condition", condition.dtype, DTypes::of(&[DType::Bool]))?;
        check_same_dtype(self.name(), x, y)?;
        let shape = x.shape.broadcast(&y.shape);
        let shape = shape.and_then(|shape| shape.broadcast(&condition.shape)).ok_or_else(|| {
            Error::shape(format!(
                "{}: shapes {} (condition), {} and {} do not broadcast",
                self.name(),
                condition.shape,
                x.shape,
                y.shape
            ))
        })?;
        Ok(vec![Spec { shape, ..*x }])
    }

    fn run(&self, inputs: &[Array<'_>], outputs: &mut [ArrayMut<'_>]) -> Result<()> {
        let [condition, x, y] = [&inputs[0], &inputs[1], &inputs[2]];
        let dims = *outputs[0].shape();
        dispatch!(moved, x.dtype(), T => {
            select_kernel(
                (condition.data(), condition.shape()),
                (x.data::<T>(), x.shape()),
                (y.data::<T>(), y.shape()),
                (outputs[0].data::<T>(), &dims),
            );
            Ok(())
        })
    }

    fn gradient(&self) -> Gradient {
        Gradient::rule(Saves::input(0), |call, input| {
            let (condition, upstream) = (call.input(0), call.upstream());
            let zero = Tensor::scalar(0.0, upstream.dtype())?;
            match input {
                1 => select(condition, upstream, zero).map(Some),
                2 => select(condition, zero, upstream).map(Some),
                _ => Ok(None),
            }
        })
    }

    fn elementwise(&self) -> Option<Function> {
        Some(Function::Select)
    }
}

/// The elements of `x` where `condition` is true, those of `y` elsewhere; all three broadcast.
/// `tf.where`.
///
/// # Errors
/// A condition that is not `bool`; dtypes of `x` and `y` that differ; shapes that do not broadcast.
///
/// ```
/// use tapeflow_core::array;
///
/// let z = array::select([true, false], [[1, 2], [3, 4]], 0)?;
/// assert_eq!(z.to_vec::<i32>()?, [1, 0, 3, 0]);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
pub fn select(
    condition: impl Into<Tensor>,
    x: impl Into<Tensor>,
    y: impl Into<Tensor>,
) -> Result<Tensor> {
    apply(Select, &[&condition.into(), &x.into(), &y.into()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::array::zeros;
    use crate::ops::math::square;
    use crate::test::check_gradients;

    #[test]
    fn gradients_are_those_of_finite_differences() {
        check_gradients(
            |x| select([[true], [false]], square(&x[0])?, square(&x[1])?),
            &[Tensor::from([1.0f64, -2.0]), Tensor::from([[3.0f64, 0.5], [2.0, -1.0]])],
        );
    }

    #[test]
    fn what_is_not_chosen_has_no_influence() {
        let y = select([true, false], [1.0f32, f32::NAN], [f32::NAN, 2.0]).unwrap();
        assert_eq!(y.to_vec::<f32>().unwrap(), [1.0, 2.0]);
        let empty = zeros([0], DType::Float32).unwrap();
        assert_eq!(select(true, empty, 1.0f32).unwrap().shape().dims(), [0]);
        let bools = select([true, false], true, false).unwrap();
        assert_eq!(bools.to_vec::<bool>().unwrap(), [true, false]);
    }

    #[test]
    fn what_is_refused() {
        assert!(select([1, 0], 1, 2).unwrap_err().is_dtype());
        assert!(select(true, 1, 2.0f32).unwrap_err().is_dtype());
        assert!(select([true, false], [1, 2, 3], 0).unwrap_err().is_shape());
    }
}
