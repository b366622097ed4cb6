//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use axum::http::HeaderValue;
use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::{Deserialize, Serialize};
use tapeflow::DType;

use crate::train::Schedule;

/// Trains, evaluates and applies a recognizer of handwritten digits.
#[derive(Parser)]
#[command(
    version,
    after_help = "\
Start here:
  digits predict photo.jpg              read the digits in it
  digits serve                          a page to draw on, and the model over HTTP
  digits train                          learn MNIST (it is in the program), write digits.safetensors
  digits evaluate digits.safetensors    measure it on the test images

The program holds a model, trained by `digits train --model best`; --model names another.

Exit codes: 0 done, 1 failed, 2 bad usage or input, 130 interrupted."
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    Train(TrainOptions),
    Evaluate(EvaluateOptions),
    Predict(PredictOptions),
    Serve(ServeOptions),
}

/// Train a network and write it to a file.
#[derive(Args)]
#[command(after_help = "\
Examples:
  digits train
  digits train --model fast                     99 % in a few seconds
  digits train --model best --weights float16   the network in the program, in an hour
  digits train --model all-conv --epochs 3 --out all-conv.safetensors
  digits train --data fashion-mnist/            four IDX files, plain or gzipped
  digits train --logdir runs/1                  curves, weights, misreadings for TensorBoard
  digits train --checkpoint-dir run1            stop it at any moment, even with kill -9, then
  digits train --checkpoint-dir run1 --resume   ends with the same weights, byte for byte

The same seed gives the same weights, byte for byte, whatever the number of threads.")]
pub struct TrainOptions {
    /// Passes over the training images [default: 2, for best 28]
    #[arg(long)]
    pub epochs: Option<u64>,

    /// Images per step [default: 128, for fast and best 256]
    #[arg(long)]
    pub batch_size: Option<usize>,

    /// Step size, with one-cycle the largest [default: 0.001, for momentum and nesterov 0.0001, for
    /// quick-adam 0.01, for best with adam 0.003; the loss is summed over the batch]
    #[arg(long, allow_negative_numbers = true)]
    pub learning_rate: Option<f64>,

    /// How the step size changes over the run [default: constant, for fast and best one-cycle]
    #[arg(long, value_enum)]
    pub schedule: Option<Schedule>,

    /// How gradients become updates [default: sgd, for fast quick-adam, for best adam]
    #[arg(long, value_enum)]
    pub optimizer: Option<OptimizerName>,

    /// The network [default: lesson]
    #[arg(long, value_enum)]
    pub model: Option<ModelName>,

    /// Distort the training images at random, differently in each epoch and for each tower of
    /// best: moved, scaled, turned, sheared, bent, thinner or thicker, fainter, blurred, noisy [always
    /// for best]
    #[arg(long)]
    pub augment: bool,

    /// Seed of the initial weights, of the order of the images and of their distortions [default: 0]
    #[arg(long, allow_negative_numbers = true)]
    pub seed: Option<i64>,

    /// Directory with the four IDX files, plain or gzipped [default: the embedded MNIST]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,

    /// Where to write the model
    #[arg(long, value_name = "FILE", default_value = "digits.safetensors")]
    pub out: PathBuf,

    /// How the file holds the weights; halves make it half as large
    #[arg(long, value_enum, default_value = "float32", value_name = "DTYPE")]
    pub weights: Weights,

    /// Write a checkpoint here every few steps; without it only Ctrl-C writes one, beside the model
    #[arg(long, value_name = "DIR")]
    pub checkpoint_dir: Option<PathBuf>,

    /// Steps between checkpoints
    #[arg(long, value_name = "STEPS", default_value_t = 200)]
    pub checkpoint_every: u64,

    /// How many checkpoints to keep
    #[arg(long, value_name = "COUNT", default_value_t = 3)]
    pub keep: usize,

    /// Go on from the newest checkpoint, with the options it was made with
    #[arg(long)]
    pub resume: bool,

    /// Write what TensorBoard shows of the run here; open it with `tensorboard --logdir DIR`
    #[arg(long, value_name = "DIR")]
    pub logdir: Option<PathBuf>,

    /// Steps between two points of the curves in --logdir
    #[arg(long, value_name = "STEPS", default_value_t = 10)]
    pub log_every: u64,

    /// Threads to compute with [default: all cores]
    #[arg(long)]
    pub threads: Option<usize>,

    /// Print one JSON object a line instead of a progress bar and tables
    #[arg(long)]
    pub json: bool,
}

/// Measure a model on the test images.
#[derive(Args)]
#[command(after_help = "\
Examples:
  digits evaluate digits.safetensors
  digits evaluate digits.safetensors --report report.html   then open it in a browser
  digits evaluate                                           the model in the program")]
pub struct EvaluateOptions {
    /// A model file that `digits train` wrote [default: the model in the program]
    pub model: Option<PathBuf>,

    /// Directory with the IDX files, plain or gzipped [default: the embedded MNIST]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,

    /// Also write a page with what is misread, how it looks, and how sure the model was
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,

    /// Print one JSON object instead of a table
    #[arg(long)]
    pub json: bool,
}

/// Read the digits in photos, scans and drawings.
///
/// An image shows any number of digits in any place: dark on light or light on dark, on plain, ruled
/// or squared paper. PNG, JPEG, WebP, BMP, GIF or TIFF, up to 50 megapixels.
#[derive(Args)]
#[command(after_help = "\
Examples:
  digits predict photo.jpg                       prints: photo.jpg: 7 0 4 (99.8 % 97.1 % 99.9 %)
  digits predict *.png --json                    one JSON object a line and image
  digits predict photo.jpg --annotate read.png   look at what was read where
  digits predict photo.jpg --show                and at what the network saw
  digits predict photo.jpg --model digits.safetensors

The digits come from left to right, line by line. One whose probability is below 70 %, or that has more
strokes than a digit, is printed with a question mark: 4? means not sure. An image may also hold no digit.

With --json: {\"image\": path, \"text\": \"704\", \"digits\": [{\"digit\": 7, \"confidence\": 0.99,
\"sure\": true, \"box\": [x, y, width, height], \"probabilities\": [ten of them]}, ...]}. In the text a line break
stands between lines of writing; the box is in pixels of the upright image. \"left_out\" counts pieces of
ink that were not looked at, if there are too many for a page of writing. An image that cannot be read
gives {\"image\": path, \"error\": why}, does not stop the rest, and the exit code is 2.")]
pub struct PredictOptions {
    /// Image files; - is standard input
    #[arg(required = true, value_name = "IMAGE")]
    pub images: Vec<PathBuf>,

    /// A model file that `digits train` wrote [default: the model in the program]
    #[arg(long, value_name = "FILE")]
    pub model: Option<PathBuf>,

    /// Print one JSON object a line and image
    #[arg(long)]
    pub json: bool,

    /// Write the image with boxes and readings to this PNG file; of several images, to this folder
    #[arg(long, value_name = "OUT")]
    pub annotate: Option<PathBuf>,

    /// Print the 28x28 images that the network saw; with --json, as "seen", 784 bytes in base64
    #[arg(long)]
    pub show: bool,
}

/// Serve a model over HTTP, with a page to draw on.
///
/// The page is at /. Programs use TensorFlow Serving's REST API, in which the model is named
/// "digits", or send an image file to /v1/digits:read.
#[derive(Args)]
#[command(after_help = "\
Examples:
  digits serve                                      then open http://127.0.0.1:8501
  digits serve --model digits.safetensors
  curl --data-binary @photo.jpg http://127.0.0.1:8501/v1/digits:read
  curl -d '{\"instances\": [...]}' http://127.0.0.1:8501/v1/models/digits:predict
  curl http://127.0.0.1:8501/v1/models/digits/metadata

Also there: /v1/models/digits (status), /healthz, /metrics (Prometheus).

A file given as --model that is replaced is taken up within two --poll intervals, under a higher version; one that
cannot be used is refused in the log, and the old one stays. Ctrl-C or SIGTERM finishes what runs and
exits with 0. The log goes to standard error.")]
pub struct ServeOptions {
    /// A model file that `digits train` wrote [default: the model in the program]
    #[arg(long, value_name = "FILE")]
    pub model: Option<PathBuf>,

    /// Where to listen; port 0 takes a free one and logs it
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8501")]
    pub addr: SocketAddr,

    /// Log one JSON object a line
    #[arg(long)]
    pub json: bool,

    /// Log no requests but those that fail on the server's side
    #[arg(long)]
    pub quiet: bool,

    /// Let pages of this origin use the API from a browser; * is any
    #[arg(long, value_name = "ORIGIN")]
    pub cors: Option<HeaderValue>,

    /// Seconds between looks at the model file; 0 never looks again
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    pub poll: Duration,

    /// Seconds until a request that has arrived is answered with 504
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = some_seconds)]
    pub timeout: Duration,

    /// Seconds that a client may take to send headers or a body, or take an answer, or be idle
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = some_seconds)]
    pub patience: Duration,

    /// The largest body, in MiB; a larger one gets 413
    #[arg(long, value_name = "MIB", default_value = "16", value_parser = count)]
    pub max_body: usize,

    /// The most images in a predict request
    #[arg(long, value_name = "IMAGES", default_value = "1024", value_parser = count)]
    pub max_instances: usize,

    /// The most images that wait for the network; more get 429
    #[arg(long, value_name = "IMAGES", default_value = "4096", value_parser = count)]
    pub max_queue: usize,

    /// The most open connections; more get 503
    #[arg(long, value_name = "COUNT", default_value = "4096", value_parser = count)]
    pub max_connections: usize,
}

/// A count from 1 on, small enough to multiply.
fn count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count @ 1..=1_000_000) => Ok(count),
        _ => Err("a number from 1 to 1000000".into()),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.0..=86_400.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "a number of seconds, at most a day".into())
}

fn some_seconds(text: &str) -> Result<Duration, String> {
    match seconds(text)? {
        Duration::ZERO => Err("more than 0".into()),
        some => Ok(some),
    }
}

/// The networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ModelName {
    /// The lesson's: a convolution, a pooling, two dense layers
    Lesson,
    /// The lesson's exercise: the same without dense layers, a convolutional head instead
    AllConv,
    /// Two small convolutions, each with a pooling, and two dense layers: 99 % in a few seconds
    Fast,
    /// Three towers of convolutions with batch normalisation, each trained on distortions of its own
    /// and two reading the image turned, for handwriting of all sorts; it trains for an hour
    Best,
}

impl ModelName {
    /// As on the command line and in model files.
    pub fn name(self) -> &'static str {
        match self {
            ModelName::Lesson => "lesson",
            ModelName::AllConv => "all-conv",
            ModelName::Fast => "fast",
            ModelName::Best => "best",
        }
    }
}

/// What a model file's weights are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Weights {
    Float32,
    Float16,
}

impl Weights {
    pub fn dtype(self) -> DType {
        match self {
            Weights::Float32 => DType::Float32,
            Weights::Float16 => DType::Float16,
        }
    }
}

/// The ways of updating.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OptimizerName {
    /// Plain gradient descent
    Sgd,
    /// Gradient descent with momentum 0.9
    Momentum,
    /// The same with Nesterov's correction
    Nesterov,
    /// Adam
    Adam,
    /// Adam whose means forget sooner, betas 0.7 and 0.9: for runs of a few hundred steps
    QuickAdam,
}
