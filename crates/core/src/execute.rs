//! The eager executor, and the one place where an op meets values.
//!
//! Infer, take output buffers from the reuse pool, run, tell the active tapes. Where this thread
//! traces a function, the op goes into its graph instead.

use std::sync::Arc;

use smallvec::SmallVec;
use tapeflow_kernels::{AllocError, Buffer};

use crate::error::{Error, Result};
use crate::graph::trace;
use crate::op::{Array, ArrayMut, Op};
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
