//! What the ops that map element by element share: their rules of dtype and shape, and the calls
//! of their kernels.

use tapeflow_kernels::chain::Function;
use tapeflow_kernels::{self as kernels, Element, Float};

use crate::dtype::{DType, DTypes, dispatch};
use crate::error::{Error, Result};
use crate::op::{Array, ArrayMut, check_dtype, check_same_dtype};
use crate::ops::wide::run_wide;
use crate::shape::Spec;

/// One input of an allowed dtype; the output is like it.
pub(crate) fn infer_unary(op: &str, inputs: &[Spec], allowed: DTypes) -> Result<Vec<Spec>> {
    check_dtype(op, "x", inputs[0].dtype, allowed)?;
    Ok(vec![inputs[0]])
}

/// Two inputs of one allowed dtype that broadcast; the output has their dtype and common shape.
pub(crate) fn infer_binary(op: &str, inputs: &[Spec], allowed: DTypes) -> Result<Vec<Spec>> {
    let (x, y) = (&inputs[0], &inputs[1]);
    check_same_dtype(op, x, y)?;
    check_dtype(op, "x", x.dtype, allowed)?;
    let shape = x.shape.broadcast(&y.shape).ok_or_else(|| {
        Error::shape(format!("{op}: shapes {} and {} do not broadcast", x.shape, y.shape))
    })?;
    Ok(vec![Spec { dtype: x.dtype, shape }])
}

/// `output = f(input)`.
pub(crate) fn run_unary<A: Element, C: Element>(
    inputs: &[Array<'_>],
    outputs: &mut [ArrayMut<'_>],
    f: impl Fn(A) -> C + Copy + Sync,
) -> Result<()> {
    kernels::elementwise::unary(inputs[0].data(), outputs[0].data(), f);
    Ok(())
}

/// `output = f(input 0, input 1)`, both broadcast to the output's shape.
pub(crate) fn run_binary<A: Element, C: Element>(
    inputs: &[Array<'_>],
    outputs: &mut [ArrayMut<'_>],
    f: impl Fn(A, A) -> C + Copy + Sync,
) -> Result<()> {
    let (x, y) = (&inputs[0], &inputs[1]);
    let dims = *outputs[0].shape();
    kernels::elementwise::binary(
        (x.data(), x.shape()),
        (y.data(), y.shape()),
        (outputs[0].data(), &dims),
        f,
    );
    Ok(())
}

/// `output = input`, broadcast to the output's shape.
pub(crate) fn run_broadcast<T: Element>(input: Array<'_>, output: &mut ArrayMut<'_>) -> Result<()> {
    let dims = *output.shape();
    let strides = kernels::movement::broadcast_strides(input.shape(), &dims);
    kernels::movement::gather(input.data::<T>(), 0, &strides, &dims, output.data());
    Ok(())
}

/// `output = function(input)` on floats, compiled for each SIMD level in `f32`; `single` is what it
/// computes there, by which 16-bit floats are computed and rounded once, and `double` the same in
/// `f64`.
pub(crate) fn run_unary_float(
    inputs: &[Array<'_>],
    outputs: &mut [ArrayMut<'_>],
    function: Function,
    single: impl Fn(f32) -> f32 + Copy + Sync,
    double: impl Fn(f64) -> f64 + Copy + Sync,
) -> Result<()> {
    match inputs[0].dtype() {
        DType::Float32 => {
            kernels::chain::map(function, inputs[0].data(), outputs[0].data());
            Ok(())
        }
        DType::Float64 => run_unary(inputs, outputs, double),
        dtype => dispatch!(half, dtype, T => {
            run_unary(inputs, outputs, |x: T| T::from_f32(single(Float::to_f32(x))))
        }),
    }
}

/// `output = f(input 0, input 1)` on floats: 16-bit ones are computed in `f32` and rounded once.
pub(crate) fn run_binary_float(
    inputs: &[Array<'_>],
    outputs: &mut [ArrayMut<'_>],
    single: impl Fn(f32, f32) -> f32 + Copy + Sync,
    double: impl Fn(f64, f64) -> f64 + Copy + Sync,
) -> Result<()> {
    match inputs[0].dtype() {
        DType::Float64 => run_binary(inputs, outputs, double),
        DType::Float32 => run_binary(inputs, outputs, single),
        narrow => run_wide(narrow, false, inputs, outputs, &|inputs, outputs| {
            run_binary_float(inputs, outputs, single, double)
        }),
    }
}

/// Two inputs of one allowed dtype that broadcast; the output is `bool`.
pub(crate) fn infer_comparison(op: &str, inputs: &[Spec], allowed: DTypes) -> Result<Vec<Spec>> {
    let specs = infer_binary(op, inputs, allowed)?;
    Ok(specs.into_iter().map(|spec| Spec { dtype: DType::Bool, ..spec }).collect())
}

/// `output = f(input 0, input 1)` where `f` is a predicate.
pub(crate) fn run_comparison<T: Element>(
    inputs: &[Array<'_>],
    outputs: &mut [ArrayMut<'_>],
    f: impl Fn(&T, &T) -> bool + Copy + Sync,
) -> Result<()> {
    run_binary(inputs, outputs, |x: T, y: T| u8::from(f(&x, &y)))
}

/// A variable's value, floating, and `rest`: scalars of these dtypes, then what has the value's
/// spec. The outputs are the first `updates` inputs, all of that spec.
pub(crate) fn infer_update(
    op: &str,
    inputs: &[Spec],
    updates: usize,
    scalars: &[DType],
) -> Result<Vec<Spec>> {
    let value = &inputs[0];
    check_dtype(op, "var", value.dtype, DTypes::FLOATING)?;
    for (input, &dtype) in inputs[updates..].iter().zip(scalars) {
        let wanted = Spec::new(dtype, crate::shape::Shape::SCALAR);
        if *input != wanted {
            return Err(Error::shape(format!("{op}: a scalar input is {input}, must be {wanted}")));
        }
    }
    let alike = inputs[..updates].iter().chain(&inputs[updates + scalars.len()..]);
    if let Some(other) = alike.into_iter().find(|other| *other != value) {
        return Err(Error::shape(format!("{op}: var is {value}, another input {other}")));
    }
    Ok(vec![*value; updates])
}
