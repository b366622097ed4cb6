//! Mutable state.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};

use smallvec::SmallVec;
use tapeflow_kernels::Buffer;
use tapeflow_kernels::gemm::panels;

use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::execute::{self, Few};
use crate::graph::trace;
use crate::op::ArrayMut;
use crate::ops::state::{AssignAdd, AssignSub};
use crate::shape::{Shape, Spec};
use crate::tape;
use crate::tensor::{Tensor, TensorId};

/// A named tensor that can be assigned to, like `tf.Variable`.
///
/// A clone is another handle to the same variable. Dtype and shape never change. Tapes watch a
/// trainable variable by themselves when it is read.
///
/// ```
/// use tapeflow_core::{GradientTape, Variable, math};
///
/// let w = Variable::new([3.0f32, 4.0]);
/// let tape = GradientTape::new();
/// let loss = math::reduce_sum(math::square(&w)?, ..)?;
/// let gradient = tape.gradient(&loss, &w)?.unwrap();
/// w.assign_sub(gradient * 0.5)?;
/// assert_eq!(w.value().to_vec::<f32>()?, [0.0, 0.0]);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
#[derive(Clone)]
pub struct Variable(Arc<Inner>);

struct Inner {
    id: TensorId,
    name: String,
    trainable: bool,
    spec: Spec,
    value: RwLock<Held>,
}

/// How a variable holds its values.
#[derive(Clone)]
pub(crate) enum Held {
    Plain(Tensor),
    /// A matrix of `float32` in [panels], as compiled functions want it.
    Panels(Arc<Buffer>),
}

impl Held {
    /// The bytes, in the order in which they are held.
    pub(crate) fn bytes(&self) -> Result<&[u8]> {
        match self {
            Held::Plain(tensor) => tensor.bytes(),
            Held::Panels(buffer) => Ok(buffer.as_slice()),
        }
    }
}

impl Variable {
    /// A trainable variable named `Variable` with this initial value.
    pub fn new(initial_value: impl Into<Tensor>) -> Variable {
        Variable::build(initial_value.into(), "Variable".into(), true)
    }

    /// A trainable variable with a name, by which checkpoints know it.
    pub fn named(name: impl Into<String>, initial_value: impl Into<Tensor>) -> Variable {
        Variable::build(initial_value.into(), name.into(), true)
    }

    /// A named variable that tapes do not watch by themselves and optimizers leave alone.
    pub fn untrainable(name: impl Into<String>, initial_value: impl Into<Tensor>) -> Variable {
        Variable::build(initial_value.into(), name.into(), false)
    }

    fn build(value: Tensor, name: String, trainable: bool) -> Variable {
        let spec = *value.spec();
        let value = RwLock::new(Held::Plain(value));
        Variable(Arc::new(Inner { id: TensorId::fresh(), name, trainable, spec, value }))
    }

    /// The name given when it was made.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Do tapes watch it by themselves?
    pub fn trainable(&self) -> bool {
        self.0.trainable
    }

    /// Whether both are handles of the same variable; names need not be unique.
    ///
    /// ```
    /// use tapeflow_core::Variable;
    /// let w = Variable::named("w", 1.0f32);
    /// assert!(w.is_same_as(&w.clone()));
    /// assert!(!w.is_same_as(&Variable::named("w", 1.0f32)));
    /// ```
    pub fn is_same_as(&self, other: &Variable) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.0.spec.dtype
    }

    /// The extents.
    pub fn shape(&self) -> &Shape {
        &self.0.spec.shape
    }

    /// Dtype and shape.
    pub fn spec(&self) -> &Spec {
        &self.0.spec
    }

    pub(crate) fn id(&self) -> TensorId {
        self.0.id
    }

    /// The present value, which later assignments do not change. Where tapes or a traced function
    /// see it, each read is a node of its own.
    pub fn value(&self) -> Tensor {
        let value = trace::read_variable(self).unwrap_or_else(|| self.stored());
        tape::read_variable(self, &value)
    }

    /// The value, unseen by tapes and traces. Where it was held in panels it is plain from now on.
    pub(crate) fn stored(&self) -> Tensor {
        if let Held::Plain(tensor) = &*self.0.value.read().unwrap_or_else(PoisonError::into_inner) {
            return tensor.clone();
        }
        let mut held = self.lock();
        self.make_plain(&mut held).clone()
    }

    /// Whether it was made of a symbol, while a function was traced.
    pub(crate) fn holds_symbol(&self) -> bool {
        match &*self.0.value.read().unwrap_or_else(PoisonError::into_inner) {
            Held::Plain(tensor) => tensor.symbol().is_some(),
            Held::Panels(_) => false,
        }
    }

    /// The value in panels, in which it is held from now on; of a matrix of `float32`.
    pub(crate) fn stored_panels(&self) -> Result<Arc<Buffer>> {
        let held = self.0.value.read().unwrap_or_else(PoisonError::into_inner);
        if let Held::Panels(buffer) = &*held {
            return Ok(buffer.clone());
        }
        drop(held);
        let mut held = self.lock();
        self.make_panels(&mut held).cloned()
    }

    fn lock(&self) -> RwLockWriteGuard<'_, Held> {
        self.0.value.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn make_plain<'a>(&self, held: &'a mut Held) -> &'a mut Tensor {
        if let Held::Panels(buffer) = held {
            let mut plain = Buffer::uninit_reused(self.spec().num_bytes())
                .expect("there was memory for as much when the variable was made");
            let [rows, cols] = self.rows_and_cols();
            panels::unpack_panels(buffer.as_slice(), rows, cols, plain.as_mut_slice());
            *held = Held::Plain(Tensor::from_buffer(*self.spec(), Arc::new(plain)));
        }
        match held {
            Held::Plain(tensor) => tensor,
            Held::Panels(_) => unreachable!("it was made plain"),
        }
    }

    fn make_panels<'a>(&self, held: &'a mut Held) -> Result<&'a mut Arc<Buffer>> {
        if let Held::Plain(tensor) = held {
            let [rows, cols] = self.rows_and_cols();
            let spec = panels_spec(rows, cols);
            let mut packed = execute::allocate(&spec)?;
            panels::pack_panels(tensor.array()?.data(), rows, cols, packed.as_mut_slice());
            *held = Held::Panels(Arc::new(packed));
        }
        match held {
            Held::Panels(buffer) => Ok(buffer),
            Held::Plain(_) => unreachable!("it was packed"),
        }
    }

    fn rows_and_cols(&self) -> [usize; 2] {
        [self.shape()[0], self.shape()[1]]
    }

    /// Replaces the held value, unseen by traces.
    pub(crate) fn store(&self, value: Tensor) {
        *self.lock() = Held::Plain(value);
    }

    /// Replaces the value.
    ///
    /// # Errors
    /// Another dtype or shape than the variable's.
    pub fn assign(&self, value: impl Into<Tensor>) -> Result<()> {
        let value = value.into();
        self.check("assign", value.spec())?;
        if trace::is_active() {
            return trace::assign_variable(self, &value);
        }
        // Refuses what a trace left behind.
        value.bytes()?;
        // An alias, so that gradients do not flow into what the value was computed from.
        self.store(value.alias());
        Ok(())
    }

    /// Adds `delta`, in place where nothing else holds the value.
    ///
    /// # Errors
    /// Another dtype or shape than the variable's, or one that cannot be added.
    pub fn assign_add(&self, delta: impl Into<Tensor>) -> Result<()> {
        let delta = delta.into();
        self.check("assign_add", delta.spec())?;
        execute::update(AssignAdd, &[self], &[&delta])
    }

    /// Subtracts `delta`, in place where nothing else holds the value.
    ///
    /// # Errors
    /// Another dtype or shape than the variable's, or one that cannot be subtracted.
    pub fn assign_sub(&self, delta: impl Into<Tensor>) -> Result<()> {
        let delta = delta.into();
        self.check("assign_sub", delta.spec())?;
        execute::update(AssignSub, &[self], &[&delta])
    }

    /// Refuses a value or gradient of another dtype or shape; `method` is named in the message.
    pub(crate) fn check(&self, method: &str, value: &Spec) -> Result<()> {
        let spec = self.spec();
        let message = format!("Variable.{method}: {:?} is {spec}, got {value}", self.name());
        if value.dtype != spec.dtype {
            return Err(Error::dtype(message));
        }
        if value.shape != spec.shape {
            return Err(Error::shape(message));
        }
        Ok(())
    }
}

/// The spec of the panels of a matrix.
pub(crate) fn panels_spec(rows: usize, cols: usize) -> Spec {
    Spec::new(DType::Float32, [panels::panels_len(rows, cols)])
}

/// Lets `work` write over the values of several variables: in place where nothing else holds them,
/// else over copies.
pub(crate) fn write(
    variables: &[&Variable],
    work: impl FnOnce(&mut [ArrayMut<'_>]) -> Result<()>,
) -> Result<()> {
    let mut guards: Few<RwLockWriteGuard<'_, Held>> = SmallVec::new();
    for variable in variables {
        guards.push(variable.lock());
    }
    let mut values: Few<ArrayMut<'_>> = SmallVec::new();
    for (variable, held) in variables.iter().zip(&mut guards) {
        let value = variable.make_plain(held);
        if value.renewed_buffer().is_none() {
            *value = Tensor::from_bytes(*variable.spec(), value.bytes()?)?;
        }
        let buffer = value.renewed_buffer().expect("a fresh copy has one owner");
        values.push(ArrayMut::new(variable.spec(), buffer.as_mut_slice()));
    }
    work(&mut values)
}

/// As [`write`] of one variable, in panels.
pub(crate) fn write_panels(
    variable: &Variable,
    work: impl FnOnce(&mut [ArrayMut<'_>]) -> Result<()>,
) -> Result<()> {
    let mut held = variable.lock();
    let buffer = variable.make_panels(&mut held)?;
    if Arc::get_mut(buffer).is_none() {
        let copy = Buffer::from_slice(buffer.as_slice::<f32>());
        *buffer = Arc::new(copy.map_err(|error| Error::resource_exhausted(error.to_string()))?);
    }
    let buffer = Arc::get_mut(buffer).expect("a fresh copy has one owner");
    work(&mut [ArrayMut::new(variable.spec(), buffer.as_mut_slice())])
}

impl From<&Variable> for Tensor {
    fn from(variable: &Variable) -> Tensor {
        variable.value()
    }
}

impl fmt::Debug for Variable {
    /// As TensorFlow prints it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "<tf.Variable '{}:0' shape={} dtype={}, numpy={}>",
            self.name(),
            crate::tensor::python_tuple(self.shape()),
            self.dtype(),
            crate::tensor::values_text(&self.value()),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::function;
    use crate::linalg::matmul;
    use crate::ops::array::zeros;

    #[test]
    fn updates_are_in_place_unless_someone_looks() {
        let variable = Variable::new([1.0f32, 2.0]);
        let address = || variable.value().as_bytes().as_ptr();
        let before = address();
        variable.assign_add([1.0f32, 1.0]).unwrap();
        assert_eq!(address(), before);

        let held = variable.value();
        variable.assign_sub([1.0f32, 0.0]).unwrap();
        assert_eq!(held.to_vec::<f32>().unwrap(), [2.0, 3.0]);
        assert_eq!(variable.value().to_vec::<f32>().unwrap(), [1.0, 3.0]);
    }

    #[test]
    fn panels_stay_when_another_signature_is_compiled() {
        let w = Variable::new(zeros([256, 256], DType::Float32).unwrap());
        let product = function(|x: Tensor| matmul(x, &w));
        let is_in_panels = || matches!(*w.lock(), Held::Panels(_));
        for rows in 1..4 {
            let x = zeros([rows, 256], DType::Float32).unwrap();
            product.get_concrete_function(&x).unwrap();
            assert_eq!(is_in_panels(), rows > 1, "compiling does not touch it");
            product.call(x).unwrap();
            assert!(is_in_panels());
        }
        assert_eq!(w.value().to_vec::<f32>().unwrap(), [0.0; 256 * 256]);
        assert!(!is_in_panels(), "whoever reads it gets the plain order");
    }

    #[test]
    fn a_value_of_another_spec_is_refused() {
        let variable = Variable::named("w", [1.0f32, 2.0]);
        let error = variable.assign([1.0f32]).unwrap_err();
        assert!(error.is_shape());
        assert_eq!(error.to_string(), "Variable.assign: \"w\" is float32 [2], got float32 [1]");
        assert!(variable.assign_add([1i32, 2]).unwrap_err().is_dtype());
    }
}
