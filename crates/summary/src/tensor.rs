//! `TensorProto`, `TensorShapeProto` and `DataType` of TensorFlow.

use tapeflow_core::{DType, Error, Result, Shape, Spec, Tensor};

use crate::wire::{Message, Value, fields};

const STRING: i64 = 7;

/// The values of a summary.
#[derive(Debug, Clone)]
pub enum Data {
    /// Numbers.
    Tensor(Tensor),
    /// What TensorFlow calls a tensor of strings: texts, or the bytes of images.
    Strings {
        /// The extents.
        shape: Shape,
        /// The strings in row-major order.
        values: Vec<Vec<u8>>,
    },
}

/// TensorFlow's number of a dtype.
pub(crate) fn dtype_number(dtype: DType) -> i64 {
    match dtype {
        DType::Float32 => 1,
        DType::Float64 => 2,
        DType::Int32 => 3,
        DType::UInt8 => 4,
        DType::Int16 => 5,
        DType::Int8 => 6,
        DType::Int64 => 9,
        DType::Bool => 10,
        DType::BFloat16 => 14,
        DType::UInt16 => 17,
        DType::Float16 => 19,
        DType::UInt32 => 22,
        DType::UInt64 => 23,
    }
}

/// `TensorShapeProto`.
pub(crate) fn encode_shape(shape: &Shape) -> Message {
    Message::new()
        .each(shape.dims(), |dims, &size| dims.message(2, Message::new().int(1, size as i64)))
}

/// `TensorProto`.
///
/// # Errors
/// A tensor of a function being traced, which has no values.
pub(crate) fn encode(data: &Data) -> Result<Message> {
    Ok(match data {
        Data::Tensor(tensor) => Message::new()
            .int(1, dtype_number(tensor.dtype()))
            .message(2, encode_shape(tensor.shape()))
            .bytes(4, little_endian(tensor)?),
        Data::Strings { shape, values } => Message::new()
            .int(1, STRING)
            .message(2, encode_shape(shape))
            .each(values, |message, value| message.bytes(8, value)),
    })
}

fn little_endian(tensor: &Tensor) -> Result<Vec<u8>> {
    let mut bytes = tensor.try_as_bytes()?.to_vec();
    to_native(&mut bytes, tensor.dtype());
    Ok(bytes)
}

/// Turns the bytes of values between little-endian and this machine's order.
fn to_native(bytes: &mut [u8], dtype: DType) {
    if cfg!(target_endian = "big") {
        bytes.chunks_exact_mut(dtype.size()).for_each(<[u8]>::reverse);
    }
}

/// What a `TensorProto` holds. It takes no more memory than a small multiple of the message.
///
/// # Errors
/// A damaged message; dtypes that tapeflow has not; values stored one by one where they are not
/// `float` or `double`.
pub(crate) fn decode(message: &[u8]) -> Result<Data> {
    let mut dtype = 0;
    let mut shape = Shape::SCALAR;
    let mut content: Option<Vec<u8>> = None;
    // Values of `float_val` and `double_val`, which may be packed.
    let mut listed = Vec::new();
    let mut strings = Vec::new();
    for field in fields(message) {
        match field? {
            (1, value) => dtype = value.int(),
            (2, value) => shape = decode_shape(value.bytes())?,
            (4, value) => content = Some(value.bytes().to_vec()),
            (5 | 6, Value::Bytes(packed)) => listed.extend(packed),
            (5, Value::Fixed32(value)) => listed.extend(value),
            (6, Value::Fixed64(value)) => listed.extend(value),
            (8, value) => strings.push(value.bytes().to_vec()),
            _ => {}
        }
    }
    if dtype == STRING {
        if strings.len() != shape.num_elements() {
            let count = strings.len();
            return Err(Error::data(format!("{count} strings do not fill shape {shape}")));
        }
        return Ok(Data::Strings { shape, values: strings });
    }
    let known = DType::ALL.into_iter().find(|&known| dtype_number(known) == dtype);
    let dtype = known.ok_or_else(|| Error::unsupported(format!("a tensor of dtype {dtype}")))?;
    let spec = Spec::new(dtype, shape);
    let mut bytes = content.unwrap_or(listed);
    if bytes.len() != spec.num_bytes() {
        let length = bytes.len();
        return Err(Error::data(format!(
            "{length} bytes of values where {spec} has more or fewer"
        )));
    }
    to_native(&mut bytes, dtype);
    Tensor::from_bytes(spec, &bytes).map(Data::Tensor)
}

fn decode_shape(message: &[u8]) -> Result<Shape> {
    let mut dims = Vec::new();
    for field in fields(message) {
        let (2, dim) = field? else { continue };
        let mut size = 0;
        for field in fields(dim.bytes()) {
            if let (1, value) = field? {
                size = value.int();
            }
        }
        let size = usize::try_from(size);
        dims.push(size.map_err(|_| Error::data("a shape has an extent that is not known"))?);
    }
    Shape::new(&dims)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_dtype_comes_back() {
        for dtype in DType::ALL {
            let spec = Spec::new(dtype, [2, 3]);
            let bytes: Vec<u8> = (0..spec.num_bytes()).map(|i| (i % 2) as u8).collect();
            let tensor = Tensor::from_bytes(spec, &bytes).unwrap();
            let message = encode(&Data::Tensor(tensor)).unwrap().into_bytes();
            let Data::Tensor(read) = decode(&message).unwrap() else { panic!("{dtype}") };
            assert_eq!((read.spec(), read.as_bytes()), (&spec, &bytes[..]));
        }
    }

    #[test]
    fn strings_come_back() {
        let data = Data::Strings { shape: [2].into(), values: vec![b"a".to_vec(), vec![]] };
        let message = encode(&data).unwrap().into_bytes();
        let Data::Strings { shape, values } = decode(&message).unwrap() else { panic!("numbers") };
        assert_eq!((shape, values), (Shape::from([2]), vec![b"a".to_vec(), vec![]]));
    }

    #[test]
    fn values_in_a_list_are_read_packed_or_not() {
        let packed: Vec<u8> = [1.5f32, -2.0].iter().flat_map(|x| x.to_le_bytes()).collect();
        let shape = encode_shape(&[2].into());
        let message = Message::new().int(1, 1).message(2, shape).bytes(5, packed).into_bytes();
        let Data::Tensor(read) = decode(&message).unwrap() else { panic!("strings") };
        assert_eq!(read.to_vec::<f32>().unwrap(), [1.5, -2.0]);
        let message = Message::new().int(1, 2).double(6, 0.1).into_bytes();
        let Data::Tensor(read) = decode(&message).unwrap() else { panic!("strings") };
        assert_eq!(read.to_scalar::<f64>().unwrap(), 0.1);
    }

    #[test]
    fn a_shape_that_lies_takes_no_memory() {
        let shape = || encode_shape(&[1 << 40, 1 << 20].into());
        for dtype in [STRING, 1] {
            let message = Message::new().int(1, dtype).message(2, shape()).bytes(4, [0; 4]);
            assert!(decode(&message.into_bytes()).unwrap_err().is_data());
        }
        let unknown = Message::new().message(2, Message::new().int(1, -1));
        assert!(decode(&Message::new().int(1, 1).message(2, unknown).into_bytes()).is_err());
    }
}
