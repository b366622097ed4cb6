//! Which blobs make up a digit.

use super::blobs::Blobs;
use super::components::{Area, Component, Run};

/// Ink fainter than this part of the page's is not writing.
const FAINTEST: f32 = 0.35;
/// Groups nearer than this part of the usual height may be one digit.
const NEAR: f32 = 0.14;
/// Of more pieces than this, the largest count: a page of writing has fewer.
const MOST_GROUPS: usize = 2000;

/// Blobs that are taken for one digit.
pub struct Group {
    pub members: Vec<usize>,
    pub area: Area,
}

impl Group {
    pub fn with(&self, other: &Group) -> Group {
        Group {
            members: [self.members.as_slice(), &other.members].concat(),
            area: self.area.with(&other.area),
        }
    }

    fn join(&mut self, other: Group) {
        self.members.extend(other.members);
        self.area = self.area.with(&other.area);
    }
}

/// A digit, or two groups of which it is open whether they are one digit or two.
pub enum Unit {
    One(Group),
    /// The left one first.
    Open(Group, Group),
}

impl Unit {
    pub fn area(&self) -> Area {
        match self {
            Unit::One(group) => group.area,
            Unit::Open(left, right) => left.area.with(&right.area),
        }
    }
}

/// Pairs groups that stand so near to each other that they may be one digit, as the two strokes of a
/// 4 may.
pub fn units(groups: Vec<Group>, blobs: &Blobs) -> Vec<Unit> {
    let usual = usual_height(&groups);
    let mut pairs: Vec<(f32, usize, usize)> = Vec::new();
    for b in 1..groups.len() {
        for a in 0..b {
            let (first, second) = (&groups[a].area, &groups[b].area);
            let both = first.with(second);
            let (wide, tall) = (both.width() as f32, both.height() as f32);
            let apart = first.left.max(second.left) as f32 - first.right.min(second.right) as f32;
            if wide > 1.25 * tall || tall > 1.4 * usual || apart > NEAR * usual {
                continue;
            }
            let distance = distance(&groups[a], &groups[b], blobs) / usual;
            if distance <= NEAR {
                pairs.push((distance, a, b));
            }
        }
    }
    pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut groups: Vec<Option<Group>> = groups.into_iter().map(Some).collect();
    let mut units = Vec::new();
    for (_, a, b) in pairs {
        if groups[a].is_some() && groups[b].is_some() {
            let (a, b) = (groups[a].take(), groups[b].take());
            let mut pair: Vec<Group> = a.into_iter().chain(b).collect();
            pair.sort_by_key(|group| group.area.left + group.area.right);
            let right = pair.pop();
            let left = pair.pop();
            units.extend(left.zip(right).map(|(left, right)| Unit::Open(left, right)));
        }
    }
    units.extend(groups.into_iter().flatten().map(Unit::One));
    units
}

/// Groups the blobs of a picture; leaves out specks, dashes and what is no handwriting.
pub fn groups(blobs: &Blobs, width: usize, height: usize) -> Vec<Group> {
    let smallest = f32::max(4.0, 0.006 * width.max(height) as f32);
    let inside = |shape: &Component| {
        let Area { left, top, right, bottom } = shape.area;
        left > 0 && top > 0 && right < width && bottom < height && 10 * (bottom - top) > height
    };
    let some_inside = blobs.found.iter().any(|blob| inside(&blob.shape));
    let mut groups: Vec<Group> = (0..blobs.found.len())
        .filter(|&i| !is_frame(&blobs.found[i].shape, width, height, some_inside))
        .map(|i| Group { members: vec![i], area: blobs.found[i].shape.area })
        .filter(|group| group.area.width().max(group.area.height()) as f32 >= smallest / 2.0)
        .collect();
    let deep = FAINTEST * usual_depth(&groups, blobs);
    groups.retain(|group| blobs.found[group.members[0]].depth >= deep);
    groups.sort_by_key(|group| std::cmp::Reverse(blobs.found[group.members[0]].shape.pixels));
    groups.truncate(MOST_GROUPS);
    for _ in 0..2 {
        let usual = usual_height(&groups);
        groups = joined(groups, blobs, usual);
    }
    let usual = usual_height(&groups);
    groups.retain(|group| {
        let (wide, tall) = (group.area.width() as f32, group.area.height() as f32);
        tall >= smallest && tall >= 0.35 * usual && wide <= 8.0 * tall
    });
    groups
}

/// The depth that a fifth of all ink exceeds: that of the darkest pen, if it wrote a good part.
fn usual_depth(groups: &[Group], blobs: &Blobs) -> f32 {
    let mut depths: Vec<(f32, usize)> = groups
        .iter()
        .map(|group| &blobs.found[group.members[0]])
        .map(|blob| (blob.depth, blob.shape.pixels))
        .collect();
    depths.sort_by(|a, b| b.0.total_cmp(&a.0));
    let total: usize = depths.iter().map(|(_, pixels)| pixels).sum();
    let mut above = 0;
    for (depth, pixels) in depths {
        above += pixels;
        if 5 * above >= total {
            return depth;
        }
    }
    0.0
}

/// Whether it is what lies beside the paper: along half of the picture's border, or from one edge to
/// the other while there is something `inside`. A digit may touch the border where it was cut out
/// tightly.
fn is_frame(shape: &Component, width: usize, height: usize, inside: bool) -> bool {
    let area = shape.area;
    let at_edge = area.left == 0 || area.right == width || area.top == 0 || area.bottom == height;
    if !at_edge || width.max(height) <= 64 {
        return false;
    }
    let along = |run: &Run| {
        let ends = usize::from(run.start == 0) + usize::from(run.end == width);
        if run.y == 0 || run.y + 1 == height { run.end - run.start } else { ends }
    };
    let touched: usize = shape.runs.iter().map(along).sum();
    let across = area.width() as f32 / width as f32;
    let down = area.height() as f32 / height as f32;
    touched > width + height - 2 || (inside && across.max(down) > 0.7)
}

/// The height that half of all height is below: specks hardly count.
fn usual_height(groups: &[Group]) -> f32 {
    let mut heights: Vec<usize> =
        groups.iter().map(|group| group.area.height().max(group.area.width() * 4 / 5)).collect();
    heights.sort_unstable();
    let total: usize = heights.iter().map(|h| h * h).sum();
    let mut below = 0;
    for height in heights {
        below += height * height;
        if 2 * below >= total {
            return height as f32;
        }
    }
    0.0
}

/// Joins the pieces of broken digits, nearest first.
fn joined(groups: Vec<Group>, blobs: &Blobs, usual: f32) -> Vec<Group> {
    let mut pairs: Vec<(f32, usize, usize)> = Vec::new();
    for b in 1..groups.len() {
        for a in 0..b {
            if let Some(cost) = cost(&groups[a], &groups[b], blobs, usual) {
                pairs.push((cost, a, b));
            }
        }
    }
    pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut places: Vec<usize> = (0..groups.len()).collect();
    let mut groups: Vec<Option<Group>> = groups.into_iter().map(Some).collect();
    for (_, a, b) in pairs {
        let (a, b) = (places[a], places[b]);
        if a == b {
            continue;
        }
        let (Some(first), Some(second)) = (&groups[a], &groups[b]) else { continue };
        // Each may have grown since the pair was weighed.
        if !fits(first, second, usual) {
            continue;
        }
        let second = groups[b].take().expect("it was there");
        groups[a].as_mut().expect("it was there").join(second);
        places.iter_mut().filter(|place| **place == b).for_each(|place| *place = a);
    }
    groups.into_iter().flatten().collect()
}

/// Whether two groups together are no larger than a digit.
fn fits(a: &Group, b: &Group, usual: f32) -> bool {
    let both = a.area.with(&b.area);
    let (wide, tall) = (both.width() as f32, both.height() as f32);
    // Where all is in pieces, the pieces are the usual; then the shape tells.
    (tall <= 1.4 * usual || (tall <= 1.9 * usual && tall <= 2.2 * wide)) && wide <= 1.6 * usual
}

/// How far two groups are from being one digit, in usual heights; none if they are not.
fn cost(a: &Group, b: &Group, blobs: &Blobs, usual: f32) -> Option<f32> {
    let gap = |a0: usize, a1: usize, b0: usize, b1: usize| {
        (a0.max(b0) as f32 - a1.min(b1) as f32) / usual
    };
    let across = gap(a.area.left, a.area.right, b.area.left, b.area.right);
    let down = gap(a.area.top, a.area.bottom, b.area.top, b.area.bottom);
    if across > 0.3 || down > 0.6 || !fits(a, b, usual) {
        return None;
    }
    let both = a.area.with(&b.area).height() as f32 / usual;
    let distance = distance(a, b, blobs) / usual;
    let narrower = a.area.width().min(b.area.width()) as f32 / usual;
    let shorter = a.area.height().min(b.area.height()) as f32 / usual;
    // One above the other, or one within the other's columns.
    let stacked = -across >= 0.5 * narrower;
    let fragment = shorter < 0.6;
    let faintly = blobs.found[a.members[0]].faint == blobs.found[b.members[0]].faint;
    let is_joined = if faintly && -across >= 0.25 * narrower {
        distance <= 0.3
    } else if stacked && (is_dash(a, usual) || is_dash(b, usual)) {
        distance <= 0.4
    } else if both > 1.4 {
        false
    } else if stacked {
        distance <= 0.3 && (fragment || -across >= 0.7 * narrower)
    } else if fragment {
        distance <= 0.15
    } else {
        distance <= 0.05 && -across > 0.3 * narrower
    };
    is_joined.then_some(distance)
}

/// Whether it is so flat that it is no digit by itself.
fn is_dash(group: &Group, usual: f32) -> bool {
    let (wide, tall) = (group.area.width() as f32, group.area.height() as f32);
    wide > 1.5 * tall && tall < 0.6 * usual
}

/// The shortest way from one to the other, in pixels.
fn distance(a: &Group, b: &Group, blobs: &Blobs) -> f32 {
    let runs = |group: &Group| {
        group.members.iter().flat_map(|&m| blobs.found[m].shape.runs.iter()).collect::<Vec<_>>()
    };
    let (first, second) = (runs(a), runs(b));
    let mut least = f32::MAX;
    for p in &first {
        for q in &second {
            let down = p.y.abs_diff(q.y) as f32;
            if down >= least {
                continue;
            }
            let across = (p.start.max(q.start) as f32 - p.end.min(q.end) as f32).max(0.0);
            least = least.min(across.hypot(down));
        }
    }
    least
}
