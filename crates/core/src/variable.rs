//! Mutable state.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use tapeflow_kernels::{Number, elementwise::zip_in_place};

use crate::dtype::{DType, dispatch};
use crate::error::{Error, Result};
use crate::op::ArrayMut;
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
    value: RwLock<Tensor>,
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
        let value = RwLock::new(value);
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

    /// The present value, which later assignments do not change.
    pub fn value(&self) -> Tensor {
        let value = self.0.value.read().unwrap_or_else(PoisonError::into_inner);
        tape::read_variable(self, &value)
    }

    /// Replaces the value.
    ///
    /// # Errors
    /// Another dtype or shape than the variable's.
    pub fn assign(&self, value: impl Into<Tensor>) -> Result<()> {
        let value = value.into();
        self.check("assign", value.spec())?;
        // An alias, so that gradients do not flow into what the value was computed from.
        *self.0.value.write().unwrap_or_else(PoisonError::into_inner) = value.alias();
        Ok(())
    }

    /// Adds `delta`, in place where nothing else holds the value.
    ///
    /// # Errors
    /// Another dtype or shape than the variable's, or one that cannot be added.
    pub fn assign_add(&self, delta: impl Into<Tensor>) -> Result<()> {
        let delta = delta.into();
        self.check("assign_add", delta.spec())?;
        self.update(|mut value| {
            dispatch!(number, delta.dtype(), T => {
                zip_in_place(value.data::<T>(), delta.array().data(), Number::add);
                Ok(())
            })
        })
    }

    /// Subtracts `delta`, in place where nothing else holds the value.
    ///
    /// # Errors
    /// Another dtype or shape than the variable's, or one that cannot be subtracted.
    pub fn assign_sub(&self, delta: impl Into<Tensor>) -> Result<()> {
        let delta = delta.into();
        self.check("assign_sub", delta.spec())?;
        self.update(|mut value| {
            dispatch!(number, delta.dtype(), T => {
                zip_in_place(value.data::<T>(), delta.array().data(), Number::sub);
                Ok(())
            })
        })
    }

    /// Lets `update` write over the values: in place where nothing else holds them, else over a
    /// copy. This is what optimizers are made of.
    pub(crate) fn update(&self, update: impl FnOnce(ArrayMut<'_>) -> Result<()>) -> Result<()> {
        let mut value = self.0.value.write().unwrap_or_else(PoisonError::into_inner);
        if value.exclusive_buffer().is_none() {
            *value = Tensor::from_bytes(*self.spec(), value.as_bytes())?;
        }
        let buffer = value.exclusive_buffer().expect("a fresh copy has one owner");
        update(ArrayMut::new(self.spec(), buffer))
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
    fn a_value_of_another_spec_is_refused() {
        let variable = Variable::named("w", [1.0f32, 2.0]);
        let error = variable.assign([1.0f32]).unwrap_err();
        assert!(error.is_shape());
        assert_eq!(error.to_string(), "Variable.assign: \"w\" is float32 [2], got float32 [1]");
        assert!(variable.assign_add([1i32, 2]).unwrap_err().is_dtype());
    }
}
