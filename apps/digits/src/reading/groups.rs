//! Which blobs make up a digit.

use std::collections::{BTreeMap, HashMap};

use super::blobs::Blobs;
use super::components::{Area, Component};
use super::gaps::{Gap, gaps};

/// Ink fainter than this part of the page's is not writing.
const FAINTEST: f32 = 0.35;
/// Groups nearer than this part of the usual height may be one digit.
const NEAR: f32 = 0.14;
/// Of more pieces than this, the largest count: a page of writing has fewer.
const MOST_GROUPS: usize = 2000;
/// The boxes of digits together are at most so many times as large as the picture: they seldom overlap.
const MOST_COVER: usize = 4;

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

/// What may be digits among the blobs of a picture, and how many pieces of ink were not looked at
/// because there are too many. Specks, dashes and what is no handwriting do not count.
pub fn units(blobs: &Blobs) -> (Vec<Unit>, usize) {
    let mut groups = pieces(blobs);
    groups.sort_by_key(|group| std::cmp::Reverse(blobs.found[group.members[0]].shape.pixels));
    let smaller = groups.split_off(groups.len().min(MOST_GROUPS));
    let gaps = gaps_between(&groups, blobs);
    for _ in 0..2 {
        let usual = usual_height(&groups);
        groups = joined(groups, &gaps, blobs, usual);
    }
    let usual = usual_height(&groups);
    let may_be_digit = |group: &Group| {
        let (wide, tall) = (group.area.width() as f32, group.area.height() as f32);
        tall >= blobs.smallest_digit() && tall >= 0.35 * usual && wide <= 8.0 * tall
    };
    let mut left_out = smaller.iter().filter(|group| may_be_digit(group)).count();
    groups.retain(may_be_digit);
    groups.sort_by_key(|group| group.area.pixels());
    let mut covered = 0;
    let most = MOST_COVER * blobs.width() * blobs.height();
    let fit = groups.iter().take_while(|group| {
        covered += group.area.pixels();
        covered <= most
    });
    let fit = fit.count();
    left_out += groups.len() - fit;
    groups.truncate(fit);
    (paired(groups, &gaps), left_out)
}

/// The blobs that may be digits or parts of them, each by itself.
fn pieces(blobs: &Blobs) -> Vec<Group> {
    let (width, height) = (blobs.width(), blobs.height());
    let inside = |shape: &Component| {
        let Area { left, top, right, bottom } = shape.area;
        left > 0 && top > 0 && right < width && bottom < height && 10 * (bottom - top) > height
    };
    let some_inside = blobs.found.iter().any(|blob| inside(&blob.shape));
    let mut pieces: Vec<Group> = (0..blobs.found.len())
        .filter(|&i| !is_frame(&blobs.found[i].shape, width, height, some_inside))
        .map(|i| Group { members: vec![i], area: blobs.found[i].shape.area })
        .collect();
    let deep = FAINTEST * usual_depth(&pieces, blobs);
    pieces.retain(|group| blobs.found[group.members[0]].depth >= deep);
    pieces
}

/// The gaps between groups of one blob each, by the blobs' numbers.
fn gaps_between(groups: &[Group], blobs: &Blobs) -> Vec<Gap> {
    let shapes: Vec<&Component> =
        groups.iter().map(|group| &blobs.found[group.members[0]].shape).collect();
    let mut gaps = gaps(&shapes, blobs.width(), blobs.height());
    for gap in &mut gaps {
        let (a, b) = gap.between;
        gap.between = (groups[a].members[0], groups[b].members[0]);
    }
    gaps
}

/// The gaps between neighbouring groups, by the groups' numbers, the lower one first.
fn neighbours(groups: &[Group], gaps: &[Gap]) -> BTreeMap<(usize, usize), f32> {
    let owners: HashMap<usize, usize> = groups
        .iter()
        .enumerate()
        .flat_map(|(number, group)| group.members.iter().map(move |&member| (member, number)))
        .collect();
    let mut least = BTreeMap::new();
    for Gap { between: (a, b), pixels } in gaps {
        if let (Some(&a), Some(&b)) = (owners.get(a), owners.get(b))
            && a != b
        {
            let gap = least.entry((a.min(b), a.max(b))).or_insert(*pixels);
            *gap = pixels.min(*gap);
        }
    }
    least
}

/// Pairs groups that stand so near to each other that they may be one digit, as the two strokes of a
/// 4 may.
fn paired(groups: Vec<Group>, gaps: &[Gap]) -> Vec<Unit> {
    let usual = usual_height(&groups);
    let mut pairs: Vec<(f32, usize, usize)> = Vec::new();
    for ((a, b), gap) in neighbours(&groups, gaps) {
        let both = groups[a].area.with(&groups[b].area);
        let (wide, tall) = (both.width() as f32, both.height() as f32);
        // The strokes of one digit are not both of its height, but those of 11 are.
        let shorter = groups[a].area.height().min(groups[b].area.height()) as f32;
        let is_near = gap <= NEAR * usual && shorter < 0.85 * tall;
        if wide <= 1.25 * tall && tall <= 1.4 * usual && is_near {
            pairs.push((gap, a, b));
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

/// Whether it is what lies beside the paper: along half of the picture's border, or, while there is
/// something `inside`, along most of one edge. A digit that was cut out tightly touches the edges too,
/// but not along them.
fn is_frame(shape: &Component, width: usize, height: usize, inside: bool) -> bool {
    if width.max(height) <= 64 {
        return false;
    }
    let mut touched = [0; 4];
    for run in &shape.runs {
        let columns = run.columns();
        touched[0] += usize::from(columns.start == 0);
        touched[1] += usize::from(columns.end == width);
        touched[2] += if run.y() == 0 { columns.len() } else { 0 };
        touched[3] += if run.y() + 1 == height { columns.len() } else { 0 };
    }
    let along_most =
        2 * touched[0].max(touched[1]) > height || 2 * touched[2].max(touched[3]) > width;
    touched.iter().sum::<usize>() > width + height || (inside && along_most)
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
fn joined(groups: Vec<Group>, gaps: &[Gap], blobs: &Blobs, usual: f32) -> Vec<Group> {
    let mut pairs: Vec<(f32, usize, usize)> = Vec::new();
    for ((a, b), gap) in neighbours(&groups, gaps) {
        if is_one(&groups[a], &groups[b], gap / usual, blobs, usual) {
            pairs.push((gap, a, b));
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

/// Whether two groups so far from each other, in usual heights, are one digit.
fn is_one(a: &Group, b: &Group, distance: f32, blobs: &Blobs, usual: f32) -> bool {
    let gap = |a0: usize, a1: usize, b0: usize, b1: usize| {
        (a0.max(b0) as f32 - a1.min(b1) as f32) / usual
    };
    let across = gap(a.area.left, a.area.right, b.area.left, b.area.right);
    let down = gap(a.area.top, a.area.bottom, b.area.top, b.area.bottom);
    if across > 0.3 || down > 0.6 || !fits(a, b, usual) {
        return false;
    }
    let both = a.area.with(&b.area).height() as f32 / usual;
    let narrower = a.area.width().min(b.area.width()) as f32 / usual;
    let shorter = a.area.height().min(b.area.height()) as f32 / usual;
    // One above the other, or one within the other's columns.
    let stacked = -across >= 0.5 * narrower;
    let fragment = shorter < 0.6;
    let faintly = blobs.found[a.members[0]].faint == blobs.found[b.members[0]].faint;
    if faintly && -across >= 0.25 * narrower {
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
    }
}

/// Whether it is so flat that it is no digit by itself.
fn is_dash(group: &Group, usual: f32) -> bool {
    let (wide, tall) = (group.area.width() as f32, group.area.height() as f32);
    wide > 1.5 * tall && tall < 0.6 * usual
}
