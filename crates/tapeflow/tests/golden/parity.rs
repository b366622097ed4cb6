//! A training run of the lesson's network, step by step beside TensorFlow's, eagerly and compiled.

use std::path::Path;

use tapeflow as tf;
use tf::nn::{self, Padding};
use tf::optimizers::SGD;
use tf::{DType, GradientTape, Result, Tensor, Variable, math};

const NAMES: [&str; 6] = ["conv_w", "conv_b", "fc1_w", "fc1_b", "fc2_w", "fc2_b"];
/// How far a loss may be from TensorFlow's, relative.
const LOSS_TOLERANCE: f32 = 1e-3;
/// How far a weight may be from TensorFlow's after the last step, absolute.
const WEIGHT_TOLERANCE: f32 = 1e-3;

/// Trains eagerly or `compiled`, and compares losses and final weights.
pub fn check(path: &Path, compiled: bool) {
    let way = if compiled { "compiled" } else { "eagerly" };
    let file = tf::io::load_safetensors(path).unwrap();
    let tensor = |name: &str| &file.tensors[name];
    let variables = NAMES.map(|name| Variable::named(name, tensor(name)));
    let optimizer = SGD::new(f64::from(tensor("lr").to_scalar::<f32>().unwrap()));
    let ((images, labels), _) = tf::datasets::mnist::load_data().unwrap();
    let (images, labels) = (images.as_slice::<u8>().unwrap(), labels.as_slice::<u8>().unwrap());

    let train = tf::function(|(x, y): (Tensor, Tensor)| train_step(&x, &y, &variables, &optimizer));
    let batches = tensor("batches");
    let batch_size = batches.shape()[1];
    let losses = tensor("losses").to_vec::<f32>().unwrap();
    assert_eq!(losses.len(), batches.shape()[0]);
    let batches = batches.as_slice::<i32>().unwrap().chunks_exact(batch_size);
    for (step, (batch, want)) in batches.zip(losses).enumerate() {
        let rows = batch.iter().map(|&index| index as usize);
        let pixels: Vec<f32> = rows
            .clone()
            .flat_map(|row| &images[row * 784..][..784])
            .map(|&pixel| f32::from(pixel) / 255.0)
            .collect();
        let x = Tensor::from_slice(&pixels, [batch_size, 28, 28, 1]).unwrap();
        let y = Tensor::from(rows.map(|row| labels[row]).collect::<Vec<_>>());
        let loss = match compiled {
            true => train.call((x, y)),
            false => train_step(&x, &y, &variables, &optimizer),
        };
        let got = loss.unwrap().to_scalar::<f32>().unwrap();
        assert!(
            (got - want).abs() <= LOSS_TOLERANCE * want.abs(),
            "{}: {way}, step {step}: the loss is {got}, TensorFlow's {want}",
            path.display()
        );
    }
    for variable in &variables {
        let got = variable.value().to_vec::<f32>().unwrap();
        let want = tensor(&format!("final_{}", variable.name())).to_vec::<f32>().unwrap();
        let worst = got.iter().zip(&want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert_eq!(got.len(), want.len());
        assert!(
            worst <= WEIGHT_TOLERANCE,
            "{}: {way}, {} is off by {worst}",
            path.display(),
            variable.name()
        );
    }
}

/// The lesson's step; returns the loss before the update.
fn train_step(
    x: &Tensor,
    y: &Tensor,
    variables: &[Variable; 6],
    optimizer: &SGD,
) -> Result<Tensor> {
    let [conv_w, conv_b, fc1_w, fc1_b, fc2_w, fc2_b] = variables;
    let tape = GradientTape::new();
    let conv = nn::relu(nn::bias_add(nn::conv2d(x, conv_w, 1, Padding::Same)?, conv_b)?)?;
    let pool = nn::max_pool(conv, 2, 2, Padding::Same)?;
    let flat = tf::reshape(pool, [-1, fc1_w.shape()[0] as i64])?;
    let fc1 = nn::relu(tf::add(tf::matmul(flat, fc1_w)?, fc1_b)?)?;
    let pred = nn::softmax(tf::add(tf::matmul(fc1, fc2_w)?, fc2_b)?)?;
    let one_hot = tf::one_hot(tf::cast(y, DType::Int64)?, 10)?;
    let loss = -tf::reduce_sum(one_hot * math::log(pred)?, ..)?;
    let gradients = tape.gradient(&loss, variables)?;
    optimizer.apply_gradients(gradients.into_iter().zip(variables))?;
    Ok(loss)
}
