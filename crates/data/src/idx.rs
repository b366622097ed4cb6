//! IDX, the file format of MNIST: an array of one dtype, big-endian, plain or gzipped.
//!
//! Two zero bytes, a code of the dtype, the number of axes, the extent of each axis in 32 bits,
//! then the values in row-major order. The codes are 8 for `uint8`, 9 for `int8`, 11 for `int16`,
//! 12 for `int32`, 13 for `float32` and 14 for `float64`. The format is described on the page of
//! MNIST, <http://yann.lecun.com/exdb/mnist/>.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use tapeflow_core::{DType, Error, Result, Shape, Spec, Tensor};

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Reads an IDX file, plain or gzipped, which its content tells.
///
/// No more memory is taken than about twice what the file really holds, whatever its header says.
///
/// # Errors
/// A file that cannot be read; one that is not IDX, ends early, goes on after the values, or whose
/// gzip stream is corrupt. Each message names the file.
///
/// ```
/// use tapeflow_data::idx;
///
/// let path = std::env::temp_dir().join(format!("tapeflow-idx-{}", std::process::id()));
/// std::fs::write(&path, [0, 0, 8, 2, 0, 0, 0, 1, 0, 0, 0, 3, 7, 8, 9]).unwrap();
/// let x = idx::read(&path)?;
/// assert_eq!(x.shape().dims(), [1, 3]);
/// assert_eq!(x.to_vec::<u8>()?, [7, 8, 9]);
/// # std::fs::remove_file(path).unwrap();
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
pub fn read(path: impl AsRef<Path>) -> Result<Tensor> {
    let path = path.as_ref();
    let file = File::open(path)
        .map_err(|error| Error::io(format!("reading {}", path.display()), error))?;
    read_from(BufReader::with_capacity(1 << 16, file), path)
}

/// Reads an IDX stream; `path` is for messages.
fn read_from(mut reader: impl BufRead, path: &Path) -> Result<Tensor> {
    let head = reader.fill_buf().map_err(|error| read_error(error, false));
    let gzipped = head.map(|head| head.starts_with(&GZIP_MAGIC));
    let tensor = gzipped.and_then(|gzipped| {
        if gzipped { parse(MultiGzDecoder::new(reader), true) } else { parse(reader, false) }
    });
    tensor.map_err(|error| error.context(path.display()))
}

fn parse(mut reader: impl Read, gzipped: bool) -> Result<Tensor> {
    let spec = parse_header(&mut reader, gzipped)?;
    let expected = spec.num_bytes();
    let mut bytes = Vec::new();
    // Grows with what is read, not with what the header promises.
    (&mut reader)
        .take(expected as u64)
        .read_to_end(&mut bytes)
        .map_err(|error| read_error(error, gzipped))?;
    if bytes.len() < expected {
        return Err(Error::data(format!(
            "truncated: the header says {spec}, {expected} bytes, and {} follow",
            bytes.len()
        )));
    }
    // Also makes a gzip stream check its checksum.
    if read_up_to(&mut reader, &mut [0], gzipped)? > 0 {
        return Err(Error::data(format!(
            "more bytes follow than the {expected} of {spec} that the header says"
        )));
    }
    if cfg!(target_endian = "little") {
        bytes.chunks_exact_mut(spec.dtype.size()).for_each(<[u8]>::reverse);
    }
    Tensor::from_bytes(spec, &bytes)
}

fn parse_header(reader: &mut impl Read, gzipped: bool) -> Result<Spec> {
    let mut magic = [0; 4];
    let length = read_up_to(reader, &mut magic, gzipped)?;
    if length < magic.len() {
        return Err(Error::data(format!("truncated: {length} bytes where an IDX header has 4")));
    }
    let [0, 0, code, rank] = magic else { return Err(wrong_magic(magic)) };
    let dtype = match code {
        0x08 => DType::UInt8,
        0x09 => DType::Int8,
        0x0b => DType::Int16,
        0x0c => DType::Int32,
        0x0d => DType::Float32,
        0x0e => DType::Float64,
        _ => return Err(wrong_magic(magic)),
    };
    let mut dims = Vec::with_capacity(rank.into());
    for axis in 0..rank {
        let mut extent = [0; 4];
        if read_up_to(reader, &mut extent, gzipped)? < extent.len() {
            return Err(Error::data(format!(
                "truncated: the IDX header has {rank} axes and ends in axis {axis}"
            )));
        }
        dims.push(u32::from_be_bytes(extent) as usize);
    }
    Ok(Spec::new(dtype, Shape::new(&dims)?))
}

fn wrong_magic(magic: [u8; 4]) -> Error {
    Error::data(format!(
        "not an IDX file: it begins with {:#010x}, images begin with 0x00000803 and labels with \
         0x00000801",
        u32::from_be_bytes(magic)
    ))
}

/// Fills `buffer` as far as the stream goes; returns how far.
fn read_up_to(reader: &mut impl Read, buffer: &mut [u8], gzipped: bool) -> Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(length) => filled += length,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(read_error(error, gzipped)),
        }
    }
    Ok(filled)
}

fn read_error(error: io::Error, gzipped: bool) -> Error {
    match error.kind() {
        ErrorKind::OutOfMemory => {
            Error::resource_exhausted("no memory for its values").with_source(error)
        }
        ErrorKind::InvalidInput | ErrorKind::InvalidData | ErrorKind::UnexpectedEof if gzipped => {
            Error::data("corrupt gzip").with_source(error)
        }
        _ => Error::io("reading", error),
    }
}

#[cfg(test)]
mod tests;
