//! Printing as TensorFlow prints: NumPy's text of the values, then shape and dtype.

mod float;

use std::fmt;

use crate::dtype::{DType, dispatch};
use crate::shape::Shape;
use crate::tensor::Tensor;

/// A tensor of more elements is printed by its edges, NumPy's `threshold`.
const THRESHOLD: usize = 1000;
/// How many entries of each axis are printed at either edge, NumPy's `edgeitems`.
const EDGE_ITEMS: usize = 3;
/// NumPy's `linewidth`.
const LINE_WIDTH: usize = 75;

/// `(2, 3)`, `(2,)` or `()`.
pub(crate) fn python_tuple(shape: &Shape) -> String {
    let dims: Vec<String> = shape.iter().map(usize::to_string).collect();
    match dims.len() {
        1 => format!("({},)", dims[0]),
        _ => format!("({})", dims.join(", ")),
    }
}

/// The values as NumPy's `repr` gives them, `array([1., 2.], dtype=float32)`, on a line of their
/// own where they take more than one.
pub(crate) fn values_text(tensor: &Tensor) -> String {
    if tensor.shape().rank() == 0 {
        return scalar_text(tensor, float::python);
    }
    let mut text = format!("array({}", nested_text(tensor, ", ", 7, LINE_WIDTH - 1));
    let extras = extras(tensor);
    if !extras.is_empty() {
        text.push(',');
        let last_line = text.len() - text.rfind('\n').map_or(0, |end| end + 1);
        let wraps = last_line + extras.len() + 2 > LINE_WIDTH;
        text.push_str(if wraps { "\n      " } else { " " });
        text.push_str(&extras);
    }
    text.push(')');
    on_its_own_lines(text)
}

/// What NumPy's `repr` says besides the values: the shape where they do not show it, the dtype
/// where they do not imply it.
fn extras(tensor: &Tensor) -> String {
    let size = tensor.shape().num_elements();
    let mut extras = Vec::new();
    if (size == 0 && tensor.shape().rank() > 1) || size > THRESHOLD {
        extras.push(format!("shape={}", python_tuple(tensor.shape())));
    }
    let implied = matches!(tensor.dtype(), DType::Float64 | DType::Int64 | DType::Bool);
    if !implied || size == 0 {
        extras.push(format!("dtype={}", tensor.dtype()));
    }
    extras.join(", ")
}

fn on_its_own_lines(text: String) -> String {
    if text.contains('\n') { format!("\n{text}") } else { text }
}

fn scalar_text(tensor: &Tensor, float_text: impl Fn(f64, DType) -> String) -> String {
    match float::values(tensor, &[0]) {
        Some(values) => float_text(values[0], tensor.dtype()),
        None => plain_words(tensor, &[0]).remove(0),
    }
}

/// The values in nested brackets; continued lines begin with `indent` spaces.
fn nested_text(tensor: &Tensor, separator: &str, indent: usize, width: usize) -> String {
    let shape = tensor.shape();
    if shape.num_elements() == 0 {
        return "[]".into();
    }
    let mut shown = Vec::new();
    shown_elements(shape, shape.num_elements() > THRESHOLD, 0, &mut shown);
    let words = match float::values(tensor, &shown) {
        Some(values) => float::words(&values, tensor.dtype()),
        None => aligned(plain_words(tensor, &shown), tensor.dtype()),
    };
    let layout = Layout { separator, summarized: shape.num_elements() > THRESHOLD };
    layout.axes(shape, &mut words.into_iter(), indent, width)
}

/// Appends the places of the elements that are printed, in their order.
fn shown_elements(shape: &[usize], summarized: bool, start: usize, shown: &mut Vec<usize>) {
    let Some((&extent, inner)) = shape.split_first() else {
        shown.push(start);
        return;
    };
    let stride: usize = inner.iter().product();
    let edges = summarized && extent > 2 * EDGE_ITEMS;
    for i in 0..extent {
        if !edges || i < EDGE_ITEMS || i >= extent - EDGE_ITEMS {
            shown_elements(inner, summarized, start + i * stride, shown);
        }
    }
}

/// Integers and `bool` as Python writes them.
fn plain_words(tensor: &Tensor, shown: &[usize]) -> Vec<String> {
    if tensor.dtype() == DType::Bool {
        let bytes = tensor.as_bytes();
        let word = |&i: &usize| if bytes[i] == 0 { "False" } else { "True" };
        return shown.iter().map(|i| word(i).to_string()).collect();
    }
    let words = || {
        dispatch!(integer, tensor.dtype(), T => {
            let values = tensor.array()?.data::<T>();
            Ok(shown.iter().map(|&i| values[i].to_string()).collect())
        })
    };
    words().expect("floats are written elsewhere")
}

fn aligned(words: Vec<String>, dtype: DType) -> Vec<String> {
    let width = match dtype {
        DType::Bool => "False".len(),
        _ => words.iter().map(String::len).max().unwrap_or(0),
    };
    words.into_iter().map(|word| format!("{word:>width$}")).collect()
}

/// How words are arranged in brackets and lines.
struct Layout<'a> {
    separator: &'a str,
    summarized: bool,
}

impl Layout<'_> {
    fn axes(
        &self,
        shape: &[usize],
        words: &mut impl Iterator<Item = String>,
        indent: usize,
        width: usize,
    ) -> String {
        let extent = shape[0];
        let edges = self.summarized && extent > 2 * EDGE_ITEMS;
        let entries = if edges { 2 * EDGE_ITEMS } else { extent };
        let ellipsis_at = if edges { EDGE_ITEMS } else { usize::MAX };
        let mut parts = Vec::with_capacity(entries + 1);
        for i in 0..entries {
            if i == ellipsis_at {
                parts.push("...".to_string());
            }
            parts.push(match shape.len() {
                1 => words.next().expect("there is a word for each element"),
                _ => self.axes(&shape[1..], words, indent + 1, width - 1),
            });
        }
        if shape.len() == 1 {
            return format!("[{}]", self.row(&parts, indent, width - 1));
        }
        let newlines = "\n".repeat(shape.len() - 1);
        let between = format!("{}{newlines}{}", self.separator.trim_end(), " ".repeat(indent));
        format!("[{}]", parts.join(&between))
    }

    /// One row of words, broken where a line would exceed `width`.
    fn row(&self, words: &[String], indent: usize, width: usize) -> String {
        let mut text = String::new();
        let mut column = indent;
        for (i, word) in words.iter().enumerate() {
            if i > 0 {
                text.push_str(self.separator);
                column += self.separator.len();
            }
            if column + word.len() > width && column > indent {
                text.truncate(text.trim_end().len());
                text.push('\n');
                text.push_str(&" ".repeat(indent));
                column = indent;
            }
            text.push_str(word);
            column += word.len();
        }
        text
    }
}

impl fmt::Display for Tensor {
    /// As Python's `print` shows it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.symbol().is_some() {
            return fmt::Debug::fmt(self, f);
        }
        let values = match self.shape().rank() {
            0 => scalar_text(self, float::scalar),
            _ => on_its_own_lines(nested_text(self, " ", 1, LINE_WIDTH)),
        };
        let shape = python_tuple(self.shape());
        write!(f, "tf.Tensor({values}, shape={shape}, dtype={})", self.dtype())
    }
}

impl fmt::Debug for Tensor {
    /// As Python's `repr` shows it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shape = python_tuple(self.shape());
        if self.symbol().is_some() {
            return write!(f, "<tf.Tensor: shape={shape}, dtype={}, traced>", self.dtype());
        }
        let values = values_text(self);
        write!(f, "<tf.Tensor: shape={shape}, dtype={}, numpy={values}>", self.dtype())
    }
}
