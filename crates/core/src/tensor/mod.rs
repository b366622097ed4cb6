//! The tensor: a dtype, a shape and a shared buffer.

mod convert;
mod display;
mod operators;

use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tapeflow_kernels::{self as kernels, Buffer};

use crate::dtype::{DType, Element};
use crate::error::{Error, Result};
use crate::execute::allocate;
use crate::graph::Symbol;
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
    values: Values,
}

#[derive(Clone)]
enum Values {
    // Where they begin in the buffer is counted in elements.
    Stored { buffer: Arc<Buffer>, offset: usize },
    // What a traced function will compute.
    Traced(Symbol),
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
    fn new(spec: Spec, values: Values) -> Tensor {
        Tensor(Arc::new(Inner { id: TensorId::fresh(), spec, values }))
    }

    pub(crate) fn from_buffer(spec: Spec, buffer: Arc<Buffer>) -> Tensor {
        Tensor::new(spec, Values::Stored { buffer, offset: 0 })
    }

    /// The tensor that stands for a value of a graph being traced.
    pub(crate) fn traced(spec: Spec, symbol: Symbol) -> Tensor {
        Tensor::new(spec, Values::Traced(symbol))
    }

    /// The value of a graph that the tensor stands for, if it does.
    pub(crate) fn symbol(&self) -> Option<Symbol> {
        match self.0.values {
            Values::Stored { .. } => None,
            Values::Traced(symbol) => Some(symbol),
        }
    }

    /// A tensor of `spec` whose values are this one's, beginning at `offset` elements.
    #[track_caller]
    pub(crate) fn view(&self, spec: Spec, offset: usize) -> Result<Tensor> {
        let (buffer, start) = self.stored()?;
        let values = Values::Stored { buffer: buffer.clone(), offset: start + offset };
        Ok(Tensor::new(spec, values))
    }

    /// The same values as another node of the graph that tapes see.
    pub(crate) fn alias(&self) -> Tensor {
        Tensor::new(*self.spec(), self.0.values.clone())
    }

    /// The buffer and the element in it at which the values begin. Inside a traced function there
    /// are none: the caller's place is named.
    #[track_caller]
    fn stored(&self) -> Result<(&Arc<Buffer>, usize)> {
        match &self.0.values {
            Values::Stored { buffer, offset } => Ok((buffer, *offset)),
            Values::Traced(_) => Err(Error::traced(format!(
                "{}: the values of a tensor of {} are read, but inside tf::function they are not \
                 computed yet; return the tensor and read it from the call's result",
                Location::caller(),
                self.spec()
            ))),
        }
    }

    pub(crate) fn id(&self) -> TensorId {
        self.0.id
    }

    #[track_caller]
    pub(crate) fn array(&self) -> Result<Array<'_>> {
        Ok(Array::new(&self.0.spec, self.bytes()?))
    }

    /// The bytes of the values: native byte order, row-major.
    #[track_caller]
    pub(crate) fn bytes(&self) -> Result<&[u8]> {
        let (buffer, offset) = self.stored()?;
        let start = offset * self.dtype().size();
        Ok(&buffer.as_slice::<u8>()[start..][..self.spec().num_bytes()])
    }

    /// The buffer, where nothing else holds it and it begins with this tensor's values.
    pub(crate) fn exclusive_buffer(&mut self) -> Option<&mut Buffer> {
        let inner = Arc::get_mut(&mut self.0)?;
        let Values::Stored { buffer, offset: 0 } = &mut inner.values else { return None };
        Arc::get_mut(buffer)
    }

    /// As [`exclusive_buffer`](Self::exclusive_buffer), to write another value there: no tape will
    /// take the tensor for the one it was.
    pub(crate) fn renewed_buffer(&mut self) -> Option<&mut Buffer> {
        Arc::get_mut(&mut self.0)?.id = TensorId::fresh();
        self.exclusive_buffer()
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
    /// `T` is not the tensor's dtype; inside [`function`](crate::function()), where there are no
    /// values yet, an error that names the caller's place.
    ///
    /// ```
    /// use tapeflow_core::Tensor;
    ///
    /// let x = Tensor::from([1.0f32, 2.0]);
    /// assert_eq!(x.as_slice::<f32>()?, [1.0, 2.0]);
    /// assert!(x.as_slice::<i32>().unwrap_err().is_dtype());
    /// # Ok::<(), tapeflow_core::Error>(())
    /// ```
    #[track_caller]
    pub fn as_slice<T: Element>(&self) -> Result<&[T::Stored]> {
        if T::DTYPE != self.dtype() {
            return Err(Error::dtype(format!(
                "values read as {}, the tensor is {}",
                T::DTYPE,
                self.spec()
            )));
        }
        Ok(self.array()?.data::<T::Stored>())
    }

    /// The values in row-major order.
    ///
    /// # Errors
    /// `T` is not the tensor's dtype.
    #[track_caller]
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
    #[track_caller]
    pub fn to_scalar<T: Element>(&self) -> Result<T> {
        match self.as_slice::<T>()? {
            [stored] => Ok(T::from_stored(*stored)),
            _ => Err(Error::shape(format!("a scalar was read from shape {}", self.shape()))),
        }
    }

    /// The bytes of the values: native byte order, row-major.
    ///
    /// # Panics
    /// Inside [`function`](crate::function()), where there are no values yet; there
    /// [`try_as_bytes`](Self::try_as_bytes) returns an error.
    #[track_caller]
    pub fn as_bytes(&self) -> &[u8] {
        match self.bytes() {
            Ok(bytes) => bytes,
            Err(error) => panic!("{error}"),
        }
    }

    /// [`as_bytes`](Self::as_bytes), or an error inside [`function`](crate::function()).
    ///
    /// # Errors
    /// There are no values yet; the error names the caller's place.
    #[track_caller]
    pub fn try_as_bytes(&self) -> Result<&[u8]> {
        self.bytes()
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
        self.view(spec, index * spec.shape.num_elements())
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
                to.copy_from_slice(row.bytes()?);
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
