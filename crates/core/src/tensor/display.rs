//! Printing as TensorFlow prints.
