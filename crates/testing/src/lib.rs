//! What the tests of several crates share: golden cases from real TensorFlow and the distance of
//! floats in ULPs. Development only.

#![forbid(unsafe_code)]

pub mod golden;
mod ulps;

pub use ulps::{ulps_f32, ulps_f64};
