//! A picture of what was read wrong, as TensorBoard shows it.

use tapeflow as tf;
use tf::Tensor;

use crate::dataset::Split;
use crate::evaluate::Reading;
use crate::model::SIZE;

/// Pictures in a row, and at most on a sheet.
const COLUMNS: usize = 8;
const MOST: usize = 32;
/// How many times larger pictures and letters are drawn.
const SCALE: usize = 2;
/// A picture, its caption and some air, in pixels.
const WIDTH: usize = SCALE * SIZE + 12;
const HEIGHT: usize = SCALE * SIZE + 24;

const PAPER: [u8; 3] = [255; 3];
const RIGHT: [u8; 3] = [90; 3];
const WRONG: [u8; 3] = [200, 30, 30];

/// Letters of 3 x 5 pixels, a row in three bits: the digits, and an arrow.
const LETTERS: [[u8; 5]; 11] = [
    [0b111, 0b101, 0b101, 0b101, 0b111],
    [0b010, 0b110, 0b010, 0b010, 0b111],
    [0b111, 0b001, 0b111, 0b100, 0b111],
    [0b111, 0b001, 0b111, 0b001, 0b111],
    [0b101, 0b101, 0b111, 0b001, 0b001],
    [0b111, 0b100, 0b111, 0b001, 0b111],
    [0b111, 0b100, 0b111, 0b101, 0b111],
    [0b111, 0b001, 0b010, 0b010, 0b010],
    [0b111, 0b101, 0b111, 0b101, 0b111],
    [0b111, 0b101, 0b111, 0b001, 0b111],
    [0b000, 0b010, 0b111, 0b010, 0b000],
];
const ARROW: usize = 10;

/// The pictures of `readings`, as many as there is place for, each with its digit and what was read
/// instead; `[1, height, width, 3]`.
pub fn draw(split: &Split, readings: &[Reading]) -> tf::Result<Tensor> {
    let readings = &readings[..readings.len().min(MOST)];
    let columns = readings.len().clamp(1, COLUMNS);
    let rows = readings.len().div_ceil(COLUMNS).max(1);
    let mut sheet = Sheet::new(rows * HEIGHT, columns * WIDTH);
    for (place, reading) in readings.iter().enumerate() {
        let (top, left) = (place / COLUMNS * HEIGHT + 4, place % COLUMNS * WIDTH + 6);
        let picture = split.images.row(reading.image)?;
        for (i, &ink) in picture.as_slice::<u8>()?.iter().enumerate() {
            sheet.square(top + i / SIZE * SCALE, left + i % SIZE * SCALE, [255 - ink; 3]);
        }
        let caption = [(reading.label, RIGHT), (ARROW, RIGHT), (reading.read, WRONG)];
        for (i, (letter, colour)) in caption.into_iter().enumerate() {
            let top = top + SCALE * (SIZE + 2);
            let left = left + SCALE * (SIZE / 2 - 7 + 5 * i);
            sheet.letter(top, left, letter, colour);
        }
    }
    sheet.into_tensor()
}

struct Sheet {
    width: usize,
    pixels: Vec<[u8; 3]>,
}

impl Sheet {
    fn new(height: usize, width: usize) -> Sheet {
        Sheet { width, pixels: vec![PAPER; height * width] }
    }

    /// A square of `SCALE` pixels.
    fn square(&mut self, top: usize, left: usize, colour: [u8; 3]) {
        for row in top..top + SCALE {
            self.pixels[row * self.width + left..][..SCALE].fill(colour);
        }
    }

    fn letter(&mut self, top: usize, left: usize, letter: usize, colour: [u8; 3]) {
        for (y, row) in LETTERS[letter].into_iter().enumerate() {
            for x in (0..3).filter(|x| row & (0b100 >> x) != 0) {
                self.square(top + SCALE * y, left + SCALE * x, colour);
            }
        }
    }

    fn into_tensor(self) -> tf::Result<Tensor> {
        let height = self.pixels.len() / self.width;
        Tensor::from_slice(self.pixels.as_flattened(), [1, height, self.width, 3])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sheet_has_a_place_for_each_reading() {
        let images = Tensor::from_slice(&[200u8; 40 * SIZE * SIZE], [40, SIZE, SIZE]).unwrap();
        let split = Split { images, labels: Tensor::from(vec![4u8; 40]) };
        let reading = |image| Reading { image, label: 4, read: 9, confidence: 0.9, given: 0.1 };
        let readings: Vec<Reading> = (0..40).map(reading).collect();
        for (count, rows, columns) in [(0, 1, 1), (1, 1, 1), (9, 2, 8), (40, 4, 8)] {
            let sheet = draw(&split, &readings[..count]).unwrap();
            assert_eq!(sheet.shape().dims(), [1, rows * HEIGHT, columns * WIDTH, 3]);
            let ink = sheet.as_slice::<u8>().unwrap().iter().filter(|&&x| x == 55).count();
            assert_eq!(ink, count.min(MOST) * SIZE * SIZE * SCALE * SCALE * 3);
        }
    }
}
