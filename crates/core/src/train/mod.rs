//! Saving and resuming training, `tf.train`.

mod checkpoint;
mod checkpoint_manager;

pub use checkpoint::Checkpoint;
pub use checkpoint_manager::{CheckpointManager, Latest};
