//! `tf.nn`: layers' arithmetic and losses.

mod conv2d;
mod conv2d_backprop_filter;
mod conv2d_backprop_input;
mod relu;
mod window;

pub use conv2d::{Conv2D, conv2d};
pub use conv2d_backprop_filter::{Conv2DBackpropFilter, conv2d_backprop_filter};
pub use conv2d_backprop_input::{Conv2DBackpropInput, conv2d_backprop_input};
pub use relu::{Relu, ReluGrad, relu};
pub use window::{DataFormat, Padding, PerAxis};
