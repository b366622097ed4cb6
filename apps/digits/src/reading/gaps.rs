//! How far the pieces of a picture lie apart.

use std::collections::BTreeMap;

use super::components::Component;

/// Two neighbours by their numbers, the lower one first, and the shortest way from one to the other in
/// pixels, as far as no third is nearer to it.
pub struct Gap {
    pub between: (usize, usize),
    pub pixels: f32,
}

/// The pixel of a piece that is the nearest, or nearly so.
#[derive(Clone, Copy)]
struct Nearest {
    x: u16,
    y: u16,
    piece: u16,
}

const NONE: Nearest = Nearest { x: 0, y: 0, piece: u16::MAX };

impl Nearest {
    fn squared_distance(self, x: usize, y: usize) -> usize {
        if self.piece == NONE.piece {
            return usize::MAX;
        }
        let (across, down) = (usize::from(self.x).abs_diff(x), usize::from(self.y).abs_diff(y));
        across * across + down * down
    }

    /// Counted as between the edges of pixels across, and between their middles down.
    fn gap(self, other: Nearest) -> f32 {
        let across = f32::from(self.x.abs_diff(other.x).saturating_sub(1));
        across.hypot(f32::from(self.y.abs_diff(other.y)))
    }
}

/// The gaps between neighbouring pieces: at most 65,000 of them, in a picture of at most 65,000 pixels
/// a side.
///
/// Each pixel learns which piece is nearest from the pixels beside it, first downwards, then upwards.
/// Where the realms of two pieces meet, there is the way from one to the other. So the work is that of
/// a few looks at each pixel, whatever the pieces are.
pub fn gaps(pieces: &[&Component], width: usize, height: usize) -> Vec<Gap> {
    let nearest = nearest(pieces, width, height);
    let mut least: BTreeMap<(u16, u16), f32> = BTreeMap::new();
    let mut meet = |a: Nearest, b: Nearest| {
        if a.piece != b.piece && a.piece != NONE.piece && b.piece != NONE.piece {
            let gap = a.gap(b);
            let pair = (a.piece.min(b.piece), a.piece.max(b.piece));
            least.entry(pair).and_modify(|least| *least = least.min(gap)).or_insert(gap);
        }
    };
    for (row, below) in nearest.chunks(width).zip(nearest.chunks(width).skip(1)) {
        row.iter().zip(below).for_each(|(&a, &b)| meet(a, b));
    }
    for row in nearest.chunks(width) {
        row.windows(2).for_each(|pair| meet(pair[0], pair[1]));
    }
    let gap = |((a, b), pixels)| Gap { between: (usize::from(a), usize::from(b)), pixels };
    least.into_iter().map(gap).collect()
}

fn nearest(pieces: &[&Component], width: usize, height: usize) -> Vec<Nearest> {
    let mut nearest = vec![NONE; width * height];
    for (piece, component) in (0u16..).zip(pieces) {
        for run in &component.runs {
            for x in run.columns() {
                nearest[run.y() * width + x] = Nearest { x: x as u16, y: run.y() as u16, piece };
            }
        }
    }
    for y in 0..height {
        let (above, rest) = nearest.split_at_mut(y * width);
        learn(&mut rest[..width], above.chunks(width).next_back(), y);
    }
    for y in (0..height).rev() {
        let (above, below) = nearest.split_at_mut((y + 1) * width);
        learn(&mut above[y * width..], below.chunks(width).next(), y);
    }
    nearest
}

/// What a row learns from the row beside it, and from itself from left to right and back.
fn learn(row: &mut [Nearest], beside: Option<&[Nearest]>, y: usize) {
    if let Some(beside) = beside {
        for (x, own) in row.iter_mut().enumerate() {
            for &other in &beside[x.saturating_sub(1)..(x + 2).min(beside.len())] {
                nearer(own, other, x, y);
            }
        }
    }
    for x in 1..row.len() {
        let left = row[x - 1];
        nearer(&mut row[x], left, x, y);
    }
    for x in (0..row.len() - 1).rev() {
        let right = row[x + 1];
        nearer(&mut row[x], right, x, y);
    }
}

fn nearer(own: &mut Nearest, other: Nearest, x: usize, y: usize) {
    if other.squared_distance(x, y) < own.squared_distance(x, y) {
        *own = other;
    }
}

#[cfg(test)]
mod tests {
    use tapeflow_testing::SplitMix;

    use super::super::components::Run;
    use super::*;

    fn dot(x: usize, y: usize) -> Component {
        let run = Run::new(y, x..x + 1);
        super::super::components::components(&[run]).remove(0)
    }

    fn of_dots(places: &[(usize, usize)], width: usize, height: usize) -> Vec<Gap> {
        let dots: Vec<Component> = places.iter().map(|&(x, y)| dot(x, y)).collect();
        gaps(&dots.iter().collect::<Vec<_>>(), width, height)
    }

    #[test]
    fn neighbours_know_their_distance_and_others_do_not() {
        let found = of_dots(&[(1, 2), (5, 2), (18, 2)], 20, 5);
        let found: Vec<_> = found.iter().map(|gap| (gap.between, gap.pixels)).collect();
        assert_eq!(found, [((0, 1), 3.0), ((1, 2), 12.0)]);
        assert_eq!(of_dots(&[(3, 0), (3, 4)], 4, 5)[0].pixels, 4.0);
        assert!(of_dots(&[(0, 0)], 1, 1).is_empty() && of_dots(&[], 3, 3).is_empty());
    }

    #[test]
    fn the_nearest_two_of_many_are_always_found() {
        let mut random = SplitMix::new(1);
        for _ in 0..50 {
            let places: Vec<(usize, usize)> =
                (0..12).map(|_| (random.below(60), random.below(40))).collect();
            let way = |&(ax, ay): &(usize, usize), &(bx, by): &(usize, usize)| {
                let across = ax.abs_diff(bx).saturating_sub(1) as f32;
                across.hypot(ay.abs_diff(by) as f32)
            };
            let pairs = (1..12).flat_map(|b| (0..b).map(move |a| (a, b)));
            let least = pairs.map(|(a, b)| way(&places[a], &places[b])).fold(f32::MAX, f32::min);
            let found = of_dots(&places, 60, 40);
            let found = found.iter().map(|gap| gap.pixels).fold(f32::MAX, f32::min);
            // Two dots in one place hide one another.
            assert!(found <= least + 1.0 || least == 0.0, "{found} for {least} of {places:?}");
        }
    }
}
