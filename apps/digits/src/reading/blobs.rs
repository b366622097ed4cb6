//! Connected strokes of ink.

use super::components::{Component, Run, components, runs_of_row};
use super::crop::Crop;
use super::gray::Gray;
use super::paper::Ink;

/// A stroke ends where its ink falls below this part of its depth.
const EDGE: f32 = 0.45;
/// Ink this deep, as a part of the stroke's, is as good as full.
const FULL: f32 = 0.9;
/// Ink this faint is the grain of the paper, or its lines.
const NONE: f32 = 0.08;
/// A digit's longer side has at least so many pixels, and is this part of the picture's.
const SMALLEST: f32 = 4.0;
const SMALLEST_PART: f32 = 0.006;
/// Pixels around a stroke that may hold some of its ink.
const RIM: usize = 2;

/// Strokes that hang together, as deep as they are in their middle.
pub struct Blob {
    pub shape: Component,
    /// The depth of its full ink.
    pub depth: f32,
    /// Blobs of the same number hang together by fainter ink.
    pub faint: usize,
}

/// The blobs of a picture but for specks, with what is needed to cut them out.
pub struct Blobs {
    pub found: Vec<Blob>,
    depth: Gray,
    /// 1 where there is a stroke of any blob.
    strokes: Vec<u8>,
}

impl Blobs {
    pub fn of(ink: Ink) -> Blobs {
        let Ink { depth, floor } = ink;
        let mut blobs = Blobs { found: Vec::new(), strokes: vec![0; depth.pixels.len()], depth };
        let mut runs = Vec::new();
        for y in 0..blobs.height() {
            let row = blobs.depth.row(y);
            runs_of_row(y, 0..row.len(), |x| row[x] > floor, &mut runs);
        }
        for (number, faint) in components(&runs).iter().enumerate() {
            blobs.add_strokes(number, faint, floor);
        }
        blobs
    }

    /// The strokes that hang together by faint ink.
    fn add_strokes(&mut self, number: usize, faint: &Component, floor: u8) {
        let full = full_depth(faint, &self.depth);
        let edge = (EDGE * full).max(f32::from(floor)) as u8;
        let mut runs: Vec<Run> = Vec::new();
        for run in &faint.runs {
            let row = self.depth.row(run.y());
            runs_of_row(run.y(), run.columns(), |x| row[x] > edge, &mut runs);
        }
        for run in &runs {
            self.strokes[run.y() * self.depth.width..][run.columns()].fill(1);
        }
        let speck = self.smallest_digit() / 2.0;
        let is_speck =
            |shape: &Component| (shape.area.width().max(shape.area.height()) as f32) < speck;
        let shapes = components(&runs).into_iter().filter(|shape| !is_speck(shape));
        self.found.extend(shapes.map(|shape| Blob { shape, depth: full, faint: number }));
    }

    /// The width of the picture.
    pub fn width(&self) -> usize {
        self.depth.width
    }

    /// The height of the picture.
    pub fn height(&self) -> usize {
        self.depth.height
    }

    /// The least height of a digit.
    pub fn smallest_digit(&self) -> f32 {
        f32::max(SMALLEST, SMALLEST_PART * self.width().max(self.height()) as f32)
    }

    /// The ink of some blobs, and none of their neighbours', and where its left upper corner is.
    pub fn crop(&self, members: &[usize]) -> (Crop, usize, usize) {
        let first = self.found[members[0]].shape.area;
        let area = members.iter().fold(first, |area, &m| area.with(&self.found[m].shape.area));
        let (left, top) = (area.left.saturating_sub(RIM), area.top.saturating_sub(RIM));
        let right = (area.right + RIM).min(self.depth.width);
        let bottom = (area.bottom + RIM).min(self.depth.height);
        let (width, height) = (right - left, bottom - top);
        // The full depth at each pixel near a member's stroke, 0 elsewhere.
        let mut full = vec![0.0f32; width * height];
        for &member in members {
            let blob = &self.found[member];
            for run in &blob.shape.runs {
                let (y, columns) = (run.y(), run.columns());
                let columns = columns.start.saturating_sub(RIM).max(left) - left
                    ..(columns.end + RIM).min(right) - left;
                let rows = y.saturating_sub(RIM).max(top) - top..(y + RIM + 1).min(bottom) - top;
                for row in rows {
                    full[row * width..][columns.clone()].fill(blob.depth);
                }
            }
        }
        let mut own = vec![false; width * height];
        for run in members.iter().flat_map(|&member| &self.found[member].shape.runs) {
            let columns = run.columns();
            own[(run.y() - top) * width + columns.start - left..][..columns.len()].fill(true);
        }
        let ink = (0..width * height)
            .map(|i| {
                let at = (top + i / width) * self.depth.width + left + i % width;
                if full[i] == 0.0 || (self.strokes[at] == 1 && !own[i]) {
                    return 0.0;
                }
                let part = f32::from(self.depth.pixels[at]) / full[i];
                ((part - NONE) / (FULL - NONE)).clamp(0.0, 1.0)
            })
            .collect();
        (Crop { width, height, ink }, left, top)
    }
}

/// The depth that a tenth of a component's pixels exceed.
fn full_depth(component: &Component, depth: &Gray) -> f32 {
    let mut counts = [0usize; 256];
    for run in &component.runs {
        for &depth in &depth.row(run.y())[run.columns()] {
            counts[depth as usize] += 1;
        }
    }
    let mut above = 0;
    for (depth, count) in counts.iter().enumerate().rev() {
        above += count;
        if above * 10 >= component.pixels {
            return depth as f32;
        }
    }
    0.0
}
