//! Softmax and the losses on it, over rows.
//!
//! Exponentials are of the distance to the row's largest value, so that none overflows. They are
//! computed in blocks of as many rows as fit, or of parts of a long one, so the loop over them is
//! long, and runs in vector registers, however short the rows are.

use std::ops::Range;

use crate::element::{Float, Number};
use crate::parallel::for_each_chunk_mut;
use crate::simd::{Task, run_for};

/// Values side by side in the reduction of a row: one vector register of `f32`.
const LANES: usize = 16;

/// Exponentials computed together, 4 KiB of `f32`; longer rows are sums of the sums of such blocks.
const BLOCK: usize = 1024;

/// Values per piece of work.
const PIECE: usize = 16 * 1024;

type Accumulator<T> = <T as Number>::Accumulator;

/// `exp(x) / sum(exp(x))` of each row of `len` values.
///
/// ```
/// let mut y = [0.0f32; 4];
/// tapeflow_kernels::softmax::softmax(&[1000.0, 1000.0, 0.0, -1000.0], 2, &mut y);
/// assert_eq!(y, [0.5, 0.5, 1.0, 0.0]);
/// ```
///
/// # Panics
/// If the lengths of `x` and `out` differ or are no multiple of `len`.
pub fn softmax<T: Float>(x: &[T], len: usize, out: &mut [T])
where
    Accumulator<T>: Float,
{
    for_rows(x.len(), len, out, len, |rows, out| {
        run_for::<T>(Softmax { x: &x[rows.start * len..rows.end * len], len, out });
    });
}

/// `x - log(sum(exp(x)))` of each row of `len` values.
///
/// ```
/// let mut y = [0.0f32; 2];
/// tapeflow_kernels::softmax::log_softmax(&[0.0, -1000.0], 2, &mut y);
/// assert_eq!(y, [0.0, -1000.0]);
/// ```
///
/// # Panics
/// If the lengths of `x` and `out` differ or are no multiple of `len`.
pub fn log_softmax<T: Float>(x: &[T], len: usize, out: &mut [T])
where
    Accumulator<T>: Float,
{
    for_rows(x.len(), len, out, len, |rows, out| {
        run_for::<T>(LogSoftmax { x: &x[rows.start * len..rows.end * len], len, out });
    });
}

/// `-sum(labels * log_softmax(x))` of each row of `len` values.
///
/// ```
/// let mut loss = [9.0f32];
/// tapeflow_kernels::softmax::cross_entropy(&[1.0, 0.0], &[0.0, -1000.0], 2, &mut loss);
/// assert_eq!(loss, [0.0]);
/// ```
///
/// # Panics
/// If `labels` and `x` are not as long as the rows of `out`.
pub fn cross_entropy<T: Float>(labels: &[T], x: &[T], len: usize, out: &mut [T])
where
    Accumulator<T>: Float,
{
    assert_eq!(labels.len(), x.len());
    for_rows(x.len(), len, out, 1, |rows, out| {
        let part = rows.start * len..rows.end * len;
        run_for::<T>(CrossEntropy { labels: &labels[part.clone()], x: &x[part], len, out });
    });
}

/// `-log_softmax(x)[label(row)]` of each row of `len` values.
///
/// ```
/// let mut loss = [9.0f32; 2];
/// let x = [0.0, -1000.0, 2.0, 2.0];
/// tapeflow_kernels::softmax::sparse_cross_entropy(&|row| row, &x, 2, &mut loss);
/// assert_eq!(loss, [0.0, 2f32.ln()]);
/// ```
///
/// # Panics
/// If `x` is not as long as the rows of `out`; if a label is not below `len`.
pub fn sparse_cross_entropy<T: Float>(
    label: &(dyn Fn(usize) -> usize + Sync),
    x: &[T],
    len: usize,
    out: &mut [T],
) where
    Accumulator<T>: Float,
{
    for_rows(x.len(), len, out, 1, |rows, out| {
        run_for::<T>(SparseCrossEntropy { label, first_row: rows.start, x, len, out });
    });
}

/// Calls `piece` with rows and their part of `out`, `out_len` values of each row.
fn for_rows<T: Number>(
    x_len: usize,
    len: usize,
    out: &mut [T],
    out_len: usize,
    piece: impl Fn(Range<usize>, &mut [T]) + Sync,
) {
    if out.is_empty() {
        return;
    }
    assert!(out.len().is_multiple_of(out_len) && x_len == out.len() / out_len * len);
    if len == 0 {
        // A sum of nothing is 0.
        return out.fill(T::ZERO);
    }
    let per_piece = (PIECE / len).max(1);
    for_each_chunk_mut(out, per_piece * out_len, |index, out| {
        let first = index * per_piece;
        piece(first..first + out.len() / out_len, out);
    });
}

struct Softmax<'a, T> {
    x: &'a [T],
    len: usize,
    out: &'a mut [T],
}

impl<T: Float> Task for Softmax<'_, T>
where
    Accumulator<T>: Float,
{
    #[inline(always)]
    fn run(self) {
        let Softmax { x, len, out } = self;
        let mut block = Block::<T>::new();
        for_blocks_of_rows(x, len, |start, rows| {
            let out = &mut out[start..start + rows.len()];
            if rows.len() <= BLOCK {
                let exponentials = block.exponentials(rows, len);
                for (out, exponentials) in out.chunks_mut(len).zip(exponentials.chunks(len)) {
                    let scale = reduce_row(exponentials, Number::add).recip();
                    for (out, &exponential) in out.iter_mut().zip(exponentials) {
                        *out = T::from_accumulator(exponential.mul(scale));
                    }
                }
                return;
            }
            let largest = largest(rows);
            let mut sum = T::ZERO.to_accumulator();
            for part in rows.chunks(BLOCK) {
                sum = sum.add(reduce_row(block.exponentials_below(part, largest), Number::add));
            }
            let scale = sum.recip();
            for (part, out) in rows.chunks(BLOCK).zip(out.chunks_mut(BLOCK)) {
                let exponentials = block.exponentials_below(part, largest);
                for (out, &exponential) in out.iter_mut().zip(exponentials) {
                    *out = T::from_accumulator(exponential.mul(scale));
                }
            }
        });
    }
}

struct LogSoftmax<'a, T> {
    x: &'a [T],
    len: usize,
    out: &'a mut [T],
}

impl<T: Float> Task for LogSoftmax<'_, T>
where
    Accumulator<T>: Float,
{
    #[inline(always)]
    fn run(self) {
        let LogSoftmax { x, len, out } = self;
        for_each_log_sum(x, len, |row, x, largest, log_sum| {
            for (out, &x) in out[row * len..][..len].iter_mut().zip(x) {
                *out = T::from_accumulator(x.to_accumulator().sub(largest).sub(log_sum));
            }
        });
    }
}

struct CrossEntropy<'a, T> {
    labels: &'a [T],
    x: &'a [T],
    len: usize,
    out: &'a mut [T],
}

impl<T: Float> Task for CrossEntropy<'_, T>
where
    Accumulator<T>: Float,
{
    #[inline(always)]
    fn run(self) {
        let CrossEntropy { labels, x, len, out } = self;
        for_each_log_sum(x, len, |row, x, largest, log_sum| {
            let mut sum = T::ZERO.to_accumulator();
            for (&label, &x) in labels[row * len..][..len].iter().zip(x) {
                let surprise = log_sum.sub(x.to_accumulator().sub(largest));
                sum = sum.add(label.to_accumulator().mul(surprise));
            }
            out[row] = T::from_accumulator(sum);
        });
    }
}

struct SparseCrossEntropy<'a, T> {
    label: &'a (dyn Fn(usize) -> usize + Sync),
    first_row: usize,
    x: &'a [T],
    len: usize,
    out: &'a mut [T],
}

impl<T: Float> Task for SparseCrossEntropy<'_, T>
where
    Accumulator<T>: Float,
{
    #[inline(always)]
    fn run(self) {
        let SparseCrossEntropy { label, first_row, x, len, out } = self;
        let x = &x[first_row * len..][..out.len() * len];
        for_each_log_sum(x, len, |row, x, largest, log_sum| {
            let logit = x[label(first_row + row)].to_accumulator();
            out[row] = T::from_accumulator(log_sum.sub(logit.sub(largest)));
        });
    }
}

/// Calls `visit` with the start and the values of as many rows as make a block, or of one that is
/// longer.
#[inline(always)]
fn for_blocks_of_rows<T>(x: &[T], len: usize, mut visit: impl FnMut(usize, &[T])) {
    let values = (BLOCK / len).max(1) * len;
    for (index, rows) in x.chunks(values).enumerate() {
        visit(index * values, rows);
    }
}

/// Calls `visit` with the index and the values of each row, the largest of them, and the logarithm
/// of the sum of `exp(x - largest)`.
#[inline(always)]
fn for_each_log_sum<T: Float>(
    x: &[T],
    len: usize,
    mut visit: impl FnMut(usize, &[T], Accumulator<T>, Accumulator<T>),
) where
    Accumulator<T>: Float,
{
    let mut block = Block::<T>::new();
    for_blocks_of_rows(x, len, |start, rows| {
        if rows.len() > BLOCK {
            let largest = largest(rows);
            let mut sum = T::ZERO.to_accumulator();
            for part in rows.chunks(BLOCK) {
                sum = sum.add(reduce_row(block.exponentials_below(part, largest), Number::add));
            }
            return visit(start / len, rows, largest, sum.ln());
        }
        let exponentials = block.exponentials(rows, len);
        let mut sums = [T::ZERO.to_accumulator(); BLOCK];
        let sums = &mut sums[..rows.len() / len];
        for (sum, exponentials) in sums.iter_mut().zip(exponentials.chunks(len)) {
            *sum = reduce_row(exponentials, Number::add);
        }
        for sum in sums.iter_mut() {
            *sum = sum.ln();
        }
        for (i, (row, &log_sum)) in rows.chunks(len).zip(&*sums).enumerate() {
            visit(start / len + i, row, block.largest[i], log_sum);
        }
    });
}

/// Room for the exponentials of a block and the largest value of each of its rows.
struct Block<T: Number> {
    values: [Accumulator<T>; BLOCK],
    largest: [Accumulator<T>; BLOCK],
}

impl<T: Float> Block<T>
where
    Accumulator<T>: Float,
{
    #[inline(always)]
    fn new() -> Self {
        let zero = T::ZERO.to_accumulator();
        Block { values: [zero; BLOCK], largest: [zero; BLOCK] }
    }

    /// `exp(x - largest of its row)`.
    #[inline(always)]
    fn exponentials(&mut self, rows: &[T], len: usize) -> &[Accumulator<T>] {
        let values = &mut self.values[..rows.len()];
        let own = values.chunks_mut(len).zip(&mut self.largest);
        for (row, (values, own_largest)) in rows.chunks(len).zip(own) {
            let largest = largest(row);
            *own_largest = largest;
            for (value, &x) in values.iter_mut().zip(row) {
                *value = x.to_accumulator().sub(largest);
            }
        }
        for value in values.iter_mut() {
            *value = value.exp();
        }
        values
    }

    /// `exp(x - largest)`.
    #[inline(always)]
    fn exponentials_below(&mut self, x: &[T], largest: Accumulator<T>) -> &[Accumulator<T>] {
        let values = &mut self.values[..x.len()];
        for (value, &x) in values.iter_mut().zip(x) {
            *value = x.to_accumulator().sub(largest).exp();
        }
        values
    }
}

/// The largest value of a row. A NaN may be passed over: its exponential makes the row's sum NaN.
#[inline(always)]
fn largest<T: Float>(x: &[T]) -> Accumulator<T> {
    reduce_row(x, |x, y| if y > x { y } else { x }).to_accumulator()
}

/// Combines the values of a row that is not empty, in lanes where there are several for each.
#[inline(always)]
fn reduce_row<A: Number>(x: &[A], combine: impl Fn(A, A) -> A) -> A {
    let Some((first, rest)) = x.split_first_chunk::<LANES>() else {
        return x[1..].iter().fold(x[0], |total, &x| combine(total, x));
    };
    let mut lanes = *first;
    let (whole, rest) = rest.as_chunks::<LANES>();
    for values in whole {
        for (lane, &value) in lanes.iter_mut().zip(values) {
            *lane = combine(*lane, value);
        }
    }
    for (lane, &value) in lanes.iter_mut().zip(rest) {
        *lane = combine(*lane, value);
    }
    let mut width = LANES;
    while width > 1 {
        width /= 2;
        for i in 0..width {
            lanes[i] = combine(lanes[i], lanes[i + width]);
        }
    }
    lanes[0]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::philox::{Philox, uniform};
    use crate::simd::Level;

    fn values(len: usize) -> Vec<f32> {
        let mut x = vec![0.0f32; len];
        uniform(Philox::new([7, len as u32], [0; 4]), &mut x, -9.0, 9.0);
        x
    }

    fn near(got: f32, want: f64, tolerance: f64) -> bool {
        (f64::from(got) - want).abs() <= tolerance * (1.0 + want.abs())
    }

    #[test]
    fn rows_of_any_length_agree_with_the_naive_ones() {
        for (rows, len) in [(1, 1), (3, 2), (128, 10), (5, 16), (7, 17), (3, 1000), (2, 40_000)] {
            let (x, labels) = (values(rows * len), values(rows * len + 1));
            let labels: Vec<f32> = labels[1..].iter().map(|&x| x.abs() / 9.0).collect();
            let [mut y, mut log_y] = [vec![9.0f32; rows * len], vec![9.0f32; rows * len]];
            let [mut loss, mut sparse] = [vec![9.0f32; rows], vec![9.0f32; rows]];
            softmax(&x, len, &mut y);
            log_softmax(&x, len, &mut log_y);
            cross_entropy(&labels, &x, len, &mut loss);
            sparse_cross_entropy(&|row| row * 7 % len, &x, len, &mut sparse);
            for row in 0..rows {
                let x = &x[row * len..][..len];
                let total: f64 = x.iter().map(|&x| f64::from(x).exp()).sum();
                let place = format!("row {row} of {len}");
                let mut want_loss = 0.0;
                for (i, &x) in x.iter().enumerate() {
                    let (want, at) = (f64::from(x).exp() / total, row * len + i);
                    assert!(near(y[at], want, 2e-6), "{place}: {} {want}", y[at]);
                    assert!(near(log_y[at], want.ln(), 2e-6), "{place}: {} {want}", log_y[at]);
                    want_loss -= f64::from(labels[at]) * want.ln();
                }
                assert!(near(loss[row], want_loss, 1e-5), "{place}: {} {want_loss}", loss[row]);
                let want = -(f64::from(x[row * 7 % len]).exp() / total).ln();
                assert!(near(sparse[row], want, 2e-6), "{place}: {} {want}", sparse[row]);
            }
        }
    }

    #[test]
    fn each_level_gives_the_same_bits() {
        let x = values(40 * 33);
        let mut first = vec![0.0f32; x.len()];
        Softmax { x: &x, len: 33, out: &mut first }.run();
        for level in Level::available() {
            let mut y = vec![0.0f32; x.len()];
            level.run(Softmax { x: &x, len: 33, out: &mut y });
            assert_eq!(y, first, "{level}");
        }
    }

    #[test]
    fn nan_takes_its_row_and_infinity_too() {
        for special in [f32::NAN, f32::INFINITY] {
            let mut y = [0.0f32; 6];
            softmax(&[0.0, special, 1.0, 2.0, 2.0, f32::NEG_INFINITY], 3, &mut y);
            assert!(y[1].is_nan(), "{y:?}");
            assert_eq!(y[3..], [0.5, 0.5, 0.0]);
        }
    }

    #[test]
    fn empty_rows_pass() {
        softmax::<f32>(&[], 0, &mut []);
        let mut loss = [1.0f32; 2];
        cross_entropy(&[], &[], 0, &mut loss);
        assert_eq!(loss, [0.0; 2]);
    }
}
