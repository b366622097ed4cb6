//! Checking gradients against finite differences, as `tf.test.compute_gradient` does.

use crate::error::Result;
use crate::ops::{Axes, math};
use crate::tape::{GradientTape, UnconnectedGradients};
use crate::tensor::Tensor;

/// Half the distance between the two points of a central difference. In `f64` it balances the
/// truncation error, about `STEP^2`, against the rounding error, about `1e-16 / STEP`.
const STEP: f64 = 1e-5;

/// How far a derivative may be from its difference quotient, absolute and relative.
const TOLERANCE: f64 = 1e-6;

/// Checks that the tape's gradients of `f` are those of finite differences, and that the gradients'
/// own gradients are too: first and second order.
///
/// `inputs` are `float64`; `f` is differentiable near them.
///
/// # Panics
/// Where a derivative is off, naming input, element and order; where `f` fails.
///
/// ```
/// use tapeflow_core::{Tensor, math, test::check_gradients};
///
/// check_gradients(|x| math::multiply(&x[0], &x[0]), &[Tensor::from([1.0f64, -2.0])]);
/// ```
pub fn check_gradients(f: impl Fn(&[Tensor]) -> Result<Tensor>, inputs: &[Tensor]) {
    let scalar = |x: &[Tensor]| weighted_sum(&f(x)?, 0.7);
    check_order(&scalar, inputs, 1);
    let gradient_sum = |x: &[Tensor]| {
        let mut total = Tensor::from(0.0f64);
        for (i, gradient) in gradients(&scalar, x)?.iter().enumerate() {
            total = math::add(total, weighted_sum(gradient, 1.3 + i as f64)?)?;
        }
        Ok(total)
    };
    check_order(&gradient_sum, inputs, 2);
}

/// The sum of `y` with a weight for each element, none alike, so that no error cancels another.
fn weighted_sum(y: &Tensor, phase: f64) -> Result<Tensor> {
    let weights: Vec<f64> =
        (0..y.shape().num_elements()).map(|i| (i as f64 * 0.9 + phase).sin() + 1.5).collect();
    math::reduce_sum(math::multiply(y, Tensor::from_slice(&weights, *y.shape())?)?, Axes::all())
}

fn gradients(f: &impl Fn(&[Tensor]) -> Result<Tensor>, x: &[Tensor]) -> Result<Vec<Tensor>> {
    let tape = GradientTape::new();
    for input in x {
        tape.watch(input);
    }
    let y = f(x)?;
    let gradients = tape.gradient_with(&[&y], &[], x, UnconnectedGradients::Zero)?;
    Ok(gradients.into_iter().flatten().collect())
}

fn check_order(f: &impl Fn(&[Tensor]) -> Result<Tensor>, inputs: &[Tensor], order: usize) {
    let tape = gradients(f, inputs).expect("the gradient must be computed");
    for (i, input) in inputs.iter().enumerate() {
        let values = input.to_vec::<f64>().expect("inputs are float64");
        let derivatives = tape[i].to_vec::<f64>().expect("gradients are float64");
        for element in 0..values.len() {
            let at = |step: f64| {
                let mut moved = values.clone();
                moved[element] += step;
                let mut x = inputs.to_vec();
                x[i] = Tensor::from_slice(&moved, *input.shape())?;
                f(&x)?.to_scalar::<f64>()
            };
            let difference = at(STEP).expect("f must succeed") - at(-STEP).expect("f must succeed");
            let (want, got) = (difference / (2.0 * STEP), derivatives[element]);
            assert!(
                (got - want).abs() <= TOLERANCE * (1.0 + want.abs()),
                "order {order}, input {i}, element {element}: the tape says {got}, \
                 finite differences {want}"
            );
        }
    }
}
