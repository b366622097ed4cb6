//! The values of tensors in streams of either byte order.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read};
use std::path::Path;
use std::sync::Arc;

use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::execute::allocate;
use crate::shape::Spec;
use crate::tensor::Tensor;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ByteOrder {
    Little,
    Big,
}

impl ByteOrder {
    pub(super) const NATIVE: ByteOrder =
        if cfg!(target_endian = "big") { ByteOrder::Big } else { ByteOrder::Little };
}

/// Opens a file and hands `read` its content and length; errors name the file.
pub(super) fn read_file<T>(
    path: &Path,
    read: impl FnOnce(&mut dyn Read, u64) -> Result<T>,
) -> Result<T> {
    let open = || {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(io::Error::from(ErrorKind::IsADirectory));
        }
        Ok((file, metadata.len()))
    };
    let (file, len) =
        open().map_err(|error| Error::io(format!("reading {}", path.display()), error))?;
    read(&mut BufReader::new(file), len)
        .map_err(|error| error.context(format_args!("reading {}", path.display())))
}

/// Reads the next values, of which the caller knows that the stream is long enough to hold them.
pub(super) fn read_tensor(input: &mut dyn Read, spec: Spec, order: ByteOrder) -> Result<Tensor> {
    let mut buffer = allocate(&spec)?;
    let bytes = &mut buffer.as_mut_slice::<u8>()[..spec.num_bytes()];
    read_exact(input, bytes)?;
    if order != ByteOrder::NATIVE {
        reverse_each(bytes, spec.dtype.size());
    }
    if spec.dtype == DType::Bool && bytes.iter().any(|&byte| byte > 1) {
        return Err(Error::data(format!("a value of {spec} is neither 0 nor 1")));
    }
    Ok(Tensor::from_buffer(spec, Arc::new(buffer)))
}

/// Fills `bytes`; a stream that ends before is a data error.
pub(super) fn read_exact(input: &mut dyn Read, bytes: &mut [u8]) -> Result<()> {
    input.read_exact(bytes).map_err(|error| match error.kind() {
        ErrorKind::UnexpectedEof => Error::data("the file ends too early"),
        _ => Error::io("the read failed", error),
    })
}

/// The values in little-endian byte order.
pub(crate) fn little_endian(tensor: &Tensor) -> Cow<'_, [u8]> {
    if ByteOrder::NATIVE == ByteOrder::Little {
        return Cow::Borrowed(tensor.as_bytes());
    }
    let mut bytes = tensor.as_bytes().to_vec();
    reverse_each(&mut bytes, tensor.dtype().size());
    Cow::Owned(bytes)
}

fn reverse_each(bytes: &mut [u8], size: usize) {
    bytes.chunks_exact_mut(size).for_each(<[u8]>::reverse);
}
