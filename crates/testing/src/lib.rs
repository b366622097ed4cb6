//! What the tests of several crates share: golden cases from real TensorFlow, damaged variants of
//! files, random numbers, and the distance of floats in ULPs. Development only.

#![forbid(unsafe_code)]

pub mod golden;
pub mod mutation;
mod splitmix;
mod ulps;

pub use splitmix::SplitMix;
pub use ulps::{ulps_f32, ulps_f64};
