//! Whether a network is as sure as it is right.

use crate::evaluate::Reading;

/// Bins of equal width that confidences from 0 to 1 fall into.
pub const BINS: usize = 10;

/// The readings whose confidence falls into one bin.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bin {
    pub count: usize,
    pub correct: usize,
    /// The sum of the confidences.
    total: f64,
}

impl Bin {
    /// The share read right; for a bin that has readings.
    pub fn accuracy(&self) -> f64 {
        self.correct as f64 / self.count as f64
    }

    /// The mean confidence; for a bin that has readings.
    pub fn confidence(&self) -> f64 {
        self.total / self.count as f64
    }
}

/// The bins, from the least confidence to the largest; a bin has its right edge.
pub fn bins(readings: &[Reading]) -> [Bin; BINS] {
    let mut bins = [Bin::default(); BINS];
    for reading in readings {
        let place = (reading.confidence * BINS as f32).ceil() as usize;
        let bin = &mut bins[place.saturating_sub(1).min(BINS - 1)];
        bin.count += 1;
        bin.correct += usize::from(reading.read == reading.label);
        bin.total += f64::from(reading.confidence);
    }
    bins
}

/// The expected calibration error (Naeini, Cooper and Hauskrecht, 2015): how far confidence and
/// accuracy are apart in a bin, in the mean over all readings.
pub fn expected_error(bins: &[Bin]) -> f64 {
    let all: usize = bins.iter().map(|bin| bin.count).sum();
    let apart = |bin: &Bin| (bin.total - bin.correct as f64).abs();
    bins.iter().map(apart).sum::<f64>() / all.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(confidence: f32, right: bool) -> Reading {
        Reading { image: 0, label: 1, read: usize::from(right), confidence, given: 0.0 }
    }

    #[test]
    fn the_error_is_the_gap_weighted_by_bins() {
        let mut readings = vec![reading(0.75, true); 3];
        readings.push(reading(0.75, false));
        assert_eq!(expected_error(&bins(&readings)), 0.0);
        // Four more that claim 0.95 and are right half the time: 0.45 of half of all.
        readings.extend([true, true, false, false].map(|right| reading(0.95, right)));
        let error = expected_error(&bins(&readings));
        assert!((error - 0.225).abs() < 1e-6, "{error}");
        assert_eq!(expected_error(&bins(&[])), 0.0);
    }

    #[test]
    fn every_confidence_has_a_bin() {
        let edges =
            [0.0, 0.1, 0.100_001, 1.0, f32::NAN].map(|confidence| reading(confidence, true));
        let counts = bins(&edges).map(|bin| bin.count);
        assert_eq!(counts, [3, 1, 0, 0, 0, 0, 0, 0, 0, 1]);
    }
}
