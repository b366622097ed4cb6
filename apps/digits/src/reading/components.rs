//! Connected parts of a picture.

/// Pixels of one row, from `start` up to `end`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Run {
    pub y: usize,
    pub start: usize,
    pub end: usize,
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

    fn of(run: &Run) -> Area {
        Area { left: run.start, top: run.y, right: run.end, bottom: run.y + 1 }
    }
}

/// Pixels that touch each other, also by corners.
#[derive(Debug, Clone)]
pub struct Component {
    pub runs: Vec<Run>,
    pub area: Area,
    pub pixels: usize,
}

/// The components of the pixels for which `is_ink(x, y)`, in the order of their first rows.
pub fn components(
    width: usize,
    height: usize,
    is_ink: impl Fn(usize, usize) -> bool,
) -> Vec<Component> {
    let mut runs: Vec<Run> = Vec::new();
    let mut parents: Vec<usize> = Vec::new();
    let mut above = 0..0;
    for y in 0..height {
        let first = runs.len();
        let mut x = 0;
        while x < width {
            if !is_ink(x, y) {
                x += 1;
                continue;
            }
            let start = x;
            while x < width && is_ink(x, y) {
                x += 1;
            }
            runs.push(Run { y, start, end: x });
            parents.push(parents.len());
        }
        let mut candidate = above.start;
        for index in first..runs.len() {
            let run = runs[index];
            while candidate < above.end && runs[candidate].end < run.start {
                candidate += 1;
            }
            let mut touching = candidate;
            while touching < above.end && runs[touching].start <= run.end {
                unite(&mut parents, touching, index);
                touching += 1;
            }
        }
        above = first..runs.len();
    }
    gather(runs, &mut parents)
}

fn root(parents: &mut [usize], mut index: usize) -> usize {
    while parents[index] != index {
        parents[index] = parents[parents[index]];
        index = parents[index];
    }
    index
}

fn unite(parents: &mut [usize], a: usize, b: usize) {
    let (a, b) = (root(parents, a), root(parents, b));
    parents[a.max(b)] = a.min(b);
}

fn gather(runs: Vec<Run>, parents: &mut [usize]) -> Vec<Component> {
    let mut places = vec![usize::MAX; runs.len()];
    let mut found: Vec<Component> = Vec::new();
    for (index, run) in runs.into_iter().enumerate() {
        let root = root(parents, index);
        if places[root] == usize::MAX {
            places[root] = found.len();
            found.push(Component { runs: Vec::new(), area: Area::of(&run), pixels: 0 });
        }
        let component = &mut found[places[root]];
        component.area = component.area.with(&Area::of(&run));
        component.pixels += run.end - run.start;
        component.runs.push(run);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn areas(rows: &[&str]) -> Vec<(usize, usize, usize, usize, usize)> {
        components(rows[0].len(), rows.len(), |x, y| rows[y].as_bytes()[x] == b'#')
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
