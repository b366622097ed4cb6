//! Functions of one element that are more than an instruction, written without branches so that a
//! loop over them runs in vector registers.
//!
//! The single ops and the chains of [`chain`](crate::chain) call the same ones, so a chain gives
//! the same bits as its ops one by one.

mod activation;

pub use activation::{relu, relu_grad, scale_kept, sigmoid, sigmoid_grad, sign, tanh_grad};
