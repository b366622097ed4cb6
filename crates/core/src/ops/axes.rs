//! The `axis` and `keepdims` arguments of reductions.

use std::ops::RangeFull;

use smallvec::SmallVec;
use tapeflow_kernels::Number;
use tapeflow_kernels::reduce::{Reduction, reduce};

use crate::dtype::DTypes;
use crate::error::{Error, Result};
use crate::op::{Array, ArrayMut, check_dtype};
use crate::ops::{array, math};
use crate::shape::{MAX_RANK, Shape, Spec};
use crate::tape::Call;
use crate::tensor::Tensor;

/// Which axes a reduction removes: `..` for all of them, one index, or a list; negative ones count
/// from the end.
///
/// ```
/// use tapeflow_core::{Tensor, math, ops::Axes};
///
/// let x = Tensor::from([[1.0f32, 2.0], [3.0, 4.0]]);
/// assert_eq!(math::reduce_sum(&x, ..)?.to_scalar::<f32>()?, 10.0);
/// assert_eq!(math::reduce_sum(&x, 0)?.to_vec::<f32>()?, [4.0, 6.0]);
/// let rows = math::reduce_sum(&x, Axes::from(-1).keepdims(true))?;
/// assert_eq!(rows.shape().dims(), [2, 1]);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Axes {
    // None for all of them.
    list: Option<Vec<i64>>,
    keepdims: bool,
}

impl Axes {
    /// Every axis.
    pub fn all() -> Axes {
        Axes { list: None, keepdims: false }
    }

    /// The axes of a list; an empty one reduces nothing.
    pub fn list(axes: impl Into<Vec<i64>>) -> Axes {
        Axes { list: Some(axes.into()), keepdims: false }
    }

    /// Whether the reduced axes stay, with extent 1.
    pub fn keepdims(self, keepdims: bool) -> Axes {
        Axes { keepdims, ..self }
    }

    /// Whether it stands for every axis, however many there are.
    pub(crate) fn is_all(&self) -> bool {
        self.list.is_none()
    }

    /// For each axis of `shape`, whether it is reduced.
    pub(crate) fn reduced(&self, op: &str, shape: &Shape) -> Result<SmallVec<[bool; MAX_RANK]>> {
        let Some(list) = &self.list else {
            return Ok(SmallVec::from_elem(true, shape.rank()));
        };
        let mut reduced = SmallVec::from_elem(false, shape.rank());
        for &axis in list {
            let index = shape.axis(op, axis)?;
            if std::mem::replace(&mut reduced[index], true) {
                return Err(Error::invalid_argument(format!(
                    "{op}: axis {axis} of shape {shape} is named twice in {list:?}"
                )));
            }
        }
        Ok(reduced)
    }

    /// The shape that is left.
    pub(crate) fn result(&self, op: &str, shape: &Shape) -> Result<Shape> {
        let reduced = self.reduced(op, shape)?;
        Ok(if self.keepdims { kept(shape, &reduced) } else { squeezed(shape, &reduced) })
    }
}

/// `shape` with extent 1 on the reduced axes.
pub(crate) fn kept(shape: &Shape, reduced: &[bool]) -> Shape {
    let mut dims = [0; MAX_RANK];
    for (axis, &dim) in shape.iter().enumerate() {
        dims[axis] = if reduced[axis] { 1 } else { dim };
    }
    Shape::new(&dims[..shape.rank()]).expect("the rank is the input's")
}

fn squeezed(shape: &Shape, reduced: &[bool]) -> Shape {
    let axes = shape.iter().zip(reduced);
    let dims: Vec<usize> = axes.filter(|(_, gone)| !**gone).map(|(&dim, _)| dim).collect();
    Shape::new(&dims).expect("the rank is at most the input's")
}

impl From<RangeFull> for Axes {
    fn from(_: RangeFull) -> Axes {
        Axes::all()
    }
}

impl From<i64> for Axes {
    fn from(axis: i64) -> Axes {
        Axes::list([axis])
    }
}

impl<const N: usize> From<[i64; N]> for Axes {
    fn from(axes: [i64; N]) -> Axes {
        Axes::list(axes)
    }
}

impl From<&[i64]> for Axes {
    fn from(axes: &[i64]) -> Axes {
        Axes::list(axes)
    }
}

impl From<Vec<i64>> for Axes {
    fn from(axes: Vec<i64>) -> Axes {
        Axes::list(axes)
    }
}

/// The spec of a reduction of numbers: the input's dtype and the shape that is left.
pub(crate) fn infer_reduction(op: &str, axes: &Axes, inputs: &[Spec]) -> Result<Vec<Spec>> {
    check_dtype(op, "x", inputs[0].dtype, DTypes::NUMERIC)?;
    let shape = axes.result(op, &inputs[0].shape)?;
    Ok(vec![Spec { shape, ..inputs[0] }])
}

/// `output = finish(reduction of x)` over the `reduced` axes.
pub(crate) fn run_reduction<T: Number, R: Reduction>(
    op: &str,
    reduction: R,
    x: Array<'_>,
    reduced: &[bool],
    output: &mut ArrayMut<'_>,
    finish: impl Fn(T::Accumulator) -> T::Accumulator + Sync,
) -> Result<()> {
    reduce(reduction, x.data::<T>(), x.shape(), reduced, output.data(), finish)
        .map_err(|error| Error::resource_exhausted(format!("{op}: {error}")))
}

/// The gradient of a maximum or minimum over the `reduced` axes: the elements equal to it share
/// it in equal parts. Where it is NaN none is equal, and the gradient is NaN, as in TensorFlow.
pub(crate) fn extreme_gradient(call: &Call<'_>, reduced: &[bool]) -> Result<Tensor> {
    let (x, kept) = (call.input(0), kept(call.input(0).shape(), reduced));
    let chosen = math::equal(x, array::reshape(call.output(0), kept)?)?;
    let chosen = array::cast(chosen, x.dtype())?;
    let axes: Vec<i64> =
        (0..reduced.len()).filter(|&axis| reduced[axis]).map(|axis| axis as i64).collect();
    let count = math::reduce_sum(&chosen, Axes::list(axes).keepdims(true))?;
    math::multiply(math::divide(chosen, count)?, array::reshape(call.upstream(), kept)?)
}
