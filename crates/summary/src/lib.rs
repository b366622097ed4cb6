//! `tf.summary` of tapeflow: files that [TensorBoard](https://www.tensorflow.org/tensorboard) shows.
//!
//! - [`create_file_writer`]: a [`SummaryWriter`], whose methods write numbers, images, histograms,
//!   texts, graphs of compiled functions and hyperparameters, each with a step.
//! - [`Summary`]: one of them, with what can be chosen about it.
//! - [`scalar`] and its kin: the same to a thread's default writer, as in TensorFlow.
//! - [`EventReader`]: reads such files.
//!
//! ```
//! use tapeflow_core::Tensor;
//! use tapeflow_summary::create_file_writer;
//!
//! # let dir = std::env::temp_dir().join(format!("tapeflow-summary-lib-{}", std::process::id()));
//! let writer = create_file_writer(&dir)?; // "runs/1", then: tensorboard --logdir runs
//! writer.text("about", "a run of **one** step", 0)?;
//! writer.scalar("train/loss", 0.7, 0)?;
//! writer.histogram("weights", Tensor::from([[0.1f32, -0.2], [0.3, 0.0]]), 0)?;
//! writer.image("sample", Tensor::from_slice(&[0.5f32; 28 * 28], [1, 28, 28, 1])?, 0)?;
//! writer.flush()?;
//! # std::fs::remove_dir_all(dir).unwrap();
//! # Ok::<(), tapeflow_core::Error>(())
//! ```

#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod default;
mod event;
mod graph;
mod histogram;
mod hparams;
mod image;
mod reader;
mod scalar;
mod summary;
mod tensor;
mod text;
mod wire;
mod writer;

pub use default::{DefaultWriter, histogram, image, scalar, text, write};
pub use event::{Event, What};
pub use hparams::{Experiment, HParam, Status};
pub use reader::EventReader;
pub use summary::Summary;
pub use tensor::Data;
pub use writer::{FileWriterOptions, SummaryWriter, create_file_writer};
