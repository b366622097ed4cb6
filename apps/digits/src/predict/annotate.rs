//! A picture with boxes around what was read.

use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};

use crate::reading::{Area, Digit, Gray, Reading, upright};

/// Boxes of digits that are sure, and of those that are not.
const SURE: [u8; 3] = [0, 140, 70];
const UNSURE: [u8; 3] = [210, 60, 0];

/// Pictures smaller than this are enlarged to the other, so that the readings can be read.
const SMALL: usize = 200;
const LEGIBLE: usize = 400;

/// Rows of 5 pixels for each digit and the question mark, the leftmost in the highest of 5 bits.
const GLYPHS: [[u8; 7]; 11] = [
    [0b01110, 0b10001, 0b10011, 0b10101, 0b11001, 0b10001, 0b01110],
    [0b00100, 0b01100, 0b00100, 0b00100, 0b00100, 0b00100, 0b01110],
    [0b01110, 0b10001, 0b00001, 0b00110, 0b01000, 0b10000, 0b11111],
    [0b01110, 0b10001, 0b00001, 0b00110, 0b00001, 0b10001, 0b01110],
    [0b00010, 0b00110, 0b01010, 0b10010, 0b11111, 0b00010, 0b00010],
    [0b11111, 0b10000, 0b11110, 0b00001, 0b00001, 0b10001, 0b01110],
    [0b00110, 0b01000, 0b10000, 0b11110, 0b10001, 0b10001, 0b01110],
    [0b11111, 0b00001, 0b00010, 0b00100, 0b01000, 0b01000, 0b01000],
    [0b01110, 0b10001, 0b10001, 0b01110, 0b10001, 0b10001, 0b01110],
    [0b01110, 0b10001, 0b10001, 0b01111, 0b00001, 0b00010, 0b01100],
    [0b01110, 0b10001, 0b00001, 0b00010, 0b00100, 0b00000, 0b00100],
];

/// The picture in an image file, upright and in gray, with a box and a reading at each digit, as PNG.
pub fn png(file: &[u8], reading: &Reading) -> Result<Vec<u8>, String> {
    let gray = upright(file)?;
    let mut canvas = Canvas::new(&gray);
    let mut heights: Vec<usize> = reading.digits().map(|digit| digit.area.height()).collect();
    heights.sort_unstable();
    let usual = canvas.scale * heights.get(heights.len() / 2).copied().unwrap_or_default();
    for digit in reading.digits() {
        canvas.mark(digit, usual);
    }
    let mut bytes = Vec::new();
    let (width, height) = (canvas.width as u32, canvas.height as u32);
    PngEncoder::new(&mut bytes)
        .write_image(canvas.pixels.as_flattened(), width, height, ExtendedColorType::Rgb8)
        .map_err(|error| error.to_string())?;
    Ok(bytes)
}

/// A picture to draw on, small ones enlarged.
struct Canvas {
    scale: usize,
    width: usize,
    height: usize,
    pixels: Vec<[u8; 3]>,
}

impl Canvas {
    fn new(gray: &Gray) -> Canvas {
        let side = gray.width.max(gray.height);
        let scale = if side < SMALL { LEGIBLE.div_ceil(side) } else { 1 };
        let (width, height) = (gray.width * scale, gray.height * scale);
        let pixel = |i: usize| gray.pixels[i / width / scale * gray.width + i % width / scale];
        let pixels = (0..width * height).map(|i| [pixel(i); 3]).collect();
        Canvas { scale, width, height, pixels }
    }

    /// Draws a digit's box, and above it, where there is room, its reading: a third as high as digits
    /// usually are here.
    fn mark(&mut self, digit: &Digit, usual: usize) {
        let color = if digit.is_sure() { SURE } else { UNSURE };
        let Area { left, top, right, bottom } = digit.area;
        let line = (self.width.max(self.height) / 800).max(1) as isize;
        let [left, top, right, bottom] =
            [left, top, right, bottom].map(|edge| (edge * self.scale) as isize);
        let (left, top) = (left - 2 * line, top - 2 * line);
        let (right, bottom) = (right + 2 * line, bottom + 2 * line);
        self.fill(left, top, right, top + line, color);
        self.fill(left, bottom - line, right, bottom, color);
        self.fill(left, top, left + line, bottom, color);
        self.fill(right - line, top, right, bottom, color);
        let dot = (usual as isize / 24).max(1);
        let tall = 9 * dot;
        let label = if top >= tall { top - tall } else { bottom.min(self.height as isize - tall) };
        let glyphs: &[usize] = if digit.is_sure() { &[digit.digit] } else { &[digit.digit, 10] };
        let wide = (6 * glyphs.len() as isize + 1) * dot;
        let from = left.min(self.width as isize - wide).max(0);
        self.fill(from, label, from + wide, label + tall, color);
        for (place, &glyph) in glyphs.iter().enumerate() {
            self.glyph(glyph, from + (6 * place as isize + 1) * dot, label + dot, dot);
        }
    }

    fn glyph(&mut self, glyph: usize, left: isize, top: isize, dot: isize) {
        for (row, bits) in GLYPHS[glyph].iter().enumerate() {
            for column in 0..5 {
                if bits >> (4 - column) & 1 == 1 {
                    let (x, y) = (left + column * dot, top + row as isize * dot);
                    self.fill(x, y, x + dot, y + dot, [255; 3]);
                }
            }
        }
    }

    /// Fills what of a rectangle lies within the picture.
    fn fill(&mut self, left: isize, top: isize, right: isize, bottom: isize, color: [u8; 3]) {
        let within = |edge: isize, length: usize| edge.clamp(0, length as isize) as usize;
        let (left, right) = (within(left, self.width), within(right, self.width));
        for y in within(top, self.height)..within(bottom, self.height) {
            if left < right {
                self.pixels[y * self.width + left..y * self.width + right].fill(color);
            }
        }
    }
}
