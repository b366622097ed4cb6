//! The lesson's training step and its forward pass, timed; the programs in `peers/` do the same.

#[path = "../crates/kernels/examples/measure/peak.rs"]
mod peak;
mod timing;

use tapeflow as tf;
use tf::initializers::{Initializer, RandomNormal};
use tf::nn::{self, Padding};
use tf::optimizers::SGD;
use tf::{DType, Tensor, Variable};
use timing::{Arguments, measure, measure_after, report, report_of};

const BATCH: usize = 128;

fn main() -> tf::Result<()> {
    let args = Arguments::parse(100);
    steps(&args)?;
    forward("forward of 256 images", 256, &args)?;
    let many = Arguments { steps: 20 * args.steps, warm_up: 20 * args.warm_up };
    forward("forward of 1 image", 1, &many)
}

fn steps(args: &Arguments) -> tf::Result<()> {
    let x = images(BATCH)?;
    let labels: Vec<u8> = (0..BATCH).map(|i| (i * 7 % 10) as u8).collect();
    let y = Tensor::from(labels);

    let (weights, optimizer) = (variables()?, SGD::new(0.001));
    let times = measure(args, || {
        train_step(&x, &y, &weights, &optimizer)?.to_scalar::<f32>()?;
        Ok::<_, tf::Error>(())
    })?;
    report("lesson's step, eager", "ms", &times);

    let (weights, optimizer) = (variables()?, SGD::new(0.001));
    let step =
        tf::function(move |(x, y): (Tensor, Tensor)| train_step(&x, &y, &weights, &optimizer));
    let mut peaks = Vec::new();
    let call = || {
        step.call((x.clone(), y.clone()))?.to_scalar::<f32>()?;
        Ok::<_, tf::Error>(())
    };
    let times = measure_after(args, || peaks.push(peak::now()), call)?;
    report("lesson's step, compiled", "ms", &times);
    report_of(peak::NAME, "lesson's step, compiled", "GFLOP/s", &peaks);
    Ok(())
}

fn forward(what: &str, count: usize, args: &Arguments) -> tf::Result<()> {
    let x = images(count)?;
    let weights = variables()?;
    let forward = tf::function(move |x: Tensor| predict(&x, &weights));
    let times = measure(args, || {
        forward.call(x.clone())?.as_slice::<f32>()?;
        Ok::<_, tf::Error>(())
    })?;
    report(what, "ms", &times);
    Ok(())
}

fn images(count: usize) -> tf::Result<Tensor> {
    tf::random::stateless_uniform([count, 28, 28, 1], [0, 0], 0.0, 1.0, DType::Float32)
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
