//! Pictures of handwriting, read: from the bytes of an image file to its digits.
//!
//! The way there: [`decode`] to shades of gray; [`paper`] tells ink from paper; [`rulings`] takes the
//! printed lines out; [`blobs`] finds the strokes; [`groups`] joins those of one digit; [`order`] sorts
//! digits into lines; [`normalise`] makes of each what MNIST would have made of it; and the network
//! reads them, in batches.
//!
//! Time and memory are bounded by the number of pixels, whatever the picture shows: each stage does a
//! bounded work for each pixel, and what there can be too much of has a limit.

mod blobs;
mod candidates;
mod components;
mod crop;
mod decode;
mod gaps;
mod gray;
mod groups;
mod normalise;
mod order;
mod paper;
mod rulings;
mod shape;
mod single;
mod split;

use std::fmt;

use tapeflow as tf;
use tf::{Tensor, nn};

use crate::model::{CLASSES, Model, SIZE, preprocess};

use candidates::Candidate;

pub use components::Area;
pub use decode::gray as upright;
pub use gray::Gray;
pub use normalise::Image;

/// So many images the network reads at once.
const BATCH: usize = 128;
/// A reading less probable than this is not sure.
const SURE: f32 = 0.7;

/// A digit that was read.
pub struct Digit {
    /// Where it is in the picture.
    pub area: Area,
    /// As the network saw it.
    pub image: Image,
    /// The likeliest digit.
    pub digit: usize,
    /// Of the ten digits.
    pub probabilities: [f32; CLASSES],
}

impl Digit {
    fn new(area: Area, image: Image, probabilities: [f32; CLASSES]) -> Digit {
        let digit = (0..CLASSES)
            .max_by(|&a, &b| probabilities[a].total_cmp(&probabilities[b]))
            .expect("there are ten classes");
        Digit { area, image, digit, probabilities }
    }

    /// The probability of the likeliest digit.
    pub fn confidence(&self) -> f32 {
        self.probabilities[self.digit]
    }

    /// Whether the network has little doubt, and it has not more strokes than a digit.
    pub fn is_sure(&self) -> bool {
        self.confidence() >= SURE && !shape::is_crowded(&self.image)
    }
}

/// The digit, with a question mark if it is not sure.
impl fmt::Display for Digit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.digit, if self.is_sure() { "" } else { "?" })
    }
}

/// The digits of a picture, line by line.
pub struct Reading {
    pub lines: Vec<Vec<Digit>>,
    /// How many pieces of ink were not looked at, because there are too many.
    pub left_out: usize,
}

impl Reading {
    pub fn digits(&self) -> impl Iterator<Item = &Digit> {
        self.lines.iter().flatten()
    }

    /// The digits alone; a line break between lines.
    pub fn text(&self) -> String {
        let line = |line: &Vec<Digit>| line.iter().map(|digit| digit.digit.to_string()).collect();
        self.lines.iter().map(line).collect::<Vec<String>>().join("\n")
    }
}

/// Reads the bytes of an image file.
pub fn read(model: &Model, file: &[u8]) -> Result<Reading, String> {
    let found = find(file, decode::MOST_PIXELS)?;
    let mut probabilities = Vec::new();
    for images in found.images().chunks(BATCH) {
        let rows = || -> tf::Result<Vec<f32>> {
            let batch = Tensor::from_slice(images.as_flattened(), [images.len(), SIZE, SIZE])?;
            nn::softmax(model.logits(&preprocess(&batch)?)?)?.to_vec::<f32>()
        };
        probabilities.extend(rows().map_err(|error| error.to_string())?);
    }
    Ok(found.read(&probabilities))
}

/// What may be digits in a picture, line by line, to be read by a network.
pub struct Found {
    lines: Vec<Vec<Candidate>>,
    left_out: usize,
}

/// Finds what may be digits in the bytes of an image file, which has at most `most_pixels`.
pub fn find(file: &[u8], most_pixels: u64) -> Result<Found, String> {
    Ok(candidates::find(decode::gray_up_to(file, most_pixels)?))
}

impl Found {
    fn one(candidate: Candidate) -> Found {
        Found { lines: vec![vec![candidate]], left_out: 0 }
    }

    /// What the network is to read.
    pub fn images(&self) -> Vec<Image> {
        let mut images = Vec::new();
        self.lines.iter().flatten().for_each(|candidate| candidate.images(&mut images));
        images
    }

    /// The reading, given the ten probabilities of each image in turn. Decides what was left open.
    pub fn read(self, probabilities: &[f32]) -> Reading {
        let mut rows = probabilities.as_chunks::<CLASSES>().0.iter();
        let mut decided = |candidate: Candidate| candidate.decided(&mut rows);
        let line = |line: Vec<Candidate>| line.into_iter().flat_map(&mut decided).collect();
        Reading { lines: self.lines.into_iter().map(line).collect(), left_out: self.left_out }
    }
}

#[cfg(test)]
mod tests;
