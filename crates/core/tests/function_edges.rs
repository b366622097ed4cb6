//! Compiled functions at the edges: tapes inside, panics, and batches of no images.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tapeflow_core::execute::apply;
use tapeflow_core::op::{Array, ArrayMut, Gradient, Op};
use tapeflow_core::optimizers::{Adam, Optimizer, SGD};
use tapeflow_core::{
    DType, GradientTape, Passes, Result, Spec, Tensor, Variable, array, custom_gradient, function,
    linalg, math, nn, random,
};

fn floats(tensor: &Tensor) -> Vec<f32> {
    tensor.to_vec::<f32>().unwrap()
}

#[test]
fn a_custom_gradient_inside() {
    let w = Variable::new([1.0f32, -2.0, 3.0]);
    let step = |(): ()| {
        let tape = GradientTape::new();
        // The identity forward; backward the gradient cut to [-1, 1].
        let value = w.value();
        let y = custom_gradient(
            &[&value],
            |x| math::multiply(&x[0], 1.0f32),
            |_, upstream| Ok(vec![Some(math::minimum(math::maximum(upstream, -1.0f32)?, 1.0f32)?)]),
        )?;
        let loss = math::reduce_sum(math::square(&y)?, ..)?;
        Ok((tape.gradient(&loss, &w)?.unwrap(), y))
    };
    let (eager, _) = step(()).unwrap();
    let (compiled, y) = function(step).call(()).unwrap();
    assert_eq!(floats(&eager), [1.0, -1.0, 1.0]);
    assert_eq!(floats(&compiled), floats(&eager));
    assert_eq!(floats(&y), [1.0, -2.0, 3.0]);
}

#[test]
fn a_tape_that_pauses_inside() {
    let w = Variable::new([1.0f32, 2.0]);
    let step = |x: Tensor| {
        let tape = GradientTape::new();
        let y = math::multiply(&w, &x)?;
        // A constant to the tape: the gradient does not pass through it.
        let weight = tape.stop_recording(|| math::square(&w))?;
        let loss = math::reduce_sum(math::multiply(y, weight)?, ..)?;
        Ok((tape.gradient(&loss, &w)?.unwrap(), loss))
    };
    let x = Tensor::from([10.0f32, 100.0]);
    let (eager, _) = step(x.clone()).unwrap();
    let compiled = function(step);
    let (gradient, loss) = compiled.call(x.clone()).unwrap();
    assert_eq!(floats(&eager), [10.0, 400.0]);
    assert_eq!(floats(&gradient), floats(&eager));
    assert_eq!(loss.to_scalar::<f32>().unwrap(), 810.0);
    // What is compiled is not a constant: it sees the variable as it is.
    w.assign([0.0f32, 1.0]).unwrap();
    assert_eq!(floats(&compiled.call(x).unwrap().0), [0.0, 100.0]);
}

#[test]
fn a_panic_in_the_closure_leaves_the_function_usable() {
    let fails = AtomicBool::new(true);
    let double = function(|x: Tensor| {
        let y = math::add(&x, &x)?;
        assert!(!fails.load(Ordering::Relaxed), "as the test wants it");
        Ok(y)
    });
    let call = || double.call(Tensor::from(2.0f32));
    assert!(catch_unwind(AssertUnwindSafe(call)).is_err());
    // The thread is eager again.
    assert_eq!(math::add(1.0f32, 1.0f32).unwrap().to_scalar::<f32>().unwrap(), 2.0);
    fails.store(false, Ordering::Relaxed);
    assert_eq!(call().unwrap().to_scalar::<f32>().unwrap(), 4.0);
}

/// The identity, which panics where it is told to.
#[derive(Debug, Clone)]
struct Panics(Arc<AtomicBool>);

impl Op for Panics {
    fn name(&self) -> &'static str {
        "test.panics"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        Ok(vec![inputs[0]])
    }

    fn run(&self, inputs: &[Array<'_>], outputs: &mut [ArrayMut<'_>]) -> Result<()> {
        assert!(!self.0.load(Ordering::Relaxed), "as the test wants it");
        outputs[0].data::<f32>().copy_from_slice(inputs[0].data());
        Ok(())
    }

    fn gradient(&self) -> Gradient {
        Gradient::NotDifferentiable
    }
}

#[test]
fn a_panic_in_a_kernel_leaves_the_function_usable() {
    let panics = Arc::new(AtomicBool::new(false));
    let (before, after) = (Variable::new([1.0f32, 2.0]), Variable::new([0.0f32, 0.0]));
    let step = function(|x: Tensor| {
        before.assign_add(&x)?;
        let y = apply(Panics(panics.clone()), &[&before.value()])?;
        after.assign_add(&y)?;
        math::reduce_sum(y, ..)
    });
    let call = || step.call(Tensor::from([1.0f32, 1.0]));
    assert_eq!(call().unwrap().to_scalar::<f32>().unwrap(), 5.0);
    panics.store(true, Ordering::Relaxed);
    assert!(catch_unwind(AssertUnwindSafe(call)).is_err());
    panics.store(false, Ordering::Relaxed);
    // As documented, what came before the panic is done, and what comes after is not.
    assert_eq!(floats(&before.value()), [3.0, 4.0]);
    assert_eq!(floats(&after.value()), [2.0, 3.0]);
    assert_eq!(call().unwrap().to_scalar::<f32>().unwrap(), 9.0);
    assert_eq!(floats(&after.value()), [6.0, 8.0]);
    let address = || before.value().as_bytes().as_ptr();
    let place = address();
    call().unwrap();
    assert_eq!(address(), place, "updates are in place again");
}

#[test]
fn a_panic_while_a_weight_in_panels_is_updated() {
    let panics = Arc::new(AtomicBool::new(true));
    let w = Variable::new(array::ones([256, 256], DType::Float32).unwrap());
    let step = function(|x: Tensor| {
        let y = linalg::matmul(&x, &w)?;
        let y = apply(Panics(panics.clone()), &[&y])?;
        let product = linalg::MatMul { transpose_a: true, ..Default::default() }.call(&x, &y)?;
        w.assign_sub(math::multiply(1.0f32, product)?)?;
        Ok(y)
    });
    let x = array::ones([1, 256], DType::Float32).unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| step.call(x.clone()))).is_err());
    assert_eq!(floats(&w.value()), [1.0; 256 * 256]);
    panics.store(false, Ordering::Relaxed);
    assert_eq!(floats(&step.call(x).unwrap()), [256.0; 256]);
    assert_eq!(floats(&w.value()), [-255.0; 256 * 256]);
}

/// A network with a layer of every kind that is fused.
struct Network {
    variables: Vec<Variable>,
    optimizer: Box<dyn Optimizer>,
}

impl Network {
    fn new(optimizer: Box<dyn Optimizer>) -> Network {
        let shapes: [&[usize]; 10] = [
            &[3, 3, 1, 8],
            &[8],
            &[3, 3, 8, 16],
            &[16],
            &[16],
            &[2 * 2 * 16, 32],
            &[32],
            &[32, 10],
            &[10],
            &[1],
        ];
        let normal = |(seed, shape): (usize, &&[usize])| {
            let shape = tapeflow_core::Shape::new(shape).unwrap();
            let seed = [seed as i64, 0];
            Variable::new(random::stateless_normal(shape, seed, 0.1, 0.3, DType::Float32).unwrap())
        };
        Network { variables: shapes.iter().enumerate().map(normal).collect(), optimizer }
    }

    fn step(&self, images: &Tensor, labels: &Tensor) -> Result<Tensor> {
        let [conv1, bias1, conv2, scale, offset, fc1, bias2, fc2, bias3, factor] =
            &self.variables[..]
        else {
            unreachable!()
        };
        let tape = GradientTape::new();
        let x = nn::bias_add(nn::conv2d(images, conv1, 1, nn::Padding::Same)?, bias1)?;
        let x = nn::max_pool(nn::relu(x)?, 2, 2, nn::Padding::Same)?;
        let x = nn::conv2d(x, conv2, 1, nn::Padding::Same)?;
        let (x, _, _) = nn::fused_batch_norm(x, scale, offset)?;
        let x = nn::max_pool(nn::relu(x)?, 2, 2, nn::Padding::Same)?;
        let x = array::reshape(x, [-1, 2 * 2 * 16])?;
        let x = nn::relu(math::add(linalg::matmul(x, fc1)?, bias2)?)?;
        let x = nn::dropout(x, 0.25, [1, 2])?;
        let x = math::multiply(math::add(linalg::matmul(x, fc2)?, bias3)?, factor)?;
        let losses = nn::sparse_softmax_cross_entropy_with_logits(labels, x)?;
        let loss = math::reduce_sum(losses, ..)?;
        let gradients = tape.gradient(&loss, &self.variables)?;
        self.optimizer.apply_gradients(gradients.iter().zip(&self.variables))?;
        Ok(loss)
    }
}

fn batch(size: usize) -> (Tensor, Tensor) {
    let images = random::stateless_uniform([size, 8, 8, 1], [7, 1], 0.0, 1.0, DType::Float32);
    let labels: Vec<i64> = (0..size).map(|i| (i * 7 % 10) as i64).collect();
    (images.unwrap(), Tensor::from(labels))
}

#[test]
fn batches_of_no_images() {
    let optimizers: [fn() -> Box<dyn Optimizer>; 2] =
        [|| Box::new(SGD::new(0.01)), || Box::new(Adam::new(0.01))];
    for optimizer in optimizers {
        for passes in [Passes::all(), Passes::none()] {
            let (eager, compiled) = (Network::new(optimizer()), Network::new(optimizer()));
            let step =
                function(|(x, y): (Tensor, Tensor)| compiled.step(&x, &y)).with_passes(passes);
            // A batch before and one after it, which the empty one must not spoil more than eagerly.
            for size in [6, 0, 6] {
                let (x, y) = batch(size);
                let loss = eager.step(&x, &y).unwrap().to_scalar::<f32>().unwrap();
                let got = step.call((x, y)).unwrap().to_scalar::<f32>().unwrap();
                let same = (got - loss).abs() <= 1e-4 * loss.abs() || got.is_nan() && loss.is_nan();
                assert!(same, "batch of {size}: {got}, eagerly {loss}");
                assert!(size > 0 || loss == 0.0, "the loss of no images is {loss}");
            }
            for (eager, compiled) in eager.variables.iter().zip(&compiled.variables) {
                for (a, b) in floats(&eager.value()).iter().zip(floats(&compiled.value())) {
                    assert!((a - b).abs() <= 1e-3 || a.is_nan() && b.is_nan(), "{a} {b}");
                }
            }
        }
    }
}

#[test]
fn a_mean_of_no_images_is_not_a_number_as_eagerly() {
    let mean = function(|x: Tensor| math::reduce_mean(math::exp(math::negative(x)?)?, ..));
    let y = mean.call(array::zeros([0, 3], DType::Float32).unwrap()).unwrap();
    assert!(y.to_scalar::<f32>().unwrap().is_nan());
    let rows = function(|x: Tensor| math::reduce_sum(nn::softmax(x)?, 0));
    let y = rows.call(array::zeros([0, 3], DType::Float32).unwrap()).unwrap();
    assert_eq!(floats(&y), [0.0; 3]);
}
