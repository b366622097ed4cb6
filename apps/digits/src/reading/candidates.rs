//! What may be a digit, with the other ways to see it where that is open.

use super::blobs::Blobs;
use super::components::Area;
use super::crop::Crop;
use super::gray::Gray;
use super::groups::{self, Group};
use super::normalise::{self, Image};
use super::{Digit, order, paper, rulings, split};
use crate::model::CLASSES;

/// Larger pictures are reduced before anything is looked for.
const WORKING_PIXELS: usize = 4_000_000;
/// Strokes thinner than this, in pixels of the 20x20 of a digit, are thickened to it.
const THINNEST: f32 = 1.6;
/// A digit wider than this part of its height may be two that touch.
const WIDE: f32 = 1.15;
/// So often a piece may be cut in two.
const CUTS: usize = 3;

/// Ink that may be a digit, or two.
pub struct Candidate {
    area: Area,
    image: Image,
    /// How likely its shape makes it one digit.
    whole: f32,
    /// The digits that it is otherwise: none or two, from left to right.
    parts: Vec<Candidate>,
}

impl Candidate {
    /// The images to read, in the order in which [`Candidate::decided`] takes their readings.
    pub fn images(&self, into: &mut Vec<Image>) {
        into.push(self.image);
        self.parts.iter().for_each(|part| part.images(into));
    }

    /// The digits, given the probabilities of each image: the whole, or its parts if all of them are
    /// read with more confidence.
    pub fn decided<'a>(
        self,
        probabilities: &mut impl Iterator<Item = &'a [f32; CLASSES]>,
    ) -> Vec<Digit> {
        let read = *probabilities.next().expect("there are probabilities for each image");
        let whole = Digit::new(self.area, self.image, read);
        let parts: Vec<Digit> =
            self.parts.into_iter().flat_map(|part| part.decided(probabilities)).collect();
        let confidence: f32 = parts.iter().map(Digit::confidence).product();
        // A network is often sure of half a digit, and seldom unsure of a whole one.
        let doubtful = whole.confidence() * self.whole < 0.5;
        if !parts.is_empty()
            && doubtful
            && confidence > f32::max(0.5, whole.confidence() * self.whole)
        {
            return parts;
        }
        vec![whole]
    }
}

/// Finds what may be digits in a picture, line by line.
pub fn find(picture: Gray) -> Vec<Vec<Candidate>> {
    if let Some(image) = normalise::as_it_is(&picture) {
        let area = Area { left: 0, top: 0, right: picture.width, bottom: picture.height };
        return vec![vec![Candidate { area, image, whole: 1.0, parts: Vec::new() }]];
    }
    let factor =
        (picture.pixels.len() as f64 / WORKING_PIXELS as f64).sqrt().ceil().max(1.0) as usize;
    let (wide, tall) = (picture.width, picture.height);
    let working = if factor > 1 { picture.reduced(factor) } else { picture };
    let (width, height) = (working.width, working.height);
    let mut ink = paper::ink(working);
    rulings::erase(&mut ink.depth, ink.floor);
    let blobs = Blobs::of(ink);
    let units = groups::units(groups::groups(&blobs, width, height), &blobs);
    let areas: Vec<Area> = units.iter().map(|unit| unit.area()).collect();
    let scaled = |area: Area| Area {
        left: area.left * factor,
        top: area.top * factor,
        right: (area.right * factor).min(wide),
        bottom: (area.bottom * factor).min(tall),
    };
    let found = |number: usize| {
        let mut candidate = match &units[number] {
            groups::Unit::One(group) => of_group(group, &blobs),
            groups::Unit::Open(left, right) => {
                let mut whole = of_group(&left.with(right), &blobs);
                whole.parts = vec![of_group(left, &blobs), of_group(right, &blobs)];
                whole
            }
        };
        candidate.scale(&scaled);
        candidate
    };
    let lines = order::lines(&areas);
    lines.into_iter().map(|line| line.into_iter().map(found).collect()).collect()
}

impl Candidate {
    fn scale(&mut self, scaled: &impl Fn(Area) -> Area) {
        self.area = scaled(self.area);
        self.parts.iter_mut().for_each(|part| part.scale(scaled));
    }
}

fn of_group(group: &Group, blobs: &Blobs) -> Candidate {
    let (crop, left, top) = blobs.crop(&group.members);
    of_ink(crop, left, top, CUTS)
}

/// A candidate from ink whose corner is at `left`, `top`.
fn of_ink(crop: Crop, left: usize, top: usize, cuts: usize) -> Candidate {
    let bounds = crop.bounds();
    let area = bounds.map_or(Area { left, top, right: left + 1, bottom: top + 1 }, |bounds| Area {
        left: left + bounds.left.round() as usize,
        top: top + bounds.top.round() as usize,
        right: left + (bounds.right.round() as usize).max(bounds.left.round() as usize + 1),
        bottom: top + (bounds.bottom.round() as usize).max(bounds.top.round() as usize + 1),
    });
    let (wide, tall) = (area.width() as f32, area.height() as f32);
    let aspect = wide / tall;
    let pen = crop.stroke_width();
    let mut parts = Vec::new();
    if aspect > WIDE && cuts > 0 && wide >= 8.0 {
        let cut = split::halves(&crop);
        // Where two digits touch, the cut goes through one stroke; and each is tall.
        let tall_enough = |half: &Crop| {
            half.bounds().is_some_and(|bounds| bounds.bottom - bounds.top > 0.5 * tall)
        };
        if cut.strokes <= 1 && cut.halves.iter().all(tall_enough) {
            parts = cut.halves.map(|half| of_ink(half, left, top, cuts - 1)).into();
        }
    }
    let side = wide.max(tall);
    let missing = THINNEST * side / 20.0 - pen;
    let image = if missing > 0.5 {
        normalise::normalise(&crop.thickened(missing / 2.0))
    } else {
        normalise::normalise(&crop)
    };
    let whole = (1.0 - (aspect - 1.4) * 2.0).clamp(0.02, 1.0);
    Candidate { area, image, whole, parts }
}
