//! The lesson's training step in burn, on its fastest CPU backend, flex.
//!
//! Prints one JSON object a line: `{"what", "peer", "version", "unit", "values": [...]}`.

use std::time::Instant;

use burn::tensor::module::{conv2d, max_pool2d};
use burn::tensor::ops::{ConvOptions, MaxPoolOptions};
use burn::tensor::{Device, Distribution, Int, Tensor, activation};

const BATCH: usize = 128;
const WARM_UP: usize = 10;
const LEARNING_RATE: f32 = 0.001;

/// conv, fc1 and fc2, each with its bias as a row.
struct Weights {
    conv_w: Tensor<4>,
    conv_b: Tensor<1>,
    fc1_w: Tensor<2>,
    fc1_b: Tensor<2>,
    fc2_w: Tensor<2>,
    fc2_b: Tensor<2>,
}

fn main() {
    let steps = steps_asked_for();
    let device = Device::flex().autodiff();
    let x = Tensor::<4>::random([BATCH, 1, 28, 28], Distribution::Uniform(0.0, 1.0), &device);
    let labels: Vec<i32> = (0..BATCH as i32).map(|i| i * 7 % 10).collect();
    let y = Tensor::<1, Int>::from_ints(labels.as_slice(), &device).one_hot::<2>(10).float();
    let mut weights = Weights::new(&device);
    let mut milliseconds = Vec::with_capacity(steps);
    for step in 0..WARM_UP + steps {
        let start = Instant::now();
        let loss;
        (weights, loss) = train_step(&x, &y, weights);
        let _: f32 = loss.into_scalar();
        if step >= WARM_UP {
            milliseconds.push(start.elapsed().as_secs_f64() * 1e3);
        }
    }
    let row = serde_json::json!({
        "what": "lesson's step, compiled",
        "peer": "burn (flex)",
        "version": "0.22.0",
        "unit": "ms",
        "values": milliseconds,
    });
    println!("{row}");
}

impl Weights {
    fn new(device: &Device) -> Weights {
        let normal = Distribution::Normal(0.0, 0.05);
        Weights {
            conv_w: Tensor::random([32, 1, 3, 3], normal, device).require_grad(),
            conv_b: Tensor::zeros([32], device).require_grad(),
            fc1_w: Tensor::random([14 * 14 * 32, 1024], normal, device).require_grad(),
            fc1_b: Tensor::zeros([1, 1024], device).require_grad(),
            fc2_w: Tensor::random([1024, 10], normal, device).require_grad(),
            fc2_b: Tensor::zeros([1, 10], device).require_grad(),
        }
    }
}

fn train_step(x: &Tensor<4>, y: &Tensor<2>, weights: Weights) -> (Weights, Tensor<1>) {
    let Weights { conv_w, conv_b, fc1_w, fc1_b, fc2_w, fc2_b } = &weights;
    let convolution = ConvOptions::new([1, 1], [1, 1], [1, 1], 1);
    let hidden = conv2d(x.clone(), conv_w.clone(), Some(conv_b.clone()), convolution);
    let hidden = max_pool2d(activation::relu(hidden), MaxPoolOptions::new([2, 2]));
    let hidden = hidden.reshape([BATCH, 14 * 14 * 32]);
    let hidden = activation::relu(hidden.matmul(fc1_w.clone()) + fc1_b.clone());
    let logits = hidden.matmul(fc2_w.clone()) + fc2_b.clone();
    let loss = -(activation::log_softmax(logits, 1) * y.clone()).sum();
    let gradients = loss.backward();
    let updated = Weights {
        conv_w: descend(conv_w, &gradients),
        conv_b: descend(conv_b, &gradients),
        fc1_w: descend(fc1_w, &gradients),
        fc1_b: descend(fc1_b, &gradients),
        fc2_w: descend(fc2_w, &gradients),
        fc2_b: descend(fc2_b, &gradients),
    };
    (updated, loss)
}

fn descend<const D: usize>(
    weights: &Tensor<D>,
    gradients: &burn::tensor::Gradients,
) -> Tensor<D> {
    let gradient = weights.grad(gradients).expect("the loss depends on every weight");
    let updated = weights.clone().inner() - gradient * LEARNING_RATE;
    Tensor::from_inner(updated).require_grad()
}

fn steps_asked_for() -> usize {
    let mut args = std::env::args().skip_while(|arg| arg != "--steps").skip(1);
    args.next().and_then(|steps| steps.parse().ok()).unwrap_or(100)
}
