//! The networks, written from variables and ops.

mod best;

use tapeflow as tf;
use tf::initializers::{HeNormal, Initializer, RandomNormal};
use tf::nn::{self, Padding};
use tf::{DType, Tensor, Variable};

use crate::cli::ModelName;

/// Height and width of the images that the networks read, in pixels.
pub const SIZE: usize = 28;
/// Their pixels.
pub const PIXELS: usize = SIZE * SIZE;
/// Digits 0 to 9.
pub const CLASSES: usize = 10;

/// A network and its weights, which a clone shares.
#[derive(Clone)]
pub struct Model {
    name: ModelName,
    variables: Vec<Variable>,
}

impl Model {
    /// A network with fresh weights: normal with standard deviation 0.05, or He's for the fast and
    /// the best one; scales and variances one, the others zero.
    pub fn new(name: ModelName, seed: i64) -> tf::Result<Model> {
        let mut variables = Vec::new();
        for (i, (variable, shape)) in layout(name).into_iter().enumerate() {
            let shape = tf::Shape::new(&shape)?;
            let value = match variable.rsplit('_').next() {
                Some("w") => {
                    // Each variable has a stream of its own, and so has each seed.
                    let stream = Some(seed.wrapping_mul(1000).wrapping_add(i as i64));
                    match name {
                        ModelName::Lesson | ModelName::AllConv => {
                            RandomNormal::new(0.0, 0.05, stream).call(shape, DType::Float32)?
                        }
                        ModelName::Fast | ModelName::Best => {
                            HeNormal::new(stream).call(shape, DType::Float32)?
                        }
                    }
                }
                Some("scale" | "variance") => tf::ones(shape, DType::Float32)?,
                _ => tf::zeros(shape, DType::Float32)?,
            };
            variables.push(Variable::named(variable, value));
        }
        Ok(Model { name, variables })
    }

    pub fn name(&self) -> ModelName {
        self.name
    }

    /// What a model file holds, in the order of the layers.
    pub fn variables(&self) -> &[Variable] {
        &self.variables
    }

    /// What training changes by gradients: all but the statistics of batch normalisation.
    pub fn trainable_variables(&self) -> Vec<Variable> {
        let is_statistic = |name: &str| name.ends_with("_mean") || name.ends_with("_variance");
        self.variables.iter().filter(|variable| !is_statistic(variable.name())).cloned().collect()
    }

    /// Scores before the softmax, `[n, 10]`, of images `[n, 28, 28, 1]` from [`preprocess`].
    pub fn logits(&self, images: &Tensor) -> tf::Result<Tensor> {
        match self.name {
            ModelName::Lesson => self.lesson(images),
            ModelName::AllConv => self.all_conv(images),
            ModelName::Fast => self.fast(images),
            ModelName::Best => best::logits(&self.variables, images),
        }
    }

    /// How many images of each digit [`loss`](Model::loss) reads.
    pub fn views(&self) -> usize {
        if self.name == ModelName::Best { best::TOWERS } else { 1 }
    }

    /// What a training step needs of images from [`preprocess`], the first view of all digits before
    /// the second, and the labels: the loss, summed over the batch, and the scores.
    pub fn loss(&self, images: &Tensor, labels: &Tensor) -> tf::Result<(Tensor, Tensor)> {
        if self.name == ModelName::Best {
            return best::loss(&self.variables, images, labels);
        }
        let logits = self.logits(images)?;
        Ok((loss(&logits, labels)?, logits))
    }

    fn lesson(&self, images: &Tensor) -> tf::Result<Tensor> {
        let [conv_w, conv_b, fc1_w, fc1_b, fc2_w, fc2_b] = self.layers();
        let x = max_pool(conv(images, conv_w, conv_b, Padding::Same)?)?;
        let x = tf::reshape(x, [-1, fc1_w.shape()[0] as i64])?;
        let x = nn::relu(tf::add(tf::matmul(x, fc1_w)?, fc1_b)?)?;
        tf::add(tf::matmul(x, fc2_w)?, fc2_b)
    }

    fn all_conv(&self, images: &Tensor) -> tf::Result<Tensor> {
        let [conv1_w, conv1_b, conv2_w, conv2_b, head_w, head_b] = self.layers();
        let x = max_pool(conv(images, conv1_w, conv1_b, Padding::Same)?)?;
        let x = max_pool(conv(&x, conv2_w, conv2_b, Padding::Same)?)?;
        let x = nn::bias_add(nn::conv2d(x, head_w, 1, Padding::Valid)?, head_b)?;
        tf::reshape(x, [-1, CLASSES as i64])
    }

    fn fast(&self, images: &Tensor) -> tf::Result<Tensor> {
        let [conv1_w, conv1_b, conv2_w, conv2_b, fc1_w, fc1_b, fc2_w, fc2_b] = self.layers();
        let x = max_pool(conv(images, conv1_w, conv1_b, Padding::Valid)?)?;
        let x = max_pool(conv(&x, conv2_w, conv2_b, Padding::Valid)?)?;
        let x = tf::reshape(x, [-1, fc1_w.shape()[0] as i64])?;
        let x = nn::relu(tf::add(tf::matmul(x, fc1_w)?, fc1_b)?)?;
        tf::add(tf::matmul(x, fc2_w)?, fc2_b)
    }

    /// What the first layer, a convolution with relu, makes of images `[n, 28, 28, 1]`: a map for
    /// each of its filters, `[n, height, width, filters]`.
    pub fn first_layer(&self, images: &Tensor) -> tf::Result<Tensor> {
        let padding = match self.name {
            ModelName::Lesson | ModelName::AllConv => Padding::Same,
            ModelName::Fast => Padding::Valid,
            ModelName::Best => return best::first_layer(&self.variables, images),
        };
        conv(images, &self.variables[0], &self.variables[1], padding)
    }

    fn layers<const N: usize>(&self) -> [&Variable; N] {
        std::array::from_fn(|i| &self.variables[i])
    }
}

/// Names and shapes of a network's variables. The names end in what a variable is: `w` for weights,
/// `b` for biases, and with batch normalisation `scale`, `mean` and `variance`.
pub fn layout(name: ModelName) -> Vec<(String, Vec<usize>)> {
    let layout: &[(&str, &[usize])] = match name {
        ModelName::Lesson => &[
            ("conv_w", &[3, 3, 1, 32]),
            ("conv_b", &[32]),
            ("fc1_w", &[14 * 14 * 32, 1024]),
            ("fc1_b", &[1024]),
            ("fc2_w", &[1024, CLASSES]),
            ("fc2_b", &[CLASSES]),
        ],
        ModelName::AllConv => &[
            ("conv1_w", &[3, 3, 1, 32]),
            ("conv1_b", &[32]),
            ("conv2_w", &[3, 3, 32, 64]),
            ("conv2_b", &[64]),
            ("head_w", &[7, 7, 64, CLASSES]),
            ("head_b", &[CLASSES]),
        ],
        // The margin of MNIST's images is empty, so convolutions without padding lose nothing.
        ModelName::Fast => &[
            ("conv1_w", &[5, 5, 1, 8]),
            ("conv1_b", &[8]),
            ("conv2_w", &[3, 3, 8, 16]),
            ("conv2_b", &[16]),
            ("fc1_w", &[5 * 5 * 16, 128]),
            ("fc1_b", &[128]),
            ("fc2_w", &[128, CLASSES]),
            ("fc2_b", &[CLASSES]),
        ],
        ModelName::Best => return best::layout(),
    };
    layout.iter().map(|&(name, shape)| (name.to_owned(), shape.to_vec())).collect()
}

fn conv(x: &Tensor, filters: &Variable, bias: &Variable, padding: Padding) -> tf::Result<Tensor> {
    nn::relu(nn::bias_add(nn::conv2d(x, filters, 1, padding)?, bias)?)
}

fn max_pool(x: Tensor) -> tf::Result<Tensor> {
    nn::max_pool(x, 2, 2, Padding::Same)
}

/// What a network reads, `[n, 28, 28, 1]` with ink 1 and paper 0, from bytes `[n, 28, 28]`.
pub fn preprocess(images: &Tensor) -> tf::Result<Tensor> {
    let x = tf::cast(images, DType::Float32)? / 255.0;
    tf::reshape(x, [-1, SIZE as i64, SIZE as i64, 1])
}

/// The sum over the batch of `-log` of the probability given to the right class.
pub fn loss(logits: &Tensor, labels: &Tensor) -> tf::Result<Tensor> {
    let labels = tf::cast(labels, DType::Int64)?;
    tf::reduce_sum(nn::sparse_softmax_cross_entropy_with_logits(labels, logits)?, ..)
}

/// Whether no value of a variable of `float32` is infinite or not a number; true for other dtypes.
pub fn is_finite(variable: &Variable) -> tf::Result<bool> {
    let value = variable.value();
    Ok(value.dtype() != DType::Float32 || value.as_slice::<f32>()?.iter().all(|x| x.is_finite()))
}
