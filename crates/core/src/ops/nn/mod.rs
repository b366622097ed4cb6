//! `tf.nn`: layers' arithmetic and losses.

mod avg_pool;
mod bias_add;
mod conv2d;
mod conv2d_backprop_filter;
mod conv2d_backprop_input;
mod max_pool;
mod pool;
mod relu;
mod window;

pub use avg_pool::{AvgPool, AvgPoolGrad, avg_pool};
pub use bias_add::{BiasAdd, bias_add};
pub use conv2d::{Conv2D, conv2d};
pub use conv2d_backprop_filter::{Conv2DBackpropFilter, conv2d_backprop_filter};
pub use conv2d_backprop_input::{Conv2DBackpropInput, conv2d_backprop_input};
pub use max_pool::{MaxPool, MaxPoolGrad, MaxPoolGradGrad, max_pool};
pub use pool::Pool2D;
pub use relu::{Relu, ReluGrad, relu};
pub use window::{DataFormat, Padding, PerAxis};
