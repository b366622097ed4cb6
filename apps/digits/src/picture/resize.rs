//! Scaling by a triangle filter, which is as wide as a pixel of the coarser of the two pictures.

use super::Gray;

/// The picture, whole, as `size` x `size` pixels.
pub fn square(picture: &Gray, size: usize) -> Vec<u8> {
    let Gray { width, height, ref pixels } = *picture;
    if (width, height) == (size, size) {
        return pixels.clone();
    }
    let columns = taps(width, size);
    let mut scaled = Vec::with_capacity(size * size);
    for rows in taps(height, size) {
        let mut blend = vec![0.0; width];
        for (row, weight) in pixels[rows.first * width..].chunks_exact(width).zip(&rows.weights) {
            for (sum, &pixel) in blend.iter_mut().zip(row) {
                *sum += f32::from(pixel) * weight;
            }
        }
        scaled.extend(columns.iter().map(|columns| {
            let weighted = blend[columns.first..].iter().zip(&columns.weights);
            // Rounding in the sums may leave the range by a little; the conversion saturates.
            weighted.map(|(pixel, weight)| pixel * weight).sum::<f32>().round() as u8
        }));
    }
    scaled
}

/// The pixels along a side that make up a pixel of the scaled one: weights, which add up to 1, from
/// the first on.
struct Taps {
    first: usize,
    weights: Vec<f32>,
}

fn taps(old: usize, new: usize) -> Vec<Taps> {
    let ratio = old as f32 / new as f32;
    let reach = ratio.max(1.0);
    let tap = |place: usize| {
        let center = (place as f32 + 0.5) * ratio;
        let first = ((center - reach).floor().max(0.0) as usize).min(old - 1);
        let end = ((center + reach).ceil() as usize).clamp(first + 1, old);
        let distance = |pixel: usize| (pixel as f32 + 0.5 - center).abs() / reach;
        let weights = (first..end).map(|pixel| (1.0 - distance(pixel)).max(0.0));
        let sum: f32 = weights.clone().sum();
        Taps { first, weights: weights.map(|weight| weight / sum).collect() }
    };
    (0..new).map(tap).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_color_stays_and_halves_are_means() {
        for (width, height) in [(1, 1), (3, 50), (28, 29), (400, 2)] {
            let picture = Gray { width, height, pixels: vec![77; width * height] };
            assert_eq!(square(&picture, 28), [77; 28 * 28], "{width}x{height}");
        }
        // Halved by weights 1/8, 3/8, 3/8, 1/8; at the ends, what is there shares all the weight.
        let picture = Gray { width: 4, height: 4, pixels: [0, 80, 160, 240].repeat(4) };
        assert_eq!(square(&picture, 2), [57, 183, 57, 183]);
    }
}
