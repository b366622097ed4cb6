//! What is paper and what is ink: a picture becomes the depth of its ink, 0 where it is paper.

use super::gray::Gray;

/// Pictures up to this side hold a digit or two; their paper is taken as evenly lit.
const TILE: usize = 64;
/// The largest side of the reduced picture on which the paper is estimated.
const COARSE: usize = 200;
/// Ink is at least so much darker than its paper, as a part of 255.
const FAINTEST: f32 = 13.0;

/// The depth of the ink at each pixel: how much of the paper's light is missing, as parts of 255.
pub struct Ink {
    pub depth: Gray,
    /// What is deeper than this is not the paper's grain.
    pub floor: u8,
}

/// Separates ink from paper. Which of the two is dark is decided by which there is less of.
pub fn ink(picture: Gray) -> Ink {
    let picture = if is_light_on_dark(&picture) { picture.inverted() } else { picture };
    let paper = Paper::of(&picture);
    let (mut depth, mut grain) = depth(&picture, &paper);
    if is_tile(&picture) {
        // More ink than paper, perhaps: what varies is not grain.
        grain = 0.0;
    }
    let mut floor = f32::max(FAINTEST, 4.5 * grain);
    if grain > 4.0 {
        depth = smoothed(&depth);
        floor = f32::max(FAINTEST, 2.5 * grain);
    }
    Ink { depth, floor: floor.min(254.0) as u8 }
}

fn is_tile(picture: &Gray) -> bool {
    picture.width.max(picture.height) <= TILE
}

fn is_light_on_dark(picture: &Gray) -> bool {
    let coarse = coarse(picture);
    let (width, height) = (coarse.width, coarse.height);
    let flat: Vec<f32> = if is_tile(picture) {
        coarse.values()
    } else {
        let means = means(&coarse.values(), width, height, (width.max(height) / 8).max(2));
        coarse.pixels.iter().zip(&means).map(|(&pixel, mean)| f32::from(pixel) - mean).collect()
    };
    let count = flat.len() as f32;
    let mean = flat.iter().sum::<f32>() / count;
    let moment = |power: i32| flat.iter().map(|x| (x - mean).powi(power)).sum::<f32>() / count;
    let deviation = moment(2).sqrt().max(1e-3);
    let skew = moment(3) / deviation.powi(3);
    if !is_tile(picture) {
        return skew > 0.0;
    }
    // In a tile the digit may fill as much as the paper; then the border tells, which it seldom does.
    let mut border = 0.0;
    let mut pixels = 0.0;
    for (i, value) in flat.iter().enumerate() {
        let (x, y) = (i % width, i / width);
        if x == 0 || y == 0 || x + 1 == width || y + 1 == height {
            border += (value - mean) / deviation;
            pixels += 1.0;
        }
    }
    skew - 2.0 * border / pixels > 0.0
}

/// The brightness of the paper across the picture, on a coarse grid.
struct Paper {
    factor: usize,
    width: usize,
    height: usize,
    light: Vec<f32>,
}

impl Paper {
    fn of(picture: &Gray) -> Paper {
        if is_tile(picture) {
            return Paper {
                factor: TILE,
                width: 1,
                height: 1,
                light: vec![brighter_mean(picture)],
            };
        }
        let factor = picture.width.max(picture.height).div_ceil(COARSE);
        let coarse = coarse(picture);
        let (width, height) = (coarse.width, coarse.height);
        let seen = coarse.values();
        // Wider than any stroke: a digit that fills the picture has strokes of a quarter of it.
        let reach = (width.max(height) / 8).max(2);
        let closed = closed(&seen, width, height, reach);
        // The closing follows the brightest grains of the paper; the mean of what is not ink does not.
        let bare: Vec<f32> =
            seen.iter().zip(&closed).map(|(&x, c)| f32::from(u8::from(x > 0.92 * c))).collect();
        let bright: Vec<f32> = seen.iter().zip(&bare).map(|(x, bare)| x * bare).collect();
        let reach = (width.max(height) / 60).max(1);
        let sums = means(&bright, width, height, reach);
        let counts = means(&bare, width, height, reach);
        let light = (0..seen.len())
            .map(|i| {
                let near = if counts[i] > 0.3 { sums[i] / counts[i] } else { closed[i] };
                near.clamp(0.9 * closed[i], closed[i]).clamp(1.0, 255.0)
            })
            .collect();
        Paper { factor, width, height, light }
    }

    /// The paper's brightness along a row of the picture, between the coarse ones.
    fn row(&self, y: usize, into: &mut [f32]) {
        let (above, below, down) = self.between(y, self.height);
        let (above, below) = (&self.light[above * self.width..], &self.light[below * self.width..]);
        for (x, light) in into.iter_mut().enumerate() {
            let (left, right, across) = self.between(x, self.width);
            let top = above[left] + (above[right] - above[left]) * across;
            let bottom = below[left] + (below[right] - below[left]) * across;
            *light = top + (bottom - top) * down;
        }
    }

    fn between(&self, at: usize, length: usize) -> (usize, usize, f32) {
        let place = ((at as f32 + 0.5) / self.factor as f32 - 0.5).clamp(0.0, (length - 1) as f32);
        let first = place as usize;
        (first, (first + 1).min(length - 1), place - first as f32)
    }
}

fn coarse(picture: &Gray) -> Gray {
    picture.reduced(picture.width.max(picture.height).div_ceil(COARSE))
}

/// The mean of the brighter of the two classes that the picture falls into.
fn brighter_mean(picture: &Gray) -> f32 {
    let mean = |pixels: &mut dyn Iterator<Item = u8>| {
        let (sum, count) = pixels.fold((0.0, 0.0f32), |(s, n), p| (s + f32::from(p), n + 1.0));
        sum / count.max(1.0)
    };
    let mut split = mean(&mut picture.pixels.iter().copied());
    let mut bright = split;
    for _ in 0..20 {
        bright = mean(&mut picture.pixels.iter().copied().filter(|&p| f32::from(p) >= split));
        let dark = mean(&mut picture.pixels.iter().copied().filter(|&p| f32::from(p) < split));
        split = (bright + dark) / 2.0;
    }
    bright.max(1.0)
}

/// Depth of ink at every pixel, and the deviation of the paper's grain.
fn depth(picture: &Gray, paper: &Paper) -> (Gray, f32) {
    let mut depths = Vec::with_capacity(picture.pixels.len());
    let mut grains = [0u32; 256];
    let mut light = vec![0.0; picture.width];
    for y in 0..picture.height {
        paper.row(y, &mut light);
        for (&pixel, &light) in picture.row(y).iter().zip(&light) {
            let missing = (light - f32::from(pixel)) * (255.0 / light.max(40.0));
            grains[missing.abs().min(255.0) as usize] += 1;
            depths.push(missing.clamp(0.0, 255.0) as u8);
        }
    }
    let depth = Gray { width: picture.width, height: picture.height, pixels: depths };
    (depth, grain(&grains))
}

/// The deviation of a normal distribution of which 30 % are nearer to 0 than 30 % of these: the paper
/// is more than that, so ink does not count.
fn grain(counts: &[u32; 256]) -> f32 {
    let total: u32 = counts.iter().sum();
    let mut below = 0.0;
    for (size, &count) in counts.iter().enumerate() {
        let wanted = 0.3 * total as f32 - below;
        if count as f32 >= wanted {
            let quantile = size as f32 + wanted / (count as f32).max(1.0);
            // Below 1, counts say nothing about the deviation.
            return if quantile <= 1.0 { 0.0 } else { quantile / 0.3853 };
        }
        below += count as f32;
    }
    255.0
}

/// The picture without the dark things narrower than `2 * reach + 1`. What is dark up to the border may
/// be the end of something wider, and stays.
fn closed(values: &[f32], width: usize, height: usize, reach: usize) -> Vec<f32> {
    let (wide, tall) = (width + 2 * reach, height + 2 * reach);
    let mut padded = vec![0.0; wide * tall];
    let inner = |row: usize| (row + reach) * wide + reach..(row + reach) * wide + reach + width;
    for (y, row) in values.chunks_exact(width).enumerate() {
        padded[inner(y)].copy_from_slice(row);
    }
    let spread = extremes(&padded, wide, tall, reach, f32::max);
    let closed = extremes(&spread, wide, tall, reach, f32::min);
    (0..height).flat_map(|y| closed[inner(y)].to_vec()).collect()
}

/// What `pick` picks from squares of `2 * reach + 1`, at the edges from what there is of them.
fn extremes(
    values: &[f32],
    width: usize,
    height: usize,
    reach: usize,
    pick: impl Fn(f32, f32) -> f32 + Copy,
) -> Vec<f32> {
    let mut rows = values.to_vec();
    for (row, picked) in values.chunks_exact(width).zip(rows.chunks_exact_mut(width)) {
        for shift in 1..=reach.min(width - 1) {
            picked.iter_mut().zip(&row[shift..]).for_each(|(x, &y)| *x = pick(*x, y));
            picked[shift..].iter_mut().zip(row).for_each(|(x, &y)| *x = pick(*x, y));
        }
    }
    let mut both = rows.clone();
    for (y, picked) in both.chunks_exact_mut(width).enumerate() {
        let near = y.saturating_sub(reach) * width..(y + reach + 1).min(height) * width;
        for row in rows[near].chunks_exact(width) {
            picked.iter_mut().zip(row).for_each(|(x, &y)| *x = pick(*x, y));
        }
    }
    both
}

/// Means over squares of `2 * reach + 1`, at the edges over what there is of them.
fn means(values: &[f32], width: usize, height: usize, reach: usize) -> Vec<f32> {
    let mut rows = vec![0.0; values.len()];
    let mut sums = vec![0.0f64; width + 1];
    for (row, means) in values.chunks_exact(width).zip(rows.chunks_exact_mut(width)) {
        for (x, &value) in row.iter().enumerate() {
            sums[x + 1] = sums[x] + f64::from(value);
        }
        for (x, mean) in means.iter_mut().enumerate() {
            let (first, end) = (x.saturating_sub(reach), (x + reach + 1).min(width));
            *mean = ((sums[end] - sums[first]) / (end - first) as f64) as f32;
        }
    }
    let mut both = vec![0.0; values.len()];
    let mut sums = vec![0.0f64; width];
    let add = |sums: &mut [f64], y: usize, sign: f64| {
        let row = &rows[y * width..(y + 1) * width];
        sums.iter_mut().zip(row).for_each(|(sum, &x)| *sum += sign * f64::from(x));
    };
    (0..reach.min(height)).for_each(|y| add(&mut sums, y, 1.0));
    for y in 0..height {
        if y + reach < height {
            add(&mut sums, y + reach, 1.0);
        }
        if y > reach {
            add(&mut sums, y - reach - 1, -1.0);
        }
        let count = ((y + reach + 1).min(height) - y.saturating_sub(reach)) as f64;
        let row = &mut both[y * width..(y + 1) * width];
        row.iter_mut().zip(&sums).for_each(|(mean, sum)| *mean = (sum / count) as f32);
    }
    both
}

/// Weights 1 2 1 along and across: grain falls to 0.4 of its deviation, strokes stay where they are.
fn smoothed(picture: &Gray) -> Gray {
    let (width, height) = (picture.width, picture.height);
    let mut pixels = Vec::with_capacity(picture.pixels.len());
    let mut blend = vec![0u16; width];
    for y in 0..height {
        let rows = [y.saturating_sub(1), y, (y + 1).min(height - 1)].map(|y| picture.row(y));
        for (x, sum) in blend.iter_mut().enumerate() {
            *sum = u16::from(rows[0][x]) + 2 * u16::from(rows[1][x]) + u16::from(rows[2][x]);
        }
        pixels.extend((0..width).map(|x| {
            let (left, right) = (blend[x.saturating_sub(1)], blend[(x + 1).min(width - 1)]);
            ((left + 2 * blend[x] + right + 8) / 16) as u8
        }));
    }
    Gray { width, height, pixels }
}
