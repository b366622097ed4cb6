//! The printed lines of ruled and squared paper, taken out of the ink.

use super::gray::Gray;

/// Lines deviate from the axis by up to this much per pixel: 7 degrees.
const STEEPEST: f32 = 0.12;
/// A line alone spans this part of the picture; lines of a pattern may span less.
const ALONE: f32 = 0.8;
const IN_PATTERN: f32 = 0.4;
/// So many parallel lines make a pattern.
const PATTERN: usize = 3;
/// The most points that vote for lines.
const MOST_POINTS: usize = 60_000;
/// The most lines that are tried, and the most that are found.
const MOST_TRIED: usize = 3_000;
const MOST_LINES: usize = 400;

/// Erases printed lines, along and across, from ink deeper than `floor`.
pub fn erase(depth: &mut Gray, floor: u8) {
    if depth.width.min(depth.height) < 48 {
        return;
    }
    erase_level(depth, floor);
    *depth = transposed(depth);
    erase_level(depth, floor);
    *depth = transposed(depth);
}

fn transposed(picture: &Gray) -> Gray {
    const BLOCK: usize = 32;
    let (width, height) = (picture.width, picture.height);
    let mut pixels = vec![0; picture.pixels.len()];
    for top in (0..height).step_by(BLOCK) {
        for left in (0..width).step_by(BLOCK) {
            for y in top..(top + BLOCK).min(height) {
                for x in left..(left + BLOCK).min(width) {
                    pixels[x * height + y] = picture.pixels[y * width + x];
                }
            }
        }
    }
    Gray { width: height, height: width, pixels }
}

/// A short vertical run of ink: where a level line passes, or a stroke.
#[derive(Clone, Copy)]
struct Point {
    x: usize,
    top: usize,
    bottom: usize,
}

impl Point {
    fn middle(&self) -> f32 {
        (self.top + self.bottom) as f32 / 2.0
    }
}

/// `y = height + slope * (x - middle of the picture)`.
#[derive(Clone, Copy)]
struct Line {
    height: f32,
    slope: f32,
}

fn erase_level(depth: &mut Gray, floor: u8) {
    let thickest = (depth.width / 100).max(2);
    let points = points(depth, floor, thickest);
    let mut lines = lines(&points, depth.width, depth.height);
    if lines.len() < PATTERN {
        // Across a strip of writing, that is a stroke.
        let is_strip = 2 * depth.width < depth.height;
        lines.retain(|(_, part)| *part >= ALONE && !is_strip);
    }
    for (line, _) in lines {
        erase_line(depth, &points, line);
    }
}

/// The vertical runs of at most `thickest` pixels, column by column.
fn points(depth: &Gray, floor: u8, thickest: usize) -> Vec<Point> {
    let mut points = Vec::new();
    let mut starts = vec![usize::MAX; depth.width];
    for y in 0..=depth.height {
        for (x, start) in starts.iter_mut().enumerate() {
            let is_ink = y < depth.height && depth.pixels[y * depth.width + x] > floor;
            if is_ink && *start == usize::MAX {
                *start = y;
            } else if !is_ink && *start != usize::MAX {
                if y - *start <= thickest {
                    points.push(Point { x, top: *start, bottom: y });
                }
                *start = usize::MAX;
            }
        }
    }
    points
}

/// The lines that most points lie on, each with the part of the picture's width that it spans.
fn lines(points: &[Point], width: usize, height: usize) -> Vec<(Line, f32)> {
    let middle = width as f32 / 2.0;
    let stride = points.len().div_ceil(MOST_POINTS).max(1);
    let mut left: Vec<(f32, f32)> = points
        .iter()
        .step_by(stride)
        .map(|point| (point.x as f32 - middle, point.middle()))
        .collect();
    let enough = IN_PATTERN * 0.7 * width as f32 / stride as f32;
    // Half of the drift between neighbouring slopes is within a bin of the count.
    let steps = (STEEPEST * width as f32 / 2.0).ceil() as isize;
    let mut votes: Vec<(u32, Line)> = Vec::new();
    let margin = (STEEPEST * middle).ceil();
    let mut counts = vec![0u32; height + 2 * margin as usize + 3];
    for step in -steps..=steps {
        let slope = step as f32 / steps as f32 * STEEPEST;
        counts.fill(0);
        for &(x, y) in &left {
            counts[(y - slope * x + margin) as usize + 1] += 1;
        }
        for (bin, near) in counts.windows(3).enumerate() {
            let sum = near.iter().sum::<u32>();
            if sum as f32 >= enough && near[1] >= near[0].max(near[2]) {
                votes.push((sum, Line { height: bin as f32 - margin + 0.5, slope }));
            }
        }
    }
    votes.sort_by_key(|&(count, _)| std::cmp::Reverse(count));
    let mut lines: Vec<(Line, f32)> = Vec::new();
    // Where a line was found, its neighbours have nothing left.
    let is_known = |line: &Line, lines: &[(Line, f32)]| {
        lines.iter().any(|(known, _)| {
            let turned = (line.slope - known.slope).abs() * middle;
            (line.height - known.height).abs() + turned <= 1.0
        })
    };
    let mut tried = 0;
    for (_, line) in votes {
        if is_known(&line, &lines) {
            continue;
        }
        tried += 1;
        if tried > MOST_TRIED || lines.len() == MOST_LINES {
            break;
        }
        let on = |&(x, y): &(f32, f32)| (y - line.slope * x - line.height).abs() <= 2.0;
        let mut places: Vec<f32> = left.iter().filter(|point| on(point)).map(|p| p.0).collect();
        if (places.len() as f32) < enough {
            continue;
        }
        places.sort_by(f32::total_cmp);
        // From end to end but for a few stray points, and with few gaps between.
        let stray = places.len() / 50;
        let span = places[places.len() - 1 - stray] - places[stray];
        let dense = places.len() as f32 * stride as f32 >= 0.6 * span;
        if dense && span >= IN_PATTERN * width as f32 {
            left.retain(|point| !on(point));
            lines.push((line, span / width as f32));
        }
    }
    lines
}

/// Erases the runs on a line, which may bend a little, where no stroke crosses it.
fn erase_line(depth: &mut Gray, points: &[Point], line: Line) {
    let middle = depth.width as f32 / 2.0;
    let straight = |x: usize| line.height + line.slope * (x as f32 - middle);
    let mut near: Vec<Point> = points
        .iter()
        .copied()
        .filter(|point| (point.middle() - straight(point.x)).abs() <= 6.0)
        .collect();
    near.sort_by_key(|point| point.x);
    let mut sizes: Vec<usize> = near.iter().map(|point| point.bottom - point.top).collect();
    if sizes.is_empty() {
        return;
    }
    sizes.sort_unstable();
    let usual = sizes[sizes.len() / 2];
    // How far the line has bent away from the straight one, as it is followed.
    let mut bend = 0.0;
    for point in near {
        let off = point.middle() - straight(point.x) - bend;
        if off.abs() > 1.5 + usual as f32 / 2.0 || point.bottom - point.top > usual + 2 {
            continue;
        }
        bend += 0.05 * off;
        // The rim of the line is fainter than the floor, but not nothing.
        for y in point.top.saturating_sub(1)..(point.bottom + 1).min(depth.height) {
            depth.pixels[y * depth.width + point.x] = 0;
        }
    }
}
