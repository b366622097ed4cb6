//! The lesson's exercise: the same network without a fully connected layer.
//!
//! ```text
//! cargo run --release --example all_conv
//! ```
//!
//! A second convolution and pooling follow the first; then a convolution whose filters are as
//! large as what is left, 7x7, gives one score per digit. It has 50,000 weights where the
//! lesson's network has 6.4 million, and reaches more.

use tapeflow as tf;
use tf::data::{AUTOTUNE, Dataset};
use tf::initializers::{Initializer, RandomNormal};
use tf::nn::{self, Padding};
use tf::optimizers::SGD;
use tf::{DType, Tensor, Variable};

const SEED: i64 = 0;

fn main() -> tf::Result<()> {
    let ((x_train, y_train), (x_test, y_test)) = tf::datasets::mnist::load_data()?;
    let train_data = Dataset::from_tensor_slices((normalised(x_train)?, y_train))?
        .repeat(2)
        .shuffle(5000, SEED)
        .batch(128)
        .prefetch(AUTOTUNE);

    let variables = variables()?;
    let optimizer = SGD::new(0.001);
    for (step, batch) in (1..).zip(&train_data) {
        let (x, y) = batch?;
        let tape = tf::GradientTape::new();
        let logits = logits(&x, &variables)?;
        let labels = tf::cast(y, DType::Int64)?;
        let losses = nn::sparse_softmax_cross_entropy_with_logits(&labels, &logits)?;
        let loss = tf::reduce_sum(losses, ..)?;
        let gradients = tape.gradient(&loss, &variables)?;
        optimizer.apply_gradients(gradients.into_iter().zip(&variables))?;
        if step % 100 == 0 {
            let loss = loss.to_scalar::<f32>()?;
            println!("step: {step}, loss: {loss:.3}, accuracy: {:.3}", accuracy(&logits, &labels)?);
        }
    }

    let mut total = 0.0;
    for batch in &Dataset::from_tensor_slices((normalised(x_test)?, y_test))?.batch(1000) {
        let (x, y) = batch?;
        total += accuracy(&logits(&x, &variables)?, &tf::cast(y, DType::Int64)?)? / 10.0;
    }
    println!("test accuracy: {total:.4}");
    Ok(())
}

fn normalised(images: Tensor) -> tf::Result<Tensor> {
    tf::reshape(tf::cast(images, DType::Float32)? / 255.0, [-1, 28, 28, 1])
}

fn variables() -> tf::Result<[Variable; 6]> {
    let normal = |seed, shape: [usize; 4]| {
        RandomNormal::new(0.0, 0.05, Some(seed)).call(shape, DType::Float32).map(Variable::new)
    };
    let zeros = |n: usize| tf::zeros([n], DType::Float32).map(Variable::new);
    Ok([
        normal(SEED + 1, [3, 3, 1, 32])?,
        zeros(32)?,
        normal(SEED + 2, [3, 3, 32, 64])?,
        zeros(64)?,
        normal(SEED + 3, [7, 7, 64, 10])?,
        zeros(10)?,
    ])
}

fn logits(x: &Tensor, variables: &[Variable; 6]) -> tf::Result<Tensor> {
    let [conv1_w, conv1_b, conv2_w, conv2_b, head_w, head_b] = variables;
    let mut x = x.clone();
    for (filters, bias) in [(conv1_w, conv1_b), (conv2_w, conv2_b)] {
        x = nn::relu(nn::bias_add(nn::conv2d(x, filters, 1, Padding::Same)?, bias)?)?;
        x = nn::max_pool(x, 2, 2, Padding::Same)?;
    }
    let x = nn::bias_add(nn::conv2d(x, head_w, 1, Padding::Valid)?, head_b)?;
    tf::reshape(x, [-1, 10])
}

fn accuracy(logits: &Tensor, labels: &Tensor) -> tf::Result<f32> {
    let correct = tf::equal(tf::argmax(logits, 1)?, labels)?;
    tf::reduce_mean(tf::cast(correct, DType::Float32)?, ..)?.to_scalar::<f32>()
}
