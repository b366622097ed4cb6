//! The bounds of uniform values.

use std::fmt;

use tapeflow_kernels::Number;

use crate::dtype::DType;
use crate::error::{Error, Result};

/// A bound of uniform values, of any dtype: what a Python number or `None` is in TensorFlow.
///
/// ```
/// use tapeflow_core::random::Limit;
///
/// assert_eq!(Limit::from(3), Limit::Integer(3));
/// assert_eq!(Limit::from(0.5), Limit::Float(0.5));
/// assert_eq!(Limit::from(None), Limit::None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Limit {
    /// No bound given.
    None,
    /// An integer, for any dtype.
    Integer(i64),
    /// A float, for floating dtypes.
    Float(f64),
}

impl Limit {
    /// The bound as a value of the floating type `T`.
    pub(super) fn to_float<T: Number>(self, op: &str, argument: &str) -> Result<T> {
        match self {
            Limit::None => {
                Err(Error::invalid_argument(format!("{op}: floats need {argument}, it is None")))
            }
            Limit::Integer(value) => Ok(T::from_f64(value as f64)),
            Limit::Float(value) => Ok(T::from_f64(value)),
        }
    }

    /// The bound as a value of an integer dtype.
    pub(super) fn to_integer(self, op: &str, argument: &str, dtype: DType) -> Result<i64> {
        match self {
            Limit::Integer(value) if dtype == DType::Int64 || i32::try_from(value).is_ok() => {
                Ok(value)
            }
            other => Err(Error::dtype(format!("{op}: {argument} {other} is not a {dtype}"))),
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Limit::None => f.write_str("None"),
            Limit::Integer(value) => value.fmt(f),
            Limit::Float(value) => fmt::Debug::fmt(value, f),
        }
    }
}

impl From<i32> for Limit {
    fn from(value: i32) -> Limit {
        Limit::Integer(value.into())
    }
}

impl From<i64> for Limit {
    fn from(value: i64) -> Limit {
        Limit::Integer(value)
    }
}

impl From<f32> for Limit {
    fn from(value: f32) -> Limit {
        Limit::Float(value.into())
    }
}

impl From<f64> for Limit {
    fn from(value: f64) -> Limit {
        Limit::Float(value)
    }
}

impl From<Option<i64>> for Limit {
    fn from(value: Option<i64>) -> Limit {
        value.map_or(Limit::None, Limit::Integer)
    }
}
