//! Narrow dtypes by way of wide ones: the 16-bit floats are computed in `f32`, the smaller integers
//! in 64 bits. So a kernel is compiled for four number types and not for twelve, which takes a
//! fifth off the time that building this crate takes.

use smallvec::SmallVec;
use tapeflow_kernels::Buffer;

use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::op::{Array, ArrayMut, Op};
use crate::ops::array::Cast;
use crate::shape::{Shape, Spec};

/// The dtype in which `dtype` is computed: one that holds all its values, itself if that is wide.
pub(crate) fn wide(dtype: DType) -> DType {
    match dtype {
        DType::Float16 | DType::BFloat16 => DType::Float32,
        DType::Int8 | DType::Int16 | DType::Int32 => DType::Int64,
        DType::UInt8 | DType::UInt16 | DType::UInt32 => DType::UInt64,
        dtype => dtype,
    }
}

/// What an op does with its inputs and outputs.
type Run<'r> = dyn Fn(&[Array<'_>], &mut [ArrayMut<'_>]) -> Result<()> + 'r;

/// What `run` does, on copies in the wide dtype of those inputs and outputs that are of the `narrow`
/// one; `updates` says whether the outputs hold values that it reads. Results are rounded to floats
/// and cut off to integers, so integers wrap around as they do in their own width.
pub(crate) fn run_wide(
    narrow: DType,
    updates: bool,
    inputs: &[Array<'_>],
    outputs: &mut [ArrayMut<'_>],
    run: &Run<'_>,
) -> Result<()> {
    let mut operands = SmallVec::<[Option<Copy>; 8]>::new();
    for &input in inputs {
        operands.push(Copy::of(narrow, input.dtype(), input.shape())?);
        if let Some(Some(copy)) = operands.last_mut() {
            copy.load(input)?;
        }
    }
    let mut results = SmallVec::<[Option<Copy>; 8]>::new();
    for output in &*outputs {
        results.push(Copy::of(narrow, output.dtype(), output.shape())?);
        if let (true, Some(Some(copy))) = (updates, results.last_mut()) {
            copy.load(output.as_array())?;
        }
    }
    let mut wide_inputs = SmallVec::<[Array<'_>; 8]>::new();
    for (input, copy) in inputs.iter().zip(&operands) {
        wide_inputs.push(copy.as_ref().map_or(*input, Copy::array));
    }
    let mut wide_outputs = SmallVec::<[ArrayMut<'_>; 8]>::new();
    for (output, copy) in outputs.iter_mut().zip(&mut results) {
        wide_outputs.push(match copy {
            Some(copy) => copy.array_mut(),
            None => output.reborrow(),
        });
    }
    run(&wide_inputs, &mut wide_outputs)?;
    drop(wide_outputs);
    for (output, copy) in outputs.iter_mut().zip(&results) {
        if let Some(copy) = copy {
            let cast = Cast { dtype: output.dtype() };
            cast.run(&[copy.array()], std::slice::from_mut(output))?;
        }
    }
    Ok(())
}

/// An array in the wide dtype.
struct Copy {
    spec: Spec,
    buffer: Buffer,
}

impl Copy {
    /// Room for one of this shape, where its dtype is the `narrow` one.
    fn of(narrow: DType, dtype: DType, shape: &Shape) -> Result<Option<Copy>> {
        if dtype != narrow {
            return Ok(None);
        }
        let spec = Spec { dtype: wide(dtype), shape: *shape };
        let buffer = Buffer::uninit_reused(spec.num_bytes())
            .map_err(|error| Error::resource_exhausted(format!("{narrow}: {error}")))?;
        Ok(Some(Copy { spec, buffer }))
    }

    fn load(&mut self, array: Array<'_>) -> Result<()> {
        Cast { dtype: self.spec.dtype }.run(&[array], &mut [self.array_mut()])
    }

    fn array(&self) -> Array<'_> {
        Array::new(&self.spec, self.buffer.as_slice())
    }

    fn array_mut(&mut self) -> ArrayMut<'_> {
        ArrayMut::new(&self.spec, self.buffer.as_mut_slice())
    }
}

/// Evaluates `body` with `$T` bound to the stored type of a dtype that is wide; with a narrow one,
/// runs the op again on copies that are wide. The families are those of
/// [`dispatch`](crate::dtype::dispatch), of which the wide dtypes are left.
macro_rules! dispatch_wide {
    ($family:ident, $op:ident, $inputs:ident, $outputs:ident, $dtype:expr, $T:ident => $body:expr) => {{
        let dtype = $dtype;
        if dtype != $crate::ops::wide::wide(dtype) {
            let updates = $crate::op::Op::updates($op) > 0;
            return $crate::ops::wide::run_wide(dtype, updates, $inputs, $outputs, &|i, o| {
                $crate::op::Op::run($op, i, o)
            });
        }
        $crate::ops::wide::dispatch_wide!(@ $family, dtype, $T => $body)
    }};
    (@ float, $dtype:expr, $T:ident => $body:expr) => {
        $crate::dtype::dispatch!(@ $dtype, $T => $body, Float32: f32, Float64: f64)
    };
    (@ integer, $dtype:expr, $T:ident => $body:expr) => {
        $crate::dtype::dispatch!(@ $dtype, $T => $body, Int64: i64, UInt64: u64)
    };
    (@ product, $dtype:expr, $T:ident => $body:expr) => {
        $crate::dtype::dispatch!(@ $dtype, $T => $body, Float32: f32, Float64: f64, Int64: i64)
    };
    (@ number, $dtype:expr, $T:ident => $body:expr) => {
        $crate::dtype::dispatch!(@ $dtype, $T => $body,
            Float32: f32, Float64: f64, Int64: i64, UInt64: u64)
    };
    (@ any, $dtype:expr, $T:ident => $body:expr) => {
        $crate::dtype::dispatch!(@ $dtype, $T => $body,
            Float32: f32, Float64: f64, Int64: i64, UInt64: u64, Bool: u8)
    };
}
pub(crate) use dispatch_wide;

#[cfg(test)]
mod tests {
    use half::{bf16, f16};

    use super::*;
    use crate::ops::{array, math};
    use crate::tensor::Tensor;

    fn floats(x: &Tensor) -> Vec<f32> {
        array::cast(x, DType::Float32).unwrap().to_vec().unwrap()
    }

    #[test]
    fn narrow_integers_wrap_in_their_own_width() {
        let sum = math::add([127i8, -128], [1i8, -1]).unwrap();
        assert_eq!(sum.to_vec::<i8>().unwrap(), [-128, 127]);
        let product = math::multiply([i32::MAX, -7], [i32::MAX, 3]).unwrap();
        assert_eq!(product.to_vec::<i32>().unwrap(), [1, -21]);
        let difference = math::subtract([0u16, 5], [1u16, 2]).unwrap();
        assert_eq!(difference.to_vec::<u16>().unwrap(), [u16::MAX, 3]);
    }

    #[test]
    fn products_of_sixteen_bit_floats_are_rounded_to_the_nearest() {
        // From 1 to 2 in steps of 1/n: (1 + a/n) (1 + b/n) is ab/n steps more than 1 + (a + b)/n.
        let rounded = [
            (DType::Float16, 1024.0, [(3, 3, 6), (31, 31, 63), (32, 16, 48), (512, 1, 514)]),
            (DType::BFloat16, 128.0, [(3, 3, 6), (11, 11, 23), (8, 8, 16), (64, 1, 66)]),
        ];
        for (dtype, n, cases) in rounded {
            for (a, b, product) in cases {
                let number = |steps: i32| array::cast(1.0 + steps as f32 / n, dtype).unwrap();
                let y = math::multiply(number(a), number(b)).unwrap();
                assert_eq!(y.dtype(), dtype);
                assert_eq!(floats(&y), floats(&number(product)), "{dtype}: {a}, {b}");
            }
        }
    }

    #[test]
    fn sums_of_sixteen_bit_floats_are_rounded_once() {
        type Rounded = fn(f32) -> f32;
        let dtypes: [(DType, usize, Rounded); 2] = [
            (DType::Float16, 1024, |x| f16::from_f32(x).to_f32()),
            (DType::BFloat16, 128, |x| bf16::from_f32(x).to_f32()),
        ];
        for (dtype, n, rounded) in dtypes {
            let values: Vec<f32> = (0..300).map(|i| 1.0 + (i * 51 % n) as f32 / n as f32).collect();
            // In f32 every partial sum is exact.
            let exact: f32 = values.iter().sum();
            assert_ne!(rounded(exact), exact, "nothing is rounded");
            let at_each_step = values.iter().fold(0.0, |sum, value| rounded(sum + value));
            assert_ne!(at_each_step, rounded(exact), "it is the same however it is rounded");
            let x = array::cast(values, dtype).unwrap();
            let sum = math::reduce_sum(&x, ..).unwrap();
            assert_eq!(sum.dtype(), dtype);
            assert_eq!(floats(&sum), [rounded(exact)], "{dtype}");
        }
    }
}
