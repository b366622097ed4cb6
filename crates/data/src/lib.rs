//! Input pipelines of tapeflow, `tf.data`, and the datasets of `tf.keras.datasets`.
//!
//! - [`Dataset`]: a factory of iterators, with one file for each combinator.
//! - [`Structure`]: what an element may be: a tensor, a tuple or a `Vec`.
//! - [`idx`]: the file format of MNIST; [`tfrecord`]: TensorFlow's; [`encode_png`].
//! - [`datasets`]: datasets ready to load.
//!
//! ```
//! use tapeflow_core::Tensor;
//! use tapeflow_data::{AUTOTUNE, Dataset};
//!
//! let images = Tensor::from([[1.0f32, 2.0], [3.0, 4.0], [5.0, 6.0]]);
//! let labels = Tensor::from([7u8, 8, 9]);
//! let batches = Dataset::from_tensor_slices((images, labels))?
//!     .repeat(2)
//!     .shuffle(100, 42)
//!     .batch(4)
//!     .prefetch(AUTOTUNE);
//! let mut sizes = Vec::new();
//! for batch in &batches {
//!     let (images, labels) = batch?;
//!     assert_eq!(images.shape().dims(), [labels.shape()[0], 2]);
//!     sizes.push(labels.shape()[0]);
//! }
//! assert_eq!(sizes, [4, 2]);
//! # Ok::<(), tapeflow_core::Error>(())
//! ```

#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod cardinality;
mod combinators;
mod dataset;
pub mod datasets;
pub mod idx;
mod png;
#[cfg(test)]
mod testing;
pub mod tfrecord;
mod worker;

pub use cardinality::Cardinality;
pub use dataset::{AUTOTUNE, Dataset, Iter};
pub use png::encode_png;
pub use tapeflow_core::Structure;
use tapeflow_core::structure;
