//! The lesson: recognising handwritten digits with a convolutional network, call for call.
//!
//! ```text
//! cargo run --release --example lesson
//! ```
//!
//! Read it beside the TensorFlow program: the calls have the same names and stand in the same
//! order. Where the lesson's text slips, this does what TensorFlow does:
//!
//! - `tf.compact.v1` is `tf.compat.v1`.
//! - The first layer's filters are `[3, 3, 1, 32]`: 3x3, one channel in, 32 out.
//! - The output width of SAME and VALID comes from the input's width, not from its height.
//! - SGD with momentum is `velocity = momentum * velocity - learning_rate * g`, then
//!   `w = w + velocity`.
//! - The second momentum formula, `w = w + momentum * velocity - learning_rate * g`, is what
//!   `nesterov=True` does.
//! - `log(softmax(x))` is `log(0)`, minus infinity, where a probability rounds to zero;
//!   [`stable_cross_entropy`] cannot meet that, and is shown beside the lesson's loss.

use tapeflow as tf;
use tf::data::{AUTOTUNE, Dataset};
use tf::initializers::{Initializer, RandomNormal};
use tf::nn::Padding;
use tf::{DType, Tensor, Variable, math, nn, optimizers};

const NUM_CLASSES: usize = 10;
const LEARNING_RATE: f64 = 0.001;
const EPOCHS: u64 = 2;
const BATCH_SIZE: usize = 128;
const DISPLAY_STEP: usize = 100;
const SEED: i64 = 0;

fn main() -> tf::Result<()> {
    convolution_output_shapes()?;
    gradient_of_x_squared()?;

    let ((x_train, y_train), (x_test, y_test)) = tf::datasets::mnist::load_data()?;
    for data in [&x_train, &y_train, &x_test, &y_test] {
        println!("{} {}", tuple(data.shape()), data.dtype());
    }
    let x_train = tf::cast(x_train, DType::Float32)? / 255.0;
    let x_test = tf::cast(x_test, DType::Float32)? / 255.0;

    let train_data = Dataset::from_tensor_slices((x_train, y_train))?;
    let train_data =
        train_data.repeat(EPOCHS).shuffle(5000, SEED).batch(BATCH_SIZE).prefetch(AUTOTUNE);

    let network = Network::new()?;
    let optimizer = optimizers::SGD::new(LEARNING_RATE);

    for (step, batch) in (1..).zip(&train_data) {
        let (batch_x, batch_y) = batch?;
        run_optimization(&network, &optimizer, &batch_x, &batch_y)?;
        if step % DISPLAY_STEP == 0 {
            let pred = network.predict(&batch_x)?;
            let loss = cross_entropy(&pred, &batch_y)?.to_scalar::<f32>()?;
            let stable = stable_cross_entropy(&network.logits(&batch_x)?, &batch_y)?;
            let stable = stable.to_scalar::<f32>()?;
            let acc = accuracy(&pred, &batch_y)?;
            println!("step: {step}, loss: {loss:.3} (stable: {stable:.3}), accuracy: {acc:.3}");
        }
    }

    let test_data = Dataset::from_tensor_slices((x_test, y_test))?.batch(1000);
    let mut total = 0.0;
    for batch in &test_data {
        let (batch_x, batch_y) = batch?;
        total += accuracy(&network.predict(&batch_x)?, &batch_y)? / 10.0;
    }
    println!("test accuracy: {total:.4}");
    Ok(())
}

/// SAME and VALID on a 28x28 image with a stride of 3: (1, 10, 10, 32) and (1, 9, 9, 32).
fn convolution_output_shapes() -> tf::Result<()> {
    let image = tf::zeros([1, 28, 28, 1], DType::Float32)?;
    let filters = tf::zeros([3, 3, 1, 32], DType::Float32)?;
    for padding in [Padding::Same, Padding::Valid] {
        let output = nn::conv2d(&image, &filters, 3, padding)?;
        println!("conv2d, stride 3, {padding}: {}", tuple(output.shape()));
    }
    Ok(())
}

/// A shape as Python prints it.
fn tuple(shape: &tf::Shape) -> String {
    let extents: Vec<String> = shape.iter().map(usize::to_string).collect();
    let comma = if extents.len() == 1 { "," } else { "" };
    format!("({}{comma})", extents.join(", "))
}

/// The derivative of x**2 at 3 is 6.
fn gradient_of_x_squared() -> tf::Result<()> {
    let x = Variable::new(3.0f32);
    let tape = tf::GradientTape::new();
    let y = math::pow(&x, 2.0f32)?;
    let gradient = tape.gradient(&y, &x)?;
    println!("gradient of x**2 at 3: {}", gradient.expect("y depends on x"));
    Ok(())
}

fn conv(x: &Tensor, filters: &Variable, bias: &Variable) -> tf::Result<Tensor> {
    conv_with(x, filters, bias, 1, nn::relu)
}

fn conv_with(
    x: &Tensor,
    filters: &Variable,
    bias: &Variable,
    strides: i64,
    activation: fn(Tensor) -> tf::Result<Tensor>,
) -> tf::Result<Tensor> {
    let x = nn::conv2d(x, filters, strides, Padding::Same)?;
    let x = nn::bias_add(x, bias)?;
    activation(x)
}

fn maxpooling(x: &Tensor, k: i64) -> tf::Result<Tensor> {
    nn::max_pool(x, k, k, Padding::Same)
}

/// The variables, made by hand, and the network that they make.
struct Network {
    conv_w: Variable,
    conv_b: Variable,
    fc1_w: Variable,
    fc1_b: Variable,
    fc2_w: Variable,
    fc2_b: Variable,
}

impl Network {
    fn new() -> tf::Result<Network> {
        let mut seed = SEED;
        let mut random = |shape: &[usize]| {
            seed += 1;
            let shape = tf::Shape::new(shape)?;
            RandomNormal::new(0.0, 0.05, Some(seed)).call(shape, DType::Float32).map(Variable::new)
        };
        let zeros = |n: usize| tf::zeros([n], DType::Float32).map(Variable::new);
        Ok(Network {
            conv_w: random(&[3, 3, 1, 32])?,
            conv_b: zeros(32)?,
            fc1_w: random(&[14 * 14 * 32, 1024])?,
            fc1_b: zeros(1024)?,
            fc2_w: random(&[1024, NUM_CLASSES])?,
            fc2_b: zeros(NUM_CLASSES)?,
        })
    }

    fn trainable_variables(&self) -> [&Variable; 6] {
        [&self.conv_w, &self.conv_b, &self.fc1_w, &self.fc1_b, &self.fc2_w, &self.fc2_b]
    }

    fn logits(&self, x: &Tensor) -> tf::Result<Tensor> {
        let x = tf::reshape(x, [-1, 28, 28, 1])?;
        let conv1 = conv(&x, &self.conv_w, &self.conv_b)?;
        let pool1 = maxpooling(&conv1, 2)?;
        let flat = tf::reshape(&pool1, [-1, self.fc1_w.shape()[0] as i64])?;
        let fc1 = tf::add(tf::matmul(&flat, &self.fc1_w)?, &self.fc1_b)?;
        let fc1 = nn::relu(fc1)?;
        tf::add(tf::matmul(&fc1, &self.fc2_w)?, &self.fc2_b)
    }

    fn predict(&self, x: &Tensor) -> tf::Result<Tensor> {
        nn::softmax(self.logits(x)?)
    }
}

/// The sum over the batch of `-log` of the probability given to the right class. The mean is that
/// of one number, which the sum over all axes leaves; the lesson takes it too.
fn cross_entropy(y_pred: &Tensor, y_true: &Tensor) -> tf::Result<Tensor> {
    let y_true = tf::one_hot(y_true, NUM_CLASSES as i64)?;
    tf::reduce_mean(-tf::reduce_sum(y_true * math::log(y_pred)?, ..)?, ..)
}

/// The same from the logits, where no probability rounds to zero.
fn stable_cross_entropy(logits: &Tensor, y_true: &Tensor) -> tf::Result<Tensor> {
    let labels = tf::cast(y_true, DType::Int64)?;
    tf::reduce_sum(nn::sparse_softmax_cross_entropy_with_logits(labels, logits)?, ..)
}

fn accuracy(y_pred: &Tensor, y_true: &Tensor) -> tf::Result<f32> {
    let correct = tf::equal(tf::argmax(y_pred, 1)?, tf::cast(y_true, DType::Int64)?)?;
    tf::reduce_mean(tf::cast(correct, DType::Float32)?, ..)?.to_scalar::<f32>()
}

fn run_optimization(
    network: &Network,
    optimizer: &optimizers::SGD,
    x: &Tensor,
    y: &Tensor,
) -> tf::Result<()> {
    let tape = tf::GradientTape::new();
    let pred = network.predict(x)?;
    let loss = cross_entropy(&pred, y)?;
    let variables = network.trainable_variables();
    let gradients = tape.gradient(&loss, &variables)?;
    optimizer.apply_gradients(gradients.into_iter().zip(variables))
}
