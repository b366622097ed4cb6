//! Image files, decoded to shades of gray.

use std::io::Cursor;

use image::metadata::Orientation;
use image::{
    DynamicImage, GenericImageView, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits,
    Rgba,
};

use super::gray::Gray;

/// The most pixels that a picture may have.
pub const MOST_PIXELS: u64 = 50_000_000;
/// The most bytes that a picture may take while it is made gray, as decoded and gray together: enough for
/// 50 megapixels of 8-bit RGBA. What a decoder needs besides, it is told to keep within the same.
const MOST_BYTES: u64 = 256 << 20;

/// Decodes a PNG, JPEG, WebP, BMP, GIF or TIFF file, by the format that it begins like, and turns it
/// as its EXIF orientation says. Transparent parts are white; of several frames, the first counts.
pub fn gray(file: &[u8]) -> Result<Gray, String> {
    gray_up_to(file, MOST_PIXELS)
}

/// Decodes a picture of at most `most_pixels`.
pub fn gray_up_to(file: &[u8], most_pixels: u64) -> Result<Gray, String> {
    let too_much = || format!("it takes more than {MOST_BYTES} bytes to decode");
    let unreadable = |error: ImageError| match error {
        ImageError::Limits(_) => too_much(),
        error => format!("not a readable image: {error}"),
    };
    let mut reader = ImageReader::new(Cursor::new(file))
        .with_guessed_format()
        .map_err(|error| format!("not a readable image: {error}"))?;
    let format = reader.format();
    if !format.is_some_and(is_read) {
        return Err("not an image: it begins like none of PNG, JPEG, WebP, BMP, GIF, TIFF".into());
    }
    let mut limits = Limits::default();
    limits.max_alloc = Some(MOST_BYTES);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(unreadable)?;
    let (width, height) = decoder.dimensions();
    if width == 0 || height == 0 {
        return Err(format!("it has no pixels: its size is {width}x{height}"));
    }
    let pixels = u64::from(width) * u64::from(height);
    if pixels > most_pixels {
        return Err(format!("it is {width}x{height}; the most is {most_pixels} pixels"));
    }
    if decoder.total_bytes() + pixels > MOST_BYTES {
        return Err(too_much());
    }
    let orientation = match format {
        // An EXIF block is a TIFF file, so the reader of the one reads the other.
        Some(ImageFormat::Tiff) => Orientation::from_exif_chunk(file),
        _ => decoder.orientation().ok(),
    };
    let picture = DynamicImage::from_decoder(decoder).map_err(unreadable)?;
    Ok(turned(luminance(picture), orientation.unwrap_or(Orientation::NoTransforms)))
}

fn is_read(format: ImageFormat) -> bool {
    use ImageFormat::{Bmp, Gif, Jpeg, Png, Tiff, WebP};
    matches!(format, Png | Jpeg | WebP | Bmp | Gif | Tiff)
}

fn luminance(picture: DynamicImage) -> Gray {
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let on_white = |rgba: &Rgba<u8>| {
        let [red, green, blue, opacity] = rgba.0;
        over_white(luma(red, green, blue), opacity)
    };
    let pixels = match picture {
        DynamicImage::ImageLuma8(gray) => gray.into_raw(),
        DynamicImage::ImageLumaA8(gray) => gray.pixels().map(|p| over_white(p[0], p[1])).collect(),
        DynamicImage::ImageRgb8(rgb) => rgb.pixels().map(|p| luma(p[0], p[1], p[2])).collect(),
        DynamicImage::ImageRgba8(rgba) => rgba.pixels().map(on_white).collect(),
        // Deeper samples are rounded to 8 bits: no pen differs from its paper by less.
        other => other.pixels().map(|(_, _, rgba)| on_white(&rgba)).collect(),
    };
    Gray { width, height, pixels }
}

/// By Rec. 601's weights, as JPEG files have them.
fn luma(red: u8, green: u8, blue: u8) -> u8 {
    let [red, green, blue] = [red, green, blue].map(u32::from);
    ((19_595 * red + 38_470 * green + 7_471 * blue + (1 << 15)) >> 16) as u8
}

fn over_white(gray: u8, opacity: u8) -> u8 {
    let (gray, opacity) = (u32::from(gray), u32::from(opacity));
    ((gray * opacity + 255 * (255 - opacity) + 127) / 255) as u8
}

fn turned(picture: Gray, orientation: Orientation) -> Gray {
    let Gray { width, height, ref pixels } = picture;
    let (right, bottom) = (width - 1, height - 1);
    // Where the pixel at x, y of the turned picture lies in the stored one.
    let place: fn(usize, usize, usize, usize) -> (usize, usize) = match orientation {
        Orientation::NoTransforms => return picture,
        Orientation::FlipHorizontal => |x, y, right, _| (right - x, y),
        Orientation::Rotate180 => |x, y, right, bottom| (right - x, bottom - y),
        Orientation::FlipVertical => |x, y, _, bottom| (x, bottom - y),
        Orientation::Rotate90FlipH => |x, y, _, _| (y, x),
        Orientation::Rotate90 => |x, y, _, bottom| (y, bottom - x),
        Orientation::Rotate270FlipH => |x, y, right, bottom| (right - y, bottom - x),
        Orientation::Rotate270 => |x, y, right, _| (right - y, x),
    };
    let (wide, tall) = match orientation.to_exif() {
        5.. => (height, width),
        _ => (width, height),
    };
    let mut turned = Vec::with_capacity(pixels.len());
    for y in 0..tall {
        turned.extend((0..wide).map(|x| {
            let (x, y) = place(x, y, right, bottom);
            pixels[y * width + x]
        }));
    }
    Gray { width: wide, height: tall, pixels: turned }
}

#[cfg(test)]
mod tests {
    use image::{GrayAlphaImage, GrayImage, ImageBuffer, Luma, Rgb, RgbImage};
    use tapeflow_testing::mutation;

    use super::*;

    /// The formats that are read.
    const FORMATS: [ImageFormat; 6] = [
        ImageFormat::Png,
        ImageFormat::Jpeg,
        ImageFormat::WebP,
        ImageFormat::Bmp,
        ImageFormat::Gif,
        ImageFormat::Tiff,
    ];

    /// Where the stored upper left corner belongs, for each orientation from 1 on: right, down.
    const UPRIGHT: [(bool, bool); 8] = [
        (false, false),
        (true, false),
        (true, true),
        (false, true),
        (false, false),
        (true, false),
        (true, true),
        (false, true),
    ];

    fn encoded(picture: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        picture.into().write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    /// 12 wide, 10 high, dark in the upper left corner.
    fn corner() -> RgbImage {
        RgbImage::from_fn(12, 10, |x, y| if x < 4 && y < 4 { Rgb([20; 3]) } else { Rgb([230; 3]) })
    }

    fn dark_corner(picture: &Gray) -> (bool, bool) {
        let dark = |x, y| picture.pixels[y * picture.width + x] < 80;
        let (right, bottom) = (picture.width - 2, picture.height - 2);
        let corners = [dark(1, 1), dark(right, 1), dark(1, bottom), dark(right, bottom)];
        assert_eq!(corners.iter().filter(|&&dark| dark).count(), 1);
        (corners[1] || corners[3], corners[2] || corners[3])
    }

    #[test]
    fn every_format_is_the_same_gray() {
        for format in FORMATS {
            let picture = gray(&encoded(corner(), format)).unwrap();
            assert_eq!((picture.width, picture.height), (12, 10), "{format:?}");
            for (i, &pixel) in picture.pixels.iter().enumerate() {
                let wanted = if i % 12 < 4 && i / 12 < 4 { 20 } else { 230 };
                // JPEG rings beside the edge.
                let allowed = if format == ImageFormat::Jpeg { 24 } else { 2 };
                assert!(pixel.abs_diff(wanted) <= allowed, "{format:?}: {pixel} at {i}");
            }
        }
    }

    #[test]
    fn depths_colours_and_opacity() {
        let sixteen =
            ImageBuffer::from_fn(3, 1, |x, _| Luma([[0u16, 257 * 100, 65535][x as usize]]));
        let bytes = encoded(DynamicImage::ImageLuma16(sixteen), ImageFormat::Png);
        assert_eq!(gray(&bytes).unwrap().pixels, [0, 100, 255]);
        let colours = RgbImage::from_fn(3, 1, |x, _| {
            let mut colour = [0; 3];
            colour[x as usize] = 255;
            Rgb(colour)
        });
        assert_eq!(gray(&encoded(colours, ImageFormat::Bmp)).unwrap().pixels, [76, 150, 29]);
        let glass = GrayAlphaImage::from_raw(3, 1, vec![0, 0, 0, 255, 100, 128]).unwrap();
        let bytes = encoded(DynamicImage::ImageLumaA8(glass), ImageFormat::Png);
        assert_eq!(gray(&bytes).unwrap().pixels, [255, 0, 177]);
    }

    /// An EXIF block, which is a TIFF file, with nothing in it but the orientation.
    fn exif(orientation: u8) -> Vec<u8> {
        let entry = [1, 18, 0, 3, 0, 0, 0, 1, 0, orientation, 0, 0];
        [b"MM\0*\0\0\0\x08\0\x01", entry.as_slice(), &[0; 4]].concat()
    }

    #[test]
    fn pictures_are_turned_upright_from_all_eight_orientations() {
        let jpeg = encoded(corner(), ImageFormat::Jpeg);
        for (orientation, wanted) in (1..).zip(UPRIGHT) {
            let block = [b"Exif\0\0", exif(orientation).as_slice()].concat();
            let length = (block.len() as u16 + 2).to_be_bytes();
            let bytes = [&jpeg[..2], &[0xff, 0xe1], &length, &block, &jpeg[2..]].concat();
            let picture = gray(&bytes).unwrap();
            let upright = if orientation < 5 { (12, 10) } else { (10, 12) };
            assert_eq!((picture.width, picture.height), upright, "orientation {orientation}");
            assert_eq!(dark_corner(&picture), wanted, "orientation {orientation}");
        }
    }

    /// A gray TIFF file of `corner` with an orientation, written by hand: the encoder knows none.
    fn tiff(orientation: u32) -> Vec<u8> {
        let (short, long) = (3u16, 4u16);
        let entries = [
            (256u16, long, 12u32),
            (257, long, 10),
            (258, short, 8),
            (259, short, 1),
            (262, short, 1),
            (273, long, 8 + 2 + 10 * 12 + 4),
            (274, short, orientation),
            (277, short, 1),
            (278, long, 10),
            (279, long, 120),
        ];
        let mut bytes = b"II*\0\x08\0\0\0\x0a\0".to_vec();
        for (tag, kind, value) in entries {
            bytes.extend([tag.to_le_bytes(), kind.to_le_bytes()].as_flattened());
            bytes.extend([1u32.to_le_bytes(), value.to_le_bytes()].as_flattened());
        }
        bytes.extend([0; 4]);
        bytes.extend(corner().pixels().map(|pixel| pixel[0]));
        bytes
    }

    #[test]
    fn tiff_says_its_orientation_itself() {
        for (orientation, wanted) in (1..).zip(UPRIGHT) {
            let picture = gray(&tiff(orientation)).unwrap();
            let upright = if orientation < 5 { (12, 10) } else { (10, 12) };
            assert_eq!((picture.width, picture.height), upright, "orientation {orientation}");
            assert_eq!(dark_corner(&picture), wanted, "orientation {orientation}");
        }
    }

    /// A PNG whose header says that it is of another size.
    fn png_that_claims(width: u32, height: u32, picture: impl Into<DynamicImage>) -> Vec<u8> {
        let mut bytes = encoded(picture, ImageFormat::Png);
        bytes[16..20].copy_from_slice(&width.to_be_bytes());
        bytes[20..24].copy_from_slice(&height.to_be_bytes());
        let mut crc = flate2::Crc::new();
        crc.update(&bytes[12..29]);
        bytes[29..33].copy_from_slice(&crc.sum().to_be_bytes());
        bytes
    }

    fn refusal(bytes: &[u8]) -> String {
        gray(bytes).err().expect("it must be refused")
    }

    #[test]
    fn claims_of_huge_sizes_are_refused() {
        for (width, height) in [(u32::MAX, 1), (60_000, 60_000), (10_000, 5_001)] {
            let why = refusal(&png_that_claims(width, height, GrayImage::new(8, 8)));
            assert!(why.contains("the most is") || why.contains("to decode"), "{why}");
        }
        // Few enough pixels, of 8 bytes each.
        let deep = png_that_claims(7000, 7000, DynamicImage::new_rgba16(8, 8));
        assert_eq!(refusal(&deep), "it takes more than 268435456 bytes to decode");
        let mut gif = encoded(RgbImage::new(8, 8), ImageFormat::Gif);
        gif[6..10].fill(0xff);
        refusal(&gif);
        let mut bmp = encoded(GrayImage::new(8, 8), ImageFormat::Bmp);
        bmp[18..26].copy_from_slice(&[0xff, 0xff, 0, 0, 0xff, 0xff, 0, 0]);
        refusal(&bmp);
    }

    #[test]
    fn a_small_file_of_many_pixels_is_refused() {
        let bytes = encoded(GrayImage::new(8000, 8000), ImageFormat::Png);
        assert!(bytes.len() < 1_000_000, "{} bytes", bytes.len());
        assert_eq!(refusal(&bytes), "it is 8000x8000; the most is 50000000 pixels");
    }

    #[test]
    fn cut_off_and_damaged_files_are_read_or_refused() {
        let noisy = RgbImage::from_fn(40, 30, |x, y| Rgb([(x * y) as u8, (x * 7) as u8, y as u8]));
        for format in FORMATS {
            let valid = encoded(noisy.clone(), format);
            let mut refused = 0;
            let mut check = |bytes: &[u8]| match gray(bytes) {
                Ok(picture) => assert_eq!(picture.pixels.len(), picture.width * picture.height),
                Err(_) => refused += 1,
            };
            (0..valid.len()).step_by(valid.len() / 40 + 1).for_each(|end| check(&valid[..end]));
            mutation::for_each(&valid, 300, &mut check);
            assert!(refused > 50, "{format:?}: only {refused} were refused");
        }
    }

    #[test]
    fn other_files_are_refused() {
        for bytes in [&b""[..], b"\0", b"a letter", &[0; 100], b"P5 1 1 255 a"] {
            let why = refusal(bytes);
            assert!(why.contains("none of PNG, JPEG"), "{why}");
        }
        for beginning in [&b"GIF89a"[..], b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM", b"II*\0"] {
            refusal(beginning);
        }
    }
}
