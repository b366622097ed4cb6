//! Words: `tf.summary.text`.

use tapeflow_core::Shape;

use crate::tensor::Data;

pub(crate) const PLUGIN: &str = "text";

pub(crate) fn data(text: String) -> Data {
    Data::Strings { shape: Shape::SCALAR, values: vec![text.into_bytes()] }
}
