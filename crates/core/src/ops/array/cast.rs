//! Conversion between dtypes.

use num_traits::AsPrimitive;
use tapeflow_kernels as kernels;

use crate::ops::prelude::*;

/// The op of [`cast`].
#[derive(Debug, Clone, Copy)]
pub struct Cast {
    /// The wanted dtype.
    pub dtype: DType,
}

impl Op for Cast {
    fn name(&self) -> &'static str {
        "cast"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        Ok(vec![Spec { dtype: self.dtype, ..inputs[0] }])
    }

    fn view(&self, inputs: &[Spec]) -> Option<usize> {
        (inputs[0].dtype == self.dtype).then_some(0)
    }

    fn run(&self, inputs: &[Array<'_>], outputs: &mut [ArrayMut<'_>]) -> Result<()> {
        // bool is stored as the numbers 0 and 1, so only what becomes a bool needs care.
        if self.dtype == DType::Bool {
            return dispatch!(number, inputs[0].dtype(), S => {
                elementwise::run_unary(inputs, outputs, |x: S| u8::from(x != S::ZERO))
            });
        }
        match (inputs[0].dtype(), self.dtype) {
            (dtype, DType::Float32) => dispatch!(any, dtype, S => {
                elementwise::run_unary(inputs, outputs, |x: S| -> f32 { x.as_() })
            }),
            (DType::Float32, dtype) => dispatch!(number, dtype, T => {
                elementwise::run_unary(inputs, outputs, |x: f32| -> T { x.as_() })
            }),
            (dtype, _) if dtype.is_floating() => dispatch!(float, dtype, S => {
                let x = inputs[0].data::<S>();
                cast_by(&|start, block: &mut [f64]| widen(&x[start..], block), &mut outputs[0])
            }),
            (DType::UInt64, _) => {
                let x = inputs[0].data::<u64>();
                cast_by(&|start, block: &mut [u64]| widen(&x[start..], block), &mut outputs[0])
            }
            (dtype, _) => dispatch!(any, dtype, S => {
                let x = inputs[0].data::<S>();
                cast_by(&|start, block: &mut [i64]| widen(&x[start..], block), &mut outputs[0])
            }),
        }
    }

    fn gradient(&self) -> Gradient {
        if !self.dtype.is_floating() {
            return Gradient::NotDifferentiable;
        }
        Gradient::rule(Saves::NOTHING, |call, _| {
            let dtype = call.input_spec(0).dtype;
            if !dtype.is_floating() {
                return Ok(None);
            }
            cast(call.upstream(), dtype).map(Some)
        })
    }

    fn elementwise(&self) -> Option<Function> {
        (self.dtype == DType::Float32).then_some(Function::Cast)
    }
}

/// Casts by way of `W`, the widest type of the input's kind, which holds all its values: so there is
/// not a kernel for each pair of types, only for those of `float32`. `load(start, block)` fills `block`
/// with the values from `start` on.
fn cast_by<W: Wide>(
    load: &(dyn Fn(usize, &mut [W]) + Sync),
    output: &mut ArrayMut<'_>,
) -> Result<()> {
    dispatch!(number, output.dtype(), T => {
        kernels::elementwise::from_blocks(load, output.data::<T>(), |x: W| -> T { x.as_() });
        Ok(())
    })
}

/// A type that casts to each of the others.
trait Wide:
    kernels::Element
    + AsPrimitive<kernels::f16>
    + AsPrimitive<kernels::bf16>
    + AsPrimitive<f32>
    + AsPrimitive<f64>
    + AsPrimitive<i8>
    + AsPrimitive<i16>
    + AsPrimitive<i32>
    + AsPrimitive<i64>
    + AsPrimitive<u8>
    + AsPrimitive<u16>
    + AsPrimitive<u32>
    + AsPrimitive<u64>
{
}

impl Wide for f64 {}
impl Wide for i64 {}
impl Wide for u64 {}

fn widen<S: AsPrimitive<W>, W: Copy + 'static>(x: &[S], block: &mut [W]) {
    for (block, &x) in block.iter_mut().zip(x) {
        *block = x.as_();
    }
}

/// `x` in another dtype. `tf.cast`.
///
/// Floats become integers by truncation towards zero, saturating where they do not fit (TensorFlow
/// leaves that case to the CPU); integers wrap; numbers become `bool` by being non-zero.
///
/// # Errors
/// Memory that cannot be had.
///
/// ```
/// use tapeflow_core::{DType, array};
///
/// let x = array::cast([1.9f32, -1.9], DType::Int32)?;
/// assert_eq!(x.to_vec::<i32>()?, [1, -1]);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
pub fn cast(x: impl Into<Tensor>, dtype: DType) -> Result<Tensor> {
    apply(Cast { dtype }, &[&x.into()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::math::square;
    use crate::test::check_gradients;

    #[test]
    fn gradients_pass_between_floats() {
        let x = Tensor::from([1.0f64, 2.0]);
        check_gradients(|x| square(cast(cast(&x[0], DType::Float64)?, DType::Float64)?), &[x]);
    }

    #[test]
    fn every_pair_of_dtypes_casts() {
        for from in DType::ALL {
            for to in DType::ALL {
                let x = cast([0.0f32, 1.0], from).unwrap();
                let y = cast(cast(&x, to).unwrap(), DType::Float64).unwrap();
                assert_eq!(y.to_vec::<f64>().unwrap(), [0.0, 1.0], "{from} to {to}");
            }
        }
    }

    #[test]
    fn integers_wrap_and_any_number_but_zero_is_true() {
        let x = cast([-1i32, 256, 257], DType::UInt8).unwrap();
        assert_eq!(x.to_vec::<u8>().unwrap(), [255, 0, 1]);
        let x = cast([0.0f32, -0.0, 0.5, f32::NAN], DType::Bool).unwrap();
        assert_eq!(x.to_vec::<bool>().unwrap(), [false, false, true, true]);
    }
    #[test]
    fn what_goes_through_a_wider_type_is_as_in_one_step() {
        let large = cast([u64::MAX, 1 << 63, 1 << 33 | 5], DType::Float64).unwrap();
        assert_eq!(large.to_vec::<f64>().unwrap(), [u64::MAX as f64, 2f64.powi(63), 8589934597.0]);
        let wrapped = cast([u64::MAX, 1 << 63, 1 << 33 | 5], DType::Int8).unwrap();
        assert_eq!(wrapped.to_vec::<i8>().unwrap(), [-1, 0, 5]);
        let saturated = cast([1e300, -1e300, f64::NAN, -1.5], DType::Int16).unwrap();
        assert_eq!(saturated.to_vec::<i16>().unwrap(), [i16::MAX, i16::MIN, 0, -1]);
        let half = cast([1.0f32, 0.1, -3e-5], DType::Float16).unwrap();
        let exact = half.to_vec::<kernels::f16>().unwrap();
        let wide = cast(&half, DType::Float64).unwrap();
        assert_eq!(wide.to_vec::<f64>().unwrap(), [exact[0], exact[1], exact[2]].map(f64::from));
        let brain = cast(&half, DType::BFloat16).unwrap();
        let expected = [exact[0], exact[1], exact[2]].map(|x| kernels::bf16::from_f32(x.to_f32()));
        assert_eq!(brain.to_vec::<kernels::bf16>().unwrap(), expected);
        let long: Vec<i64> = (0..40_000).map(|i| i * 7919 - 100_000).collect();
        let narrow = cast(Tensor::from(long.clone()), DType::Int16).unwrap();
        let expected: Vec<_> = long.iter().map(|&x| x as i16).collect();
        assert_eq!(narrow.to_vec::<i16>().unwrap(), expected);
    }
}
