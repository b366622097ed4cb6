//! Tensors with elements around them.

use std::str::FromStr;

use tapeflow_kernels::movement::{add_by_index, gather_by_index, row_major_strides, scatter};

use crate::ops::array::slice;
use crate::ops::prelude::*;

/// The op of [`pad`], with all its arguments.
///
/// ```
/// use tapeflow_core::array::{Pad, PadMode};
///
/// let pad = Pad { mode: PadMode::Reflect, ..Pad::new([[2, 1]]) };
/// assert_eq!(pad.call([1, 2, 3])?.to_vec::<i32>()?, [3, 2, 1, 2, 3, 2]);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Pad {
    /// How many elements to put before and after each axis.
    pub paddings: Vec<[i64; 2]>,
    /// What is put there.
    pub mode: PadMode,
    /// The scalar that [`PadMode::Constant`] puts there; 0 or `false` by default.
    pub constant_values: Option<Tensor>,
}

/// What [`Pad`] puts around a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PadMode {
    /// One value.
    Constant,
    /// The elements mirrored at the outermost ones, which are not repeated.
    Reflect,
    /// The elements mirrored at the border, the outermost ones repeated.
    Symmetric,
}

impl FromStr for PadMode {
    type Err = Error;

    /// Reads `CONSTANT`, `REFLECT` or `SYMMETRIC`, in any case, as TensorFlow does.
    fn from_str(mode: &str) -> Result<PadMode> {
        match mode.to_ascii_uppercase().as_str() {
            "CONSTANT" => Ok(PadMode::Constant),
            "REFLECT" => Ok(PadMode::Reflect),
            "SYMMETRIC" => Ok(PadMode::Symmetric),
            _ => Err(Error::invalid_argument(format!(
                "pad: mode {mode:?} is none of CONSTANT, REFLECT and SYMMETRIC"
            ))),
        }
    }
}

impl Pad {
    /// Zeros around each axis.
    pub fn new(paddings: impl Into<Vec<[i64; 2]>>) -> Pad {
        Pad { paddings: paddings.into(), mode: PadMode::Constant, constant_values: None }
    }

    /// Applies the op.
    ///
    /// # Errors
    /// As for [`pad`]; a mirrored side longer than there are elements to mirror; a constant that is
    /// not a scalar of `x`'s dtype.
    pub fn call(self, x: impl Into<Tensor>) -> Result<Tensor> {
        apply(self, &[&x.into()])
    }

    /// The padded shape of `shape`.
    fn padded(&self, shape: &Shape) -> Result<Shape> {
        let paddings = &self.paddings;
        let refuse = |why: String| {
            let op = self.name();
            Err(Error::invalid_argument(format!("{op}: paddings {paddings:?} of {shape}: {why}")))
        };
        if paddings.len() != shape.rank() {
            return refuse(format!("must have an entry for each of {} axes", shape.rank()));
        }
        let mut dims = Vec::with_capacity(shape.rank());
        for (axis, (&dim, sides)) in shape.iter().zip(paddings).enumerate() {
            let [Ok(before), Ok(after)] = sides.map(usize::try_from) else {
                return refuse(format!("axis {axis} has a negative one"));
            };
            let most = match self.mode {
                PadMode::Constant => usize::MAX,
                PadMode::Symmetric => dim,
                PadMode::Reflect if dim == 0 => {
                    return refuse(format!("axis {axis} has nothing to reflect"));
                }
                PadMode::Reflect => dim - 1,
            };
            if before.max(after) > most {
                return refuse(format!("axis {axis} has {most} elements to mirror"));
            }
            dims.push(dim.saturating_add(before).saturating_add(after));
        }
        Shape::new(&dims)
    }

    /// For each axis of a mirrored result, which element of the input stands where.
    fn mirrored(&self, shape: &Shape) -> Vec<Vec<usize>> {
        let edge = i64::from(self.mode == PadMode::Symmetric);
        let source = |place: i64, dim: i64| {
            let place = if place < 0 { -place - edge } else { place };
            (if place >= dim { 2 * (dim - 1) - place + edge } else { place }) as usize
        };
        let axes = shape.iter().zip(&self.paddings);
        axes.map(|(&dim, &[before, after])| {
            let dim = dim as i64;
            (-before..dim + after).map(|place| source(place, dim)).collect()
        })
        .collect()
    }
}

impl Op for Pad {
    fn name(&self) -> &'static str {
        "pad"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        if let Some(value) = &self.constant_values {
            if value.shape().rank() != 0 {
                return Err(Error::shape(format!(
                    "{}: constant_values must be a scalar, has shape {}",
                    self.name(),
                    value.shape()
                )));
            }
            check_same_dtype(self.name(), &inputs[0], value.spec())?;
        }
        Ok(vec![Spec { shape: self.padded(&inputs[0].shape)?, ..inputs[0] }])
    }

    fn run(&self, inputs: &[Array<'_>], outputs: &mut [ArrayMut<'_>]) -> Result<()> {
        let x = inputs[0];
        let dims = *outputs[0].shape();
        dispatch!(moved, x.dtype(), T => {
            let out = outputs[0].data::<T>();
            if out.is_empty() {
                return Ok(());
            }
            if self.mode != PadMode::Constant {
                gather_by_index(x.data::<T>(), x.shape(), &self.mirrored(x.shape()), out);
                return Ok(());
            }
            out.fill(match &self.constant_values {
                Some(value) => value.array()?.data::<T>()[0],
                // Of every dtype, zero is the value of which all bits are.
                None => T::ZERO,
            });
            let strides = row_major_strides(&dims);
            let before = self.paddings.iter().map(|&[before, _]| before as isize);
            let start: isize = before.zip(&strides).map(|(before, stride)| before * stride).sum();
            scatter(x.data::<T>(), out, start as usize, &strides, x.shape());
            Ok(())
        })
    }

    fn gradient(&self) -> Gradient {
        let op = self.clone();
        Gradient::rule(Saves::NOTHING, move |call, _| {
            let shape = call.input_spec(0).shape;
            if op.mode != PadMode::Constant {
                let fold = MirrorPadGrad { pad: op.clone(), shape };
                return apply(fold, &[call.upstream()]).map(Some);
            }
            let begin: Vec<i64> = op.paddings.iter().map(|&[before, _]| before).collect();
            let size: Vec<i64> = shape.iter().map(|&dim| dim as i64).collect();
            slice(call.upstream(), begin, size).map(Some)
        })
    }
}

/// The gradient of a mirroring [`Pad`]: each element of the padded shape is added to the one it
/// mirrors.
#[derive(Debug, Clone)]
pub struct MirrorPadGrad {
    /// The op whose gradient it is.
    pub pad: Pad,
    /// The shape of that op's input.
    pub shape: Shape,
}

impl Op for MirrorPadGrad {
    fn name(&self) -> &'static str {
        "pad_grad"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        check_dtype(self.name(), "upstream", inputs[0].dtype, DTypes::NUMERIC)?;
        let padded = self.pad.padded(&self.shape)?;
        if inputs[0].shape != padded {
            return Err(Error::shape(format!(
                "{}: upstream must have shape {padded}, has {}",
                self.name(),
                inputs[0].shape
            )));
        }
        Ok(vec![Spec { shape: self.shape, ..inputs[0] }])
    }

    fn run(&self, inputs: &[Array<'_>], outputs: &mut [ArrayMut<'_>]) -> Result<()> {
        if outputs[0].shape().contains(&0) {
            return Ok(());
        }
        let places = self.pad.mirrored(&self.shape);
        dispatch_wide!(number, self, inputs, outputs, inputs[0].dtype(), T => {
            let out = outputs[0].data::<T>();
            out.fill(T::ZERO);
            add_by_index(inputs[0].data::<T>(), &places, out, &self.shape);
            Ok(())
        })
    }

    fn gradient(&self) -> Gradient {
        let pad = self.pad.clone();
        Gradient::rule(Saves::NOTHING, move |call, _| pad.clone().call(call.upstream()).map(Some))
    }
}

/// `x` with zeros (`false`) around it: as many before and after each axis as `paddings` says.
/// `tf.pad`.
///
/// [`Pad`] takes another constant or mirrors the elements.
///
/// # Errors
/// A number of entries that is not that of `x`'s axes; a negative one.
///
/// ```
/// use tapeflow_core::array;
///
/// let y = array::pad([[1, 2]], [[1, 0], [0, 1]])?;
/// assert_eq!(y.shape().dims(), [2, 3]);
/// assert_eq!(y.to_vec::<i32>()?, [0, 0, 0, 1, 2, 0]);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
pub fn pad(x: impl Into<Tensor>, paddings: impl Into<Vec<[i64; 2]>>) -> Result<Tensor> {
    Pad::new(paddings).call(x)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::array::{cast, zeros};
    use crate::ops::math::square;
    use crate::test::check_gradients;

    const MODES: [PadMode; 3] = [PadMode::Constant, PadMode::Reflect, PadMode::Symmetric];

    #[test]
    fn gradients_are_those_of_finite_differences() {
        let x = Tensor::from([[1.0f64, 2.0, 3.0], [4.0, 5.0, 6.0]]);
        for mode in MODES {
            let pad = Pad { mode, ..Pad::new([[1, 0], [2, 1]]) };
            check_gradients(|x| square(pad.clone().call(&x[0])?), std::slice::from_ref(&x));
        }
    }

    #[test]
    fn mirrors_with_and_without_the_edge() {
        let padded = |mode, x: Tensor, paddings: &[[i64; 2]]| {
            let y = Pad { mode, ..Pad::new(paddings) }.call(x).unwrap();
            y.to_vec::<i32>().unwrap()
        };
        let x = || Tensor::from([1, 2, 3]);
        assert_eq!(padded(PadMode::Reflect, x(), &[[2, 2]]), [3, 2, 1, 2, 3, 2, 1]);
        assert_eq!(padded(PadMode::Symmetric, x(), &[[3, 2]]), [3, 2, 1, 1, 2, 3, 3, 2]);
        let square = padded(PadMode::Symmetric, [[1, 2], [3, 4]].into(), &[[1, 0], [0, 2]]);
        assert_eq!(square, [1, 2, 2, 1, 1, 2, 2, 1, 3, 4, 4, 3]);
        assert_eq!(padded(PadMode::Reflect, 3.into(), &[]), [3]);
    }

    #[test]
    fn any_dtype_and_constant() {
        for dtype in DType::ALL {
            for mode in MODES {
                let x = cast([1, 1], dtype).unwrap();
                let y = Pad { mode, ..Pad::new([[1, 1]]) }.call(x).unwrap();
                let y = cast(y, DType::Int32).unwrap().to_vec::<i32>().unwrap();
                let outer = i32::from(mode != PadMode::Constant);
                assert_eq!(y, [outer, 1, 1, outer], "{dtype} {mode:?}");
            }
        }
        let constant_values = Some(i64::MAX.into());
        let y = Pad { constant_values, ..Pad::new([[0, 1]]) }.call([5i64]).unwrap();
        assert_eq!(y.to_vec::<i64>().unwrap(), [5, i64::MAX]);
        let y = pad(zeros([0], DType::Float32).unwrap(), [[1, 1]]).unwrap();
        assert_eq!(y.to_vec::<f32>().unwrap(), [0.0, 0.0]);
    }

    #[test]
    fn what_is_refused() {
        let error = pad([1, 2], [[-1, 0]]).unwrap_err();
        assert_eq!(error.to_string(), "pad: paddings [[-1, 0]] of [2]: axis 0 has a negative one");
        assert!(pad([1, 2], [[1, 0], [0, 0]]).unwrap_err().is_invalid_argument());
        assert!(pad([1, 2], [[i64::MAX, i64::MAX]]).unwrap_err().is_resource_exhausted());
        let mirror = |mode, x: Tensor, paddings: [i64; 2]| {
            Pad { mode, ..Pad::new([paddings]) }.call(x).map(|y| y.shape().to_vec())
        };
        let empty = || zeros([0], DType::Float32).unwrap();
        assert!(mirror(PadMode::Reflect, [1, 2].into(), [2, 0]).is_err());
        assert!(mirror(PadMode::Symmetric, [1, 2].into(), [3, 0]).is_err());
        assert!(mirror(PadMode::Reflect, empty(), [0, 0]).is_err());
        assert_eq!(mirror(PadMode::Symmetric, empty(), [0, 0]).unwrap(), [0]);
        let with =
            |value: Tensor| Pad { constant_values: Some(value), ..Pad::new([[1, 1]]) }.call([1, 2]);
        assert!(with(7.5f32.into()).unwrap_err().is_dtype());
        assert!(with([7].into()).unwrap_err().is_shape());
    }
}
