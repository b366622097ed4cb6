//! The lesson's training step, timed; the peers' programs in `peers/` do the same.
//!
//! Prints one JSON object a line: `{"what", "peer", "version", "ms": [...]}`.

use std::time::Instant;

use tapeflow as tf;
use tf::initializers::{Initializer, RandomNormal};
use tf::nn::{self, Padding};
use tf::optimizers::SGD;
use tf::{DType, Tensor, Variable};

const BATCH: usize = 128;
const WARM_UP: usize = 10;

fn main() -> tf::Result<()> {
    let steps = steps_asked_for();
    let x = tf::random::stateless_uniform([BATCH, 28, 28, 1], [0, 0], 0.0, 1.0, DType::Float32)?;
    let labels: Vec<u8> = (0..BATCH).map(|i| (i * 7 % 10) as u8).collect();
    let y = Tensor::from(labels);
    let weights = variables()?;
    let optimizer = SGD::new(0.001);
    let mut milliseconds = Vec::with_capacity(steps);
    for step in 0..WARM_UP + steps {
        let start = Instant::now();
        train_step(&x, &y, &weights, &optimizer)?.to_scalar::<f32>()?;
        if step >= WARM_UP {
            milliseconds.push(start.elapsed().as_secs_f64() * 1e3);
        }
    }
    println!(
        r#"{{"what": "step, eager", "peer": "tapeflow", "version": "{}", "ms": {milliseconds:?}}}"#,
        env!("CARGO_PKG_VERSION")
    );
    Ok(())
}

fn steps_asked_for() -> usize {
    let mut args = std::env::args().skip_while(|arg| arg != "--steps").skip(1);
    args.next().and_then(|steps| steps.parse().ok()).unwrap_or(100)
}

fn variables() -> tf::Result<[Variable; 6]> {
    let normal = |seed, shape: &[usize]| {
        let initializer = RandomNormal::new(0.0, 0.05, Some(seed));
        initializer.call(tf::Shape::new(shape)?, DType::Float32).map(Variable::new)
    };
    let zeros = |n: usize| tf::zeros([n], DType::Float32).map(Variable::new);
    Ok([
        normal(1, &[3, 3, 1, 32])?,
        zeros(32)?,
        normal(2, &[14 * 14 * 32, 1024])?,
        zeros(1024)?,
        normal(3, &[1024, 10])?,
        zeros(10)?,
    ])
}

fn predict(x: &Tensor, weights: &[Variable; 6]) -> tf::Result<Tensor> {
    let [conv_w, conv_b, fc1_w, fc1_b, fc2_w, fc2_b] = weights;
    let x = nn::bias_add(nn::conv2d(x, conv_w, 1, Padding::Same)?, conv_b)?;
    let x = nn::max_pool(nn::relu(x)?, 2, 2, Padding::Same)?;
    let x = tf::reshape(x, [-1, fc1_w.shape()[0] as i64])?;
    let x = nn::relu(tf::add(tf::matmul(x, fc1_w)?, fc1_b)?)?;
    nn::softmax(tf::add(tf::matmul(x, fc2_w)?, fc2_b)?)
}

fn train_step(
    x: &Tensor,
    y: &Tensor,
    weights: &[Variable; 6],
    optimizer: &SGD,
) -> tf::Result<Tensor> {
    let tape = tf::GradientTape::new();
    let pred = predict(x, weights)?;
    let loss = -tf::reduce_sum(tf::one_hot(y, 10)? * tf::math::log(pred)?, ..)?;
    let gradients = tape.gradient(&loss, weights)?;
    optimizer.apply_gradients(gradients.into_iter().zip(weights))?;
    Ok(loss)
}
