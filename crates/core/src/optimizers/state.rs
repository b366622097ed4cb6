//! What every optimizer keeps: iterations, learning rate, and slots for each variable.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::{Error, Result};
use crate::ops::array::zeros;
use crate::tensor::{Tensor, TensorId};
use crate::variable::Variable;

/// The state of one optimizer.
#[derive(Debug)]
pub(super) struct State {
    optimizer: &'static str,
    iterations: Variable,
    learning_rate: Variable,
    slots: Mutex<Option<Slots>>,
}

/// The slots of the variables that the optimizer was built with.
#[derive(Debug, Default)]
struct Slots {
    of: HashMap<TensorId, Vec<Variable>>,
    in_order: Vec<Variable>,
}

/// A variable with its gradient and slots, ready to be updated.
pub(super) struct Update {
    pub(super) variable: Variable,
    pub(super) gradient: Tensor,
    pub(super) slots: Vec<Variable>,
}

impl State {
    /// The state of the optimizer of this class name.
    pub(super) fn new(optimizer: &'static str, learning_rate: f64) -> State {
        let name = |what| format!("{}/{what}", optimizer.to_lowercase());
        State {
            optimizer,
            iterations: Variable::untrainable(name("iteration"), 0i64),
            learning_rate: Variable::untrainable(name("learning_rate"), learning_rate as f32),
            slots: Mutex::new(None),
        }
    }

    pub(super) fn iterations(&self) -> i64 {
        self.iterations.value().to_scalar().expect("it is made as an int64 scalar")
    }

    pub(super) fn learning_rate(&self) -> f32 {
        self.learning_rate.value().to_scalar().expect("it is made as a float32 scalar")
    }

    /// The iterations before this step, `int64 []`.
    pub(super) fn iterations_tensor(&self) -> Tensor {
        self.iterations.value()
    }

    /// The learning rate, `float32 []`.
    pub(super) fn learning_rate_tensor(&self) -> Tensor {
        self.learning_rate.value()
    }

    pub(super) fn set_learning_rate(&self, learning_rate: f64) {
        self.learning_rate.assign(learning_rate as f32).expect("it is made as a float32 scalar");
    }

    pub(super) fn variables(&self) -> Vec<Variable> {
        let mut variables = vec![self.iterations.clone(), self.learning_rate.clone()];
        if let Some(slots) = &*self.lock() {
            variables.extend(slots.in_order.iter().cloned());
        }
        variables
    }

    /// Makes slots of these kinds, all zero; later builds may only name variables of the first.
    pub(super) fn build(&self, variables: &[&Variable], kinds: &[&str]) -> Result<()> {
        let mut built = self.lock();
        if let Some(slots) = &*built {
            return match variables.iter().find(|v| !slots.of.contains_key(&v.id())) {
                None => Ok(()),
                Some(unknown) => Err(Error::invalid_argument(format!(
                    "{}: {:?} is not among the variables that the optimizer was built with",
                    self.optimizer,
                    unknown.name()
                ))),
            };
        }
        let mut slots = Slots::default();
        for variable in variables {
            if !variable.dtype().is_floating() {
                return Err(Error::dtype(format!(
                    "{}: {:?} is {}, only floats are optimized",
                    self.optimizer,
                    variable.name(),
                    variable.spec()
                )));
            }
            let own = kinds.iter().map(|kind| {
                let name = format!("{}/{}_{kind}", self.optimizer.to_lowercase(), variable.name());
                Ok(Variable::untrainable(name, zeros(*variable.shape(), variable.dtype())?))
            });
            let own = own.collect::<Result<Vec<_>>>()?;
            slots.in_order.extend(own.iter().cloned());
            slots.of.insert(variable.id(), own);
        }
        *built = Some(slots);
        Ok(())
    }

    /// Checks a whole step, so that nothing is updated where a part of it is refused; builds what
    /// is not built.
    pub(super) fn updates(
        &self,
        gradients: &[(Option<Tensor>, Variable)],
        kinds: &[&str],
    ) -> Result<Vec<Update>> {
        let variables: Vec<_> = gradients.iter().map(|(_, variable)| variable).collect();
        if gradients.iter().all(|(gradient, _)| gradient.is_none()) {
            let names: Vec<_> = variables.iter().map(|v| format!("{:?}", v.name())).collect();
            return Err(Error::invalid_argument(format!(
                "{}.apply_gradients: no gradient for any variable: {}",
                self.optimizer,
                names.join(", ")
            )));
        }
        for (gradient, variable) in gradients {
            if let Some(gradient) = gradient {
                self.check(gradient, variable)?;
            }
        }
        self.build(&variables, kinds)?;
        let built = self.lock();
        let slots_of = |variable: &Variable| {
            let slots = built.as_ref().and_then(|slots| slots.of.get(&variable.id()));
            slots.expect("every variable of the step was built").clone()
        };
        let updates = gradients.iter().filter_map(|(gradient, variable)| {
            let (gradient, variable) = (gradient.clone()?, variable.clone());
            let slots = slots_of(&variable);
            Some(Update { variable, gradient, slots })
        });
        Ok(updates.collect())
    }

    /// Counts a step.
    pub(super) fn step_done(&self) -> Result<()> {
        self.iterations.assign_add(1i64)
    }

    fn check(&self, gradient: &Tensor, variable: &Variable) -> Result<()> {
        if gradient.spec() == variable.spec() {
            return Ok(());
        }
        let message = format!(
            "{}.apply_gradients: the gradient of {:?} is {}, the variable {}",
            self.optimizer,
            variable.name(),
            gradient.spec(),
            variable.spec()
        );
        Err(if gradient.dtype() == variable.dtype() {
            Error::shape(message)
        } else {
            Error::dtype(message)
        })
    }

    fn lock(&self) -> MutexGuard<'_, Option<Slots>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
