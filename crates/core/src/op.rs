//! What an op is: the one trait that each op file implements.

use std::any::Any;
use std::fmt;

use tapeflow_kernels as kernels;

use crate::dtype::{DType, DTypes};
use crate::error::{Error, Result};
use crate::shape::{Shape, Spec};
use crate::tape::Call;
use crate::tensor::Tensor;

/// One operation with its attributes.
///
/// The struct that implements it holds typed attributes only, and its `Debug` shows them all, for
/// by it compiled functions know equal ops; [`apply`](crate::execute::apply)
/// runs it. CONTRIBUTING.md has the recipe for adding one.
pub trait Op: Any + fmt::Debug + Send + Sync {
    /// TensorFlow's Python name below `tf.`, such as `nn.conv2d`.
    fn name(&self) -> &'static str;

    /// The dtype and shape of each output, from those of the inputs alone.
    ///
    /// # Errors
    /// Every refusal that does not depend on values is made here.
    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>>;

    /// Computes the outputs, whose buffers have the inferred size and arbitrary content.
    ///
    /// # Errors
    /// Values the op refuses, such as a label outside its range.
    fn run(&self, inputs: &[Array<'_>], outputs: &mut [ArrayMut<'_>]) -> Result<()>;

    /// How gradients pass through the op. There is no default: an op says so itself.
    fn gradient(&self) -> Gradient;

    /// For an op that maps element by element: its function on `f32`, by which a chain of such ops
    /// can be run as one ([`ElementwiseChain`](crate::ops::fused::ElementwiseChain)).
    fn elementwise(&self) -> Option<kernels::chain::Function> {
        None
    }

    /// For an op whose single output is a part of its first input's buffer, the element at which
    /// it begins; such an op is never `run`.
    fn view(&self, _inputs: &[Spec]) -> Option<usize> {
        None
    }

    /// For an op that updates variables: how many of its first inputs are values that its outputs,
    /// of the same specs, are written over. Its `run` is given the other inputs alone, and outputs
    /// that hold those values.
    fn updates(&self) -> usize {
        0
    }
}

/// A borrowed input of [`Op::run`]: a dense row-major array.
#[derive(Clone, Copy)]
pub struct Array<'a> {
    spec: &'a Spec,
    bytes: &'a [u8],
}

impl<'a> Array<'a> {
    /// The array whose values are at the start of `bytes`.
    pub(crate) fn new(spec: &'a Spec, bytes: &'a [u8]) -> Array<'a> {
        Array { spec, bytes }
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.spec.dtype
    }

    /// The extents.
    pub fn shape(&self) -> &'a Shape {
        &self.spec.shape
    }

    /// The bytes of the elements.
    pub(crate) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// A variable's values in [panels](kernels::gemm::panels), where a plan keeps them so.
    pub(crate) fn panels(&self) -> &'a [f32] {
        bytemuck::cast_slice(self.bytes)
    }

    /// The elements, in the type that stores them (`u8` for `bool`).
    pub fn data<T: kernels::Element>(&self) -> &'a [T] {
        debug_assert_eq!(size_of::<T>(), self.dtype().size());
        bytemuck::cast_slice(&self.bytes[..self.spec.num_bytes()])
    }
}

/// A borrowed output of [`Op::run`].
pub struct ArrayMut<'a> {
    spec: &'a Spec,
    bytes: &'a mut [u8],
}

impl<'a> ArrayMut<'a> {
    /// The array whose values are at the start of `bytes`.
    pub(crate) fn new(spec: &'a Spec, bytes: &'a mut [u8]) -> ArrayMut<'a> {
        ArrayMut { spec, bytes }
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.spec.dtype
    }

    /// The extents.
    pub fn shape(&self) -> &'a Shape {
        &self.spec.shape
    }

    /// The same output for a shorter time.
    pub(crate) fn reborrow(&mut self) -> ArrayMut<'_> {
        ArrayMut { spec: self.spec, bytes: self.bytes }
    }

    /// What it holds.
    pub(crate) fn as_array(&self) -> Array<'_> {
        Array { spec: self.spec, bytes: self.bytes }
    }

    /// The bytes of the elements.
    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        self.bytes
    }

    /// A variable's values in [panels](kernels::gemm::panels), where a plan keeps them so.
    pub(crate) fn panels(&mut self) -> &mut [f32] {
        bytemuck::cast_slice_mut(self.bytes)
    }

    /// The elements, in the type that stores them (`u8` for `bool`).
    pub fn data<T: kernels::Element>(&mut self) -> &mut [T] {
        debug_assert_eq!(size_of::<T>(), self.dtype().size());
        bytemuck::cast_slice_mut(&mut self.bytes[..self.spec.num_bytes()])
    }
}

/// How gradients pass through an op.
pub enum Gradient {
    /// None passes: the outputs are not floating, or constant almost everywhere, or meant to stop
    /// it.
    NotDifferentiable,
    /// A rule per input.
    Rule(Saves, Rule),
}

/// Maps a recorded [`Call`] and the index of an input to the gradient with respect to that input,
/// `None` where none flows. It is written with the public ops, so it can itself be differentiated.
///
/// The gradient may have the shape that the input was broadcast to: the tape sums it back.
pub type Rule = Box<dyn Fn(&Call<'_>, usize) -> Result<Option<Tensor>>>;

impl Gradient {
    /// A rule and what it reads of the call.
    pub fn rule(
        saves: Saves,
        rule: impl Fn(&Call<'_>, usize) -> Result<Option<Tensor>> + 'static,
    ) -> Gradient {
        Gradient::Rule(saves, Box::new(rule))
    }
}

/// Which values of a call its gradient rule reads, and so the tape keeps alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Saves {
    inputs: u32,
    outputs: u32,
}

impl Saves {
    /// Shapes and dtypes only.
    pub const NOTHING: Saves = Saves { inputs: 0, outputs: 0 };
    /// Every input.
    pub const INPUTS: Saves = Saves { inputs: u32::MAX, outputs: 0 };
    /// Every output.
    pub const OUTPUTS: Saves = Saves { inputs: 0, outputs: u32::MAX };
    /// Everything.
    pub const ALL: Saves = Saves { inputs: u32::MAX, outputs: u32::MAX };

    /// One input.
    pub const fn input(index: usize) -> Saves {
        Saves { inputs: 1 << index, outputs: 0 }
    }

    /// One output.
    pub const fn output(index: usize) -> Saves {
        Saves { inputs: 0, outputs: 1 << index }
    }

    /// These and the others.
    pub const fn and(self, other: Saves) -> Saves {
        Saves { inputs: self.inputs | other.inputs, outputs: self.outputs | other.outputs }
    }

    pub(crate) fn has_input(self, index: usize) -> bool {
        self.inputs & (1 << index.min(31)) != 0
    }

    pub(crate) fn has_output(self, index: usize) -> bool {
        self.outputs & (1 << index.min(31)) != 0
    }
}

/// Refuses a dtype outside `allowed`, naming the op and the argument.
pub(crate) fn check_dtype(op: &str, argument: &str, dtype: DType, allowed: DTypes) -> Result<()> {
    if allowed.contains(dtype) {
        return Ok(());
    }
    Err(Error::dtype(format!("{op}: {argument} is {dtype}, must be one of {allowed}")))
}

/// Refuses two inputs of different dtypes; TensorFlow converts none by itself.
pub(crate) fn check_same_dtype(op: &str, x: &Spec, y: &Spec) -> Result<()> {
    if x.dtype == y.dtype {
        return Ok(());
    }
    Err(Error::dtype(format!("{op}: dtypes {} and {} differ; cast one", x.dtype, y.dtype)))
}

/// Refuses an input whose number of axes is not `rank`.
pub(crate) fn check_rank(op: &str, argument: &str, shape: &Shape, rank: usize) -> Result<()> {
    if shape.rank() == rank {
        return Ok(());
    }
    Err(Error::shape(format!("{op}: {argument} must have {rank} axes, has shape {shape}")))
}
