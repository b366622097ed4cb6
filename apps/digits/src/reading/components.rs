//! Connected parts of a picture.

use std::ops::Range;

/// Pixels of one row: as small as can be, since a picture may have as many as every second pixel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Run {
    y: u32,
    start: u32,
    end: u32,
}

impl Run {
    pub fn new(y: usize, columns: Range<usize>) -> Run {
        Run { y: y as u32, start: columns.start as u32, end: columns.end as u32 }
    }

    pub fn y(&self) -> usize {
        self.y as usize
    }

    pub fn columns(&self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// A rectangle of pixels, `right` and `bottom` just outside of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Area {
    pub left: usize,
    pub top: usize,
    pub right: usize,
    pub bottom: usize,
}

impl Area {
    pub fn width(&self) -> usize {
        self.right - self.left
    }

    pub fn height(&self) -> usize {
        self.bottom - self.top
    }

    pub fn with(&self, other: &Area) -> Area {
        Area {
            left: self.left.min(other.left),
            top: self.top.min(other.top),
            right: self.right.max(other.right),
            bottom: self.bottom.max(other.bottom),
        }
    }

    /// The same place in a picture that is `factor` times as large.
    pub fn times(&self, factor: usize) -> Area {
        let Area { left, top, right, bottom } = *self;
        Area {
            left: left * factor,
            top: top * factor,
            right: right * factor,
            bottom: bottom * factor,
        }
    }

    /// The part that lies in a picture of this size.
    pub fn within(&self, width: usize, height: usize) -> Area {
        Area { right: self.right.min(width), bottom: self.bottom.min(height), ..*self }
    }

    /// The same area further to the right and down.
    pub fn moved(&self, right: usize, down: usize) -> Area {
        Area {
            left: self.left + right,
            top: self.top + down,
            right: self.right + right,
            bottom: self.bottom + down,
        }
    }

    /// How many pixels it has.
    pub fn pixels(&self) -> usize {
        self.width() * self.height()
    }

    fn of(run: &Run) -> Area {
        let Range { start, end } = run.columns();
        Area { left: start, top: run.y(), right: end, bottom: run.y() + 1 }
    }
}

/// Pixels that touch each other, also by corners.
#[derive(Debug, Clone)]
pub struct Component {
    pub runs: Vec<Run>,
    pub area: Area,
    pub pixels: usize,
}

/// The runs of a row's pixels for which `is_ink(x)`, within `columns`.
pub fn runs_of_row(
    y: usize,
    columns: Range<usize>,
    is_ink: impl Fn(usize) -> bool,
    into: &mut Vec<Run>,
) {
    let mut x = columns.start;
    while x < columns.end {
        let start = x;
        while x < columns.end && is_ink(x) {
            x += 1;
        }
        if x > start {
            into.push(Run::new(y, start..x));
        }
        x += 1;
    }
}

/// The components that runs make up, given row by row from left to right; in the order of their first
/// runs.
pub fn components(runs: &[Run]) -> Vec<Component> {
    let mut parents: Vec<u32> = (0..runs.len() as u32).collect();
    // The first run that may touch this one or one that follows.
    let mut near = 0;
    for (index, run) in runs.iter().enumerate() {
        let is_past =
            |other: &Run| other.y + 1 < run.y || (other.y + 1 == run.y && other.end < run.start);
        while is_past(&runs[near]) {
            near += 1;
        }
        let touches = |other: &Run| other.y + 1 == run.y && other.start <= run.end;
        for (other, _) in (near..).zip(runs[near..].iter().take_while(|other| touches(other))) {
            unite(&mut parents, other, index);
        }
    }
    gather(runs, &mut parents)
}

/// The first run of the component that a run belongs to.
fn root(parents: &mut [u32], mut index: usize) -> usize {
    while parents[index] as usize != index {
        parents[index] = parents[parents[index] as usize];
        index = parents[index] as usize;
    }
    index
}

fn unite(parents: &mut [u32], a: usize, b: usize) {
    let (a, b) = (root(parents, a), root(parents, b));
    parents[a.max(b)] = a.min(b) as u32;
}

fn gather(runs: &[Run], parents: &mut [u32]) -> Vec<Component> {
    let mut counts = vec![0u32; runs.len()];
    (0..runs.len()).for_each(|index| counts[root(parents, index)] += 1);
    // A component's place stands where its count stood.
    let mut places = counts;
    let mut found: Vec<Component> = Vec::new();
    for (index, run) in runs.iter().enumerate() {
        let root = root(parents, index);
        if root == index {
            let runs = Vec::with_capacity(places[root] as usize);
            places[root] = found.len() as u32;
            found.push(Component { runs, area: Area::of(run), pixels: 0 });
        }
        let component = &mut found[places[root] as usize];
        component.area = component.area.with(&Area::of(run));
        component.pixels += run.columns().len();
        component.runs.push(*run);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn areas(rows: &[&str]) -> Vec<(usize, usize, usize, usize, usize)> {
        let mut runs = Vec::new();
        for (y, row) in rows.iter().enumerate() {
            runs_of_row(y, 0..row.len(), |x| row.as_bytes()[x] == b'#', &mut runs);
        }
        components(&runs)
            .iter()
            .map(|c| (c.area.left, c.area.top, c.area.right, c.area.bottom, c.pixels))
            .collect()
    }

    #[test]
    fn corners_touch_and_arms_meet_below() {
        assert_eq!(areas(&["#.#", "#.#", ".#."]), [(0, 0, 3, 3, 5)]);
        assert_eq!(
            areas(&["##..", "...#", "##.."]),
            [(0, 0, 2, 1, 2), (3, 1, 4, 2, 1), (0, 2, 2, 3, 2)]
        );
        assert_eq!(areas(&["#..#", ".##.", "#..#"]), [(0, 0, 4, 3, 6)]);
        assert_eq!(areas(&["...", "..."]), []);
    }
}
