//! What may be a digit, with the other ways to see it where that is open.

use super::blobs::Blobs;
use super::components::Area;
use super::crop::Crop;
use super::gray::Gray;
use super::groups::{self, Group};
use super::normalise::{self, Image};
use super::{Digit, Found, order, paper, rulings, single, split};
use crate::model::CLASSES;

/// Pictures are reduced to about so many pixels before anything is looked for, if they have more than
/// twice as many.
const WORKING_PIXELS: usize = 4_000_000;
const WORKING_SIDE: usize = 10_000;
/// Larger digits are reduced before they are looked at.
const LARGEST: usize = 160;
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

    /// The digits, given the probabilities of each image: the whole, or its parts if they are likely and
    /// it is not.
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
        if !parts.is_empty() && doubtful && confidence > 0.5 { parts } else { vec![whole] }
    }

    /// Tells where its areas are in a larger picture.
    fn place(&mut self, place: &impl Fn(Area) -> Area) {
        self.area = place(self.area);
        self.parts.iter_mut().for_each(|part| part.place(place));
    }
}

/// Finds what may be digits in a picture.
pub fn find(picture: Gray) -> Found {
    let (wide, tall) = (picture.width, picture.height);
    if let Some(image) = normalise::as_it_is(&picture) {
        let area = Area { left: 0, top: 0, right: wide, bottom: tall };
        return Found::one(Candidate { area, image, whole: 1.0, parts: Vec::new() });
    }
    if let Some((ink, factor)) = single::ink(&picture) {
        let mut only = of_ink(&ink, CUTS);
        only.place(&|area| area.times(factor).within(wide, tall));
        return Found::one(only);
    }
    let factor = reduction(wide, tall);
    let working = if factor > 1 { picture.reduced(factor) } else { picture };
    let mut ink = paper::ink(working);
    rulings::erase(&mut ink.depth, ink.floor);
    let blobs = Blobs::of(ink);
    let (units, left_out) = groups::units(&blobs);
    let areas: Vec<Area> = units.iter().map(groups::Unit::area).collect();
    let found = |number: usize| {
        let mut candidate = match &units[number] {
            groups::Unit::One(group) => of_group(group, &blobs),
            groups::Unit::Open(left, right) => {
                let mut whole = of_group(&left.with(right), &blobs);
                whole.parts = vec![of_group(left, &blobs), of_group(right, &blobs)];
                whole
            }
        };
        candidate.place(&|area| area.times(factor).within(wide, tall));
        candidate
    };
    let lines = order::lines(&areas);
    let lines = lines.into_iter().map(|line| line.into_iter().map(found).collect()).collect();
    Found { lines, left_out }
}

/// By what factor a picture is reduced before anything is looked for: a whole one, so that all strokes
/// of a pen stay alike.
fn reduction(width: usize, height: usize) -> usize {
    let by_pixels = ((width * height) as f64 / WORKING_PIXELS as f64).sqrt().round() as usize;
    by_pixels.max(width.max(height).div_ceil(WORKING_SIDE))
}

fn of_group(group: &Group, blobs: &Blobs) -> Candidate {
    let (mut crop, left, top) = blobs.crop(&group.members);
    let (width, height) = (crop.width, crop.height);
    let factor = width.max(height).div_ceil(LARGEST);
    if factor > 1 {
        let thin = crop.stroke_width() < THINNEST * width.max(height) as f32 / 20.0;
        crop = crop.reduced(factor, thin);
    }
    let mut candidate = of_ink(&crop, CUTS);
    candidate.place(&|area| area.times(factor).within(width, height).moved(left, top));
    candidate
}

/// A candidate from ink.
fn of_ink(crop: &Crop, cuts: usize) -> Candidate {
    let bounds = crop.bounds();
    let area = bounds.map_or(Area { left: 0, top: 0, right: 1, bottom: 1 }, |bounds| {
        let [left, top, right, bottom] = [bounds.left, bounds.top, bounds.right, bounds.bottom]
            .map(|edge| edge.round() as usize);
        Area { left, top, right: right.max(left + 1), bottom: bottom.max(top + 1) }
    });
    let (wide, tall) = (area.width() as f32, area.height() as f32);
    let aspect = wide / tall;
    let pen = crop.stroke_width();
    let mut parts = Vec::new();
    if aspect > WIDE && cuts > 0 && wide >= 8.0 {
        let cut = split::halves(crop);
        // Where two digits touch, the cut goes through one stroke; and each is tall.
        let tall_enough = |half: &Crop| {
            half.bounds().is_some_and(|bounds| bounds.bottom - bounds.top > 0.5 * tall)
        };
        if cut.strokes <= 1 && cut.halves.iter().all(tall_enough) {
            parts = cut.halves.map(|half| of_ink(&half, cuts - 1)).into();
        }
    }
    let side = wide.max(tall);
    let missing = THINNEST * side / 20.0 - pen;
    let image = if missing > 0.5 {
        normalise::normalise(&crop.thickened(missing / 2.0))
    } else {
        normalise::normalise(crop)
    };
    // Few digits are that wide, and none is half as wide again as tall.
    let whole = (1.0 - (aspect - 1.25) * 2.0).clamp(0.02, 1.0);
    Candidate { area, image, whole, parts }
}
