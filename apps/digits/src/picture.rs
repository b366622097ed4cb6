//! Image files as a network reads them.

use std::fs::File;
use std::io::{BufRead, BufReader, Seek};
use std::path::Path;

use image::imageops::FilterType;
use image::{DynamicImage, GrayImage, ImageReader, Limits};

use crate::model::SIZE;

/// The largest width or height that is read, in pixels.
const LARGEST_SIDE: u32 = 10_000;
/// The most memory that decoding may take, in bytes.
const MOST_BYTES: u64 = 512 << 20;

/// Reads a PNG or JPEG file as 28x28 bytes, ink 255 and paper 0.
///
/// Transparency is paper. An image whose border is light is taken as dark ink on light paper and
/// inverted; one of another size is scaled, whole, to 28x28.
pub fn read(path: &Path) -> Result<Vec<u8>, String> {
    let file = File::open(path).map_err(|error| format!("cannot read it: {error}"))?;
    decode(BufReader::new(file))
}

fn decode(source: impl BufRead + Seek) -> Result<Vec<u8>, String> {
    let mut reader = ImageReader::new(source)
        .with_guessed_format()
        .map_err(|error| format!("cannot read it: {error}"))?;
    let mut limits = Limits::default();
    limits.max_image_width = Some(LARGEST_SIDE);
    limits.max_image_height = Some(LARGEST_SIDE);
    limits.max_alloc = Some(MOST_BYTES);
    reader.limits(limits);
    let image = reader.decode().map_err(|error| format!("not a readable image: {error}"))?;
    Ok(normalise(&image))
}

fn normalise(image: &DynamicImage) -> Vec<u8> {
    let mut gray = over_white(image);
    if border_mean(&gray) > 127.0 {
        image::imageops::invert(&mut gray);
    }
    if gray.dimensions() != (SIZE as u32, SIZE as u32) {
        gray = image::imageops::resize(&gray, SIZE as u32, SIZE as u32, FilterType::Triangle);
    }
    gray.into_raw()
}

/// Luminance, with transparent parts white. An image without transparency is as it is.
fn over_white(image: &DynamicImage) -> GrayImage {
    if !image.color().has_alpha() {
        return image.to_luma8();
    }
    let with_alpha = image.to_luma_alpha8();
    GrayImage::from_fn(image.width(), image.height(), |x, y| {
        let [luminance, alpha] = with_alpha.get_pixel(x, y).0.map(u32::from);
        image::Luma([((luminance * alpha + 255 * (255 - alpha) + 127) / 255) as u8])
    })
}

fn border_mean(image: &GrayImage) -> f64 {
    let (width, height) = image.dimensions();
    let on_border = |x: u32, y: u32| x == 0 || y == 0 || x + 1 == width || y + 1 == height;
    let border = image.enumerate_pixels().filter(|&(x, y, _)| on_border(x, y));
    let (sum, count) = border
        .fold((0.0, 0.0), |(sum, count), (_, _, pixel)| (sum + f64::from(pixel.0[0]), count + 1.0));
    sum / f64::max(count, 1.0)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use image::{DynamicImage, ImageFormat, Luma, LumaA};
    use tapeflow_testing::mutation;

    use super::*;

    fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    /// A picture of 28x28 as PNG, whose header says that it is of another size.
    fn png_that_claims(width: u32, height: u32) -> Vec<u8> {
        let mut bytes = encoded(&DynamicImage::new_rgba16(28, 28), ImageFormat::Png);
        bytes[16..20].copy_from_slice(&width.to_be_bytes());
        bytes[20..24].copy_from_slice(&height.to_be_bytes());
        let mut crc = flate2::Crc::new();
        crc.update(&bytes[12..29]);
        bytes[29..33].copy_from_slice(&crc.sum().to_be_bytes());
        bytes
    }

    #[test]
    fn dark_on_light_and_light_on_dark_are_the_same_digit() {
        let light = GrayImage::from_fn(56, 56, |x, _| Luma([if x / 8 == 3 { 255 } else { 0 }]));
        let mut dark = light.clone();
        image::imageops::invert(&mut dark);
        let from_light = normalise(&DynamicImage::ImageLuma8(light));
        assert_eq!(from_light, normalise(&DynamicImage::ImageLuma8(dark)));
        assert_eq!((from_light[13], from_light[0]), (255, 0));
    }

    #[test]
    fn transparency_is_paper() {
        let image =
            image::GrayAlphaImage::from_fn(28, 28, |x, _| LumaA([0, if x == 5 { 255 } else { 0 }]));
        let pixels = normalise(&DynamicImage::ImageLumaA8(image));
        assert_eq!((pixels[5], pixels[6]), (255, 0));
    }

    #[test]
    fn damaged_pictures_are_read_or_refused() {
        let picture = GrayImage::from_fn(40, 30, |x, y| Luma([(x * y) as u8]));
        let picture = DynamicImage::ImageLuma8(picture);
        let sixteen_with_alpha = DynamicImage::ImageRgba16(picture.to_rgba16());
        let mut refused = 0;
        for valid in [
            encoded(&picture, ImageFormat::Png),
            encoded(&sixteen_with_alpha, ImageFormat::Png),
            encoded(&picture, ImageFormat::Jpeg),
        ] {
            assert_eq!(decode(Cursor::new(&valid)).map(|pixels| pixels.len()), Ok(SIZE * SIZE));
            mutation::for_each(&valid, 500, |bytes| match decode(Cursor::new(bytes)) {
                Ok(pixels) => assert_eq!(pixels.len(), SIZE * SIZE),
                Err(_) => refused += 1,
            });
        }
        assert!(refused > 500, "only {refused} were refused");
    }

    #[test]
    fn a_claim_of_a_huge_size_is_refused() {
        for (width, height) in [(u32::MAX, 1), (60_000, 60_000), (10_000, 10_000)] {
            assert!(decode(Cursor::new(png_that_claims(width, height))).is_err());
        }
    }

    #[test]
    fn odd_sizes_are_scaled() {
        for (width, height) in [(1, 1), (10_000, 1), (1, 10_000), (29, 27)] {
            let picture = encoded(&DynamicImage::new_luma8(width, height), ImageFormat::Png);
            assert_eq!(decode(Cursor::new(picture)).map(|pixels| pixels.len()), Ok(SIZE * SIZE));
        }
    }
}
