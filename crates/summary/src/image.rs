//! Pictures: `tf.summary.image`.

use tapeflow_core::{DType, DTypes, Error, Result, Tensor, array};
use tapeflow_data::encode_png;

use crate::tensor::Data;

pub(crate) const PLUGIN: &str = "images";
/// How many images are written where the caller does not say.
pub(crate) const MAX_OUTPUTS: usize = 3;

/// Width, height, and each image as a PNG file.
pub(crate) fn data(images: &Tensor, max_outputs: usize) -> Result<Data> {
    let &[count, height, width, _] = images.shape().dims() else {
        return Err(Error::shape(format!(
            "summary.image: images have the shape [k, height, width, channels], got {}",
            images.shape()
        )));
    };
    let mut values = vec![width.to_string().into_bytes(), height.to_string().into_bytes()];
    for index in 0..count.min(max_outputs) {
        values.push(encode_png(&to_bytes(&images.row(index)?)?)?);
    }
    Ok(Data::Strings { shape: [values.len()].into(), values })
}

/// The image in `uint8`, as `tf.image.convert_image_dtype` with `saturate=True` makes it.
fn to_bytes(image: &Tensor) -> Result<Tensor> {
    let dtype = image.dtype();
    let bytes: Vec<u8> = match dtype {
        DType::UInt8 => return Ok(image.clone()),
        DType::Bool => {
            return Err(Error::dtype("summary.image: the images are bool; cast them to uint8"));
        }
        // A conversion of Rust saturates, and makes 0 of what is not a number.
        DType::Float64 => image.as_slice::<f64>()?.iter().map(|x| (x * 255.5) as u8).collect(),
        dtype if dtype.is_floating() => {
            let image = array::cast(image, DType::Float32)?;
            image.as_slice::<f32>()?.iter().map(|x| (x * 255.5) as u8).collect()
        }
        // The highest eight bits below the sign.
        DType::UInt64 => image.as_slice::<u64>()?.iter().map(|x| (x >> 56) as u8).collect(),
        dtype => {
            let sign = i32::from(DTypes::SIGNED.contains(dtype));
            let shift = 8 * dtype.size() as i32 - sign - 8;
            let image = array::cast(image, DType::Int64)?;
            let scaled = |x: &i64| if shift < 0 { x << -shift } else { x >> shift };
            image.as_slice::<i64>()?.iter().map(|x| scaled(x).clamp(0, 255) as u8).collect()
        }
    };
    Tensor::from_slice(&bytes, *image.shape())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes<T: tapeflow_core::Element>(values: &[T]) -> Vec<u8> {
        let image = Tensor::from_slice(values, [values.len()]).unwrap();
        to_bytes(&image).unwrap().to_vec().unwrap()
    }

    // What tf.image.convert_image_dtype of TensorFlow 2.21 gives.
    #[test]
    fn every_dtype_becomes_bytes() {
        assert_eq!(bytes(&[-5i8, 0, 1, 64, 127]), [0, 0, 2, 128, 254]);
        assert_eq!(bytes(&[-5i16, 0, 127, 128, 300, 32767]), [0, 0, 0, 1, 2, 255]);
        assert_eq!(bytes(&[-1, 0, 1 << 23, i32::MAX]), [0, 0, 1, 255]);
        assert_eq!(bytes(&[0u16, 255, 256, 65535]), [0, 0, 1, 255]);
        assert_eq!(bytes(&[-1, 0, 1 << 55, i64::MAX]), [0, 0, 1, 255]);
        let floats = [-1.0f32, 0.0, 0.5, 0.1, 0.999, 1.0, 2.0, f32::NAN];
        assert_eq!(bytes(&floats), [0, 0, 127, 25, 255, 255, 255, 0]);
        assert_eq!(bytes(&floats.map(f64::from)), [0, 0, 127, 25, 255, 255, 255, 0]);
        assert_eq!(bytes(&floats.map(half)), [0, 0, 127, 25, 255, 255, 255, 0]);
        // These two TensorFlow lacks a kernel for.
        assert_eq!(bytes(&[0, 1 << 24, u32::MAX]), [0, 1, 255]);
        assert_eq!(bytes(&[0, 1 << 56, u64::MAX]), [0, 1, 255]);
        assert!(to_bytes(&Tensor::from([true])).unwrap_err().is_dtype());
    }

    fn half(x: f32) -> tapeflow_core::f16 {
        tapeflow_core::f16::from_f32(x)
    }

    #[test]
    fn sizes_come_first_and_only_so_many_images_follow() {
        let images = Tensor::from_slice(&[7u8; 5 * 2 * 3], [5, 2, 3, 1]).unwrap();
        let Data::Strings { shape, values } = data(&images, 3).unwrap() else { panic!("numbers") };
        assert_eq!(shape.dims(), [5]);
        assert_eq!(values[..2], [b"3".to_vec(), b"2".to_vec()]);
        assert!(values[2..].iter().all(|png| png.starts_with(b"\x89PNG")));
        assert!(data(&Tensor::from([[1.0f32]]), 3).unwrap_err().is_shape());
        let five_channels = Tensor::from_slice(&[7u8; 5], [1, 1, 1, 5]).unwrap();
        assert!(data(&five_channels, 3).unwrap_err().is_shape());
    }
}
