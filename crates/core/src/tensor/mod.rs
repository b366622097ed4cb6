//! The tensor: a dtype, a shape and a shared buffer.

mod convert;
mod display;
mod operators;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tapeflow_kernels::{self as kernels, Buffer};

use crate::dtype::{DType, Element};
use crate::error::{Error, Result};
use crate::execute::allocate;
use crate::op::Array;
use crate::shape::{Shape, Spec};

pub use convert::{NestedArray, constant};
pub(crate) use display::{python_tuple, values_text};

/// An immutable, dense, row-major array of one dtype, like `tf.Tensor`.
///
/// Cloning is cheap and shares the values; reshaping and slicing along the first axis share them
/// too.
///
/// ```
/// use tapeflow_core::{DType, Tensor};
///
/// let x = Tensor::from([[1.0f32, 2.0], [3.0, 4.0]]);
/// assert_eq!(x.dtype(), DType::Float32);
/// assert_eq!(x.shape().dims(), [2, 2]);
/// assert_eq!((&x * 2.0 + &x).to_vec::<f32>()?, [3.0, 6.0, 9.0, 12.0]);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
#[derive(Clone)]
pub struct Tensor(Arc<Inner>);

struct Inner {
    id: TensorId,
    spec: Spec,
    buffer: Arc<Buffer>,
    // Where the values begin in the buffer, in elements.
    offset: usize,
}

/// What a tape knows a tensor or variable by; never used twice in a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct TensorId(u64);

impl TensorId {
    pub(crate) fn fresh() -> TensorId {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        TensorId(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

impl Tensor {
    pub(crate) fn from_buffer(spec: Spec, buffer: Arc<Buffer>) -> Tensor {
        Tensor(Arc::new(Inner { id: TensorId::fresh(), spec, buffer, offset: 0 }))
    }

    /// A tensor of `spec` whose values are this one's, beginning at `offset` elements.
    pub(crate) fn view(&self, spec: Spec, offset: usize) -> Tensor {
        let buffer = self.0.buffer.clone();
        let offset = self.0.offset + offset;
        Tensor(Arc::new(Inner { id: TensorId::fresh(), spec, buffer, offset }))
    }

    /// The same values as another node of the graph that tapes see.
    pub(crate) fn alias(&self) -> Tensor {
        self.view(*self.spec(), 0)
    }

    pub(crate) fn id(&self) -> TensorId {
        self.0.id
    }

    pub(crate) fn array(&self) -> Array<'_> {
        Array::new(&self.0.spec, &self.0.buffer, self.0.offset)
    }

    /// The buffer, where nothing else holds it and it begins with this tensor's values.
    pub(crate) fn exclusive_buffer(&mut self) -> Option<&mut Buffer> {
        let inner = Arc::get_mut(&mut self.0)?;
        if inner.offset != 0 {
            return None;
        }
        // What is written is another value: no tape may take it for the old one.
        inner.id = TensorId::fresh();
        Arc::get_mut(&mut inner.buffer)
    }

    /// A tensor of `shape` with the values of `values` in row-major order.
    ///
    /// # Errors
    /// A number of values that is not the shape's, or more memory than there is.
    ///
    /// ```
    /// use tapeflow_core::Tensor;
    ///
    /// let x = Tensor::from_slice(&[1i32, 2, 3, 4, 5, 6], [2, 3])?;
    /// assert_eq!(x.shape().dims(), [2, 3]);
    /// assert!(Tensor::from_slice(&[1i32, 2], [3]).unwrap_err().is_shape());
    /// # Ok::<(), tapeflow_core::Error>(())
    /// ```
    pub fn from_slice<T: Element>(values: &[T], shape: impl Into<Shape>) -> Result<Tensor> {
        let spec = Spec::new(T::DTYPE, shape);
        if values.len() != spec.shape.num_elements() {
            return Err(Error::shape(format!(
                "{} values do not fill shape {}",
                values.len(),
                spec.shape
            )));
        }
        let mut buffer = allocate(&spec)?;
        let stored = &mut buffer.as_mut_slice::<T::Stored>()[..values.len()];
        for (stored, value) in stored.iter_mut().zip(values) {
            *stored = value.to_stored();
        }
        Ok(Tensor::from_buffer(spec, Arc::new(buffer)))
    }

    /// A tensor of `shape` whose every value is `value`.
    pub(crate) fn filled<T: Element>(value: T, shape: Shape) -> Result<Tensor> {
        let spec = Spec::new(T::DTYPE, shape);
        let mut buffer = allocate(&spec)?;
        buffer.as_mut_slice::<T::Stored>()[..shape.num_elements()].fill(value.to_stored());
        Ok(Tensor::from_buffer(spec, Arc::new(buffer)))
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.0.spec.dtype
    }

    /// The extents.
    pub fn shape(&self) -> &Shape {
        &self.0.spec.shape
    }

    /// Dtype and shape.
    pub fn spec(&self) -> &Spec {
        &self.0.spec
    }

    /// The values in row-major order, without a copy. Values of `bool` are bytes that are 0 or 1.
    ///
    /// # Errors
    /// `T` is not the tensor's dtype.
    ///
    /// ```
    /// use tapeflow_core::Tensor;
    ///
    /// let x = Tensor::from([1.0f32, 2.0]);
    /// assert_eq!(x.as_slice::<f32>()?, [1.0, 2.0]);
    /// assert!(x.as_slice::<i32>().unwrap_err().is_dtype());
    /// # Ok::<(), tapeflow_core::Error>(())
    /// ```
    pub fn as_slice<T: Element>(&self) -> Result<&[T::Stored]> {
        if T::DTYPE != self.dtype() {
            return Err(Error::dtype(format!(
                "values read as {}, the tensor is {}",
                T::DTYPE,
                self.spec()
            )));
        }
        Ok(self.array().data::<T::Stored>())
    }

    /// The values in row-major order.
    ///
    /// # Errors
    /// `T` is not the tensor's dtype.
    pub fn to_vec<T: Element>(&self) -> Result<Vec<T>> {
        Ok(self.as_slice::<T>()?.iter().map(|&stored| T::from_stored(stored)).collect())
    }

    /// The value of a tensor that has one element, whatever its number of axes.
    ///
    /// # Errors
    /// `T` is not the tensor's dtype, or the tensor has not one element.
    ///
    /// ```
    /// use tapeflow_core::Tensor;
    ///
    /// assert_eq!(Tensor::from(6.0f32).to_scalar::<f32>()?, 6.0);
    /// # Ok::<(), tapeflow_core::Error>(())
    /// ```
    pub fn to_scalar<T: Element>(&self) -> Result<T> {
        match self.as_slice::<T>()? {
            [stored] => Ok(T::from_stored(*stored)),
            _ => Err(Error::shape(format!("a scalar was read from shape {}", self.shape()))),
        }
    }

    /// The bytes of the values: native byte order, row-major.
    pub fn as_bytes(&self) -> &[u8] {
        let start = self.0.offset * self.dtype().size();
        &self.0.buffer.as_slice::<u8>()[start..][..self.spec().num_bytes()]
    }

    /// A tensor of `spec` from its bytes: native byte order, row-major.
    ///
    /// # Errors
    /// A number of bytes that is not the spec's; a `bool` that is neither 0 nor 1.
    pub fn from_bytes(spec: Spec, bytes: &[u8]) -> Result<Tensor> {
        if bytes.len() != spec.num_bytes() {
            return Err(Error::shape(format!("{} bytes do not fill {spec}", bytes.len())));
        }
        if spec.dtype == DType::Bool && bytes.iter().any(|&byte| byte > 1) {
            return Err(Error::data(format!("a value of {spec} is neither 0 nor 1")));
        }
        let mut buffer = allocate(&spec)?;
        buffer.as_mut_slice::<u8>()[..bytes.len()].copy_from_slice(bytes);
        Ok(Tensor::from_buffer(spec, Arc::new(buffer)))
    }

    /// The slice at `index` of the first axis. It shares the values, and no tape records it: as
    /// [`from_rows`](Self::from_rows), it is for data, where [`slice`](crate::array::slice) and
    /// [`stack`](crate::array::stack) are for computing.
    ///
    /// # Errors
    /// A scalar; an `index` past the end.
    ///
    /// ```
    /// use tapeflow_core::Tensor;
    ///
    /// let x = Tensor::from([[1, 2], [3, 4]]);
    /// assert_eq!(x.row(1)?.to_vec::<i32>()?, [3, 4]);
    /// assert!(x.row(2).unwrap_err().is_invalid_argument());
    /// # Ok::<(), tapeflow_core::Error>(())
    /// ```
    pub fn row(&self, index: usize) -> Result<Tensor> {
        let refuse =
            || Error::invalid_argument(format!("shape {} has no row {index}", self.shape()));
        let (&length, dims) = self.shape().split_first().ok_or_else(refuse)?;
        if index >= length {
            return Err(refuse());
        }
        let spec = Spec::new(self.dtype(), Shape::new(dims)?);
        Ok(self.view(spec, index * spec.shape.num_elements()))
    }

    /// The `rows`, all of one dtype and shape, side by side along a new first axis. No tape records
    /// it.
    ///
    /// # Errors
    /// No rows; rows whose dtypes or shapes differ; more memory than there is.
    ///
    /// ```
    /// use tapeflow_core::Tensor;
    ///
    /// let x = Tensor::from_rows(&[&Tensor::from([1, 2]), &Tensor::from([3, 4])])?;
    /// assert_eq!(x.shape().dims(), [2, 2]);
    /// # Ok::<(), tapeflow_core::Error>(())
    /// ```
    pub fn from_rows(rows: &[&Tensor]) -> Result<Tensor> {
        let first = rows.first().ok_or_else(|| Error::invalid_argument("there are no rows"))?;
        for (index, row) in rows.iter().enumerate().skip(1) {
            if row.spec() != first.spec() {
                let kind = if row.dtype() == first.dtype() { Error::shape } else { Error::dtype };
                return Err(kind(format!(
                    "row {index} is {}, row 0 {}; they cannot be stacked",
                    row.spec(),
                    first.spec()
                )));
            }
        }
        let dims = [&[rows.len()], first.shape().dims()].concat();
        let spec = Spec::new(first.dtype(), Shape::new(&dims)?);
        let mut buffer = allocate(&spec)?;
        let row_bytes = first.spec().num_bytes();
        if row_bytes > 0 {
            let bytes = &mut buffer.as_mut_slice::<u8>()[..spec.num_bytes()];
            for (to, row) in bytes.chunks_exact_mut(row_bytes).zip(rows) {
                to.copy_from_slice(row.as_bytes());
            }
        }
        Ok(Tensor::from_buffer(spec, Arc::new(buffer)))
    }

    /// A scalar of `dtype` with the value of a literal, as TensorFlow converts a Python number.
    ///
    /// # Errors
    /// An integer or `bool` dtype that cannot hold the value.
    pub fn scalar(value: f64, dtype: DType) -> Result<Tensor> {
        crate::dtype::dispatch!(number, dtype, T => {
            let stored = <T as kernels::Number>::from_f64(value);
            if !dtype.is_floating() && kernels::Number::to_f64(stored) != value {
                return Err(Error::dtype(format!("{value} is not a value of {dtype}")));
            }
            Tensor::filled(stored, Shape::SCALAR)
        })
    }
}
