//! Training images distorted at random: what pens, hands, scanners and cameras do to digits.

use tapeflow as tf;
use tf::{DType, Tensor, random};

use crate::model::{PIXELS, SIZE};

/// A bend is given by the shifts of so many points along each side, which lie
/// [`SPACING`] pixels apart.
const GRID: usize = 7;
const SPACING: f32 = 7.0;
/// Random numbers that an image takes: those of [`Distortion::new`], then the bend's.
const NUMBERS: usize = 12 + 2 * GRID * GRID;

// Standard deviations of a distortion's parameters at full strength; none exceeds twice as much.
const ROTATION: f32 = 0.14;
const LOG_SCALE: f32 = 0.09;
const SHEAR: f32 = 0.14;
const SHIFT: f32 = 0.7;
const BEND: f32 = 1.8;
const THICKNESS: f32 = 0.35;
const LOST_PIXELS: f32 = 8.0;
const BLUR: f32 = 0.3;
const LOG_CONTRAST: f32 = 0.5;
const LOG_GAMMA: f32 = 0.25;
const NOISE: f32 = 6.0;

/// The ink, of 0 to 1, that a higher contrast leaves as it is.
const PIVOT: f32 = 0.4;

/// The part of the run after which distortions begin to fade, and how strong they are at its end:
/// the last steps see images more like those that are to be read.
const FADES: f32 = 0.4;
const FADED: f32 = 0.35;

/// Distorts the batches of a run of `steps` steps. What a step's images become depends on the seed
/// and the step alone, so a resumed run goes on as it would have.
pub struct Augment {
    seed: i64,
    steps: u64,
}

impl Augment {
    pub fn new(seed: i64, steps: u64) -> Augment {
        Augment { seed, steps }
    }

    /// The images `[n, 28, 28]`, bytes, as step number `step` is to see them.
    pub fn call(&self, images: &Tensor, step: i64) -> tf::Result<Tensor> {
        let n = images.shape()[0];
        let strength = self.strength(step);
        let stream = |part: i64| [self.seed, step.wrapping_mul(2).wrapping_add(part)];
        let numbers = random::stateless_truncated_normal(
            [n, NUMBERS],
            stream(0),
            0.0,
            f64::from(strength),
            DType::Float32,
        )?;
        let noise = random::stateless_uniform([n, PIXELS], stream(1), -1.0, 1.0, DType::Float32)?;
        let distorted: Vec<u8> = images
            .as_slice::<u8>()?
            .as_chunks::<PIXELS>()
            .0
            .iter()
            .zip(numbers.as_slice::<f32>()?.as_chunks::<NUMBERS>().0)
            .zip(noise.as_slice::<f32>()?.as_chunks::<PIXELS>().0)
            .flat_map(|((image, numbers), noise)| Distortion::new(numbers).apply(image, noise))
            .collect();
        Tensor::from_slice(&distorted, [n, SIZE, SIZE])
    }

    fn strength(&self, step: i64) -> f32 {
        let done = step as f32 / self.steps as f32;
        1.0 - (1.0 - FADED) * ((done - FADES) / (1.0 - FADES)).clamp(0.0, 1.0)
    }
}

type Image = [f32; PIXELS];

/// What happens to one image.
struct Distortion<'a> {
    /// From a place in the result, seen from the middle, to one in the original.
    linear: [[f32; 2]; 2],
    shift: [f32; 2],
    /// Shifts of the grid's points: all across, then all down.
    bend: &'a [f32],
    /// How far a pixel goes, twice, towards the most ink or, if negative, the least around it.
    thickness: f32,
    /// The pixels a side of a coarser picture, through which the image goes.
    side: usize,
    blur: f32,
    contrast: f32,
    gamma: f32,
    noise: f32,
}

impl Distortion<'_> {
    /// From numbers with a standard deviation of 1 or less.
    fn new(numbers: &[f32; NUMBERS]) -> Distortion<'_> {
        let ([angle, wide, high, shear, x, y, thickness, lost, blur, contrast, gamma, noise], bend) =
            numbers.split_first_chunk().expect("an image takes more than twelve numbers");
        let (sin, cos) = (angle * ROTATION).sin_cos();
        let (wide, high) = ((wide * LOG_SCALE).exp(), (high * LOG_SCALE).exp());
        let shear = shear * SHEAR;
        Distortion {
            linear: [
                [cos * wide, (shear * cos - sin) * high],
                [sin * wide, (shear * sin + cos) * high],
            ],
            shift: [x * SHIFT, y * SHIFT],
            bend,
            // A line does not bear to lose as much as it may gain.
            thickness: thickness.max(-0.7) * THICKNESS,
            side: SIZE - (lost * LOST_PIXELS).abs() as usize,
            blur: (blur * BLUR).abs(),
            contrast: (contrast * LOG_CONTRAST).abs().exp(),
            gamma: (gamma * LOG_GAMMA).exp(),
            noise: (noise * NOISE).abs(),
        }
    }

    fn apply(&self, image: &[u8; PIXELS], noise: &Image) -> [u8; PIXELS] {
        let mut pixels = self.warp(image);
        for _ in 0..2 {
            pixels = around(&pixels, |center, sides| {
                let extreme = if self.thickness > 0.0 { f32::max } else { f32::min };
                let extreme = sides.into_iter().fold(center, extreme);
                center + self.thickness.abs() * (extreme - center)
            });
        }
        pixels = coarsened(pixels, self.side);
        pixels = around(&pixels, |center, sides| {
            center + self.blur * (sides.iter().sum::<f32>() / 4.0 - center)
        });
        let full = pixels.iter().fold(1.0, |a: f32, &b| a.max(b));
        std::array::from_fn(|i| {
            let ink = PIVOT + self.contrast * (pixels[i] / full - PIVOT);
            let ink = ink.clamp(0.0, 1.0).powf(self.gamma);
            // The conversion saturates.
            (255.0 * ink + self.noise * noise[i]).round() as u8
        })
    }

    /// Moves, turns, scales, shears and bends.
    fn warp(&self, image: &[u8; PIXELS]) -> Image {
        let middle = (SIZE - 1) as f32 / 2.0;
        let [[xx, xy], [yx, yy]] = self.linear;
        let (bend_x, bend_y) = self.bend.split_at(GRID * GRID);
        let mut warped = [0.0; PIXELS];
        for (row, pixels) in warped.chunks_exact_mut(SIZE).enumerate() {
            let (across, down) = (bend_row(bend_x, row), bend_row(bend_y, row));
            for (column, pixel) in pixels.iter_mut().enumerate() {
                let (x, y) = (column as f32 - middle, row as f32 - middle);
                let from_x = xx * x + xy * y + self.shift[0] + spline(&across, column);
                let from_y = yx * x + yy * y + self.shift[1] + spline(&down, column);
                *pixel = sample(image, from_x + middle, from_y + middle);
            }
        }
        warped
    }
}

/// The shifts along a row of pixels, in pixels, at each of the grid's columns.
fn bend_row(bend: &[f32], row: usize) -> [f32; GRID] {
    std::array::from_fn(|column| {
        let points: [f32; GRID] = std::array::from_fn(|i| bend[i * GRID + column]);
        BEND * spline(&points, row)
    })
}

/// The value at a pixel of the uniform cubic B-spline through whose control points, the first one
/// spacing before the first pixel, a smooth curve is led.
fn spline(points: &[f32; GRID], pixel: usize) -> f32 {
    let place = pixel as f32 / SPACING;
    let (i, t) = (place as usize, place.fract());
    let u = 1.0 - t;
    (u * u * u * points[i]
        + (4.0 - 3.0 * t * t * (2.0 - t)) * points[i + 1]
        + (4.0 - 3.0 * u * u * (2.0 - u)) * points[i + 2]
        + t * t * t * points[i + 3])
        / 6.0
}

/// The image between its pixels, bilinear; paper outside.
fn sample(image: &[u8; PIXELS], x: f32, y: f32) -> f32 {
    let (left, top) = (x.floor(), y.floor());
    let (dx, dy) = (x - left, y - top);
    let at = |column: f32, row: f32| {
        let inside = |place: f32| (0.0..SIZE as f32).contains(&place);
        let inside = inside(column) && inside(row);
        if inside { f32::from(image[row as usize * SIZE + column as usize]) } else { 0.0 }
    };
    let upper = at(left, top) * (1.0 - dx) + at(left + 1.0, top) * dx;
    let lower = at(left, top + 1.0) * (1.0 - dx) + at(left + 1.0, top + 1.0) * dx;
    upper * (1.0 - dy) + lower * dy
}

/// The image as a picture of `side` by `side` pixels shows it.
fn coarsened(image: Image, side: usize) -> Image {
    if side == SIZE {
        return image;
    }
    let mut result = image;
    // Row by row; laid down as columns, so that the second time does the other direction.
    for _ in 0..2 {
        let rows = result;
        for (row, line) in rows.as_chunks::<SIZE>().0.iter().enumerate() {
            for (column, value) in coarse_line(line, side).into_iter().enumerate() {
                result[column * SIZE + row] = value;
            }
        }
    }
    result
}

/// The means of `side` equal parts of a line, then between their middles straight lines.
fn coarse_line(line: &[f32; SIZE], side: usize) -> [f32; SIZE] {
    let length = SIZE as f32 / side as f32;
    let mut parts = [0.0; SIZE];
    for (i, part) in parts[..side].iter_mut().enumerate() {
        let (start, end) = (i as f32 * length, (i + 1) as f32 * length);
        let pixels = start as usize..(end.ceil() as usize).min(SIZE);
        for (pixel, value) in pixels.clone().zip(&line[pixels]) {
            let covered = end.min((pixel + 1) as f32) - start.max(pixel as f32);
            *part += value * covered / length;
        }
    }
    std::array::from_fn(|i| {
        let place = ((i as f32 + 0.5) / length - 0.5).clamp(0.0, (side - 1) as f32);
        let (left, part) = (place as usize, place.fract());
        parts[left] * (1.0 - part) + parts[(left + 1).min(side - 1)] * part
    })
}

/// Each pixel from itself and its four neighbours; those on the border stay.
fn around(pixels: &Image, f: impl Fn(f32, [f32; 4]) -> f32) -> Image {
    let mut result = *pixels;
    for row in 1..SIZE - 1 {
        for i in row * SIZE + 1..(row + 1) * SIZE - 1 {
            let sides = [pixels[i - SIZE], pixels[i - 1], pixels[i + 1], pixels[i + SIZE]];
            result[i] = f(pixels[i], sides);
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A bar in the middle, three pixels wide between pale sides.
    fn bar() -> [u8; PIXELS] {
        std::array::from_fn(|i| {
            let (row, column) = (i / SIZE, i % SIZE);
            match column {
                _ if !(6..22).contains(&row) => 0,
                12..15 => 255,
                11 | 15 => 90,
                _ => 0,
            }
        })
    }

    fn ink(image: &[u8]) -> f32 {
        image.iter().map(|&pixel| f32::from(pixel)).sum()
    }

    /// The bar, distorted by one parameter of `Distortion::new`.
    fn with(parameter: usize, value: f32) -> [u8; PIXELS] {
        let mut numbers = [0.0; NUMBERS];
        numbers[parameter] = value;
        Distortion::new(&numbers).apply(&bar(), &[1.0; PIXELS])
    }

    /// The mean place of the ink: column, row.
    fn center(image: &[u8]) -> (f32, f32) {
        let mean = |place: fn(usize) -> usize| {
            let weighted = image.iter().enumerate();
            weighted.map(|(i, &pixel)| place(i) as f32 * f32::from(pixel)).sum::<f32>() / ink(image)
        };
        (mean(|i| i % SIZE), mean(|i| i / SIZE))
    }

    #[test]
    fn no_distortion_changes_nothing() {
        assert_eq!(with(0, 0.0), bar());
    }

    #[test]
    fn each_parameter_does_what_its_name_says() {
        let (x, y) = center(&bar());
        let moved = center(&with(4, 2.0));
        assert!((moved.0 - (x - 2.0 * SHIFT)).abs() < 0.01 && (moved.1 - y).abs() < 0.01);
        let moved = center(&with(5, -1.5));
        assert!((moved.1 - (y + 1.5 * SHIFT)).abs() < 0.01 && (moved.0 - x).abs() < 0.01);
        // A factor of coordinates above 1 makes the digit smaller.
        for parameter in [1, 2] {
            assert!(ink(&with(parameter, 2.0)) < 0.9 * ink(&bar()));
            assert!(ink(&with(parameter, -2.0)) > 1.1 * ink(&bar()));
        }
        for parameter in [0, 3] {
            let (turned, back) = (with(parameter, 1.5), with(parameter, -1.5));
            let top = |image: &[u8; PIXELS]| center(&image[..10 * SIZE]).0;
            assert!((top(&turned) - top(&back)).abs() > 1.0);
        }
        assert!(ink(&with(6, 1.0)) > 1.2 * ink(&bar()), "thicker");
        assert!(ink(&with(6, -1.0)) < 0.9 * ink(&bar()), "thinner");
        let coarse = with(7, 2.0);
        assert!(coarse[14 * SIZE + 16] > 0 && coarse[14 * SIZE + 12] < 255, "coarser");
        let blurred = with(8, 1.0);
        assert!(blurred[14 * SIZE + 16] > 0 && blurred[14 * SIZE + 12] < 255);
        let side = |image: [u8; PIXELS]| image[14 * SIZE + 11];
        assert!(side(with(9, 1.0)) < 90 && side(with(9, -1.0)) < 90, "contrast");
        assert!(side(with(10, 1.0)) < 90 && side(with(10, -1.0)) > 90, "gamma");
        assert_eq!(with(11, 1.0)[0], NOISE as u8);
        let bent = with(12 + GRID * GRID / 2, 2.0);
        assert!(bent[14 * SIZE..15 * SIZE] != bar()[14 * SIZE..15 * SIZE]);
        assert_eq!(bent[..SIZE], bar()[..SIZE]);
    }

    #[test]
    fn a_spline_of_equal_points_is_flat_and_weights_add_up() {
        for pixel in 0..SIZE {
            assert!((spline(&[3.0; GRID], pixel) - 3.0).abs() < 1e-5);
        }
    }

    #[test]
    fn a_step_gives_the_same_images_always_and_each_step_others() {
        let images = Tensor::from_slice(&[bar(), bar()].concat(), [2, SIZE, SIZE]).unwrap();
        let augment = Augment::new(7, 100);
        let bytes = |step| augment.call(&images, step).unwrap().to_vec::<u8>().unwrap();
        let first = bytes(3);
        assert_eq!(bytes(3), first);
        assert_ne!(bytes(4), first);
        assert_ne!(first[..PIXELS], first[PIXELS..]);
    }

    #[test]
    fn distortions_fade_in_the_end() {
        let augment = Augment::new(0, 1000);
        assert_eq!((augment.strength(0), augment.strength((1000.0 * FADES) as i64)), (1.0, 1.0));
        assert!((augment.strength(1000) - FADED).abs() < 1e-6);
        assert!((FADED..1.0).contains(&augment.strength(850)));
    }
}
