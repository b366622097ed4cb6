//! A training run's state and its step.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::json;
use tapeflow as tf;
use tf::data::{AUTOTUNE, Dataset};
use tf::optimizers::Optimizer;
use tf::train::Checkpoint;
use tf::{DType, Function, Tensor, Variable};

use super::augment::Augment;
use super::settings::Settings;
use crate::cli::TrainOptions;
use crate::dataset::Split;
use crate::failure::Failure;
use crate::model::{Model, is_finite, preprocess};

/// How many images the shuffle draws from, as in the lesson.
const SHUFFLE_BUFFER: usize = 5000;

/// The keys of a checkpoint's metadata.
const STEP: &str = "step";
const SETTINGS: &str = "settings";
const RANDOM: &str = "random";

/// Everything that a run needs to go on: what a checkpoint holds.
pub struct Trainer {
    pub settings: Settings,
    pub model: Model,
    optimizer: Arc<dyn Optimizer>,
    /// Steps done.
    pub step: u64,
    update: Update,
    /// Whether a step found a loss that is not finite. The weights are worth nothing then.
    diverged: bool,
}

/// From all views of the images and the labels to the loss, summed over the batch, and how many were
/// read right; the weights are updated.
type Update = Function<
    (Tensor, Tensor),
    (Tensor, Tensor),
    Box<dyn Fn((Tensor, Tensor)) -> tf::Result<(Tensor, Tensor)> + Send + Sync>,
>;

/// What one step found, before its update.
pub struct Outcome {
    /// The mean over the batch of `-log` of the probability given to the right digit.
    pub loss: f64,
    pub correct: usize,
    pub images: usize,
}

impl Trainer {
    pub fn new(settings: Settings) -> tf::Result<Trainer> {
        tf::random::set_seed(settings.seed as u64);
        let model = Model::new(settings.model, settings.seed)?;
        let optimizer = settings.optimizer();
        optimizer.build(&model.trainable_variables())?;
        let update = compiled(model.clone(), optimizer.clone());
        Ok(Trainer { settings, model, optimizer, step: 0, update, diverged: false })
    }

    /// The run that a checkpoint holds, where `options` ask for nothing else.
    pub fn restore(checkpoint: &Checkpoint, options: &TrainOptions) -> Result<Trainer, Failure> {
        let text: String = checkpoint.metadata(SETTINGS).map_err(Failure::input)?;
        let settings: Settings = parse(SETTINGS, &text)?;
        let mut trainer = Trainer::new(settings.resumed(options)?)?;
        checkpoint.restore(&trainer.state()).map_err(Failure::input)?;
        trainer.step = checkpoint.metadata(STEP).map_err(Failure::input)?;
        let random: String = checkpoint.metadata(RANDOM).map_err(Failure::input)?;
        tf::random::set_global_state(parse(RANDOM, &random)?);
        Ok(trainer)
    }

    /// Everything that [`restore`](Trainer::restore) needs.
    pub fn checkpoint(&self) -> tf::Result<Checkpoint> {
        let checkpoint = Checkpoint::of(&self.state())?;
        Ok(checkpoint
            .with_metadata(STEP, self.step)
            .with_metadata(SETTINGS, &self.settings)
            .with_metadata(RANDOM, json!(tf::random::global_state())))
    }

    /// The batches that are left: `(images, labels)`, the images as often as the model has views of
    /// them. The order depends on the seed alone, so skipping the steps done is all there is to resuming.
    pub fn batches(&self, train: &Split) -> tf::Result<Dataset<(Tensor, Tensor)>> {
        let elements = (train.images.clone(), train.labels.clone());
        let views = self.model.views();
        let batches = Dataset::from_tensor_slices(elements)?
            .repeat(self.settings.epochs)
            .shuffle(SHUFFLE_BUFFER, self.settings.seed)
            .batch(self.settings.batch_size)
            .skip(self.step)
            .map(move |(images, labels)| Ok((tf::concat(vec![images; views], 0)?, labels)));
        if !self.settings.augment {
            return Ok(batches.prefetch(AUTOTUNE));
        }
        let augment = Augment::new(self.settings.seed, self.settings.steps(train.len()));
        Ok(batches
            .enumerate(self.step as i64)
            .map(move |(step, (images, labels))| {
                Ok((augment.call(&images, step.to_scalar::<i64>()?)?, labels))
            })
            .prefetch(AUTOTUNE))
    }

    /// Sets the learning rate of the next step, of `steps` of the whole run.
    pub fn set_learning_rate(&self, steps: u64) {
        let Settings { schedule, learning_rate, .. } = self.settings;
        self.optimizer.set_learning_rate(schedule.learning_rate(learning_rate, self.step, steps));
    }

    /// One step of the lesson: forward, loss, gradients, update. A loss that is not finite is an
    /// error, and what such a step left of the weights never reaches a file.
    pub fn step(&mut self, images: &Tensor, labels: &Tensor) -> Result<Outcome, Failure> {
        let count = labels.shape()[0];
        let (loss, correct) = self.update.call((images.clone(), labels.clone()))?;
        let loss = f64::from(loss.to_scalar::<f32>()?) / count as f64;
        if !loss.is_finite() {
            self.diverged = true;
            return Err(self.divergence(&format!("the loss is {loss}")));
        }
        self.step += 1;
        let correct = correct.to_scalar::<i64>()? as usize;
        Ok(Outcome { loss, correct, images: count })
    }

    /// What a step on such a batch computes, as it was traced.
    pub fn graph(&self, batch: &(Tensor, Tensor)) -> tf::Result<tf::Graph> {
        Ok(self.update.get_concrete_function(batch)?.traced_graph().clone())
    }

    /// Refuses weights that are not finite, so that no file ever holds them.
    pub fn check_finite(&self) -> Result<(), Failure> {
        if self.diverged {
            return Err(self.divergence("the loss is not finite"));
        }
        for variable in self.state() {
            if !is_finite(&variable)? {
                return Err(self.divergence(&format!("{} is not finite", variable.name())));
            }
        }
        Ok(())
    }

    fn divergence(&self, what: &str) -> Failure {
        Failure::Failed(format!(
            "after {} steps {what}: the training has diverged. Nothing was written after the last \
             good checkpoint; try again with a smaller --learning-rate than {}",
            self.step, self.settings.learning_rate
        ))
    }

    fn state(&self) -> Vec<Variable> {
        let mut variables = self.model.variables().to_vec();
        variables.extend(self.optimizer.variables());
        variables
    }
}

fn compiled(model: Model, optimizer: Arc<dyn Optimizer>) -> Update {
    let variables = model.trainable_variables();
    tf::function(Box::new(move |(images, labels)| {
        let tape = tf::GradientTape::new();
        let (total, logits) = model.loss(&preprocess(&images)?, &labels)?;
        let gradients = tape.gradient(&total, &variables)?;
        optimizer.apply_gradients(gradients.into_iter().zip(&variables))?;
        let right = tf::equal(tf::argmax(&logits, 1)?, tf::cast(&labels, DType::Int64)?)?;
        Ok((total, tf::reduce_sum(tf::cast(right, DType::Int64)?, ..)?))
    }))
}

/// A metadata entry of a checkpoint that is JSON.
fn parse<T: DeserializeOwned>(key: &str, text: &str) -> Result<T, Failure> {
    serde_json::from_str(text)
        .map_err(|error| Failure::Input(format!("the checkpoint's {key}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{ModelName, OptimizerName};
    use crate::model::SIZE;
    use crate::train::schedule::Schedule;

    /// The views of the first batch, of two digits each.
    fn views(augment: bool) -> Vec<Vec<u8>> {
        let settings = Settings {
            model: ModelName::Best,
            optimizer: OptimizerName::Adam,
            learning_rate: 0.001,
            schedule: Schedule::Constant,
            epochs: 1,
            batch_size: 2,
            augment,
            seed: 0,
            data: None,
        };
        let trainer = Trainer::new(settings).unwrap();
        let ink: Vec<u8> = (0..4 * SIZE * SIZE).map(|i| (i * 7 % 255) as u8).collect();
        let images = Tensor::from_slice(&ink, [4, SIZE, SIZE]).unwrap();
        let split = Split { images, labels: Tensor::from([1u8, 2, 3, 4]) };
        let batch = (&trainer.batches(&split).unwrap()).into_iter().next().unwrap().unwrap();
        assert_eq!(batch.1.shape().dims(), [2]);
        assert_eq!(batch.0.shape().dims(), [6, SIZE, SIZE]);
        let pixels = batch.0.to_vec::<u8>().unwrap();
        pixels.chunks_exact(2 * SIZE * SIZE).map(<[u8]>::to_vec).collect()
    }

    #[test]
    fn each_view_of_a_batch_is_distorted_its_own_way() {
        let plain = views(false);
        assert!(plain[0] == plain[1] && plain[1] == plain[2]);
        let (first, second) = plain[0].split_at(SIZE * SIZE);
        assert!(first != second);
        let views = views(true);
        assert!(views[0] != views[1] && views[1] != views[2] && views[0] != views[2]);
    }
}
