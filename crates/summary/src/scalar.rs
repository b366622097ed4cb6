//! Numbers: `tf.summary.scalar`.

use tapeflow_core::{DType, Error, Result, Tensor, array};

use crate::tensor::Data;

pub(crate) const PLUGIN: &str = "scalars";

/// The value as `float32`, as TensorFlow stores it.
pub(crate) fn data(value: &Tensor) -> Result<Data> {
    if value.shape().rank() != 0 {
        return Err(Error::shape(format!(
            "summary.scalar: the value must be a scalar, has shape {}",
            value.shape()
        )));
    }
    Ok(Data::Tensor(array::cast(value, DType::Float32)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_every_dtype_are_floats() {
        for dtype in DType::ALL {
            let one = array::cast(Tensor::from(1u8), dtype).unwrap();
            let Data::Tensor(value) = data(&one).unwrap() else { panic!("strings") };
            assert_eq!(value.to_scalar::<f32>().unwrap(), 1.0);
        }
        assert!(data(&Tensor::from([1.0f32])).unwrap_err().is_shape());
    }
}
