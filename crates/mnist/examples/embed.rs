//! Makes the files in `data/` from the four genuine IDX files, gzipped or not, in a directory:
//!
//! ```text
//! cargo run --release --example embed -- DIRECTORY crates/mnist/data
//! ```

#![forbid(unsafe_code)]

use std::error::Error;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::{env, fs};

use brotli::enc::BrotliEncoderParams;
use flate2::read::GzDecoder;

const IMAGE_HEADER: usize = 16;
const IMAGE: usize = 28 * 28;

/// Of each split: its name in the files' names, its number of images and that of its parts.
const SPLITS: [(&str, usize, usize); 2] = [("train", 60_000, 4), ("t10k", 10_000, 2)];

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<PathBuf> = env::args_os().skip(1).map(PathBuf::from).collect();
    let [from, to] = &arguments[..] else {
        return Err("usage: embed DIRECTORY_OF_IDX_FILES OUTPUT_DIRECTORY".into());
    };
    for (split, images, parts) in SPLITS {
        let labels = format!("{split}-labels-idx1-ubyte");
        write(&to.join(&labels), &read(from, &labels)?)?;
        let file = read(from, &format!("{split}-images-idx3-ubyte"))?;
        if file.len() != IMAGE_HEADER + images * IMAGE {
            return Err(format!("{split} images: {} bytes, not {images} images", file.len()).into());
        }
        let pixels = &file[IMAGE_HEADER..];
        for (part, pixels) in pixels.chunks_exact(pixels.len() / parts).enumerate() {
            write(&to.join(format!("{split}-images.{part}.br")), &encode(pixels)?)?;
        }
    }
    Ok(())
}

/// The file `name` in `directory`, which may be gzipped there.
fn read(directory: &Path, name: &str) -> Result<Vec<u8>, String> {
    let gzipped = directory.join(format!("{name}.gz"));
    let (path, bytes) = if gzipped.exists() {
        let bytes = read_gzip(&gzipped);
        (gzipped, bytes)
    } else {
        let path = directory.join(name);
        let bytes = fs::read(&path);
        (path, bytes)
    };
    bytes.map_err(|error| format!("{}: {error}", path.display()))
}

fn read_gzip(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    GzDecoder::new(fs::File::open(path)?).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), String> {
    println!("{}: {} bytes", path.display(), bytes.len());
    fs::write(path, bytes).map_err(|error| format!("{}: {error}", path.display()))
}

/// The part of these pixels, as `src/decode.rs` reads it.
fn encode(mut pixels: &[u8]) -> io::Result<Vec<u8>> {
    let parameters = BrotliEncoderParams {
        quality: 11,
        lgwin: 24,
        size_hint: pixels.len(),
        ..Default::default()
    };
    let mut part = Vec::new();
    brotli::BrotliCompress(&mut pixels, &mut part, &parameters)?;
    Ok(part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tapeflow_mnist::Split;

    #[test]
    fn encodes_the_last_embedded_part() {
        let images = Split::Test.images().unwrap();
        let part = encode(&images[images.len() / 2..]).unwrap();
        assert!(part == include_bytes!("../data/t10k-images.1.br"));
    }

    #[test]
    fn missing_file_is_named() {
        let error = read(Path::new("no-such-directory"), "t10k-images-idx3-ubyte").unwrap_err();
        assert!(error.contains("t10k-images-idx3-ubyte"), "{error}");
    }
}
