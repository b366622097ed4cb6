//! How the learning rate changes over a run.

use std::f64::consts::PI;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// The part of a cycle in which the learning rate rises.
const RISING: f64 = 0.3;
/// Where it starts, as a part of its peak.
const START: f64 = 0.04;

/// A function of the step alone, so that a resumed run goes on as it would have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Schedule {
    /// The same for all steps
    #[default]
    Constant,
    /// Up to the learning rate in the first 30 % of the steps, then down to nothing, along cosines
    // Smith and Topin, "Super-Convergence", 2018.
    OneCycle,
}

impl Schedule {
    /// The learning rate of step number `step` of `steps`, counted from 0, whose largest is `peak`.
    pub fn learning_rate(self, peak: f64, step: u64, steps: u64) -> f64 {
        match self {
            Schedule::Constant => peak,
            Schedule::OneCycle => {
                let done = step as f64 / steps as f64;
                if done < RISING {
                    peak * between(START, 1.0, done / RISING)
                } else {
                    peak * between(1.0, 0.0, (done - RISING) / (1.0 - RISING))
                }
            }
        }
    }
}

/// From `start` to `end` along half a cosine, `way` from 0 to 1.
fn between(start: f64, end: f64, way: f64) -> f64 {
    start + (end - start) * (1.0 - (PI * way).cos()) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cycle_rises_to_its_peak_and_falls_to_nothing() {
        let rates: Vec<f64> =
            (0..1000).map(|step| Schedule::OneCycle.learning_rate(0.01, step, 1000)).collect();
        assert!((rates[0] - 0.0004).abs() < 1e-12, "{}", rates[0]);
        assert_eq!(rates[300], 0.01);
        assert!(rates[..301].is_sorted());
        assert!(rates[300..].is_sorted_by(|a, b| a >= b));
        assert!(rates[999] > 0.0 && rates[999] < 1e-6, "{}", rates[999]);
    }

    #[test]
    fn a_constant_rate_stays() {
        assert!((0..9).all(|step| Schedule::Constant.learning_rate(0.5, step, 9) == 0.5));
    }
}
