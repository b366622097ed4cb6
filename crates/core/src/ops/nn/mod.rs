//! `tf.nn`: layers' arithmetic and losses.

mod avg_pool;
mod batch_normalization;
mod bias_add;
mod conv2d;
mod conv2d_backprop_filter;
mod conv2d_backprop_input;
mod dropout;
mod fused_batch_norm;
mod fused_batch_norm_conv2d;
mod fused_batch_norm_grad;
mod fused_batch_norm_relu;
mod fused_batch_norm_relu_grad;
mod fused_batch_norm_statistics;
mod fused_conv2d;
mod fused_conv2d_backprop_filter;
mod fused_conv2d_batch_norm_grad;
mod fused_pool_relu_grad;
mod log_softmax;
mod max_pool;
mod moments;
mod pool;
mod relu;
mod rows;
mod softmax;
mod softmax_cross_entropy;
mod sparse_softmax_cross_entropy;
mod window;

pub use crate::ops::math::{sigmoid, tanh};
pub use avg_pool::{AvgPool, AvgPoolGrad, avg_pool};
pub use batch_normalization::batch_normalization;
pub use bias_add::{BiasAdd, bias_add};
pub use conv2d::{Conv2D, conv2d};
pub use conv2d_backprop_filter::{Conv2DBackpropFilter, conv2d_backprop_filter};
pub use conv2d_backprop_input::{Conv2DBackpropInput, conv2d_backprop_input};
pub use dropout::{Dropout, ScaleKept, dropout};
pub use fused_batch_norm::{FusedBatchNorm, fused_batch_norm};
pub use fused_batch_norm_conv2d::FusedBatchNormConv2D;
pub use fused_batch_norm_grad::FusedBatchNormGrad;
pub use fused_batch_norm_relu::FusedBatchNormRelu;
pub use fused_batch_norm_relu_grad::FusedBatchNormReluGrad;
pub use fused_batch_norm_statistics::FusedBatchNormStatistics;
pub use fused_conv2d::FusedConv2D;
pub use fused_conv2d_backprop_filter::FusedConv2DBackpropFilter;
pub use fused_conv2d_batch_norm_grad::FusedConv2DBatchNormGrad;
pub use fused_pool_relu_grad::FusedPoolReluGrad;
pub use log_softmax::{LogSoftmax, log_softmax};
pub use max_pool::{MaxPool, MaxPoolGrad, MaxPoolGradGrad, max_pool};
pub use moments::moments;
pub use pool::Pool2D;
pub use relu::{Relu, ReluGrad, relu};
pub use softmax::{Softmax, softmax};
pub use softmax_cross_entropy::{SoftmaxCrossEntropyWithLogits, softmax_cross_entropy_with_logits};
pub use sparse_softmax_cross_entropy::{
    SparseSoftmaxCrossEntropyWithLogits, sparse_softmax_cross_entropy_with_logits,
};
pub use window::{DataFormat, Padding, PerAxis};
