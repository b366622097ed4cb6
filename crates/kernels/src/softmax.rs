//! Softmax and the losses on it, over rows.
//!
//! A row is taken in vectors of 16 values, the last one filled up with values that change nothing,
//! so short rows run in vector registers too. Exponentials are of the distance to the row's largest
//! value, so that none overflows.

use std::ops::Range;

use crate::element::{Element, Float, Number};
use crate::parallel::for_each_chunk_mut;
use crate::simd::{Task, run_for};

/// Values side by side: one vector register of `f32`.
const LANES: usize = 16;

/// Vectors summed one after the other; longer rows are sums of such sums, which lose less.
const SUM_BLOCK: usize = 64;

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
fn for_rows<T: Element>(
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
    let per_piece = (PIECE / len.max(1)).max(1);
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
        for (x, out) in self.x.chunks_exact(self.len).zip(self.out.chunks_exact_mut(self.len)) {
            let largest = largest(x);
            let mut sum = Sum::<T>::new();
            for (x, out) in x.chunks(LANES).zip(out.chunks_mut(LANES)) {
                // What is summed is what is stored, rounded to its type.
                let rounded = exponentials(x, largest).map(T::from_accumulator);
                for (out, &value) in out.iter_mut().zip(&rounded) {
                    *out = value;
                }
                sum.add(rounded.map(T::to_accumulator));
            }
            let scale = sum.total().recip();
            for out in out {
                *out = T::from_accumulator(out.to_accumulator().mul(scale));
            }
        }
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
        for (x, out) in self.x.chunks_exact(self.len).zip(self.out.chunks_exact_mut(self.len)) {
            let (largest, log_sum) = largest_and_log_sum(x);
            for (out, &x) in out.iter_mut().zip(x) {
                *out = T::from_accumulator(x.to_accumulator().sub(largest).sub(log_sum));
            }
        }
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
        for (row, out) in self.out.iter_mut().enumerate() {
            let row = row * self.len..(row + 1) * self.len;
            let (labels, x) = (&self.labels[row.clone()], &self.x[row]);
            let (largest, log_sum) = largest_and_log_sum(x);
            let mut sum = Sum::<T>::new();
            for (labels, x) in labels.chunks(LANES).zip(x.chunks(LANES)) {
                let labels = lanes(labels, T::ZERO.to_accumulator());
                let mut terms = lanes(x, largest);
                for (term, label) in terms.iter_mut().zip(labels) {
                    *term = label.mul(log_sum.sub(term.sub(largest)));
                }
                sum.add(terms);
            }
            *out = T::from_accumulator(sum.total());
        }
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
        for (i, out) in self.out.iter_mut().enumerate() {
            let row = self.first_row + i;
            let x = &self.x[row * self.len..][..self.len];
            let (largest, log_sum) = largest_and_log_sum(x);
            let logit = x[(self.label)(row)].to_accumulator();
            *out = T::from_accumulator(log_sum.sub(logit.sub(largest)));
        }
    }
}

/// Up to [`LANES`] values, filled up.
#[inline(always)]
fn lanes<T: Number>(x: &[T], fill: Accumulator<T>) -> [Accumulator<T>; LANES] {
    let mut lanes = [fill; LANES];
    match <&[T; LANES]>::try_from(x) {
        Ok(x) => lanes = x.map(T::to_accumulator),
        Err(_) => {
            for (lane, x) in lanes.iter_mut().zip(x) {
                *lane = x.to_accumulator();
            }
        }
    }
    lanes
}

/// The largest value of a row, NaN if one is.
#[inline(always)]
fn largest<T: Float>(x: &[T]) -> Accumulator<T> {
    let lowest = <Accumulator<T> as Number>::MIN;
    let mut largest = [lowest; LANES];
    for x in x.chunks(LANES) {
        for (largest, x) in largest.iter_mut().zip(lanes(x, lowest)) {
            *largest = largest.maximum(x);
        }
    }
    fold_halves(largest, Number::maximum)
}

/// `exp(x - largest)`, 0 where there is no value.
#[inline(always)]
fn exponentials<T: Float>(x: &[T], largest: Accumulator<T>) -> [Accumulator<T>; LANES]
where
    Accumulator<T>: Float,
{
    let mut lanes = lanes(x, <Accumulator<T> as Number>::MIN);
    for lane in &mut lanes {
        *lane = lane.sub(largest).exp();
    }
    lanes
}

/// The largest value of a row and the logarithm of the sum of `exp(x - largest)`.
#[inline(always)]
fn largest_and_log_sum<T: Float>(x: &[T]) -> (Accumulator<T>, Accumulator<T>)
where
    Accumulator<T>: Float,
{
    let largest = largest(x);
    let mut sum = Sum::<T>::new();
    for x in x.chunks(LANES) {
        sum.add(exponentials(x, largest));
    }
    (largest, sum.total().ln())
}

/// A sum of vectors, in blocks.
struct Sum<T: Number> {
    total: [Accumulator<T>; LANES],
    block: [Accumulator<T>; LANES],
    added: usize,
}

impl<T: Number> Sum<T> {
    #[inline(always)]
    fn new() -> Self {
        let zero = [T::ZERO.to_accumulator(); LANES];
        Sum { total: zero, block: zero, added: 0 }
    }

    #[inline(always)]
    fn add(&mut self, values: [Accumulator<T>; LANES]) {
        for (sum, value) in self.block.iter_mut().zip(values) {
            *sum = sum.add(value);
        }
        self.added += 1;
        if self.added == SUM_BLOCK {
            self.close_block();
        }
    }

    #[inline(always)]
    fn close_block(&mut self) {
        for (total, sum) in self.total.iter_mut().zip(&mut self.block) {
            *total = total.add(*sum);
            *sum = T::ZERO.to_accumulator();
        }
        self.added = 0;
    }

    #[inline(always)]
    fn total(mut self) -> Accumulator<T> {
        self.close_block();
        fold_halves(self.total, Number::add)
    }
}

/// Combines the lanes, one half with the other until one is left.
#[inline(always)]
fn fold_halves<A: Number>(mut lanes: [A; LANES], combine: impl Fn(A, A) -> A) -> A {
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
        assert!(loss.iter().all(|loss| loss.is_nan() || *loss == 0.0), "{loss:?}");
    }
}
