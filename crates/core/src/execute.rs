//! The eager executor, and the one place where an op meets values.
//!
//! Infer, take output buffers from the reuse pool, run, tell the active tapes. Where this thread
//! traces a function, the op goes into its graph instead.

use std::slice;
use std::sync::Arc;

use smallvec::SmallVec;
use tapeflow_kernels::chain::{Input, Values, map_over};
use tapeflow_kernels::{AllocError, Buffer};

use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::graph::trace;
use crate::op::{Array, ArrayMut, Gradient, Op, Saves};
use crate::shape::Spec;
use crate::tape;
use crate::tensor::Tensor;
use crate::variable::{self, Variable};

/// A list that is on the stack for every op but those of very many inputs.
pub(crate) type Few<T> = SmallVec<[T; 6]>;

/// Applies an op that has one output.
///
/// # Errors
/// What the op's `infer` and `run` refuse, and memory that cannot be had.
pub fn apply(op: impl Op, inputs: &[&Tensor]) -> Result<Tensor> {
    let mut outputs = outputs_of(op, inputs)?;
    debug_assert_eq!(outputs.len(), 1);
    Ok(outputs.swap_remove(0))
}

/// Applies an op and returns all of its outputs.
///
/// # Errors
/// As for [`apply`].
pub fn apply_all(op: impl Op, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
    outputs_of(op, inputs).map(SmallVec::into_vec)
}

/// Bytes from which it pays to write a result over an input: smaller ones stay in the cache anyway.
const OWNED_BYTES: usize = 64 << 10;

/// Applies an op that has one output to inputs that the caller needs no more: where the op maps
/// `float32` element by element, and nothing else holds a large input of the output's shape, the
/// result is written over that.
///
/// # Errors
/// As for [`apply`].
pub fn apply_owned<const N: usize>(op: impl Op, mut inputs: [Tensor; N]) -> Result<Tensor> {
    let is_large = |tensor: &Tensor| tensor.spec().num_bytes() >= OWNED_BYTES;
    if !trace::is_active()
        && inputs.iter().any(is_large)
        && let Some(output) = write_over(&op, &mut inputs)?
    {
        tape::record(|| op.gradient(), &inputs.each_ref(), slice::from_ref(&output));
        return Ok(output);
    }
    apply(op, &inputs.each_ref())
}

/// Writes the op's output over an input, where it maps element by element and there is an input of
/// its spec that nothing else holds, nor will: the rule of its gradient, should a tape record it,
/// does not read that.
fn write_over(op: &dyn Op, inputs: &mut [Tensor]) -> Result<Option<Tensor>> {
    let Some(function) = op.elementwise() else { return Ok(None) };
    let specs: Few<Spec> = inputs.iter().map(|tensor| *tensor.spec()).collect();
    let output = op.infer(&specs)?[0];
    if specs.iter().chain([&output]).any(|spec| spec.dtype != DType::Float32) {
        return Ok(None);
    }
    let saves = match op.gradient() {
        Gradient::Rule(saves, _) if tape::is_recording() => saves,
        _ => Saves::NOTHING,
    };
    let is_free = |(index, tensor): (usize, &mut Tensor)| {
        specs[index] == output && !saves.has_input(index) && tensor.exclusive_buffer().is_some()
    };
    let Some(index) = inputs.iter_mut().enumerate().position(is_free) else { return Ok(None) };
    let (before, rest) = inputs.split_at_mut(index);
    let (own, after) = rest.split_first_mut().expect("it is one of the inputs");
    let mut others: Few<Input<'_>> = SmallVec::new();
    for other in before.iter().chain(&*after) {
        let array = other.array()?;
        let values = Values::F32(array.data());
        let Some(input) = Input::broadcast(values, array.shape(), &output.shape) else {
            return Ok(None);
        };
        others.push(input);
    }
    let Some(buffer) = own.exclusive_buffer() else { return Ok(None) };
    let values = &mut buffer.as_mut_slice::<f32>()[..output.shape.num_elements()];
    map_over(function, index, values, &others);
    own.view(output, 0).map(Some)
}

fn outputs_of(op: impl Op, inputs: &[&Tensor]) -> Result<Few<Tensor>> {
    if trace::is_active() { traced(Arc::new(op), inputs) } else { executed(&op, inputs) }
}

fn traced(op: Arc<dyn Op>, inputs: &[&Tensor]) -> Result<Few<Tensor>> {
    let outputs = trace::record(op.clone(), inputs, &infer(&*op, &specs_of(inputs))?)?;
    tape::record(|| op.gradient(), inputs, &outputs);
    Ok(outputs)
}

fn executed(op: &dyn Op, inputs: &[&Tensor]) -> Result<Few<Tensor>> {
    let specs = specs_of(inputs);
    let outputs = evaluate(op, inputs, &specs, &infer(op, &specs)?)?;
    tape::record(|| op.gradient(), inputs, &outputs);
    Ok(outputs)
}

fn specs_of(inputs: &[&Tensor]) -> Few<Spec> {
    inputs.iter().map(|tensor| *tensor.spec()).collect()
}

fn infer(op: &dyn Op, specs: &[Spec]) -> Result<Vec<Spec>> {
    let outputs = op.infer(specs)?;
    for spec in &outputs {
        check_addressable(spec).map_err(|error| error.context(op.name()))?;
    }
    Ok(outputs)
}

fn run(op: &dyn Op, inputs: &[&Tensor], output_specs: &[Spec]) -> Result<Few<Tensor>> {
    let arrays = arrays(op, inputs)?;
    let mut buffers: Few<Buffer> = SmallVec::new();
    for spec in output_specs {
        buffers.push(allocate(spec).map_err(|error| error.context(op.name()))?);
    }
    let mut outputs: Few<_> = output_specs
        .iter()
        .zip(&mut buffers)
        .map(|(spec, buffer)| ArrayMut::new(spec, buffer.as_mut_slice()))
        .collect();
    op.run(&arrays, &mut outputs)?;
    drop(outputs);
    Ok(output_specs
        .iter()
        .zip(buffers)
        .map(|(spec, buffer)| Tensor::from_buffer(*spec, Arc::new(buffer)))
        .collect())
}

/// Lets an op that [updates](Op::updates) write over the values of variables: in place where
/// nothing else holds them. Tapes do not see it.
///
/// # Errors
/// What the op's `infer` and `run` refuse.
pub(crate) fn update(op: impl Op, variables: &[&Variable], inputs: &[&Tensor]) -> Result<()> {
    debug_assert_eq!(op.updates(), variables.len());
    let specs = variables.iter().map(|variable| *variable.spec());
    let specs: Few<Spec> = specs.chain(inputs.iter().map(|tensor| *tensor.spec())).collect();
    op.infer(&specs)?;
    if trace::is_active() {
        return trace::record_update(Arc::new(op), variables, inputs);
    }
    let arrays = arrays(&op, inputs)?;
    variable::write(variables, |values| op.run(&arrays, values))
}

/// Computes an op outside of tapes and traces; `specs` are the inputs'.
pub(crate) fn evaluate(
    op: &dyn Op,
    inputs: &[&Tensor],
    specs: &[Spec],
    output_specs: &[Spec],
) -> Result<Few<Tensor>> {
    match op.view(specs) {
        Some(offset) => Ok(SmallVec::from_iter([inputs[0].view(output_specs[0], offset)?])),
        None => run(op, inputs, output_specs),
    }
}

fn arrays<'a>(op: &dyn Op, inputs: &[&'a Tensor]) -> Result<Few<Array<'a>>> {
    let array = |tensor: &&'a Tensor| match tensor.symbol() {
        Some(_) => Err(trace::left_behind(&format!("{}: an input", op.name()), tensor.spec())),
        None => tensor.array(),
    };
    inputs.iter().map(array).collect()
}

/// A buffer for `spec` with arbitrary content.
pub(crate) fn allocate(spec: &Spec) -> Result<Buffer> {
    check_addressable(spec)?;
    Buffer::uninit_reused(spec.num_bytes()).map_err(|_: AllocError| no_memory(spec))
}

/// Refuses extents whose product, those that are 0 left out, is more than can be addressed: of
/// every tensor that there is, also an empty one, any extents can be multiplied.
fn check_addressable(spec: &Spec) -> Result<()> {
    let extents = spec.shape.iter().filter(|&&extent| extent > 0);
    let bytes = extents.fold(spec.dtype.size(), |bytes, &extent| bytes.saturating_mul(extent));
    if bytes > isize::MAX as usize { Err(no_memory(spec)) } else { Ok(()) }
}

fn no_memory(spec: &Spec) -> Error {
    Error::resource_exhausted(format!("no memory for a tensor of {spec}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::math::{add, multiply, negative, square, subtract};
    use crate::tape::GradientTape;

    fn large() -> Tensor {
        let values: Vec<f32> = (0..OWNED_BYTES / 4).map(|i| i as f32 / 1000.0 - 7.0).collect();
        Tensor::from_slice(&values, [OWNED_BYTES / 16, 4]).unwrap()
    }

    fn address(tensor: &Tensor) -> usize {
        tensor.as_slice::<f32>().unwrap().as_ptr().addr()
    }

    #[test]
    fn a_result_takes_the_memory_of_an_input_that_nobody_holds() {
        let values = large().to_vec::<f32>().unwrap();
        let row = [0.5f32, -2.0, f32::NAN, 0.0];
        for own_is_first in [true, false] {
            let x = large();
            let place = address(&x);
            let y = if own_is_first { subtract(x, row) } else { subtract(row, x) }.unwrap();
            assert_eq!(address(&y), place);
            for ((y, x), row) in
                y.to_vec::<f32>().unwrap().iter().zip(&values).zip(row.iter().cycle())
            {
                let wanted = if own_is_first { x - row } else { row - x };
                assert!(*y == wanted || (y.is_nan() && wanted.is_nan()), "{y} is not {wanted}");
            }
        }
    }

    #[test]
    fn an_input_that_somebody_holds_stays() {
        let x = large();
        let (view, before) = (x.clone(), x.to_vec::<f32>().unwrap());
        let y = negative(x).unwrap();
        assert_ne!(address(&y), address(&view));
        assert_eq!(view.to_vec::<f32>().unwrap(), before);
        // A broadcast result has no room in the small input, nor is it written over the other.
        let row = Tensor::from([1.0f32, 2.0, 3.0, 4.0]);
        assert_eq!(multiply(&view, row).unwrap().shape(), view.shape());
        assert_eq!(view.to_vec::<f32>().unwrap(), before);
    }

    #[test]
    fn what_a_gradient_reads_is_not_written_over() {
        let x = large();
        let tape = GradientTape::new();
        tape.watch(&x);
        // The sum is held by the tape alone, and `square` reads it for its gradient.
        let y = square(add(&x, 1.0f32).unwrap()).unwrap();
        let gradient = tape.gradient(&negative(y).unwrap(), &x).unwrap();
        let wanted: Vec<f32> =
            x.to_vec::<f32>().unwrap().iter().map(|x| -2.0 * (x + 1.0)).collect();
        assert_eq!(gradient.unwrap().to_vec::<f32>().unwrap(), wanted);
    }
}
