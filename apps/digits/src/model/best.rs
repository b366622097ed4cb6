//! A network for handwriting of all sorts: towers of convolutions with batch normalisation, alike but for
//! their initial weights, whose scores are averaged. So that they err in different places, each is
//! trained on distortions of its own, and in reading the second and third one see the image turned, one
//! each way. Training does not turn it: distortions do, at random.

use std::sync::LazyLock;

use tapeflow as tf;
use tf::nn::{self, FusedBatchNorm, Padding};
use tf::{DType, Tensor, Variable};

use super::{CLASSES, PIXELS, SIZE, max_pool};

/// How many towers there are, and so how many images of each digit [`loss`] reads.
pub const TOWERS: usize = 3;
/// By how many degrees the second and the third tower's images are turned: about as much as distortions
/// usually turn them at full strength.
const DEGREES: [f32; TOWERS - 1] = [-10.0, 10.0];
/// The convolutions of a tower, of which the first three see the image at full resolution.
const TOWER: [Conv; 6] = [
    Conv { inputs: 1, ..FINE },
    FINE,
    Conv { pooled: true, ..FINE },
    Conv { outputs: 64, padding: Padding::Same, ..FINE },
    Conv { inputs: 64, outputs: 64, padding: Padding::Same, pooled: true },
    LAST,
];
const FINE: Conv = Conv { inputs: 32, outputs: 32, padding: Padding::Valid, pooled: false };
const LAST: Conv = Conv { inputs: 64, outputs: 128, ..FINE };
/// Height and width of the last convolution's output: 28 less a margin of 3 on each side, halved twice,
/// rounded up, less a margin of 1 on each side.
const LAST_SIDE: usize = 4;
/// The part of the last convolution's output that a training step leaves out.
const DROPOUT: f64 = 0.25;
/// How far a step moves the running statistics towards those of its batch.
const MOMENTUM: f64 = 0.05;
/// The part of the labels' certainty that is spread over all classes.
const SMOOTHING: f32 = 0.03;
const EPSILON: f64 = 1e-3;

/// Filters of 3 by 3 pixels.
struct Conv {
    inputs: usize,
    outputs: usize,
    padding: Padding,
    pooled: bool,
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
    for tower in 0..TOWERS {
        for (i, conv) in TOWER.iter().enumerate() {
            let mut add = |what: &str, shape: &[usize]| {
                layout.push((format!("tower{tower}_conv{i}_{what}"), shape.to_vec()));
            };
            add("w", &[3, 3, conv.inputs, conv.outputs]);
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

/// The variables of one tower, as they lie in the layout.
struct Tower<'a> {
    convs: &'a [[Variable; 5]],
    head: &'a [Variable; 2],
}

fn towers(variables: &[Variable]) -> impl Iterator<Item = Tower<'_>> {
    variables.chunks_exact(variables.len() / TOWERS).map(|tower| {
        let (convs, head) = tower.split_last_chunk().expect("a tower ends with its head");
        Tower { convs: convs.as_chunks().0, head }
    })
}

/// The scores, `[n, 10]`, of images `[n, 28, 28, 1]`: the mean of the towers'.
pub fn logits(variables: &[Variable], images: &Tensor) -> tf::Result<Tensor> {
    static TURNS: LazyLock<[Tensor; TOWERS - 1]> = LazyLock::new(|| DEGREES.map(turn));
    let pixels = tf::reshape(images, [-1, PIXELS as i64])?;
    let turned = |turn| tf::reshape(tf::matmul(&pixels, turn)?, [-1, SIZE as i64, SIZE as i64, 1]);
    let views = std::iter::once(Ok(images.clone())).chain(TURNS.iter().map(turned));
    mean(towers(variables).zip(views).map(|(tower, view)| tower.logits(&view?)))
}

/// The matrix that turns images, as rows of pixels, clockwise about their middle: each new pixel is
/// interpolated between four old ones, which are zero outside of the image.
fn turn(degrees: f32) -> Tensor {
    let (sin, cos) = degrees.to_radians().sin_cos();
    let middle = (SIZE - 1) as f32 / 2.0;
    let mut matrix = vec![0.0; PIXELS * PIXELS];
    for new in 0..PIXELS {
        let (x, y) = ((new % SIZE) as f32 - middle, (new / SIZE) as f32 - middle);
        let (x, y) = (cos * x + sin * y + middle, cos * y - sin * x + middle);
        for (row, col) in [(0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0)] {
            let (row, col) = (y.floor() + row, x.floor() + col);
            let share = (1.0 - (y - row).abs()) * (1.0 - (x - col).abs());
            let inside = |at: f32| (0.0..SIZE as f32).contains(&at);
            if inside(row) && inside(col) {
                matrix[(row as usize * SIZE + col as usize) * PIXELS + new] = share;
            }
        }
    }
    Tensor::from_slice(&matrix, [PIXELS, PIXELS]).expect("as many numbers as the shape says")
}

/// What the first tower's first convolution makes of images.
pub fn first_layer(variables: &[Variable], images: &Tensor) -> tf::Result<Tensor> {
    let first = variables.first_chunk().expect("the layout begins with a convolution");
    TOWER[0].apply(first, images)
}

/// What a training step needs of images `[TOWERS * n, 28, 28, 1]`, all of the first tower before those
/// of the second, and `n` labels: the loss, summed over the digits, the mean over the towers, and the
/// scores. Unlike [`logits`] it turns no image. Moves the running statistics.
pub fn loss(
    variables: &[Variable],
    images: &Tensor,
    labels: &Tensor,
) -> tf::Result<(Tensor, Tensor)> {
    let certain = tf::one_hot(tf::cast(labels, DType::Int64)?, CLASSES as i64)?;
    let kept = tf::multiply(certain, 1.0 - SMOOTHING)?;
    let labels = tf::add(kept, SMOOTHING / CLASSES as f32)?;
    let n = labels.shape()[0] as i64;
    let scores: Vec<Tensor> = towers(variables)
        .zip(0..)
        .map(|(tower, i)| tower.train_logits(tf::slice(images, [i * n, 0, 0, 0], [n, -1, -1, -1])?))
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
        for (conv, variables) in TOWER.iter().zip(self.convs) {
            x = conv.apply(variables, &x)?;
            x = if conv.pooled { max_pool(x)? } else { x };
        }
        self.head(x)
    }

    fn train_logits(&self, images: Tensor) -> tf::Result<Tensor> {
        let mut x = images;
        for (conv, [w, scale, offset, mean, variance]) in TOWER.iter().zip(self.convs) {
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
    tf::multiply(sum?, 1.0 / TOWERS as f32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::ModelName;
    use crate::model::Model;

    fn noise(n: usize, seed: i64) -> Tensor {
        let shape = [n, SIZE, SIZE, 1];
        tf::random::stateless_uniform(shape, [seed, 0], 0.0, 1.0, DType::Float32).unwrap()
    }

    #[test]
    fn each_tower_learns_from_its_own_images() {
        let labels = Tensor::from([3u8, 5]);
        // The running means that a step on images of these seeds leaves, tower by tower.
        let means = |seeds: [i64; TOWERS]| {
            let model = Model::new(ModelName::Best, 0).unwrap();
            let images = tf::concat(seeds.map(|seed| noise(2, seed)), 0).unwrap();
            model.loss(&images, &labels).unwrap();
            let means = |tower: Tower<'_>| -> Vec<f32> {
                let of_conv = |conv: &[Variable; 5]| conv[3].value().to_vec::<f32>().unwrap();
                tower.convs.iter().flat_map(of_conv).collect()
            };
            towers(model.variables()).map(means).collect::<Vec<_>>()
        };
        let before = means([1, 2, 3]);
        for changed in 0..TOWERS {
            let mut seeds = [1, 2, 3];
            seeds[changed] = 9;
            let after = means(seeds);
            for tower in 0..TOWERS {
                assert_eq!(after[tower] != before[tower], tower == changed, "{changed}: {tower}");
            }
        }
    }

    #[test]
    fn a_quarter_turn_moves_pixels_and_a_small_one_spreads_them() {
        // One pixel above and to the right of the middle.
        let (row, col) = (SIZE / 2 - 3, SIZE / 2 + 5);
        let mut image = vec![0.0f32; PIXELS];
        image[row * SIZE + col] = 1.0;
        let image = Tensor::from_slice(&image, [1, PIXELS]).unwrap();
        let turned = |degrees: f32| -> Vec<f32> {
            tf::matmul(&image, turn(degrees)).unwrap().to_vec().unwrap()
        };
        let quarter = turned(90.0);
        for (i, &ink) in quarter.iter().enumerate() {
            let expected = i == col * SIZE + (SIZE - 1 - row);
            assert!((ink - f32::from(u8::from(expected))).abs() < 1e-5, "{i}: {ink}");
        }
        // Clockwise: what is right of the middle goes down.
        let turned = turned(10.0);
        let rows = turned.iter().enumerate().map(|(i, ink)| (i / SIZE) as f32 * ink);
        let (mass, moment) = (turned.iter().sum::<f32>(), rows.sum::<f32>());
        assert!((mass - 1.0).abs() < 0.1 && moment / mass > row as f32 + 0.5, "{mass} {moment}");
    }

    #[test]
    fn towers_read_their_own_turn() {
        let model = Model::new(ModelName::Best, 0).unwrap();
        let image = noise(1, 4);
        let scores = |image: &Tensor| -> Vec<f32> {
            logits(model.variables(), image).unwrap().to_vec().unwrap()
        };
        let views = [None, Some(DEGREES[0]), Some(DEGREES[1])].map(|degrees| {
            let Some(degrees) = degrees else { return image.clone() };
            let pixels = tf::reshape(&image, [1, -1]).unwrap();
            let turned = tf::matmul(pixels, turn(degrees)).unwrap();
            tf::reshape(turned, [1, SIZE as i64, SIZE as i64, 1]).unwrap()
        });
        let mut expected = vec![0.0; CLASSES];
        for (tower, view) in towers(model.variables()).zip(&views) {
            let scores: Vec<f32> = tower.logits(view).unwrap().to_vec().unwrap();
            expected.iter_mut().zip(scores).for_each(|(sum, score)| *sum += score / TOWERS as f32);
        }
        for (score, expected) in scores(&image).into_iter().zip(expected) {
            assert!((score - expected).abs() < 1e-4, "{score} {expected}");
        }
    }

    #[test]
    fn the_first_layer_is_a_convolution_of_the_first_tower() {
        let model = Model::new(ModelName::Best, 0).unwrap();
        let image = noise(1, 1);
        let maps = first_layer(model.variables(), &image).unwrap();
        assert_eq!(maps.shape().dims(), [1, 26, 26, 32]);
        let sums = nn::conv2d(&image, &model.variables()[0], 1, Padding::Valid).unwrap();
        for (map, sum) in maps.to_vec::<f32>().unwrap().iter().zip(sums.to_vec::<f32>().unwrap()) {
            // As fresh statistics have it: mean 0, variance 1.
            let expected = sum.max(0.0) / (1.0 + EPSILON as f32).sqrt();
            assert!((map - expected).abs() < 1e-5, "{map} {expected}");
        }
    }
}
