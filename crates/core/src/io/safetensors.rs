//! Named tensors in a `.safetensors` file.
//!
//! The format: the length of the header as a little-endian `u64`, a JSON header that gives each
//! tensor's dtype, shape and place, then the values, little-endian and without gaps.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use ::safetensors::tensor::{Dtype, Metadata, TensorInfo};

use super::atomic::write_atomically;
use super::values::{ByteOrder, little_endian, read_exact, read_file, read_tensor};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::shape::{Shape, Spec};
use crate::tensor::Tensor;

/// The longest header read or written, as in the reference implementation.
const MAX_HEADER_BYTES: u64 = 100_000_000;

/// The key of the header that holds the metadata and can name no tensor.
const METADATA_KEY: &str = "__metadata__";

/// The content of a `.safetensors` file.
#[derive(Debug, Clone, Default)]
pub struct SafeTensors {
    /// The tensors by name.
    pub tensors: BTreeMap<String, Tensor>,
    /// What the file says of itself.
    pub metadata: BTreeMap<String, String>,
}

/// Reads a `.safetensors` file.
///
/// # Errors
/// A file that cannot be read, is no `.safetensors` file or is cut off; a tensor of a dtype that
/// tapeflow lacks (such as `F8_E4M3`) or of more than [`MAX_RANK`](crate::MAX_RANK) axes.
///
/// ```
/// use std::collections::BTreeMap;
/// use tapeflow_core::{Tensor, io};
///
/// let path = std::env::temp_dir().join(format!("tapeflow-doc-{}.safetensors", std::process::id()));
/// let metadata = BTreeMap::from([("model".to_string(), "lesson".to_string())]);
/// io::save_safetensors(&path, &[("w", Tensor::from([1.0f32, 2.0]))], &metadata)?;
///
/// let file = io::load_safetensors(&path)?;
/// assert_eq!(file.tensors["w"].to_vec::<f32>()?, [1.0, 2.0]);
/// assert_eq!(file.metadata, metadata);
/// # std::fs::remove_file(path).unwrap();
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
pub fn load_safetensors(path: impl AsRef<Path>) -> Result<SafeTensors> {
    read_file(path.as_ref(), read)
}

/// Reads what a `.safetensors` file holds from memory, such as a file that a program embeds.
///
/// # Errors
/// As for [`load_safetensors`].
///
/// ```
/// use tapeflow_core::io;
///
/// let header = br#"{"w":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}"#;
/// let bytes = [&(header.len() as u64).to_le_bytes()[..], header, &1.5f32.to_le_bytes()].concat();
/// assert_eq!(io::parse_safetensors(&bytes)?.tensors["w"].to_scalar::<f32>()?, 1.5);
/// assert!(io::parse_safetensors(&bytes[1..]).unwrap_err().is_data());
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
pub fn parse_safetensors(bytes: &[u8]) -> Result<SafeTensors> {
    read(&mut &*bytes, bytes.len() as u64)
}

/// Writes a `.safetensors` file, whole or not at all. The same content gives the same bytes,
/// whatever the order of `tensors`.
///
/// # Errors
/// Two tensors of one name, a tensor named `__metadata__`, or a write that fails.
pub fn save_safetensors<N: AsRef<str>>(
    path: impl AsRef<Path>,
    tensors: &[(N, Tensor)],
    metadata: &BTreeMap<String, String>,
) -> Result<()> {
    let path = path.as_ref();
    let context = |error: Error| error.context(format_args!("writing {}", path.display()));
    let tensors = in_file_order(tensors).map_err(context)?;
    tensors.iter().try_for_each(|(_, tensor)| tensor.bytes().map(drop)).map_err(context)?;
    let header = header(&tensors, metadata).map_err(context)?;
    write_atomically(path, |file| {
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(&header)?;
        tensors.iter().try_for_each(|(_, tensor)| file.write_all(&little_endian(tensor)))
    })
}

/// Reads a stream of `len` bytes.
pub(super) fn read(input: &mut dyn Read, len: u64) -> Result<SafeTensors> {
    let header = read_header(input, len)?;
    let mut file = SafeTensors::default();
    if let Some(metadata) = header.metadata() {
        file.metadata.extend(metadata.iter().map(|(key, value)| (key.clone(), value.clone())));
    }
    // The header was found to cover the values without gap or overlap, so they come in turn.
    for name in header.offset_keys() {
        let info = header.info(&name).expect("the header lists the names it has");
        let spec = spec(info).map_err(|error| error.context(format_args!("tensor {name:?}")))?;
        let tensor = read_tensor(input, spec, ByteOrder::Little)
            .map_err(|error| error.context(format_args!("tensor {name:?}")))?;
        file.tensors.insert(name, tensor);
    }
    Ok(file)
}

fn read_header(input: &mut dyn Read, len: u64) -> Result<Metadata> {
    let mut header_len = [0; 8];
    read_exact(input, &mut header_len)?;
    let header_len = u64::from_le_bytes(header_len);
    let room = len.saturating_sub(8);
    if header_len > room.min(MAX_HEADER_BYTES) {
        return Err(Error::data(format!(
            "not a safetensors file, or cut off: a header of {header_len} bytes in a file of {len}"
        )));
    }
    let mut header = vec![0; header_len as usize];
    read_exact(input, &mut header)?;
    let header: Metadata = serde_json::from_slice(&header)
        .map_err(|error| Error::data("the safetensors header is not valid").with_source(error))?;
    let values = header.data_len() as u64;
    if values != room - header_len {
        return Err(Error::data(format!(
            "the safetensors header describes {values} bytes of values, the file has {}",
            room - header_len
        )));
    }
    Ok(header)
}

fn spec(info: &TensorInfo) -> Result<Spec> {
    let dtype = match info.dtype {
        Dtype::F16 => DType::Float16,
        Dtype::BF16 => DType::BFloat16,
        Dtype::F32 => DType::Float32,
        Dtype::F64 => DType::Float64,
        Dtype::I8 => DType::Int8,
        Dtype::I16 => DType::Int16,
        Dtype::I32 => DType::Int32,
        Dtype::I64 => DType::Int64,
        Dtype::U8 => DType::UInt8,
        Dtype::U16 => DType::UInt16,
        Dtype::U32 => DType::UInt32,
        Dtype::U64 => DType::UInt64,
        Dtype::BOOL => DType::Bool,
        other => return Err(Error::unsupported(format!("there is no dtype {other}"))),
    };
    Ok(Spec::new(dtype, Shape::new(&info.shape)?))
}

fn file_dtype(dtype: DType) -> Dtype {
    match dtype {
        DType::Float16 => Dtype::F16,
        DType::BFloat16 => Dtype::BF16,
        DType::Float32 => Dtype::F32,
        DType::Float64 => Dtype::F64,
        DType::Int8 => Dtype::I8,
        DType::Int16 => Dtype::I16,
        DType::Int32 => Dtype::I32,
        DType::Int64 => Dtype::I64,
        DType::UInt8 => Dtype::U8,
        DType::UInt16 => Dtype::U16,
        DType::UInt32 => Dtype::U32,
        DType::UInt64 => Dtype::U64,
        DType::Bool => Dtype::BOOL,
    }
}

/// The largest elements first, which keeps every tensor aligned, then by name.
fn in_file_order<N: AsRef<str>>(tensors: &[(N, Tensor)]) -> Result<Vec<(&str, &Tensor)>> {
    let mut by_name = BTreeMap::new();
    for (name, tensor) in tensors {
        let name = name.as_ref();
        if name == METADATA_KEY {
            return Err(Error::invalid_argument(format!("no tensor can be named {name:?}")));
        }
        if by_name.insert(name, tensor).is_some() {
            return Err(Error::invalid_argument(format!("two tensors are named {name:?}")));
        }
    }
    let mut tensors: Vec<_> = by_name.into_iter().collect();
    tensors.sort_by_key(|(_, tensor)| std::cmp::Reverse(tensor.dtype().size()));
    Ok(tensors)
}

/// The header, padded so that the values begin at a multiple of 8 bytes.
fn header(tensors: &[(&str, &Tensor)], metadata: &BTreeMap<String, String>) -> Result<Vec<u8>> {
    let mut header = header_json(tensors, metadata)
        .map_err(|error| Error::invalid_argument("the header is no JSON").with_source(error))?
        .into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    if header.len() as u64 > MAX_HEADER_BYTES {
        return Err(Error::invalid_argument(format!(
            "a safetensors header of {} bytes is longer than {MAX_HEADER_BYTES}",
            header.len()
        )));
    }
    Ok(header)
}

/// Joined here since the `safetensors` crate writes metadata in the order of a hash map, which is
/// another one in each process.
fn header_json(
    tensors: &[(&str, &Tensor)],
    metadata: &BTreeMap<String, String>,
) -> serde_json::Result<String> {
    let mut entries = Vec::with_capacity(tensors.len() + 1);
    if !metadata.is_empty() {
        entries.push(format!("\"{METADATA_KEY}\":{}", serde_json::to_string(metadata)?));
    }
    let mut offset = 0;
    for (name, tensor) in tensors {
        let end = offset + tensor.spec().num_bytes();
        let info = TensorInfo {
            dtype: file_dtype(tensor.dtype()),
            shape: tensor.shape().to_vec(),
            data_offsets: (offset, end),
        };
        let (name, info) = (serde_json::to_string(name)?, serde_json::to_string(&info)?);
        entries.push(format!("{name}:{info}"));
        offset = end;
    }
    Ok(format!("{{{}}}", entries.join(",")))
}

#[cfg(test)]
mod tests {
    use tapeflow_testing::mutation;

    use super::*;

    fn bytes_of(tensors: &[(&str, Tensor)], metadata: &BTreeMap<String, String>) -> Vec<u8> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.safetensors");
        save_safetensors(&path, tensors, metadata).unwrap();
        std::fs::read(path).unwrap()
    }

    fn read_bytes(bytes: &[u8]) -> Result<SafeTensors> {
        read(&mut &bytes[..], bytes.len() as u64)
    }

    /// A file with this header and this many zero bytes of values.
    fn file(header: &str, values: usize) -> Vec<u8> {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.bytes());
        bytes.resize(bytes.len() + values, 0);
        bytes
    }

    fn metadata() -> BTreeMap<String, String> {
        (0..20).map(|i| (format!("key \"{i}\""), format!("värde\n{i}"))).collect()
    }

    #[test]
    fn every_dtype_comes_back() {
        for dtype in DType::ALL {
            let spec = Spec::new(dtype, [2, 3]);
            let bytes: Vec<u8> = (0..spec.num_bytes() as u8).map(|i| i % 2).collect();
            let tensor = Tensor::from_bytes(spec, &bytes).unwrap();
            let file = read_bytes(&bytes_of(&[("x", tensor)], &metadata())).unwrap();
            assert_eq!(*file.tensors["x"].spec(), spec);
            assert_eq!(file.tensors["x"].as_bytes(), bytes);
            assert_eq!(file.metadata, metadata());
        }
    }

    #[test]
    fn scalars_empty_tensors_and_views_come_back() {
        let empty = Tensor::from_slice::<f32>(&[], [3, 0]).unwrap();
        let tensors = [("empty", empty), ("scalar", Tensor::from(7i64))];
        let file = read_bytes(&bytes_of(&tensors, &BTreeMap::new())).unwrap();
        assert_eq!(file.tensors["empty"].shape().dims(), [3, 0]);
        assert_eq!(file.tensors["scalar"].to_scalar::<i64>().unwrap(), 7);
        assert!(file.metadata.is_empty());
        assert!(read_bytes(&bytes_of(&[], &BTreeMap::new())).unwrap().tensors.is_empty());
    }

    #[test]
    fn the_same_content_is_the_same_bytes() {
        let (a, b, c) = (Tensor::from([1u8]), Tensor::from([2.0f64]), Tensor::from([3.0f32]));
        let tensors = [("a", a.clone()), ("b", b.clone()), ("c", c.clone())];
        let first = bytes_of(&tensors, &metadata());
        assert_eq!(first, bytes_of(&[("c", c), ("a", a), ("b", b)], &metadata()));
        // Aligned: the values of 8 bytes come first.
        assert_eq!(first[first.len() - 13..][..8], 2.0f64.to_le_bytes());
        assert_eq!((first.len() - 13) % 8, 0);
    }

    #[test]
    fn the_reference_implementation_reads_it() {
        let tensors = [("b", Tensor::from([1.5f32, 2.5])), ("a", Tensor::from([true]))];
        let bytes = bytes_of(&tensors, &metadata());
        let file = ::safetensors::SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(file.len(), 2);
        let b = file.tensor("b").unwrap();
        assert_eq!((b.dtype(), b.shape()), (Dtype::F32, &[2][..]));
        assert_eq!(b.data(), [1.5f32.to_le_bytes(), 2.5f32.to_le_bytes()].concat());
    }

    #[test]
    fn names_that_clash_are_refused() {
        let x = Tensor::from(1.0f32);
        let save = |names: [&str; 2]| {
            let tensors = names.map(|name| (name, x.clone()));
            save_safetensors("/nonexistent/x", &tensors, &BTreeMap::new()).unwrap_err()
        };
        assert_eq!(
            save(["a", "a"]).to_string(),
            "writing /nonexistent/x: two tensors are named \"a\""
        );
        assert!(save(["a", "__metadata__"]).is_invalid_argument());
        assert!(save(["a", "b"]).is_io());
    }

    #[test]
    fn what_tapeflow_lacks_is_named() {
        let float8 = file(r#"{"x":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]}}"#, 1);
        let error = read_bytes(&float8).unwrap_err();
        assert!(error.is_unsupported());
        assert_eq!(error.to_string(), "tensor \"x\": there is no dtype F8_E4M3");
        let axes =
            file(r#"{"x":{"dtype":"U8","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,1]}}"#, 1);
        assert!(read_bytes(&axes).unwrap_err().is_shape());
        let not_a_bool = [&bytes_of(&[("x", Tensor::from([true]))], &BTreeMap::new())[..]].concat();
        let (last, head) = not_a_bool.split_last().unwrap();
        assert_eq!(*last, 1);
        assert!(read_bytes(&[head, &[2]].concat()).unwrap_err().is_data());
    }

    #[test]
    fn hostile_headers_are_data_errors() {
        let max = usize::MAX;
        let headers = [
            format!(r#"{{"x":{{"dtype":"U8","shape":[{max}],"data_offsets":[0,{max}]}}}}"#),
            format!(r#"{{"x":{{"dtype":"F64","shape":[{max}],"data_offsets":[0,8]}}}}"#),
            r#"{"x":{"dtype":"F32","shape":[1000000000],"data_offsets":[0,4000000000]}}"#.into(),
            r#"{"x":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}}"#.into(),
            r#"{"x":{"dtype":"U8","shape":[4],"data_offsets":[4,0]}}"#.into(),
            r#"{"x":{"dtype":"U8","shape":[4]}}"#.into(),
            "[]".into(),
            "[".repeat(100_000),
            String::new(),
        ];
        for header in headers {
            let error = read_bytes(&file(&header, 8)).unwrap_err();
            assert!(error.is_data(), "{error}");
        }
        for len in [9, 1 << 40, u64::MAX, u64::MAX - 7] {
            let error = read_bytes(&[&len.to_le_bytes()[..], b"{}"].concat()).unwrap_err();
            assert!(error.is_data(), "{error}");
        }
    }

    #[test]
    fn mutated_files_never_panic() {
        let tensors = [("weights", Tensor::from([[1.5f32, -2.0]])), ("mask", Tensor::from([true]))];
        let valid = bytes_of(&tensors, &metadata());
        mutation::for_each(&valid, 3000, |bytes| drop(read_bytes(bytes)));
        for len in 0..valid.len() {
            assert!(read_bytes(&valid[..len]).is_err(), "cut to {len} bytes");
        }
    }

    #[test]
    fn errors_name_the_file() {
        let error = load_safetensors("/nonexistent/x").unwrap_err();
        assert!(error.is_io());
        assert!(error.to_string().starts_with("reading /nonexistent/x: "), "{error}");
        assert!(load_safetensors("/").unwrap_err().is_io());
    }
}
