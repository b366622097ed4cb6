//! PNG files of tensors: `tf.io.encode_png`.
//!
//! The format is the W3C's "Portable Network Graphics (PNG) Specification", third edition.

use std::io::Write;

use flate2::write::ZlibEncoder;
use flate2::{Compression, Crc};
use tapeflow_core::{DType, Error, Result, Tensor};

/// An image as the bytes of a PNG file: `tf.io.encode_png`.
///
/// The shape is `[height, width, channels]` with 1 channel for grey, 2 for grey and alpha, 3 for
/// RGB, 4 for RGBA; the values are `uint8` or `uint16`.
///
/// # Errors
/// Another dtype or shape; no pixels, or more along an axis than PNG can say (2^31 - 1).
///
/// ```
/// use tapeflow_core::Tensor;
/// use tapeflow_data::encode_png;
///
/// let red_and_blue = Tensor::from([[[255u8, 0, 0], [0, 0, 255]]]);
/// let png = encode_png(&red_and_blue)?;
/// assert!(png.starts_with(b"\x89PNG"));
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
pub fn encode_png(image: &Tensor) -> Result<Vec<u8>> {
    let refuse = |why: &str| Error::shape(format!("io.encode_png: {why}, got {}", image.spec()));
    let &[height, width, channels] = image.shape().dims() else {
        return Err(refuse("an image has the shape [height, width, channels]"));
    };
    // The format's numbers for what the samples of a pixel mean.
    let colour: u8 = match channels {
        1 => 0,
        2 => 4,
        3 => 2,
        4 => 6,
        _ => return Err(refuse("an image has 1 to 4 channels")),
    };
    if [height, width].iter().any(|side| !(1..1 << 31).contains(side)) {
        return Err(refuse("height and width must be 1 to 2^31 - 1"));
    }
    let samples = match image.dtype() {
        DType::UInt8 => image.as_slice::<u8>()?.to_vec(),
        DType::UInt16 => image.as_slice::<u16>()?.iter().flat_map(|x| x.to_be_bytes()).collect(),
        dtype => {
            return Err(Error::dtype(format!(
                "io.encode_png: the image is {dtype}, must be uint8 or uint16"
            )));
        }
    };
    let depth = image.dtype().size();
    let mut header = Vec::with_capacity(13);
    header.extend((width as u32).to_be_bytes());
    header.extend((height as u32).to_be_bytes());
    header.extend([8 * depth as u8, colour, 0, 0, 0]);
    let pixel = depth * channels;
    let data = compressed(&samples, width * pixel, pixel)
        .map_err(|error| Error::io("io.encode_png", error))?;

    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    chunk(&mut png, *b"IHDR", &header);
    // A chunk says its length in 31 bits.
    for part in data.chunks(1 << 30) {
        chunk(&mut png, *b"IDAT", part);
    }
    chunk(&mut png, *b"IEND", &[]);
    Ok(png)
}

fn chunk(png: &mut Vec<u8>, kind: [u8; 4], data: &[u8]) {
    let mut crc = Crc::new();
    crc.update(&kind);
    crc.update(data);
    png.extend((data.len() as u32).to_be_bytes());
    png.extend(kind);
    png.extend(data);
    png.extend(crc.sum().to_be_bytes());
}

/// The rows, of `row` bytes, each filtered and all deflated; a pixel has `pixel` bytes.
fn compressed(samples: &[u8], row: usize, pixel: usize) -> std::io::Result<Vec<u8>> {
    let mut deflate = ZlibEncoder::new(Vec::new(), Compression::default());
    let mut above = vec![0; row];
    let mut best = Vec::new();
    let mut filtered = Vec::new();
    for row in samples.chunks_exact(row) {
        // The specification's advice: the filter whose differences are least.
        let mut least = u64::MAX;
        for filter in FILTERS {
            filter.apply(row, &above, pixel, &mut filtered);
            let cost = filtered[1..].iter().map(|&x| u64::from((x as i8).unsigned_abs())).sum();
            if cost < least {
                least = cost;
                std::mem::swap(&mut best, &mut filtered);
            }
        }
        deflate.write_all(&best)?;
        above.copy_from_slice(row);
    }
    deflate.finish()
}

/// What a byte is stored as the difference to.
#[derive(Clone, Copy)]
enum Filter {
    None,
    Sub,
    Up,
    Average,
    Paeth,
}

const FILTERS: [Filter; 5] =
    [Filter::None, Filter::Sub, Filter::Up, Filter::Average, Filter::Paeth];

impl Filter {
    /// The filter's number and the filtered row.
    fn apply(self, row: &[u8], above: &[u8], pixel: usize, filtered: &mut Vec<u8>) {
        filtered.clear();
        filtered.push(self as u8);
        filtered.extend((0..row.len()).map(|i| {
            let before = |row: &[u8]| if i < pixel { 0 } else { row[i - pixel] };
            let predicted = match self {
                Filter::None => 0,
                Filter::Sub => before(row),
                Filter::Up => above[i],
                Filter::Average => before(row).midpoint(above[i]),
                Filter::Paeth => paeth(before(row), above[i], before(above)),
            };
            row[i].wrapping_sub(predicted)
        }));
    }
}

/// Whichever of left, above and above left is nearest to `left + above - above left`.
fn paeth(left: u8, above: u8, corner: u8) -> u8 {
    let estimate = i16::from(left) + i16::from(above) - i16::from(corner);
    let distance = |x: u8| (estimate - i16::from(x)).abs();
    if distance(left) <= distance(above) && distance(left) <= distance(corner) {
        left
    } else if distance(above) <= distance(corner) {
        above
    } else {
        corner
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A picture with smooth and rough parts.
    fn sample(height: usize, width: usize, channels: usize) -> Vec<u16> {
        let value = |i: usize| {
            let (y, x, c) = (i / channels / width, i / channels % width, i % channels);
            if x < width / 2 { y * 900 + x * 700 + c * 5000 } else { (i * i * 7919) ^ (y * 31) }
        };
        (0..height * width * channels).map(|i| value(i) as u16).collect()
    }

    /// The samples of a file, by the `png` crate.
    fn decoded(bytes: &[u8]) -> (Vec<u8>, png::OutputInfo) {
        let mut reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info().unwrap();
        let mut samples = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut samples).unwrap();
        (samples, info)
    }

    #[test]
    fn another_decoder_reads_the_same_pixels() {
        for (height, width) in [(1, 1), (28, 28), (3, 70), (65, 2)] {
            for (channels, colour) in [
                (1, png::ColorType::Grayscale),
                (2, png::ColorType::GrayscaleAlpha),
                (3, png::ColorType::Rgb),
                (4, png::ColorType::Rgba),
            ] {
                let wide = sample(height, width, channels);
                let narrow: Vec<u8> = wide.iter().map(|x| (x >> 8) as u8).collect();
                let shape = [height, width, channels];
                let image = Tensor::from_slice(&narrow, shape).unwrap();
                let (samples, info) = decoded(&encode_png(&image).unwrap());
                assert_eq!((info.height, info.width), (height as u32, width as u32));
                assert_eq!((info.color_type, info.bit_depth), (colour, png::BitDepth::Eight));
                assert_eq!(samples, narrow);
                let image = Tensor::from_slice(&wide, shape).unwrap();
                let (samples, info) = decoded(&encode_png(&image).unwrap());
                assert_eq!(info.bit_depth, png::BitDepth::Sixteen);
                let expected: Vec<u8> = wide.iter().flat_map(|x| x.to_be_bytes()).collect();
                assert_eq!(samples, expected);
            }
        }
    }

    #[test]
    fn what_is_no_image_is_refused() {
        let zeros = |shape: &[usize]| {
            Tensor::from_slice(
                &vec![0u8; shape.iter().product()],
                tapeflow_core::Shape::new(shape)?,
            )
        };
        for shape in [&[28, 28][..], &[0, 3, 1], &[2, 0, 3], &[2, 2, 5], &[2, 2, 0]] {
            let error = encode_png(&zeros(shape).unwrap()).unwrap_err();
            assert!(error.is_shape() && error.to_string().starts_with("io.encode_png"), "{error}");
        }
        let floats = Tensor::from([[[0.5f32]]]);
        assert!(encode_png(&floats).unwrap_err().is_dtype());
    }
}
