//! Adam.

use std::borrow::Borrow;

use super::state::{State, Update};
use super::{MaybeGradient, Optimizer, collect};
use crate::error::Result;
use crate::execute::update;
use crate::ops::training::ApplyAdam;
use crate::tensor::Tensor;
use crate::variable::Variable;

/// Gradient descent by running means of the gradient and of its square, `tf.optimizers.Adam`, after
/// Kingma and Ba (2014), in the form before their section 2.1 that TensorFlow computes:
///
/// ```text
/// m += (g - m) * (1 - beta_1)
/// v += (g * g - v) * (1 - beta_2)
/// w -= m * (learning_rate * sqrt(1 - beta_2^t) / (1 - beta_1^t)) / (sqrt(v) + epsilon)
/// ```
///
/// ```
/// use tapeflow_core::optimizers::Adam;
/// use tapeflow_core::{Tensor, Variable};
///
/// let w = Variable::named("w", [1.0f64, 2.0]);
/// Adam::new(0.5).apply_gradients([(Tensor::from([0.0f64, 3.0]), &w)])?;
/// let w = w.value().to_vec::<f64>()?;
/// assert!(w[0] == 1.0 && (w[1] - 1.5).abs() < 1e-4);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Adam {
    state: State,
    beta_1: f64,
    beta_2: f64,
    epsilon: f64,
}

impl Adam {
    /// With TensorFlow's `beta_1` 0.9, `beta_2` 0.999 and `epsilon` 1e-7.
    pub fn new(learning_rate: f64) -> Adam {
        Adam { state: State::new("Adam", learning_rate), beta_1: 0.9, beta_2: 0.999, epsilon: 1e-7 }
    }

    /// With other decay rates of the two means, each from 0 to below 1.
    pub fn betas(mut self, beta_1: f64, beta_2: f64) -> Adam {
        (self.beta_1, self.beta_2) = (beta_1, beta_2);
        self
    }

    /// With another small number that keeps the divisor from zero.
    pub fn epsilon(mut self, epsilon: f64) -> Adam {
        self.epsilon = epsilon;
        self
    }

    /// One step: updates each variable in place by its gradient. Variables without one (`None`) are
    /// left alone. Nothing is changed where a pair is refused.
    ///
    /// # Errors
    /// Those of [`apply`](Optimizer::apply).
    pub fn apply_gradients<G: MaybeGradient, V: Borrow<Variable>>(
        &self,
        gradients: impl IntoIterator<Item = (G, V)>,
    ) -> Result<()> {
        self.apply(&collect(gradients))
    }

    fn update(&self, Update { variable, gradient, slots }: &Update) -> Result<()> {
        let [m, v] = &slots[..] else { unreachable!("Adam builds two slots for each variable") };
        let Adam { beta_1, beta_2, epsilon, .. } = *self;
        let (iterations, learning_rate) =
            (self.state.iterations_tensor(), self.state.learning_rate_tensor());
        let op = ApplyAdam { beta_1, beta_2, epsilon };
        update(op, &[variable, m, v], &[&iterations, &learning_rate, gradient])
    }
}

impl Default for Adam {
    /// TensorFlow's: a learning rate of 0.001.
    fn default() -> Adam {
        Adam::new(0.001)
    }
}

const SLOTS: &[&str] = &["momentum", "velocity"];

impl Optimizer for Adam {
    fn build(&self, variables: &[Variable]) -> Result<()> {
        self.state.build(&variables.iter().collect::<Vec<_>>(), SLOTS)
    }

    fn apply(&self, gradients: &[(Option<Tensor>, Variable)]) -> Result<()> {
        for update in self.state.updates(gradients, SLOTS)? {
            self.update(&update)?;
        }
        self.state.step_done()
    }

    fn variables(&self) -> Vec<Variable> {
        self.state.variables()
    }

    fn iterations(&self) -> i64 {
        self.state.iterations()
    }

    fn learning_rate(&self) -> f32 {
        self.state.learning_rate()
    }

    fn set_learning_rate(&self, learning_rate: f64) {
        self.state.set_learning_rate(learning_rate);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::four_steps;
    use super::*;
    use crate::dtype::DType;

    // tf.keras.optimizers.Adam(0.1) after the steps of `four_steps`. Powers are not rounded alike
    // everywhere, so the last digits may differ.
    #[test]
    fn steps_are_tensorflows() {
        let w = four_steps(&Adam::new(0.1), DType::Float32).to_vec::<f32>().unwrap();
        for (got, expected) in w.iter().zip([0x3f1a9c01u32, 0xbfccfe3e, 0x404672f0]) {
            assert!(got.to_bits().abs_diff(expected) <= 4, "{got:e} {expected:x}");
        }
        let w = four_steps(&Adam::new(0.1), DType::Float64).to_vec::<f64>().unwrap();
        let expected: [u64; 3] = [0x3fe3537f5a04f50a, 0xbff99fc74cefd64d, 0x4008ce5dc548dd16];
        for (got, expected) in w.iter().zip(expected) {
            assert!(got.to_bits().abs_diff(expected) <= 4, "{got:e} {expected:x}");
        }
    }
}
