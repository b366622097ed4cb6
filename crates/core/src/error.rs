//! The one error type of the library.

use std::error::Error as StdError;
use std::fmt;

/// What every fallible function of tapeflow returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call was refused or failed.
///
/// The type is opaque: its [`Display`](fmt::Display) names the op or file and the actual shapes,
/// dtypes or values; the predicates (`is_shape()`, `is_io()`, ...) say which kind it is.
///
/// ```
/// use tapeflow_core::{Tensor, math};
///
/// let error = math::add(&Tensor::from([1.0f32, 2.0]), &Tensor::from([1.0f32, 2.0, 3.0])).unwrap_err();
/// assert!(error.is_shape());
/// assert_eq!(error.to_string(), "math.add: shapes [2] and [3] do not broadcast");
/// ```
pub struct Error(Box<Inner>);

struct Inner {
    kind: Kind,
    message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Shape,
    DType,
    InvalidArgument,
    Unsupported,
    ResourceExhausted,
    Data,
    Io,
    Traced,
}

impl Error {
    fn new(kind: Kind, message: impl Into<String>) -> Error {
        Error(Box::new(Inner { kind, message: message.into(), source: None }))
    }

    /// Shapes that do not fit the op or each other.
    pub fn shape(message: impl Into<String>) -> Error {
        Error::new(Kind::Shape, message)
    }

    /// A dtype the op does not take, or two that differ where they must not.
    pub fn dtype(message: impl Into<String>) -> Error {
        Error::new(Kind::DType, message)
    }

    /// An argument outside its range.
    pub fn invalid_argument(message: impl Into<String>) -> Error {
        Error::new(Kind::InvalidArgument, message)
    }

    /// A case that TensorFlow has and tapeflow has not.
    pub fn unsupported(message: impl Into<String>) -> Error {
        Error::new(Kind::Unsupported, message)
    }

    /// More memory or disk than there is.
    pub fn resource_exhausted(message: impl Into<String>) -> Error {
        Error::new(Kind::ResourceExhausted, message)
    }

    /// A file or stream whose content is not what its format says.
    pub fn data(message: impl Into<String>) -> Error {
        Error::new(Kind::Data, message)
    }

    /// A failed read or write; `context` names the file and what was tried.
    pub fn io(context: impl Into<String>, source: std::io::Error) -> Error {
        Error::new(Kind::Io, context).with_source(source)
    }

    /// A value that does not exist yet, or no more, because a function is being traced, or was.
    pub fn traced(message: impl Into<String>) -> Error {
        Error::new(Kind::Traced, message)
    }

    /// The same error with the lower-level error that caused it; `Display` shows both.
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Error {
        self.0.source = Some(source.into());
        self
    }

    /// The same error with `context: ` before its message, such as the name of the file being read.
    pub fn context(mut self, context: impl fmt::Display) -> Error {
        self.0.message = format!("{context}: {}", self.0.message);
        self
    }

    /// Shapes do not fit the op or each other.
    pub fn is_shape(&self) -> bool {
        self.0.kind == Kind::Shape
    }

    /// A dtype is not one the op takes, or two dtypes differ.
    pub fn is_dtype(&self) -> bool {
        self.0.kind == Kind::DType
    }

    /// An argument is outside its range.
    pub fn is_invalid_argument(&self) -> bool {
        self.0.kind == Kind::InvalidArgument
    }

    /// TensorFlow has this case and tapeflow has not.
    pub fn is_unsupported(&self) -> bool {
        self.0.kind == Kind::Unsupported
    }

    /// Memory or disk ran out, or would.
    pub fn is_resource_exhausted(&self) -> bool {
        self.0.kind == Kind::ResourceExhausted
    }

    /// A file's or stream's content is corrupt or of another format.
    pub fn is_data(&self) -> bool {
        self.0.kind == Kind::Data
    }

    /// A value was needed that a function being traced has not computed.
    pub fn is_traced(&self) -> bool {
        self.0.kind == Kind::Traced
    }

    /// Reading or writing failed.
    pub fn is_io(&self) -> bool {
        self.0.kind == Kind::Io
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        match &self.0.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Error({:?}, {:?})", self.0.kind, self.to_string())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}
