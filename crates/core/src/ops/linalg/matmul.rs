//! Matrix products.

use std::sync::Mutex;

use tapeflow_kernels::gemm::{Matrix, Update, gemm};
use tapeflow_kernels::movement::broadcast_strides;
use tapeflow_kernels::parallel::for_each_chunk_mut;
use tapeflow_kernels::{AllocError, Element};

use crate::ops::array::reshape;
use crate::ops::prelude::*;

/// Multiply-adds that are worth handing to another thread; smaller products of a batch share a
/// piece of work.
const PIECE_WORK: usize = 1 << 16;

/// Those that TensorFlow multiplies on a CPU.
const DTYPES: DTypes = DTypes::FLOATING.or(DTypes::of(&[DType::Int32, DType::Int64]));

/// The op of [`matmul`]; [`call`](MatMul::call) takes the transposed forms.
#[derive(Debug, Clone, Copy, Default)]
pub struct MatMul {
    /// Take each matrix of `a` as its transpose.
    pub transpose_a: bool,
    /// Take each matrix of `b` as its transpose.
    pub transpose_b: bool,
}

/// The matrices' extents and the axes of the batch.
struct Dims {
    m: usize,
    n: usize,
    k: usize,
    batch: Shape,
}

impl MatMul {
    /// The product with the matrices transposed as the attributes say, which copies nothing.
    /// `tf.linalg.matmul` with `transpose_a` and `transpose_b`.
    ///
    /// # Errors
    /// As for [`matmul`].
    ///
    /// ```
    /// use tapeflow_core::{Tensor, linalg::MatMul};
    ///
    /// let a = Tensor::from([[1.0f32, 2.0], [3.0, 4.0]]);
    /// let y = MatMul { transpose_a: true, ..MatMul::default() }.call(&a, &a)?;
    /// assert_eq!(y.to_vec::<f32>()?, [10.0, 14.0, 14.0, 20.0]);
    /// # Ok::<(), tapeflow_core::Error>(())
    /// ```
    pub fn call(self, a: impl Into<Tensor>, b: impl Into<Tensor>) -> Result<Tensor> {
        let (a, b) = (a.into(), b.into());
        if self.transpose_a || a.shape().rank() <= 2 || b.shape().rank() != 2 {
            return apply(self, &[&a, &b]);
        }
        // A batch times one matrix is one product of more rows, and so are its gradients.
        let output = self.infer(&[*a.spec(), *b.spec()])?[0].shape;
        let (columns, rows) = a.shape().split_last().expect("the rank is at least 3");
        let rows = Shape::new(rows)?.num_elements();
        let product = apply(self, &[&reshape(&a, Shape::from([rows, *columns]))?, &b])?;
        reshape(product, output)
    }

    fn dims(self, a: &Shape, b: &Shape) -> Result<Dims> {
        let name = self.name();
        let refuse = |why: &str| Err(Error::shape(format!("{name}: {why} (a {a}, b {b})")));
        let ([a_batch @ .., a_rows, a_cols], [b_batch @ .., b_rows, b_cols]) = (a.dims(), b.dims())
        else {
            return refuse("both must have at least 2 axes");
        };
        let (m, k) = if self.transpose_a { (*a_cols, *a_rows) } else { (*a_rows, *a_cols) };
        let (b_k, n) = if self.transpose_b { (*b_cols, *b_rows) } else { (*b_rows, *b_cols) };
        if k != b_k {
            return refuse(&format!("a has {k} columns, b has {b_k} rows{}", self.transposed()));
        }
        match Shape::new(a_batch)?.broadcast(&Shape::new(b_batch)?) {
            Some(batch) => Ok(Dims { m, n, k, batch }),
            None => refuse("the batches do not broadcast"),
        }
    }

    fn transposed(self) -> &'static str {
        match (self.transpose_a, self.transpose_b) {
            (false, false) => "",
            (true, false) => ", a transposed",
            (false, true) => ", b transposed",
            (true, true) => ", both transposed",
        }
    }
}

impl Op for MatMul {
    fn name(&self) -> &'static str {
        "linalg.matmul"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        let (a, b) = (&inputs[0], &inputs[1]);
        check_same_dtype(self.name(), a, b)?;
        check_dtype(self.name(), "a", a.dtype, DTYPES)?;
        let Dims { m, n, batch, .. } = self.dims(&a.shape, &b.shape)?;
        let dims = [batch.dims(), &[m, n]].concat();
        Ok(vec![Spec { dtype: a.dtype, shape: Shape::new(&dims)? }])
    }

    fn run(&self, inputs: &[Array<'_>], outputs: &mut [ArrayMut<'_>]) -> Result<()> {
        let (a, b) = (inputs[0], inputs[1]);
        let dims = self.dims(a.shape(), b.shape())?;
        let no_memory = |_: AllocError| {
            let (name, a, b) = (self.name(), a.shape(), b.shape());
            Error::resource_exhausted(format!("{name}: no memory to multiply {a} by {b}"))
        };
        dispatch_wide!(product, self, inputs, outputs, a.dtype(), T => {
            let product = |a: &[T], b: &[T], c: &mut [T]| {
                let Dims { m, n, k, .. } = dims;
                let a = matrix(a, m, k, self.transpose_a);
                gemm(m, n, k, a, matrix(b, k, n, self.transpose_b), Update::Assign, c)
            };
            each_matrix(&dims, a, b, outputs[0].data(), product).map_err(no_memory)
        })
    }

    fn gradient(&self) -> Gradient {
        let MatMul { transpose_a, transpose_b } = *self;
        Gradient::rule(Saves::INPUTS, move |call, input| {
            let (a, b, upstream) = (call.input(0), call.input(1), call.upstream());
            let product = |x, transpose_a, y, transpose_b| {
                MatMul { transpose_a, transpose_b }.call(x, y).map(Some)
            };
            match (input, transpose_a, transpose_b) {
                (0, false, _) => product(upstream, false, b, !transpose_b),
                (0, true, _) => product(b, transpose_b, upstream, true),
                (_, _, false) => product(a, !transpose_a, upstream, false),
                (_, _, true) => product(upstream, true, a, transpose_a),
            }
        })
    }
}

/// A dense matrix that is `rows` x `cols` once transposed, if it is.
pub(crate) fn matrix<T>(data: &[T], rows: usize, cols: usize, transposed: bool) -> Matrix<'_, T> {
    if transposed {
        Matrix::row_major(data, rows).transposed()
    } else {
        Matrix::row_major(data, cols)
    }
}

/// Calls `product` for each matrix of the batch.
fn each_matrix<T: Element>(
    dims: &Dims,
    a: Array<'_>,
    b: Array<'_>,
    c: &mut [T],
    product: impl Fn(&[T], &[T], &mut [T]) -> Result<(), AllocError> + Sync,
) -> Result<(), AllocError> {
    let &Dims { m, n, k, ref batch } = dims;
    if c.is_empty() {
        return Ok(());
    }
    let (a_values, b_values) = (a.data::<T>(), b.data::<T>());
    if batch.num_elements() == 1 {
        return product(a_values, b_values, c);
    }
    let a_steps = broadcast_strides(&a.shape()[..a.shape().rank() - 2], batch);
    let b_steps = broadcast_strides(&b.shape()[..b.shape().rank() - 2], batch);
    let per_piece = (PIECE_WORK / (m * n * k.max(1))).max(1);
    let failed = Mutex::new(None);
    for_each_chunk_mut(c, per_piece * m * n, |piece, c| {
        for (i, c) in c.chunks_exact_mut(m * n).enumerate() {
            let index = piece * per_piece + i;
            let a = &a_values[offset(index, batch, &a_steps) * m * k..][..m * k];
            let b = &b_values[offset(index, batch, &b_steps) * k * n..][..k * n];
            if let Err(error) = product(a, b, c) {
                *failed.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(error);
            }
        }
    });
    failed.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()).map_or(Ok(()), Err)
}

/// Where the matrix at the flat `index` of the batch lies, in matrices.
fn offset(mut index: usize, batch: &Shape, steps: &[isize]) -> usize {
    let mut offset = 0;
    for (&dim, &step) in batch.iter().zip(steps).rev() {
        offset += index % dim * step as usize;
        index /= dim;
    }
    offset
}

/// The matrix product `a b`; axes before the last two are a batch and broadcast.
/// `tf.linalg.matmul`.
///
/// `a` is `[.., m, k]`, `b` is `[.., k, n]`, the result `[.., m, n]`; integers wrap.
/// [`MatMul`] has the transposed forms.
///
/// # Errors
/// Fewer than two axes, inner extents that differ, batches that do not broadcast; dtypes that
/// differ or are neither floating nor
/// `int32` or `int64`.
///
/// ```
/// use tapeflow_core::{Tensor, linalg};
///
/// let a = Tensor::from([[1.0f32, 2.0], [3.0, 4.0]]);
/// let b = Tensor::from([[5.0f32], [6.0]]);
/// assert_eq!(linalg::matmul(&a, &b)?.to_vec::<f32>()?, [17.0, 39.0]);
/// assert_eq!(
///     linalg::matmul(&b, &a).unwrap_err().to_string(),
///     "linalg.matmul: a has 1 columns, b has 2 rows (a [2, 1], b [2, 2])",
/// );
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
pub fn matmul(a: impl Into<Tensor>, b: impl Into<Tensor>) -> Result<Tensor> {
    MatMul::default().call(a, b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::array::{broadcast_to, zeros};
    use crate::test::check_gradients;

    fn values(shape: &[usize], phase: f64) -> Tensor {
        let shape = Shape::new(shape).unwrap();
        let values: Vec<f64> =
            (0..shape.num_elements()).map(|i| (i as f64 * 1.7 + phase).sin()).collect();
        Tensor::from_slice(&values, shape).unwrap()
    }

    #[test]
    fn gradients_are_those_of_finite_differences() {
        for transpose_a in [false, true] {
            for transpose_b in [false, true] {
                let op = MatMul { transpose_a, transpose_b };
                let a = if transpose_a { [3, 2] } else { [2, 3] };
                let b = if transpose_b { [4, 3] } else { [3, 4] };
                let inputs = [values(&a, 0.0), values(&b, 1.0)];
                check_gradients(|x| op.call(&x[0], &x[1]), &inputs);
            }
        }
    }

    #[test]
    fn gradients_are_summed_over_a_broadcast_batch() {
        let shapes: [[&[usize]; 2]; 4] = [
            [&[2, 2, 3], &[3, 2]],
            [&[2, 3], &[2, 3, 2]],
            [&[2, 1, 2, 3], &[2, 3, 2]],
            [&[1, 2, 3], &[2, 3, 1]],
        ];
        for [a, b] in shapes {
            check_gradients(|x| matmul(&x[0], &x[1]), &[values(a, 0.0), values(b, 1.0)]);
        }
    }

    #[test]
    fn a_batch_is_each_of_its_products() {
        let (a, b) = (values(&[3, 1, 4, 5], 0.0), values(&[2, 6, 5], 1.0));
        let op = MatMul { transpose_b: true, ..MatMul::default() };
        let all = op.call(&a, &b).unwrap();
        assert_eq!(all.shape().dims(), [3, 2, 4, 6]);
        let all = all.to_vec::<f64>().unwrap();
        let (a, b) = (a.to_vec::<f64>().unwrap(), b.to_vec::<f64>().unwrap());
        for (i, one) in all.chunks(24).enumerate() {
            let a = Tensor::from_slice(&a[i / 2 * 20..][..20], [4, 5]).unwrap();
            let b = Tensor::from_slice(&b[i % 2 * 30..][..30], [6, 5]).unwrap();
            assert_eq!(one, op.call(&a, &b).unwrap().to_vec::<f64>().unwrap());
        }
    }

    #[test]
    fn every_dtype_multiplies() {
        for dtype in DType::ALL.into_iter().filter(|&dtype| DTYPES.contains(dtype)) {
            let two = broadcast_to(Tensor::scalar(2.0, dtype).unwrap(), [2, 2]).unwrap();
            let product = matmul(&two, &two).unwrap();
            let product = crate::ops::array::cast(product, DType::Int32).unwrap();
            assert_eq!(product.to_vec::<i32>().unwrap(), [8; 4], "{dtype}");
        }
    }

    #[test]
    fn empty_products() {
        let zeros = |shape: [usize; 2]| zeros(shape, DType::Float32).unwrap();
        let y = matmul(zeros([2, 0]), zeros([0, 3])).unwrap();
        assert_eq!(y.to_vec::<f32>().unwrap(), [0.0; 6]);
        assert_eq!(matmul(zeros([0, 2]), zeros([2, 3])).unwrap().shape().dims(), [0, 3]);
        let batch = crate::ops::array::zeros([0, 2, 3], DType::Float32).unwrap();
        assert_eq!(matmul(batch, zeros([3, 1])).unwrap().shape().dims(), [0, 2, 1]);
    }

    #[test]
    fn refusals_name_both_shapes() {
        let zeros = |shape: &[usize]| zeros(Shape::new(shape).unwrap(), DType::Float32).unwrap();
        let refusal = |a: &[usize], b: &[usize]| {
            let error = matmul(zeros(a), zeros(b)).unwrap_err();
            assert!(error.is_shape());
            error.to_string()
        };
        assert_eq!(
            refusal(&[3], &[3, 1]),
            "linalg.matmul: both must have at least 2 axes (a [3], b [3, 1])"
        );
        assert_eq!(
            refusal(&[5, 2, 2, 3], &[4, 3, 2]),
            "linalg.matmul: the batches do not broadcast (a [5, 2, 2, 3], b [4, 3, 2])"
        );
        let op = MatMul { transpose_a: true, transpose_b: false };
        assert_eq!(
            op.call(zeros(&[2, 3]), zeros(&[3, 2])).unwrap_err().to_string(),
            "linalg.matmul: a has 2 columns, b has 3 rows, a transposed (a [2, 3], b [3, 2])"
        );
        assert!(matmul([[1.0f32]], [[1.0f64]]).unwrap_err().is_dtype());
        assert_eq!(
            matmul([[1u8]], [[1u8]]).unwrap_err().to_string(),
            "linalg.matmul: a is uint8, must be one of float16, bfloat16, float32, float64, int32, \
             int64"
        );
    }
}
