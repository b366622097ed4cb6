//! Connected strokes of ink.

use super::components::{Component, components};
use super::crop::Crop;
use super::gray::Gray;
use super::paper::Ink;

/// A stroke ends where its ink falls below this part of its depth.
const EDGE: f32 = 0.45;
/// Ink this deep, as a part of the stroke's, is as good as full.
const FULL: f32 = 0.9;
/// Ink this faint is the grain of the paper, or its lines.
const NONE: f32 = 0.08;
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

/// All blobs of a picture, with what is needed to cut them out.
pub struct Blobs {
    pub found: Vec<Blob>,
    depth: Gray,
    /// 1 where there is a stroke of any blob.
    strokes: Vec<u8>,
}

impl Blobs {
    pub fn of(ink: Ink) -> Blobs {
        let Ink { depth, floor } = ink;
        let (width, height) = (depth.width, depth.height);
        let faint = components(width, height, |x, y| depth.pixels[y * width + x] > floor);
        let depths: Vec<f32> =
            faint.iter().map(|component| full_depth(component, &depth)).collect();
        let mut strokes = vec![0; depth.pixels.len()];
        let mut owners = Vec::new();
        for (number, component) in faint.iter().enumerate() {
            let edge = (EDGE * depths[number]).max(f32::from(floor)) as u8;
            for run in &component.runs {
                owners.push((run.y, run.start, number));
                let pixels = run.y * width + run.start..run.y * width + run.end;
                let depths = &depth.pixels[pixels.clone()];
                for (stroke, &depth) in strokes[pixels].iter_mut().zip(depths) {
                    *stroke = u8::from(depth > edge);
                }
            }
        }
        owners.sort_unstable();
        let found = components(width, height, |x, y| strokes[y * width + x] == 1)
            .into_iter()
            .map(|shape| {
                let first = (shape.runs[0].y, shape.runs[0].start, usize::MAX);
                let (_, _, faint) = owners[owners.partition_point(|&owner| owner <= first) - 1];
                Blob { shape, depth: depths[faint], faint }
            })
            .collect();
        Blobs { found, depth, strokes }
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
                let columns = run.start.saturating_sub(RIM).max(left) - left
                    ..(run.end + RIM).min(right) - left;
                let rows =
                    run.y.saturating_sub(RIM).max(top) - top..(run.y + RIM + 1).min(bottom) - top;
                for row in rows {
                    full[row * width..][columns.clone()].fill(blob.depth);
                }
            }
        }
        let mut own = vec![false; width * height];
        for run in members.iter().flat_map(|&member| &self.found[member].shape.runs) {
            own[(run.y - top) * width + run.start - left..][..run.end - run.start].fill(true);
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
        for &depth in &depth.row(run.y)[run.start..run.end] {
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
