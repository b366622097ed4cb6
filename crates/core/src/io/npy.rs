//! One tensor in NumPy's `.npy` format.
//!
//! The format: the magic `\x93NUMPY`, a version of two bytes, the length of the header (two bytes
//! in version 1, four later), a Python dictionary literal as header, then the values.
//! Source: NumPy, `numpy.lib.format`, NEP 1.

use std::io::{Read, Write};
use std::path::Path;

use super::atomic::write_atomically;
use super::values::{ByteOrder, little_endian, read_exact, read_file, read_tensor};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::execute::allocate;
use crate::shape::{MAX_RANK, Shape, Spec};
use crate::tensor::Tensor;

const MAGIC: &[u8; 6] = b"\x93NUMPY";

/// The values begin at a multiple of this.
const ALIGNMENT: usize = 64;

/// The longest header that is read; those of plain arrays have about a hundred bytes.
const MAX_HEADER_BYTES: usize = 10_000;

/// Reads a `.npy` file of version 1, 2 or 3, of either byte order, in C or Fortran order.
///
/// # Errors
/// A file that cannot be read, is no `.npy` file or is cut off; a dtype that tapeflow lacks (such
/// as `complex64`, strings or records), or more than [`MAX_RANK`](crate::MAX_RANK) axes.
///
/// ```
/// use tapeflow_core::{Tensor, io};
///
/// let path = std::env::temp_dir().join(format!("tapeflow-doc-{}.npy", std::process::id()));
/// io::write_npy(&path, &Tensor::from([[1.0f32, 2.0], [3.0, 4.0]]))?;
/// let x = io::read_npy(&path)?;
/// assert_eq!(x.shape().dims(), [2, 2]);
/// assert_eq!(x.to_vec::<f32>()?, [1.0, 2.0, 3.0, 4.0]);
/// # std::fs::remove_file(path).unwrap();
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
pub fn read_npy(path: impl AsRef<Path>) -> Result<Tensor> {
    read_file(path.as_ref(), read)
}

/// Writes a `.npy` file of version 1, whole or not at all.
///
/// # Errors
/// `bfloat16`, which NumPy has not; a write that fails.
pub fn write_npy(path: impl AsRef<Path>, tensor: &Tensor) -> Result<()> {
    let path = path.as_ref();
    let header = tensor
        .bytes()
        .and_then(|_| header(tensor.spec()))
        .map_err(|error| error.context(format!("writing {}", path.display())))?;
    write_atomically(path, |file: &mut dyn Write| {
        file.write_all(&header)?;
        file.write_all(&little_endian(tensor))
    })
}

/// Everything before the values.
fn header(spec: &Spec) -> Result<Vec<u8>> {
    let kind = match spec.dtype {
        DType::Float16 | DType::Float32 | DType::Float64 => 'f',
        DType::Int8 | DType::Int16 | DType::Int32 | DType::Int64 => 'i',
        DType::UInt8 | DType::UInt16 | DType::UInt32 | DType::UInt64 => 'u',
        DType::Bool => 'b',
        DType::BFloat16 => {
            return Err(Error::unsupported(".npy has no dtype bfloat16; cast to float32"));
        }
    };
    let size = spec.dtype.size();
    let order = if size == 1 { '|' } else { '<' };
    let shape = crate::tensor::python_tuple(&spec.shape);
    let dictionary =
        format!("{{'descr': '{order}{kind}{size}', 'fortran_order': False, 'shape': {shape}, }}");
    // Magic, version and length take ten bytes, the closing line feed one.
    let end = (10 + dictionary.len() + 1).next_multiple_of(ALIGNMENT);
    let mut header = MAGIC.to_vec();
    header.extend([1, 0]);
    header.extend(((end - 10) as u16).to_le_bytes());
    header.extend(dictionary.bytes());
    header.resize(end - 1, b' ');
    header.push(b'\n');
    Ok(header)
}

/// Reads a stream of `len` bytes.
fn read(input: &mut dyn Read, len: u64) -> Result<Tensor> {
    let mut start = [0; 8];
    read_exact(input, &mut start)?;
    if !start.starts_with(MAGIC) {
        return Err(Error::data("not a .npy file"));
    }
    let mut header_len = [0; 4];
    let length_bytes = match (start[6], start[7]) {
        (1, 0) => 2,
        (2 | 3, 0) => 4,
        (major, minor) => {
            let message = format!(".npy version {major}.{minor} is none of 1.0, 2.0, 3.0");
            return Err(Error::unsupported(message));
        }
    };
    read_exact(input, &mut header_len[..length_bytes])?;
    let header_len = u32::from_le_bytes(header_len) as usize;
    if header_len > MAX_HEADER_BYTES {
        return Err(Error::data(format!("the .npy header claims {header_len} bytes")));
    }
    let mut header = vec![0; header_len];
    read_exact(input, &mut header)?;
    let header = std::str::from_utf8(&header)
        .map_err(|error| Error::data("the .npy header is no text").with_source(error))?;
    let header = Header::parse(header)?;

    let wanted = header.spec.num_bytes() as u64;
    let there = len.saturating_sub((start.len() + length_bytes + header_len) as u64);
    if wanted != there {
        return Err(Error::data(format!(
            "the .npy header describes {}, {wanted} bytes of values, the file has {there}",
            header.spec
        )));
    }
    let tensor = read_tensor(input, header.spec, header.order)?;
    let empty = header.spec.num_bytes() == 0;
    if header.fortran_order && !empty { to_row_major(&tensor) } else { Ok(tensor) }
}

/// What the dictionary says.
#[derive(Debug)]
struct Header {
    spec: Spec,
    order: ByteOrder,
    fortran_order: bool,
}

impl Header {
    fn parse(text: &str) -> Result<Header> {
        let mut literal = Literal { rest: text };
        let (mut descr, mut fortran_order, mut shape) = (None, None, None);
        literal.expect("{")?;
        while !literal.accept("}") {
            let key = literal.string()?;
            literal.expect(":")?;
            match key {
                "descr" => descr = Some(literal.descr()?),
                "fortran_order" => fortran_order = Some(literal.boolean()?),
                "shape" => shape = Some(literal.tuple()?),
                _ => return Err(Error::data(format!("the .npy header has the key {key:?}"))),
            }
            if !literal.accept(",") {
                literal.expect("}")?;
                break;
            }
        }
        literal.end()?;
        let (Some(descr), Some(fortran_order), Some(shape)) = (descr, fortran_order, shape) else {
            return Err(Error::data("the .npy header lacks descr, fortran_order or shape"));
        };
        let (dtype, order) = dtype(descr)?;
        Ok(Header { spec: Spec::new(dtype, Shape::new(&shape)?), order, fortran_order })
    }
}

fn dtype(descr: &str) -> Result<(DType, ByteOrder)> {
    let unsupported = || Error::unsupported(format!("there is no dtype for .npy's {descr:?}"));
    let order = match descr.as_bytes().first() {
        Some(b'<') => ByteOrder::Little,
        Some(b'>') => ByteOrder::Big,
        Some(b'|' | b'=') => ByteOrder::NATIVE,
        _ => return Err(unsupported()),
    };
    let dtype = match &descr[1..] {
        "f2" => DType::Float16,
        "f4" => DType::Float32,
        "f8" => DType::Float64,
        "i1" => DType::Int8,
        "i2" => DType::Int16,
        "i4" => DType::Int32,
        "i8" => DType::Int64,
        "u1" => DType::UInt8,
        "u2" => DType::UInt16,
        "u4" => DType::UInt32,
        "u8" => DType::UInt64,
        "b1" => DType::Bool,
        _ => return Err(unsupported()),
    };
    Ok((dtype, order))
}

/// The few Python literals that a header is made of.
struct Literal<'a> {
    rest: &'a str,
}

impl<'a> Literal<'a> {
    fn accept(&mut self, token: &str) -> bool {
        let rest = self.rest.trim_start().strip_prefix(token);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn expect(&mut self, token: &str) -> Result<()> {
        if self.accept(token) { Ok(()) } else { Err(self.unexpected(&format!("{token:?}"))) }
    }

    fn end(&self) -> Result<()> {
        if self.rest.trim().is_empty() { Ok(()) } else { Err(self.unexpected("its end")) }
    }

    fn unexpected(&self, wanted: &str) -> Error {
        let found: String = self.rest.trim_start().chars().take(20).collect();
        Error::data(format!("the .npy header has {found:?} where {wanted} should be"))
    }

    /// A string without escapes, which no key or dtype has.
    fn string(&mut self) -> Result<&'a str> {
        let text = self.rest.trim_start();
        for quote in ['\'', '"'] {
            if let Some((string, rest)) =
                text.strip_prefix(quote).and_then(|text| text.split_once(quote))
            {
                self.rest = rest;
                return Ok(string);
            }
        }
        Err(self.unexpected("a string"))
    }

    /// A dtype's string; records have a list there.
    fn descr(&mut self) -> Result<&'a str> {
        if self.rest.trim_start().starts_with('[') {
            return Err(Error::unsupported("there is no dtype for .npy's records"));
        }
        self.string()
    }

    fn boolean(&mut self) -> Result<bool> {
        if self.accept("True") {
            return Ok(true);
        }
        self.expect("False").map(|()| false).map_err(|_| self.unexpected("a bool"))
    }

    fn tuple(&mut self) -> Result<Vec<usize>> {
        let mut extents = Vec::new();
        self.expect("(")?;
        while !self.accept(")") {
            extents.push(self.extent()?);
            if !self.accept(",") {
                self.expect(")")?;
                break;
            }
        }
        Ok(extents)
    }

    fn extent(&mut self) -> Result<usize> {
        let text = self.rest.trim_start();
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let extent = text[..end].parse().map_err(|_| self.unexpected("an extent"))?;
        self.rest = &text[end..];
        // Python 2 wrote long integers so.
        self.accept("L");
        Ok(extent)
    }
}

/// The tensor, not an empty one, whose values were read with the first axis varying fastest.
fn to_row_major(tensor: &Tensor) -> Result<Tensor> {
    let spec = *tensor.spec();
    let size = spec.dtype.size();
    let shape = spec.shape;
    let mut strides = [0; MAX_RANK];
    let mut stride = size;
    for (place, &extent) in strides.iter_mut().zip(shape.dims()) {
        *place = stride;
        stride *= extent;
    }
    let mut buffer = allocate(&spec)?;
    let target = &mut buffer.as_mut_slice::<u8>()[..spec.num_bytes()];
    let source = tensor.bytes()?;
    let mut index = [0; MAX_RANK];
    let mut from = 0;
    for element in target.chunks_exact_mut(size) {
        element.copy_from_slice(&source[from..from + size]);
        for axis in (0..shape.rank()).rev() {
            index[axis] += 1;
            from += strides[axis];
            if index[axis] < shape[axis] {
                break;
            }
            from -= index[axis] * strides[axis];
            index[axis] = 0;
        }
    }
    Ok(Tensor::from_buffer(spec, buffer.into()))
}

#[cfg(test)]
mod tests {
    use tapeflow_testing::mutation;

    use super::*;

    fn bytes_of(tensor: &Tensor) -> Vec<u8> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.npy");
        write_npy(&path, tensor).unwrap();
        std::fs::read(path).unwrap()
    }

    fn read_bytes(bytes: &[u8]) -> Result<Tensor> {
        read(&mut &bytes[..], bytes.len() as u64)
    }

    /// A file of this version, dictionary and content.
    fn file(major: u8, dictionary: &str, values: &[u8]) -> Vec<u8> {
        let mut bytes = [&MAGIC[..], &[major, 0]].concat();
        let len = (dictionary.len() as u32).to_le_bytes();
        bytes.extend(&len[..if major == 1 { 2 } else { 4 }]);
        bytes.extend(dictionary.bytes());
        bytes.extend(values);
        bytes
    }

    #[test]
    fn every_dtype_and_shape_comes_back() {
        for dtype in DType::ALL.into_iter().filter(|&dtype| dtype != DType::BFloat16) {
            for shape in [&[][..], &[0], &[3], &[2, 3], &[2, 0, 3], &[1, 2, 1, 2, 1, 2, 1, 2]] {
                let spec = Spec::new(dtype, Shape::new(shape).unwrap());
                let bytes: Vec<u8> = (0..spec.num_bytes()).map(|i| (i % 2) as u8).collect();
                let tensor = Tensor::from_bytes(spec, &bytes).unwrap();
                let file = bytes_of(&tensor);
                assert_eq!((file.len() - bytes.len()) % ALIGNMENT, 0);
                let read = read_bytes(&file).unwrap();
                assert_eq!(*read.spec(), spec);
                assert_eq!(read.as_bytes(), bytes);
            }
        }
    }

    #[test]
    fn the_bytes_are_those_numpy_writes() {
        let mut want = b"\x93NUMPY\x01\x00v\x00{'descr': '<i2', 'fortran_order': False, ".to_vec();
        want.extend(b"'shape': (2,), }");
        want.resize(127, b' ');
        want.extend(b"\n\x01\x00\xfe\xff");
        assert_eq!(bytes_of(&Tensor::from([1i16, -2])), want);
    }

    #[test]
    fn versions_byte_orders_and_fortran_order() {
        let dictionary = "{'descr': '>i4', 'fortran_order': False, 'shape': (2,), }\n";
        for major in 1..=3 {
            let x =
                read_bytes(&file(major, dictionary, &[0, 0, 1, 2, 255, 255, 255, 254])).unwrap();
            assert_eq!(x.to_vec::<i32>().unwrap(), [0x102, -2]);
        }
        let fortran = r#"{"shape":(2L,3L,2L),"fortran_order":True,"descr":"|u1"}"#;
        let x = read_bytes(&file(1, fortran, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12])).unwrap();
        assert_eq!(x.to_vec::<u8>().unwrap(), [1, 7, 3, 9, 5, 11, 2, 8, 4, 10, 6, 12]);
        let empty = |extent: u64| {
            let shape = format!("(0, {extent}, {extent})");
            let header = format!("{{'descr': '<f8', 'fortran_order': True, 'shape': {shape}}}");
            read_bytes(&file(1, &header, &[]))
        };
        assert_eq!(empty(1000).unwrap().shape().dims(), [0, 1000, 1000]);
        assert!(empty(u64::MAX).unwrap_err().is_resource_exhausted());
        let wide = "{'descr': '>f8', 'fortran_order': True, 'shape': (1, 2)}";
        let values = [1.5f64.to_be_bytes(), 2.5f64.to_be_bytes()].concat();
        assert_eq!(
            read_bytes(&file(2, wide, &values)).unwrap().to_vec::<f64>().unwrap(),
            [1.5, 2.5]
        );
    }

    #[test]
    fn what_tapeflow_lacks_is_named() {
        let error = write_npy("/nonexistent/x", &Tensor::from([half::bf16::ONE])).unwrap_err();
        assert!(error.is_unsupported());
        assert_eq!(
            error.to_string(),
            "writing /nonexistent/x: .npy has no dtype bfloat16; cast to float32"
        );
        for descr in ["'<c8'", "'|S3'", "'<U3'", "'|O'", "'<f16'", "''", "'é'", "[('a', '<f4')]"] {
            let header = format!("{{'descr': {descr}, 'fortran_order': False, 'shape': ()}}");
            let error = read_bytes(&file(1, &header, &[0; 8])).unwrap_err();
            assert!(error.is_unsupported(), "{descr}: {error}");
        }
        let axes = "{'descr': '|u1', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,1)}";
        assert!(read_bytes(&file(1, axes, &[0])).unwrap_err().is_shape());
        let version = read_bytes(&file(4, "{}", &[])).unwrap_err();
        assert!(version.is_unsupported());
    }

    #[test]
    fn hostile_headers_are_data_errors() {
        let max = usize::MAX;
        let headers = [
            format!("{{'descr': '<f4', 'fortran_order': True, 'shape': ({max}, {max})}}"),
            "{'descr': '<f4', 'fortran_order': True, 'shape': (1000000000, 1000)}".into(),
            "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999999,)}".into(),
            "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}".into(),
            "{'descr': '<f4', 'fortran_order': False, 'shape': 3}".into(),
            "{'descr': '<f4', 'fortran_order': 1, 'shape': (2,)}".into(),
            "{'descr': '<f4', 'shape': (2,)}".into(),
            "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), 'x': 1}".into(),
            "{'descr': '<f4', 'fortran_order': False, 'shape': (2,)} x".into(),
            "{'descr': '<f4".into(),
            "(".repeat(9000),
            String::new(),
        ];
        for header in headers {
            let error = read_bytes(&file(1, &header, &[0; 8])).unwrap_err();
            assert!(error.is_data(), "{header:.60}: {error}");
        }
        let long = [&MAGIC[..], &[2, 0, 255, 255, 255, 255], &[b' '; 40]].concat();
        assert!(read_bytes(&long).unwrap_err().is_data());
        let not_a_bool = "{'descr': '|b1', 'fortran_order': False, 'shape': (1,)}";
        assert!(read_bytes(&file(1, not_a_bool, &[2])).unwrap_err().is_data());
        assert!(read_bytes(b"GIF89a..").unwrap_err().is_data());
    }

    #[test]
    fn mutated_files_never_panic() {
        let valid = bytes_of(&Tensor::from([[1.5f32, -2.0, 0.25], [1.0, 2.0, 3.0]]));
        mutation::for_each(&valid, 5000, |bytes| drop(read_bytes(bytes)));
        for len in 0..valid.len() {
            assert!(read_bytes(&valid[..len]).unwrap_err().is_data(), "cut to {len} bytes");
        }
    }

    #[test]
    fn errors_name_the_file() {
        let error = read_npy("/nonexistent/x").unwrap_err();
        assert!(error.is_io());
        assert!(error.to_string().starts_with("reading /nonexistent/x: "), "{error}");
    }
}
