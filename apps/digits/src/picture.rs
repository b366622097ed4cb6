//! Image files as a network reads them.

mod decode;
mod resize;

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::model::SIZE;

/// The largest file that is read, in bytes.
const LARGEST_FILE: u64 = 256 << 20;

/// A picture in shades of gray, row by row, black 0 and white 255.
struct Gray {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
}

/// Reads a PNG or JPEG file as 28x28 bytes, ink 255 and paper 0.
///
/// Transparency is paper. An image whose border is light is taken as dark ink on light paper and
/// inverted; one of another size is scaled, whole, to 28x28.
pub fn read(path: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(LARGEST_FILE + 1).read_to_end(&mut bytes))
        .map_err(|error| format!("cannot read it: {error}"))?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err(format!("has more than {LARGEST_FILE} bytes"));
    }
    decode::gray(&bytes).map(normalise)
}

fn normalise(mut picture: Gray) -> Vec<u8> {
    if border_mean(&picture) > 127.0 {
        picture.pixels.iter_mut().for_each(|pixel| *pixel = !*pixel);
    }
    resize::square(&picture, SIZE)
}

fn border_mean(picture: &Gray) -> f64 {
    let (mut sum, mut count) = (0.0, 0.0);
    for (y, row) in picture.pixels.chunks_exact(picture.width).enumerate() {
        for (x, &pixel) in row.iter().enumerate() {
            if x == 0 || y == 0 || x + 1 == picture.width || y + 1 == picture.height {
                sum += f64::from(pixel);
                count += 1.0;
            }
        }
    }
    sum / f64::max(count, 1.0)
}

#[cfg(test)]
mod tests {
    use tapeflow_testing::mutation;

    use super::*;

    /// A dark one on light paper, in colors, 40x40.
    const ONE: &[u8] = include_bytes!("../tests/data/one.jpg");

    fn encoded(
        (width, height): (u32, u32),
        color: png::ColorType,
        depth: png::BitDepth,
        samples: &[u8],
    ) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, width, height);
        encoder.set_color(color);
        encoder.set_depth(depth);
        encoder.write_header().unwrap().write_image_data(samples).unwrap();
        bytes
    }

    fn gray(width: u32, height: u32, pixel: impl Fn(u32, u32) -> u8) -> Vec<u8> {
        let pixels: Vec<u8> = (0..height)
            .flat_map(|y| (0..width).map(move |x| (x, y)))
            .map(|(x, y)| pixel(x, y))
            .collect();
        encoded((width, height), png::ColorType::Grayscale, png::BitDepth::Eight, &pixels)
    }

    fn decode(bytes: &[u8]) -> Result<Vec<u8>, String> {
        decode::gray(bytes).map(normalise)
    }

    /// A picture of 28x28 as PNG, whose header says that it is of another size.
    fn png_that_claims(width: u32, height: u32) -> Vec<u8> {
        let samples = [0; 28 * 28 * 8];
        let (color, depth) = (png::ColorType::Rgba, png::BitDepth::Sixteen);
        let mut bytes = encoded((28, 28), color, depth, &samples);
        bytes[16..20].copy_from_slice(&width.to_be_bytes());
        bytes[20..24].copy_from_slice(&height.to_be_bytes());
        let mut crc = flate2::Crc::new();
        crc.update(&bytes[12..29]);
        bytes[29..33].copy_from_slice(&crc.sum().to_be_bytes());
        bytes
    }

    #[test]
    fn dark_on_light_and_light_on_dark_are_the_same_digit() {
        let stroke = |x| if x / 8 == 3 { 255 } else { 0 };
        let light = decode(&gray(56, 56, |x, _| stroke(x))).unwrap();
        assert_eq!(light, decode(&gray(56, 56, |x, _| !stroke(x))).unwrap());
        assert_eq!((light[13], light[0]), (255, 0));
    }

    #[test]
    fn a_photo_is_read_by_its_luminance() {
        let pixels = decode(ONE).unwrap();
        // The stroke is 6 of 40 pixels wide, from row 6 to row 33.
        for (y, row) in pixels.chunks_exact(28).enumerate() {
            let paper = [&row[..10], &row[18..]].concat();
            assert!(paper.iter().all(|&pixel| pixel < 40), "row {y}: {row:?}");
            match y {
                5..23 => assert!(row[13] > 190 && row[14] > 190, "row {y}: {row:?}"),
                0..3 | 25.. => assert!(row[13] < 40 && row[14] < 40, "row {y}: {row:?}"),
                _ => {}
            }
        }
    }

    #[test]
    fn colors_and_depths_are_the_same_gray() {
        use png::{BitDepth, ColorType};
        let size = (28, 28);
        let shades: Vec<u8> =
            (0..784u32).map(|i| if i / 28 % 27 == 0 { 0 } else { i as u8 }).collect();
        let as_gray =
            decode(&encoded(size, ColorType::Grayscale, BitDepth::Eight, &shades)).unwrap();
        assert_eq!(as_gray, shades);
        let repeated = |times: usize| -> Vec<u8> {
            shades.iter().flat_map(|&shade| std::iter::repeat_n(shade, times)).collect()
        };
        // A sample of 16 bits whose bytes are equal is the same share of its range.
        for (color, depth, samples) in [
            (ColorType::Rgb, BitDepth::Eight, repeated(3)),
            (ColorType::Grayscale, BitDepth::Sixteen, repeated(2)),
            (ColorType::Rgb, BitDepth::Sixteen, repeated(6)),
        ] {
            assert_eq!(
                decode(&encoded(size, color, depth, &samples)).unwrap(),
                shades,
                "{color:?}"
            );
        }
        let bits: Vec<u8> = vec![0b0001_1000; 28 * 4];
        let black_and_white =
            decode(&encoded(size, ColorType::Grayscale, BitDepth::One, &bits)).unwrap();
        assert_eq!(black_and_white[..9], [0, 0, 0, 255, 255, 0, 0, 0, 0]);
    }

    #[test]
    fn transparency_is_paper() {
        let samples: Vec<u8> =
            (0..784).flat_map(|i| [0, if i % 28 == 5 { 255 } else { 0 }]).collect();
        let (color, depth) = (png::ColorType::GrayscaleAlpha, png::BitDepth::Eight);
        let pixels = decode(&encoded((28, 28), color, depth, &samples)).unwrap();
        assert_eq!((pixels[5], pixels[6]), (255, 0));
    }

    #[test]
    fn damaged_pictures_are_read_or_refused() {
        let samples: Vec<u8> = (0..40 * 30 * 8).map(|i| (i * i / 7) as u8).collect();
        let sixteen_with_alpha =
            encoded((40, 30), png::ColorType::Rgba, png::BitDepth::Sixteen, &samples);
        let mut refused = 0;
        for valid in [&gray(40, 30, |x, y| (x * y) as u8), &sixteen_with_alpha, ONE] {
            assert_eq!(decode(valid).map(|pixels| pixels.len()), Ok(SIZE * SIZE));
            mutation::for_each(valid, 500, |bytes| match decode(bytes) {
                Ok(pixels) => assert_eq!(pixels.len(), SIZE * SIZE),
                Err(_) => refused += 1,
            });
        }
        assert!(refused > 500, "only {refused} were refused");
    }

    #[test]
    fn a_claim_of_a_huge_size_is_refused() {
        for (width, height) in [(u32::MAX, 1), (60_000, 60_000), (10_000, 10_000)] {
            assert!(decode(&png_that_claims(width, height)).is_err());
        }
    }

    #[test]
    fn odd_sizes_are_scaled() {
        for (width, height) in [(1, 1), (10_000, 1), (1, 10_000), (29, 27)] {
            let pixels = decode(&gray(width, height, |_, _| 0)).unwrap();
            assert_eq!(pixels.len(), SIZE * SIZE);
        }
    }

    #[test]
    fn other_files_are_refused() {
        for bytes in [&b""[..], b"GIF89a", &[0; 100]] {
            let error = decode(bytes).unwrap_err();
            assert!(error.contains("neither like PNG nor like JPEG"), "{error}");
        }
    }
}
