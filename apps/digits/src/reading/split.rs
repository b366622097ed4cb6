//! Digits that touch, cut apart.

use super::crop::Crop;

/// Ink in two halves.
pub struct Cut {
    /// The left one and the right one.
    pub halves: [Crop; 2],
    /// How many strokes the cut goes through.
    pub strokes: usize,
}

/// Cuts ink in two along the way from top to bottom that crosses the least of it, somewhere in the
/// middle half.
pub fn halves(ink: &Crop) -> Cut {
    let seam = seam(ink);
    let inked = |y: usize| ink.ink[y * ink.width + seam[y]] > 0.5;
    let strokes = (0..ink.height).filter(|&y| inked(y) && (y == 0 || !inked(y - 1))).count();
    let side = |keeps: fn(usize, usize) -> bool| {
        let pixels = ink.ink.iter().enumerate();
        let ink_of = |(i, &value): (usize, &f32)| {
            if keeps(i % ink.width, seam[i / ink.width]) { value } else { 0.0 }
        };
        Crop { width: ink.width, height: ink.height, ink: pixels.map(ink_of).collect() }
    };
    Cut { halves: [side(|x, seam| x < seam), side(|x, seam| x >= seam)], strokes }
}

/// For each row, the first column that belongs to the right half.
fn seam(ink: &Crop) -> Vec<usize> {
    let Crop { width, height, .. } = *ink;
    let (first, end) = (width / 4, (3 * width).div_ceil(4).max(width / 4 + 1));
    // The cheapest way down to each pixel; a step aside costs a little, so the way is straight where
    // it is free.
    let mut costs = vec![vec![0.0f32; end - first]];
    for y in 0..height {
        let above = &costs[y];
        let row = (first..end).map(|x| {
            let reach = x.max(first + 1) - 1 - first..(x + 2).min(end) - first;
            let step = |from: usize| above[from] + if from == x - first { 0.0 } else { 0.02 };
            let ink = ink.ink[y * width + x];
            reach.map(step).fold(f32::MAX, f32::min) + ink
        });
        let row = row.collect();
        costs.push(row);
    }
    let middle = (end - first) as f32 / 2.0;
    let cheapest = |row: &[f32], near: std::ops::Range<usize>, wanted: f32| {
        let cost = |x: &usize| row[*x] + 0.001 * (*x as f32 - wanted).abs();
        near.min_by(|a, b| cost(a).total_cmp(&cost(b))).expect("a way has a column to go to")
    };
    let mut at = cheapest(&costs[height], 0..end - first, middle);
    let mut seam = vec![0; height];
    for y in (0..height).rev() {
        seam[y] = first + at;
        let near = at.saturating_sub(1)..(at + 2).min(end - first);
        at = cheapest(&costs[y], near, at as f32);
    }
    seam
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bridge_is_cut_where_it_is_thin() {
        let rows = ["##......##", "##......##", "##########", "##......##", "###....###"];
        let ink = rows.concat().bytes().map(|b| f32::from(u8::from(b == b'#'))).collect();
        let crop = Crop { width: 10, height: 5, ink };
        let Cut { halves: [left, right], strokes } = halves(&crop);
        assert_eq!(strokes, 1);
        let sum = |crop: &Crop| crop.ink.iter().sum::<f32>();
        assert_eq!(sum(&left) + sum(&right), sum(&crop));
        assert_eq!((sum(&left), sum(&right)), (14.0, 14.0));
    }
}
