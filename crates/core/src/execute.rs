//! The eager executor: the one place where an op meets buffers.
//!
//! Infer, take output buffers from the reuse pool, run, tell the active tapes.

use std::sync::Arc;

use tapeflow_kernels::{AllocError, Buffer};

use crate::error::{Error, Result};
use crate::op::{ArrayMut, Op};
use crate::shape::Spec;
use crate::tape;
use crate::tensor::Tensor;

/// Applies an op that has one output.
///
/// # Errors
/// What the op's `infer` and `run` refuse, and memory that cannot be had.
pub fn apply(op: impl Op, inputs: &[&Tensor]) -> Result<Tensor> {
    let mut outputs = apply_all(op, inputs)?;
    debug_assert_eq!(outputs.len(), 1);
    Ok(outputs.swap_remove(0))
}

/// Applies an op and returns all of its outputs.
///
/// # Errors
/// As for [`apply`].
pub fn apply_all(op: impl Op, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
    let specs: Vec<Spec> = inputs.iter().map(|tensor| *tensor.spec()).collect();
    let output_specs = op.infer(&specs)?;
    let outputs = match op.view(&specs) {
        Some(offset) => {
            check_addressable(&output_specs[0]).map_err(|error| error.context(op.name()))?;
            vec![inputs[0].view(output_specs[0], offset)]
        }
        None => run(&op, inputs, &output_specs)?,
    };
    tape::record(|| op.gradient(), inputs, &outputs);
    Ok(outputs)
}

fn run(op: &dyn Op, inputs: &[&Tensor], output_specs: &[Spec]) -> Result<Vec<Tensor>> {
    let arrays: Vec<_> = inputs.iter().map(|tensor| tensor.array()).collect();
    let mut buffers = Vec::with_capacity(output_specs.len());
    for spec in output_specs {
        buffers.push(allocate(spec).map_err(|error| error.context(op.name()))?);
    }
    let mut outputs: Vec<_> = output_specs
        .iter()
        .zip(&mut buffers)
        .map(|(spec, buffer)| ArrayMut::new(spec, buffer))
        .collect();
    op.run(&arrays, &mut outputs)?;
    Ok(output_specs
        .iter()
        .zip(buffers)
        .map(|(spec, buffer)| Tensor::from_buffer(*spec, Arc::new(buffer)))
        .collect())
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
