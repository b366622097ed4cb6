//! Pictures of one digit that were cut out tightly, so that its strokes reach the edges and there may be
//! less paper than ink. What may be anything else is left to those who look for digits on paper.

use super::components::{Area, Component, Run, components, runs_of_row};
use super::crop::Crop;
use super::gray::Gray;

/// Larger pictures show more than a digit.
const LARGEST: usize = 512;
/// To this side they are reduced.
const SIDE: usize = 64;
/// The least difference of ink and paper, as a part of 255.
const CONTRAST: f32 = 40.0;
/// Ink and paper together make up at least this part of the variance: the rest is shades between.
const TWO_TONED: f32 = 0.78;
/// A piece with less than this part of the ink, or of the paper, is a speck.
const SPECK: f32 = 0.02;
/// A digit has at most so many pieces, and leaves the paper in at most so many.
const MOST_PIECES: usize = 3;
const MOST_GROUNDS: usize = 8;
/// The most pieces with specks.
const MOST_SPECKS: usize = 30;
/// No stroke is so thick, as a part of the digit's height, but that of a 1.
const THICKEST: f32 = 0.4;
/// What fills so much of a rectangle and is so thick in a place is a sheet with writing.
const RECTANGULAR: f32 = 0.87;
const THICK: f32 = 0.2;
/// By so many degrees, from one try to the next, is that rectangle turned.
const TURN: f32 = 3.0;

/// The ink of a picture that shows one digit and nothing else, and by what factor it was reduced.
pub fn ink(picture: &Gray) -> Option<(Crop, usize)> {
    let side = picture.width.max(picture.height);
    if side > LARGEST {
        return None;
    }
    let factor = side.div_ceil(SIDE);
    let picture = picture.reduced(factor);
    let split = split(&picture)?;
    let dark = pieces(&picture, |pixel| pixel <= split);
    let light = pieces(&picture, |pixel| pixel > split);
    if dark.len().max(light.len()) > MOST_SPECKS {
        return None;
    }
    let ink_is_dark = is_paper(&light, &dark, &picture);
    let (ink, paper) = if ink_is_dark { (&dark, &light) } else { (&light, &dark) };
    if !is_one_digit(ink, paper, &picture) {
        return None;
    }
    let dark_ink = if ink_is_dark { picture } else { picture.inverted() };
    let split = if ink_is_dark { split } else { !split - 1 };
    Some((depth(&dark_ink, split), factor))
}

/// The shade that best parts dark from light (Otsu's method); none if there is no ink, or no even paper.
fn split(picture: &Gray) -> Option<u8> {
    let mut counts = [0.0f32; 256];
    picture.pixels.iter().for_each(|&pixel| counts[usize::from(pixel)] += 1.0);
    let all = picture.pixels.len() as f32;
    let sum: f32 = (0..256).map(|shade| counts[shade] * shade as f32).sum();
    let mean = sum / all;
    let variance: f32 = (0..256).map(|s| counts[s] * (s as f32 - mean).powi(2)).sum::<f32>() / all;
    let (mut dark, mut dark_sum) = (0.0, 0.0);
    let mut best = (0.0, 0, 0.0);
    for (shade, count) in counts.iter().enumerate() {
        dark += count;
        dark_sum += count * shade as f32;
        if dark == 0.0 || dark == all {
            continue;
        }
        let contrast = (sum - dark_sum) / (all - dark) - dark_sum / dark;
        let between = dark / all * (1.0 - dark / all) * contrast * contrast;
        if between > best.0 {
            best = (between, shade as u8, contrast);
        }
    }
    let (between, split, contrast) = best;
    (contrast >= CONTRAST && between >= TWO_TONED * variance).then_some(split)
}

/// The connected parts of what is dark, or light.
fn pieces(picture: &Gray, is_in: impl Fn(u8) -> bool) -> Vec<Component> {
    let mut runs = Vec::new();
    for y in 0..picture.height {
        let row = picture.row(y);
        runs_of_row(y, 0..row.len(), |x| is_in(row[x]), &mut runs);
    }
    components(&runs)
}

/// The pieces that are not specks.
fn large(pieces: &[Component]) -> impl Iterator<Item = &Component> {
    let all: usize = pieces.iter().map(|piece| piece.pixels).sum();
    pieces.iter().filter(move |piece| piece.pixels as f32 >= SPECK * all as f32)
}

/// Whether `one` is the paper and `other` the ink: the paper has more of the border and of the corners,
/// also of the picture, falls into more pieces and lies further out. The border nearly always tells; in
/// a 1 that fills its picture, the others do.
fn is_paper(one: &[Component], other: &[Component], picture: &Gray) -> bool {
    let (one, other) = (Extent::of(one, picture), Extent::of(other, picture));
    let more = |one: f32, other: f32| (one - other) / (one + other).max(1e-6);
    let borders = more(one.border, other.border) + more(one.corners, other.corners);
    let rest = more(one.pixels, other.pixels)
        + more(one.pieces, other.pieces)
        + more(one.spread / one.pixels, other.spread / other.pixels);
    2.0 * borders + rest > 0.0
}

/// Where the pieces of one shade are.
#[derive(Default)]
struct Extent {
    border: f32,
    corners: f32,
    pixels: f32,
    pieces: f32,
    /// The sum of the squares of the distances from the middle, in halves of the picture.
    spread: f32,
}

impl Extent {
    fn of(pieces: &[Component], picture: &Gray) -> Extent {
        let (width, height) = (picture.width, picture.height);
        let mut extent = Extent { pieces: large(pieces).count() as f32, ..Extent::default() };
        let off = |at: usize, length: usize| (2.0 * at as f32 + 1.0) / length as f32 - 1.0;
        for run in pieces.iter().flat_map(|piece| &piece.runs) {
            let y = run.y();
            for x in run.columns() {
                let edges = [x == 0 || x + 1 == width, y == 0 || y + 1 == height];
                extent.border += f32::from(u8::from(edges[0] || edges[1]));
                extent.corners += f32::from(u8::from(edges[0] && edges[1]));
                extent.pixels += 1.0;
                extent.spread += off(x, width).powi(2) + off(y, height).powi(2);
            }
        }
        extent
    }
}

/// Whether the ink is in the middle and from top to bottom, of strokes, in one piece or a few that belong
/// together.
fn is_one_digit(ink: &[Component], paper: &[Component], picture: &Gray) -> bool {
    let all: usize = ink.iter().map(|piece| piece.pixels).sum();
    // A thin stroke beside a thick one has few pixels, and is no speck.
    let counts = |piece: &&Component| {
        piece.pixels as f32 >= SPECK * all as f32 || 6 * piece.area.height() >= picture.height
    };
    let pieces: Vec<Area> = ink.iter().filter(counts).map(|piece| piece.area).collect();
    let Some(area) = pieces.iter().copied().reduce(|a, b| a.with(&b)) else { return false };
    let (wide, tall) = (area.width(), area.height());
    4 * tall >= 3 * picture.height
        && 2 * wide <= 3 * tall
        && 3 * area.left.abs_diff(picture.width - area.right) <= picture.width
        && pieces.len() <= MOST_PIECES
        && large(paper).count() <= MOST_GROUNDS
        && !pieces.iter().any(|a| pieces.iter().any(|b| are_two(a, b, tall)))
        && (tall >= 2 * wide || is_of_strokes(ink, paper, picture, tall))
}

/// Whether two pieces of what is so `tall` are no parts of one digit: side by side, though they may lean
/// over each other, or one well below the other and neither of them a dash.
fn are_two(a: &Area, b: &Area, tall: usize) -> bool {
    let shared = a.right.min(b.right).saturating_sub(a.left.max(b.left));
    let gap = a.top.max(b.top).saturating_sub(a.bottom.min(b.bottom));
    3 * shared < a.width().min(b.width())
        || (20 * gap > tall && 3 * a.height().min(b.height()) > tall)
}

/// Whether the ink, so `tall`, is nowhere as thick as something solid: a lid, a hand, a sheet of paper.
fn is_of_strokes(ink: &[Component], paper: &[Component], picture: &Gray, tall: usize) -> bool {
    let thickest = thickest(ink, picture) as f32 / tall as f32;
    thickest < THICKEST && (thickest < THICK || rectangular(ink, paper, picture) < RECTANGULAR)
}

/// The side of the largest square that is nothing but ink.
fn thickest(ink: &[Component], picture: &Gray) -> usize {
    let width = picture.width;
    // The sides of the squares whose lower right corners are the pixels of ink, else 0.
    let mut sides = vec![0; picture.pixels.len()];
    let mut most = 0;
    let mut runs: Vec<&Run> = ink.iter().flat_map(|piece| &piece.runs).collect();
    runs.sort_by_key(|run| run.y());
    for run in runs {
        for x in run.columns() {
            let at = run.y() * width + x;
            let inside = run.y() > 0 && x > 0;
            let least = if inside {
                sides[at - 1].min(sides[at - width]).min(sides[at - width - 1])
            } else {
                0
            };
            sides[at] = least + 1;
            most = most.max(least + 1);
        }
    }
    most
}

/// How much of a rectangle, turned by whatever angle, ink fills together with what it encloses.
fn rectangular(ink: &[Component], paper: &[Component], picture: &Gray) -> f32 {
    let is_inside = |piece: &&Component| {
        let Area { left, top, right, bottom } = piece.area;
        left > 0 && top > 0 && right < picture.width && bottom < picture.height
    };
    let pieces = ink.iter().chain(paper.iter().filter(is_inside));
    let filled: usize = pieces.map(|piece| piece.pixels).sum();
    let corners: Vec<(f32, f32)> = ink
        .iter()
        .flat_map(|piece| &piece.runs)
        .flat_map(|run| {
            [run.columns().start, run.columns().end].map(|x| (x as f32, run.y() as f32))
        })
        .flat_map(|(x, y)| [(x, y), (x, y + 1.0)])
        .collect();
    let length = |along: &dyn Fn(&(f32, f32)) -> f32| {
        let ends = corners.iter().map(along);
        let (low, high) =
            ends.fold((f32::MAX, f32::MIN), |(low, high), at| (low.min(at), high.max(at)));
        high - low
    };
    let turns = (0..).map(|i| i as f32 * TURN).take_while(|&degrees| degrees < 90.0);
    let areas = turns.map(|degrees| {
        let (sin, cos) = degrees.to_radians().sin_cos();
        length(&|(x, y)| x * cos + y * sin) * length(&|(x, y)| y * cos - x * sin)
    });
    filled as f32 / areas.fold(f32::MAX, f32::min)
}

/// The ink from 0 to 1, of a picture whose pixels up to `split` are ink.
fn depth(picture: &Gray, split: u8) -> Crop {
    let (mut ink, mut paper): (Vec<u8>, Vec<u8>) =
        picture.pixels.iter().partition(|&&pixel| pixel <= split);
    ink.sort_unstable();
    paper.sort_unstable();
    // A tenth of the ink is as dark as full ink, and half of the paper as light as all of it.
    let (full, none) = (f32::from(ink[ink.len() / 10]), f32::from(paper[paper.len() / 2]));
    let depth = |&pixel: &u8| ((none - f32::from(pixel)) / (none - full)).clamp(0.0, 1.0);
    let ink = picture.pixels.iter().map(depth).collect();
    Crop { width: picture.width, height: picture.height, ink }
}
