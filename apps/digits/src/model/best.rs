//! A network for handwriting of all sorts: several towers of convolutions with batch normalisation, whose
//! scores are averaged.

use tapeflow as tf;
use tf::nn::{self, FusedBatchNorm, Padding};
use tf::{DType, Tensor, Variable};

use super::{CLASSES, max_pool};

/// The convolutions of the towers. What a tower sees of the image at first is a window of its own, so
/// that the towers err in different places; what comes after is alike.
const TOWERS: [&[Conv]; 3] = [
    &[stem(5), WIDEN, KEEP, LAST],
    &[Conv { pooled: false, ..stem(3) }, Conv { inputs: 32, ..stem(3) }, WIDEN, KEEP, LAST],
    &[stem(7), WIDEN, KEEP, LAST],
];
const WIDEN: Conv =
    Conv { side: 3, inputs: 32, outputs: 64, padding: Padding::Same, pooled: false };
const KEEP: Conv = Conv { inputs: 64, pooled: true, ..WIDEN };
const LAST: Conv = Conv { inputs: 64, outputs: 128, padding: Padding::Valid, ..WIDEN };
/// Height and width of the last convolution's output, whatever the stem: 28 less its margin, halved twice,
/// less a margin of 1 on each side.
const LAST_SIDE: usize = 4;
/// The part of the last convolution's output that a training step leaves out.
const DROPOUT: f64 = 0.25;
/// How far a step moves the running statistics towards those of its batch.
const MOMENTUM: f64 = 0.05;
/// The part of the labels' certainty that is spread over all classes.
const SMOOTHING: f32 = 0.03;
const EPSILON: f64 = 1e-3;

struct Conv {
    side: usize,
    inputs: usize,
    outputs: usize,
    padding: Padding,
    pooled: bool,
}

/// A first convolution, which sees `side` by `side` pixels.
const fn stem(side: usize) -> Conv {
    Conv { side, inputs: 1, outputs: 32, padding: Padding::Valid, pooled: true }
}

impl Conv {
    /// The layer, with the batch normalisation folded into filters and biases.
    fn apply(&self, variables: &[Variable; 5], x: &Tensor) -> tf::Result<Tensor> {
        let [w, scale, offset, mean, variance] = variables;
        let factor = tf::divide(scale, tf::sqrt(tf::add(variance, EPSILON as f32)?)?)?;
        let filters = tf::multiply(w, &factor)?;
        let bias = tf::subtract(offset, tf::multiply(mean, &factor)?)?;
        nn::relu(nn::bias_add(nn::conv2d(x, filters, 1, self.padding)?, bias)?)
    }
}

/// Names and shapes of the variables, tower by tower.
pub fn layout() -> Vec<(String, Vec<usize>)> {
    let mut layout = Vec::new();
    for (tower, convs) in TOWERS.iter().enumerate() {
        for (i, conv) in convs.iter().enumerate() {
            let mut add = |what: &str, shape: &[usize]| {
                layout.push((format!("tower{tower}_conv{i}_{what}"), shape.to_vec()));
            };
            add("w", &[conv.side, conv.side, conv.inputs, conv.outputs]);
            for what in ["scale", "b", "mean", "variance"] {
                add(what, &[conv.outputs]);
            }
        }
        let features = LAST_SIDE * LAST_SIDE * LAST.outputs;
        layout.push((format!("tower{tower}_head_w"), vec![features, CLASSES]));
        layout.push((format!("tower{tower}_head_b"), vec![CLASSES]));
    }
    layout
}

/// The layers of one tower with their variables.
struct Tower<'a> {
    convs: Vec<(&'static Conv, &'a [Variable; 5])>,
    head: &'a [Variable; 2],
}

fn towers(mut variables: &[Variable]) -> Vec<Tower<'_>> {
    let mut take = |n| variables.split_off(..n).expect("the layout has them all");
    TOWERS
        .iter()
        .map(|convs| {
            let of_convs = take(5 * convs.len()).as_chunks().0;
            Tower { convs: convs.iter().zip(of_convs).collect(), head: &take(2).as_chunks().0[0] }
        })
        .collect()
}

/// The scores, `[n, 10]`, of images `[n, 28, 28, 1]`: the mean of the towers'.
pub fn logits(variables: &[Variable], images: &Tensor) -> tf::Result<Tensor> {
    mean(towers(variables).iter().map(|tower| tower.logits(images)))
}

/// What the first tower's first convolution makes of images.
pub fn first_layer(variables: &[Variable], images: &Tensor) -> tf::Result<Tensor> {
    let (conv, variables) = towers(variables)[0].convs[0];
    conv.apply(variables, images)
}

/// What a training step needs: the loss, summed over the images, the mean over the towers, and the
/// scores. Moves the running statistics.
pub fn loss(
    variables: &[Variable],
    images: &Tensor,
    labels: &Tensor,
) -> tf::Result<(Tensor, Tensor)> {
    let certain = tf::one_hot(tf::cast(labels, DType::Int64)?, CLASSES as i64)?;
    let kept = tf::multiply(certain, 1.0 - SMOOTHING)?;
    let labels = tf::add(kept, SMOOTHING / CLASSES as f32)?;
    let scores: Vec<Tensor> = towers(variables)
        .iter()
        .map(|tower| tower.train_logits(images))
        .collect::<tf::Result<_>>()?;
    let losses = scores
        .iter()
        .map(|scores| tf::reduce_sum(nn::softmax_cross_entropy_with_logits(&labels, scores)?, ..));
    let loss = mean(losses)?;
    Ok((loss, mean(scores.into_iter().map(Ok))?))
}

impl Tower<'_> {
    fn logits(&self, images: &Tensor) -> tf::Result<Tensor> {
        let mut x = images.clone();
        for (conv, variables) in &self.convs {
            x = conv.apply(variables, &x)?;
            x = if conv.pooled { max_pool(x)? } else { x };
        }
        self.head(x)
    }

    fn train_logits(&self, images: &Tensor) -> tf::Result<Tensor> {
        let mut x = images.clone();
        for (conv, [w, scale, offset, mean, variance]) in &self.convs {
            let op = FusedBatchNorm {
                epsilon: EPSILON,
                exponential_avg_factor: MOMENTUM,
                ..Default::default()
            };
            let running = (&mean.value(), &variance.value());
            let y = nn::conv2d(x, w, 1, conv.padding)?;
            let (y, new_mean, new_variance) = op.call(y, scale, offset, Some(running))?;
            mean.assign(new_mean)?;
            variance.assign(new_variance)?;
            x = nn::relu(y)?;
            x = if conv.pooled { max_pool(x)? } else { x };
        }
        self.head(nn::dropout(x, DROPOUT, None)?)
    }

    fn head(&self, x: Tensor) -> tf::Result<Tensor> {
        let [w, b] = self.head;
        let x = tf::reshape(x, [-1, w.shape()[0] as i64])?;
        tf::add(tf::matmul(x, w)?, b)
    }
}

/// The mean over the towers.
fn mean(of_towers: impl Iterator<Item = tf::Result<Tensor>>) -> tf::Result<Tensor> {
    let sum = of_towers.reduce(|sum, next| tf::add(sum?, next?)).expect("there are towers");
    tf::multiply(sum?, 1.0 / TOWERS.len() as f32)
}
