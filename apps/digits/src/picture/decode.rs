//! PNG and JPEG files, decoded to shades of gray.

use std::io::Cursor;

use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::Gray;

/// The largest width or height that is read, in pixels.
const LARGEST_SIDE: usize = 10_000;
/// The most memory that decoded samples may take, in bytes.
const MOST_BYTES: usize = 512 << 20;

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";
const JPEG: &[u8] = b"\xff\xd8\xff";

/// Decodes a file, by the format that it begins like; transparent parts are white.
pub fn gray(file: &[u8]) -> Result<Gray, String> {
    let samples = if file.starts_with(PNG) {
        png(file)
    } else if file.starts_with(JPEG) {
        jpeg(file)
    } else {
        Err("it begins neither like PNG nor like JPEG".into())
    };
    let samples = samples.map_err(|error| format!("not a readable image: {error}"))?;
    Ok(Gray {
        width: samples.width,
        height: samples.height,
        pixels: samples.data.chunks_exact(samples.channels).map(gray_over_white).collect(),
    })
}

/// Pixels of 1 (gray), 2 (gray and opacity), 3 (RGB) or 4 samples (RGB and opacity), row by row.
struct Samples {
    width: usize,
    height: usize,
    channels: usize,
    data: Vec<u8>,
}

fn png(file: &[u8]) -> Result<Samples, String> {
    let limits = png::Limits { bytes: MOST_BYTES };
    let mut decoder = png::Decoder::new_with_limits(Cursor::new(file), limits);
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    decoder.set_transformations(png::Transformations::EXPAND);
    let mut reader = decoder.read_info().map_err(|error| error.to_string())?;
    let (width, height) = reader.info().size();
    let (width, height) = (width as usize, height as usize);
    let mut data = buffer(width, height, reader.output_buffer_size())?;
    reader.next_frame(&mut data).map_err(|error| error.to_string())?;
    let (color, depth) = reader.output_color_type();
    let channels = color.samples();
    if depth == png::BitDepth::Sixteen {
        let eight_bits =
            |sample: &[u8; 2]| ((u32::from(u16::from_be_bytes(*sample)) + 128) / 257) as u8;
        data = data.as_chunks().0.iter().map(eight_bits).collect();
    }
    Ok(Samples { width, height, channels, data })
}

fn jpeg(file: &[u8]) -> Result<Samples, String> {
    let options = DecoderOptions::default()
        .set_strict_mode(false)
        .set_max_width(LARGEST_SIDE)
        .set_max_height(LARGEST_SIDE);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(file), options);
    decoder.decode_headers().map_err(|error| error.to_string())?;
    let (width, height) = decoder.dimensions().ok_or("it has no size")?;
    let gray = decoder.input_colorspace() == Some(ColorSpace::Luma);
    let (channels, space) = if gray { (1, ColorSpace::Luma) } else { (3, ColorSpace::RGB) };
    decoder.set_options(options.jpeg_set_out_colorspace(space));
    let mut data = buffer(width, height, decoder.output_buffer_size())?;
    decoder.decode_into(&mut data).map_err(|error| error.to_string())?;
    Ok(Samples { width, height, channels, data })
}

/// Memory for the samples of a picture whose header gives these numbers.
fn buffer(width: usize, height: usize, bytes: Option<usize>) -> Result<Vec<u8>, String> {
    if width == 0 || height == 0 || width > LARGEST_SIDE || height > LARGEST_SIDE {
        return Err(format!("its size is {width}x{height}; sides are from 1 to {LARGEST_SIDE}"));
    }
    match bytes {
        Some(bytes) if bytes <= MOST_BYTES => Ok(vec![0; bytes]),
        _ => Err(format!("its {width}x{height} pixels take more than {MOST_BYTES} bytes")),
    }
}

/// The luminance of a pixel, by Rec. 709's weights, where it is transparent that of white.
fn gray_over_white(pixel: &[u8]) -> u8 {
    let luminance = |red: u8, green: u8, blue: u8| {
        (2126 * u32::from(red) + 7152 * u32::from(green) + 722 * u32::from(blue) + 5000) / 10_000
    };
    let (luminance, opacity) = match *pixel {
        [gray, opacity] => (u32::from(gray), opacity),
        [red, green, blue] => (luminance(red, green, blue), 255),
        [red, green, blue, opacity] => (luminance(red, green, blue), opacity),
        _ => (u32::from(pixel[0]), 255),
    };
    let opacity = u32::from(opacity);
    ((luminance * opacity + 255 * (255 - opacity) + 127) / 255) as u8
}
