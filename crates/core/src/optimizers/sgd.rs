//! Gradient descent.

use std::borrow::Borrow;

use super::state::{State, Update};
use super::{MaybeGradient, Optimizer, collect};
use crate::error::Result;
use crate::execute::update;
use crate::ops::training::{ApplyGradientDescent, ApplyMomentum};
use crate::tensor::Tensor;
use crate::variable::Variable;

/// Gradient descent, plain or with momentum, `tf.optimizers.SGD`:
///
/// - plain: `w -= learning_rate * gradient`
/// - momentum: `velocity = momentum * velocity - learning_rate * gradient; w += velocity`
/// - Nesterov's: the same velocity, `w += momentum * velocity - learning_rate * gradient`
///
/// ```
/// use tapeflow_core::optimizers::SGD;
/// use tapeflow_core::{Tensor, Variable};
///
/// let w = Variable::named("w", [1.0f32, 2.0]);
/// let optimizer = SGD::new(0.5).momentum(0.9).nesterov(true);
/// optimizer.apply_gradients([(Tensor::from([0.0f32, 1.0]), &w)])?;
/// assert_eq!(w.value().to_vec::<f32>()?, [1.0, 1.05]);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
#[derive(Debug)]
pub struct SGD {
    state: State,
    momentum: f64,
    nesterov: bool,
}

impl SGD {
    /// Plain gradient descent.
    pub fn new(learning_rate: f64) -> SGD {
        SGD { state: State::new("SGD", learning_rate), momentum: 0.0, nesterov: false }
    }

    /// With momentum, from 0 (none) to 1.
    pub fn momentum(mut self, momentum: f64) -> SGD {
        self.momentum = momentum;
        self
    }

    /// With Nesterov's form of the momentum, or without.
    pub fn nesterov(mut self, nesterov: bool) -> SGD {
        self.nesterov = nesterov;
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

    /// What is kept for each variable.
    fn slots(&self) -> &'static [&'static str] {
        if self.momentum == 0.0 { &[] } else { &["momentum"] }
    }

    fn update(&self, Update { variable, gradient, slots }: &Update) -> Result<()> {
        let learning_rate = self.state.learning_rate_tensor();
        match slots.first() {
            None => update(ApplyGradientDescent, &[variable], &[&learning_rate, gradient]),
            Some(velocity) => {
                let op = ApplyMomentum { momentum: self.momentum, nesterov: self.nesterov };
                update(op, &[variable, velocity], &[&learning_rate, gradient])
            }
        }
    }
}

impl Default for SGD {
    /// TensorFlow's: a learning rate of 0.01, no momentum.
    fn default() -> SGD {
        SGD::new(0.01)
    }
}

impl Optimizer for SGD {
    fn build(&self, variables: &[Variable]) -> Result<()> {
        self.state.build(&variables.iter().collect::<Vec<_>>(), self.slots())
    }

    fn apply(&self, gradients: &[(Option<Tensor>, Variable)]) -> Result<()> {
        for update in self.state.updates(gradients, self.slots())? {
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
    use half::f16;

    use super::super::tests::four_steps;
    use super::*;
    use crate::dtype::DType;

    // tf.keras.optimizers.SGD(0.1), SGD(0.1, 0.9) and SGD(0.1, 0.9, nesterov=True) after the steps
    // of `four_steps`, bit for bit.
    fn optimizers() -> [SGD; 3] {
        [SGD::new(0.1), SGD::new(0.1).momentum(0.9), SGD::new(0.1).momentum(0.9).nesterov(true)]
    }

    #[test]
    fn float32_is_tensorflows() {
        let expected: [[u32; 3]; 3] = [
            [0x3f27f62b, 0xbfd0837b, 0x3fb78035],
            [0x3e683e44, 0xbf94cfaa, 0xbf8a40b8],
            [0x3dc0484e, 0xbf72c3f1, 0xbf91854e],
        ];
        for (optimizer, expected) in optimizers().iter().zip(expected) {
            let w = four_steps(optimizer, DType::Float32).to_vec::<f32>().unwrap();
            assert_eq!(w.iter().map(|w| w.to_bits()).collect::<Vec<_>>(), expected, "{w:?}");
        }
    }

    #[test]
    fn float64_is_tensorflows() {
        let expected: [[u64; 3]; 3] = [
            [0x3fe4fec56b07c84b, 0xbffa106f67e538ef, 0x3ff6f00687fcb924],
            [0x3fcd07c85f2e48e8, 0xbff299f55c09096c, 0xbff14816dd41d7db],
            [0x3fb8090a0e3cbd2e, 0xbfee587e29d2250d, 0xbff230a9a6109d64],
        ];
        for (optimizer, expected) in optimizers().iter().zip(expected) {
            let w = four_steps(optimizer, DType::Float64).to_vec::<f64>().unwrap();
            assert_eq!(w.iter().map(|w| w.to_bits()).collect::<Vec<_>>(), expected, "{w:?}");
        }
    }

    #[test]
    fn float16_is_tensorflows() {
        let expected: [[u16; 3]; 3] =
            [[0x3940, 0xbe85, 0x3dbc], [0x3342, 0xbca8, 0xbc50], [0x2e0a, 0xbb98, 0xbc8c]];
        for (optimizer, expected) in optimizers().iter().zip(expected) {
            let w = four_steps(optimizer, DType::Float16).to_vec::<f16>().unwrap();
            assert_eq!(w.iter().map(|w| w.to_bits()).collect::<Vec<_>>(), expected, "{w:?}");
        }
    }

    #[test]
    fn a_step_writes_in_place() {
        let w = Variable::new(vec![1.0f32; 100]);
        let address = || w.value().as_bytes().as_ptr();
        let before = address();
        SGD::default().apply_gradients([(w.value().alias(), &w)]).unwrap();
        let copied = address();
        assert_ne!(copied, before, "the gradient held the old value");
        SGD::default().apply_gradients([(Tensor::from(vec![1.0f32; 100]), &w)]).unwrap();
        assert_eq!(address(), copied);
    }
}
