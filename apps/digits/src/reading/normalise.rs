//! Digits as MNIST shows them.
//!
//! MNIST's authors left no program. This follows the reconstruction by Yadav and Bottou ("Cold Case:
//! The Lost MNIST Digits", 2019): the tight box of the ink, widened to a square about its centre, is
//! averaged to 20x20, and that is laid into 28x28 so that its centre of mass comes to the middle.

use super::crop::Crop;
use super::gray::Gray;
use crate::model::SIZE;

/// Side of the square that a digit is scaled to.
const INNER: usize = 20;
/// The smallest side, in pixels, of a square that is scaled up to [`INNER`].
const SMALLEST: f32 = 10.0;

/// A digit as the networks read it, row by row, ink 255 and paper 0.
pub type Image = [u8; SIZE * SIZE];

/// The picture itself, ink light, if it already is what MNIST would make of it: 28x28, and its ink in a
/// square of 20x20 whose centre of mass is in the middle.
pub fn as_it_is(picture: &Gray) -> Option<Image> {
    let mut image: Image = picture.pixels.as_slice().try_into().ok()?;
    if picture.width != SIZE || image[0] != image[SIZE - 1] {
        return None;
    }
    if image[0] == 255 {
        image.iter_mut().for_each(|pixel| *pixel = !*pixel);
    }
    let inked = |i: usize| image[i] > 0;
    let all = 0..SIZE * SIZE;
    let columns = extent(all.clone().filter(|&i| inked(i)).map(|i| i % SIZE))?;
    let rows = extent(all.clone().filter(|&i| inked(i)).map(|i| i / SIZE))?;
    let side = columns.max(rows);
    let sum: f32 = image.iter().map(|&ink| f32::from(ink)).sum();
    let mean = |place: fn(usize) -> usize| {
        all.clone().map(|i| f32::from(image[i]) * (place(i) as f32 + 0.5)).sum::<f32>() / sum
    };
    let (x, y) = (mean(|i| i % SIZE), mean(|i| i / SIZE));
    let centred = [x, y].iter().all(|c| (13.0..=15.5).contains(c));
    (centred && (18..=INNER).contains(&side)).then_some(image)
}

/// How many places there are from the first to the last.
fn extent(places: impl Iterator<Item = usize> + Clone) -> Option<usize> {
    Some(places.clone().max()? + 1 - places.min()?)
}

/// The ink of one digit, scaled and placed as MNIST's are.
///
/// The reconstruction doubles small squares until they have 20 pixels a side, because the program
/// that it follows could only shrink; averages over exact areas come out the same without.
pub fn normalise(ink: &Crop) -> Image {
    let Some(bounds) = ink.bounds() else { return [0; SIZE * SIZE] };
    let (wide, tall) = (bounds.right - bounds.left, bounds.bottom - bounds.top);
    let side = wide.max(tall).max(SMALLEST);
    let left = bounds.left - (side - wide) / 2.0;
    let top = bounds.top - (side - tall) / 2.0;
    let columns = Areas::new(left, side, ink.width);
    let rows = Areas::new(top, side, ink.height);
    let mut inner = [0.0f32; INNER * INNER];
    for (row, line) in inner.chunks_exact_mut(INNER).enumerate() {
        for (y, tall) in rows.of(row) {
            for (column, sum) in line.iter_mut().enumerate() {
                for (x, wide) in columns.of(column) {
                    *sum += tall * wide * ink.ink[y * ink.width + x];
                }
            }
        }
    }
    place(&inner)
}

/// Which pixels along a side make up each of the 20 of the scaled one, and by which shares.
struct Areas {
    start: f32,
    step: f32,
    length: usize,
}

impl Areas {
    fn new(start: f32, side: f32, length: usize) -> Areas {
        Areas { start, step: side / INNER as f32, length }
    }

    fn of(&self, index: usize) -> impl Iterator<Item = (usize, f32)> + use<> {
        let from = self.start + index as f32 * self.step;
        let (to, step) = (from + self.step, self.step);
        let first = from.floor().max(0.0) as usize;
        let end = (to.ceil().max(0.0) as usize).min(self.length);
        (first..end).map(move |pixel| {
            let share = (to.min(pixel as f32 + 1.0) - from.max(pixel as f32)).max(0.0);
            (pixel, share / step)
        })
    }
}

/// Stretches the darkest ink to 255 and lays the square so that its centre of mass, `c` from its
/// corner, is moved by `trunc(15 - c)`.
fn place(inner: &[f32; INNER * INNER]) -> Image {
    let most = inner.iter().copied().fold(f32::MIN_POSITIVE, f32::max).min(1.0);
    let level = |&ink: &f32| (ink / most * 255.0 + 0.5).floor().clamp(0.0, 255.0);
    let levels: Vec<f32> = inner.iter().map(level).collect();
    let (mut sum, mut across, mut down) = (0.0, 0.0, 0.0);
    for (i, &level) in levels.iter().enumerate() {
        sum += level;
        across += level * ((i % INNER) as f32 + 0.5);
        down += level * ((i / INNER) as f32 + 0.5);
    }
    let offset = |moment: f32| (15.0 - moment / f32::max(sum, 1.0)).trunc() as isize;
    let (dx, dy) = (offset(across), offset(down));
    let mut image = [0; SIZE * SIZE];
    for (i, &level) in levels.iter().enumerate() {
        let (x, y) = ((i % INNER) as isize + dx, (i / INNER) as isize + dy);
        let inside = 0..SIZE as isize;
        if inside.contains(&x) && inside.contains(&y) {
            image[y as usize * SIZE + x as usize] = level as u8;
        }
    }
    image
}
