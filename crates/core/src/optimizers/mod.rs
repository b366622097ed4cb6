//! Rules that move variables against their gradients, `tf.optimizers`.
//!
//! ```
//! use tapeflow_core::optimizers::{Optimizer, SGD};
//! use tapeflow_core::{GradientTape, Variable, math};
//!
//! let variables = [Variable::named("w", [3.0f32, -1.0]), Variable::named("b", 0.5f32)];
//! let optimizer = SGD::new(0.1);
//! for _ in 0..100 {
//!     let tape = GradientTape::new();
//!     let distance = math::add(&variables[0], &variables[1])?;
//!     let loss = math::reduce_sum(math::square(distance)?, ..)?;
//!     let gradients = tape.gradient(&loss, &variables)?;
//!     optimizer.apply_gradients(gradients.iter().zip(&variables))?;
//! }
//! assert_eq!(optimizer.iterations(), 100);
//! # Ok::<(), tapeflow_core::Error>(())
//! ```

mod adam;
mod sgd;
mod state;

use std::borrow::Borrow;

pub use adam::Adam;
pub use sgd::SGD;

use crate::error::Result;
use crate::tensor::Tensor;
use crate::variable::Variable;

/// Updates variables by their gradients.
///
/// Each optimizer, and `dyn Optimizer`, has besides a method `apply_gradients` that takes any
/// iterator of pairs.
pub trait Optimizer: Send + Sync {
    /// Makes the state that the optimizer keeps for each variable, so that a checkpoint can be
    /// restored into it before the first step. The first step builds by itself otherwise.
    ///
    /// # Errors
    /// A variable that is not floating, or that an earlier build did not name.
    fn build(&self, variables: &[Variable]) -> Result<()>;

    /// One step: updates each variable in place by its gradient. Variables without one (`None`) are
    /// left alone. Nothing is changed where a pair is refused.
    ///
    /// # Errors
    /// No gradient for any variable; a gradient of another dtype or shape than its variable; a
    /// variable that is not floating or was not there when the optimizer was built.
    fn apply(&self, gradients: &[(Option<Tensor>, Variable)]) -> Result<()>;

    /// The whole state, named: the iterations (`int64`), the learning rate (`float32`) and what is
    /// kept for each variable, in the order of [`build`](Self::build).
    fn variables(&self) -> Vec<Variable>;

    /// How many steps were applied.
    fn iterations(&self) -> i64;

    /// The learning rate.
    fn learning_rate(&self) -> f32;

    /// Changes the learning rate, which is kept as `float32` as in TensorFlow.
    fn set_learning_rate(&self, learning_rate: f64);
}

impl dyn Optimizer + '_ {
    /// One step, as [`apply`](Optimizer::apply) does it, for an optimizer chosen at run time.
    ///
    /// # Errors
    /// Those of [`apply`](Optimizer::apply).
    ///
    /// ```
    /// use tapeflow_core::optimizers::{Adam, Optimizer, SGD};
    /// use tapeflow_core::{Tensor, Variable};
    ///
    /// let optimizer: Box<dyn Optimizer> =
    ///     if cfg!(windows) { Box::new(Adam::new(0.1)) } else { Box::new(SGD::new(0.1)) };
    /// let w = Variable::named("w", 1.0f32);
    /// optimizer.apply_gradients([(Tensor::from(1.0f32), &w)])?;
    /// assert_eq!(w.value().to_scalar::<f32>()?, 0.9);
    /// # Ok::<(), tapeflow_core::Error>(())
    /// ```
    pub fn apply_gradients<G: MaybeGradient, V: Borrow<Variable>>(
        &self,
        gradients: impl IntoIterator<Item = (G, V)>,
    ) -> Result<()> {
        self.apply(&collect(gradients))
    }
}

fn collect<G: MaybeGradient, V: Borrow<Variable>>(
    gradients: impl IntoIterator<Item = (G, V)>,
) -> Vec<(Option<Tensor>, Variable)> {
    gradients
        .into_iter()
        .map(|(gradient, variable)| (gradient.into_gradient(), variable.borrow().clone()))
        .collect()
}

/// A gradient that may be none, as a tape returns it, or one that is there.
pub trait MaybeGradient {
    /// The gradient.
    fn into_gradient(self) -> Option<Tensor>;
}

impl MaybeGradient for Tensor {
    fn into_gradient(self) -> Option<Tensor> {
        Some(self)
    }
}

impl MaybeGradient for &Tensor {
    fn into_gradient(self) -> Option<Tensor> {
        Some(self.clone())
    }
}

impl MaybeGradient for Option<Tensor> {
    fn into_gradient(self) -> Option<Tensor> {
        self
    }
}

impl MaybeGradient for &Option<Tensor> {
    fn into_gradient(self) -> Option<Tensor> {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::math;
    use crate::tape::GradientTape;

    /// Four steps down the function of the numbers taken from TensorFlow 2.21:
    ///
    ///     w = tf.Variable([1.0, -2.0, 3.5], dtype=d)
    ///     for _ in range(4):
    ///         with tf.GradientTape() as tape:
    ///             loss = tf.reduce_sum(w * w * tf.constant([0.5, 0.25, 1.0], dtype=d))
    ///         optimizer.apply_gradients([(tape.gradient(loss, w), w)])
    pub(super) fn four_steps(optimizer: &dyn Optimizer, dtype: crate::DType) -> Tensor {
        let cast = |values: [f64; 3]| crate::array::cast(Tensor::from(values), dtype).unwrap();
        let w = Variable::named("w", cast([1.0, -2.0, 3.5]));
        for _ in 0..4 {
            let tape = GradientTape::new();
            let square = math::multiply(&w, &w).unwrap();
            let loss = math::multiply(square, cast([0.5, 0.25, 1.0])).unwrap();
            let loss = math::reduce_sum(loss, ..).unwrap();
            let gradient = tape.gradient(&loss, &w).unwrap();
            optimizer.apply_gradients([(gradient, &w)]).unwrap();
        }
        assert_eq!(optimizer.iterations(), 4);
        w.value()
    }

    #[test]
    fn pairs_come_in_every_form() {
        let optimizer = SGD::new(0.5);
        let variables = vec![Variable::named("a", 1.0f32), Variable::named("b", 2.0f32)];
        let gradients = vec![Some(Tensor::from(1.0f32)), None];
        optimizer.apply_gradients(gradients.iter().zip(&variables)).unwrap();
        optimizer.apply_gradients(gradients.into_iter().zip(variables.clone())).unwrap();
        optimizer.apply_gradients([(&Tensor::from(2.0f32), &variables[1])]).unwrap();
        let values = variables.iter().map(|v| v.value().to_scalar::<f32>().unwrap());
        assert_eq!(values.collect::<Vec<_>>(), [0.0, 1.0]);
        assert_eq!(optimizer.iterations(), 3);
    }

    #[test]
    fn a_refused_step_changes_nothing_and_names_the_variable() {
        let optimizer = SGD::new(0.5).momentum(0.9);
        let a = Variable::named("a", [1.0f32, 2.0]);
        let b = Variable::named("b", 2.0f32);
        optimizer.build(&[a.clone(), b.clone()]).unwrap();
        let good = Tensor::from([1.0f32, 1.0]);
        let refused = |second: Option<Tensor>| {
            optimizer.apply_gradients([(Some(good.clone()), &a), (second, &b)]).unwrap_err()
        };
        let error = refused(Some(Tensor::from([1.0f32])));
        assert!(error.is_shape());
        assert_eq!(
            error.to_string(),
            "SGD.apply_gradients: the gradient of \"b\" is float32 [1], the variable float32 []"
        );
        assert!(refused(Some(Tensor::from(1.0f64))).is_dtype());
        let error = optimizer.apply_gradients([(None, &a), (None, &b)]).unwrap_err();
        assert!(error.is_invalid_argument());
        assert_eq!(
            error.to_string(),
            "SGD.apply_gradients: no gradient for any variable: \"a\", \"b\""
        );
        let error = optimizer.apply_gradients([(&good, &Variable::new([1.0f32, 2.0]))]);
        assert!(error.unwrap_err().is_invalid_argument());
        assert_eq!(a.value().to_vec::<f32>().unwrap(), [1.0, 2.0]);
        assert_eq!(optimizer.iterations(), 0);
    }

    #[test]
    fn integers_are_not_trained() {
        let count = Variable::named("count", 1i32);
        let error = SGD::new(0.5).apply_gradients([(Tensor::from(1i32), &count)]).unwrap_err();
        assert!(error.is_dtype());
    }

    #[test]
    fn state_that_is_restored_before_the_first_step_goes_on_alike() {
        let make: [fn() -> Box<dyn Optimizer>; 2] =
            [|| Box::new(SGD::new(0.1).momentum(0.9)), || Box::new(Adam::new(0.1))];
        for make in make {
            let step = |optimizer: &dyn Optimizer, w: &Variable| {
                let gradient = math::square(w).unwrap();
                optimizer.apply_gradients([(gradient, w)]).unwrap();
            };
            let (first, w) = (make(), Variable::named("w", [1.0f32, -2.0]));
            step(&*first, &w);

            let (second, copy) = (make(), Variable::named("w", w.value()));
            second.build(std::slice::from_ref(&copy)).unwrap();
            let (saved, fresh) = (first.variables(), second.variables());
            assert_eq!(saved.len(), fresh.len());
            for (saved, fresh) in saved.iter().zip(&fresh) {
                assert_eq!(saved.name(), fresh.name());
                fresh.assign(saved.value()).unwrap();
            }
            step(&*first, &w);
            step(&*second, &copy);
            assert_eq!(w.value().as_bytes(), copy.value().as_bytes());
            assert_eq!(second.iterations(), 2);
        }
    }

    #[test]
    fn the_learning_rate_can_be_changed() {
        let (optimizer, w) = (SGD::new(0.5), Variable::new(1.0f32));
        optimizer.set_learning_rate(0.25);
        optimizer.apply_gradients([(Tensor::from(1.0f32), &w)]).unwrap();
        assert_eq!(w.value().to_scalar::<f32>().unwrap(), 0.75);
        assert_eq!(optimizer.learning_rate(), 0.25);
    }
}
