//! A training step of a deeper net, timed: four 3x3 convolutions, each with batch normalization and
//! relu (32, 32, pool, 64, 64, pool), a dense layer of 256 with dropout, ten classes; Adam.

mod timing;

use tapeflow as tf;
use tf::initializers::{HeNormal, Initializer};
use tf::nn::{self, FusedBatchNorm, Padding};
use tf::optimizers::Adam;
use tf::{DType, Tensor, Variable};
use timing::{Arguments, measure, report};

const BATCH: usize = 128;

fn main() -> tf::Result<()> {
    let args = Arguments::parse(30);
    let x = tf::random::stateless_uniform([BATCH, 28, 28, 1], [0, 0], 0.0, 1.0, DType::Float32)?;
    let labels: Vec<i64> = (0..BATCH).map(|i| (i * 7 % 10) as i64).collect();
    let y = Tensor::from(labels);
    let net = Net::new()?;
    let optimizer = Adam::new(0.001);
    let weights = net.weights();
    let step =
        tf::function(move |(x, y): (Tensor, Tensor)| net.train_step(&x, &y, &weights, &optimizer));
    let times = measure(&args, || {
        step.call((x.clone(), y.clone()))?.to_scalar::<f32>()?;
        Ok::<_, tf::Error>(())
    })?;
    report("deeper net's step, compiled", "ms", &times);
    Ok(())
}

struct Net {
    blocks: Vec<Block>,
    fc1: (Variable, Variable),
    fc2: (Variable, Variable),
}

/// A convolution with batch normalization.
struct Block {
    filters: Variable,
    scale: Variable,
    offset: Variable,
    mean: Variable,
    variance: Variable,
}

impl Net {
    fn new() -> tf::Result<Net> {
        let channels = [(1, 32), (32, 32), (32, 64), (64, 64)];
        let blocks = channels.iter().map(|&(inputs, outputs)| Block::new(inputs, outputs));
        Ok(Net {
            blocks: blocks.collect::<tf::Result<_>>()?,
            fc1: (he_normal(&[7 * 7 * 64, 256])?, zeros(256)?),
            fc2: (he_normal(&[256, 10])?, zeros(10)?),
        })
    }

    fn weights(&self) -> Vec<Variable> {
        let blocks = self.blocks.iter();
        let mut weights: Vec<Variable> = blocks
            .flat_map(|block| [&block.filters, &block.scale, &block.offset])
            .cloned()
            .collect();
        for (w, b) in [&self.fc1, &self.fc2] {
            weights.extend([w.clone(), b.clone()]);
        }
        weights
    }

    fn logits(&self, x: &Tensor) -> tf::Result<Tensor> {
        let mut x = x.clone();
        for (i, block) in self.blocks.iter().enumerate() {
            x = block.call(&x)?;
            if i % 2 == 1 {
                x = nn::max_pool(x, 2, 2, Padding::Same)?;
            }
        }
        let ((fc1_w, fc1_b), (fc2_w, fc2_b)) = (&self.fc1, &self.fc2);
        let x = tf::reshape(x, [-1, fc1_w.shape()[0] as i64])?;
        let x = nn::relu(tf::add(tf::matmul(x, fc1_w)?, fc1_b)?)?;
        tf::add(tf::matmul(nn::dropout(x, 0.5, None)?, fc2_w)?, fc2_b)
    }

    fn train_step(
        &self,
        x: &Tensor,
        y: &Tensor,
        weights: &[Variable],
        optimizer: &Adam,
    ) -> tf::Result<Tensor> {
        let tape = tf::GradientTape::new();
        let losses = nn::sparse_softmax_cross_entropy_with_logits(y, self.logits(x)?)?;
        let loss = tf::reduce_mean(losses, ..)?;
        let gradients = tape.gradient(&loss, weights)?;
        optimizer.apply_gradients(gradients.into_iter().zip(weights))?;
        Ok(loss)
    }
}

impl Block {
    fn new(inputs: usize, outputs: usize) -> tf::Result<Block> {
        let ones = || tf::ones([outputs], DType::Float32).map(Variable::new);
        Ok(Block {
            filters: he_normal(&[3, 3, inputs, outputs])?,
            scale: ones()?,
            offset: zeros(outputs)?,
            mean: zeros(outputs)?,
            variance: ones()?,
        })
    }

    fn call(&self, x: &Tensor) -> tf::Result<Tensor> {
        let x = nn::conv2d(x, &self.filters, 1, Padding::Same)?;
        let op = FusedBatchNorm { exponential_avg_factor: 0.1, ..Default::default() };
        let running = (&self.mean.value(), &self.variance.value());
        let (x, mean, variance) = op.call(x, &self.scale, &self.offset, Some(running))?;
        self.mean.assign(mean)?;
        self.variance.assign(variance)?;
        nn::relu(x)
    }
}

fn he_normal(shape: &[usize]) -> tf::Result<Variable> {
    HeNormal::new(Some(1)).call(tf::Shape::new(shape)?, DType::Float32).map(Variable::new)
}

fn zeros(n: usize) -> tf::Result<Variable> {
    tf::zeros([n], DType::Float32).map(Variable::new)
}
