//! Reductions over any set of axes.
//!
//! The array is read as rows along its last axis (after merging axes that are reduced or kept
//! together). A row is either reduced to one value, in 16 interleaved partial results, or,
//! where its axis is kept, added to a row of results. Rows are taken in blocks whose size depends
//! on the shape alone; partial results of the blocks are combined in order. So the result is the
//! same whatever the number of threads, and a long sum loses little: its error grows with the
//! number of blocks and the length of one lane, not with the number of elements.

use crate::MAX_AXES;
use crate::element::Number;
use crate::parallel::for_each_chunk_mut;
use crate::simd::vectorize_for;
use crate::strided::Walk;

/// Partial results side by side in the reduction of a row: one vector register of `f32`.
const LANES: usize = 16;

/// About how many elements a block reduces.
const BLOCK: usize = 16 * 1024;

/// A reduction: how values are combined.
pub trait Reduction: Copy + Sync {
    /// The result of nothing.
    fn identity<T: Number>() -> T;
    /// The result of two parts.
    fn combine<T: Number>(x: T, y: T) -> T;
}

/// The sum; that of nothing is 0.
#[derive(Debug, Clone, Copy)]
pub struct Sum;

/// The largest; that of nothing is the lowest value, negative infinity for floats.
#[derive(Debug, Clone, Copy)]
pub struct Max;

/// The smallest; that of nothing is the highest value, infinity for floats.
#[derive(Debug, Clone, Copy)]
pub struct Min;

impl Reduction for Sum {
    fn identity<T: Number>() -> T {
        T::ZERO
    }

    #[inline(always)]
    fn combine<T: Number>(x: T, y: T) -> T {
        x.add(y)
    }
}

impl Reduction for Max {
    fn identity<T: Number>() -> T {
        T::MIN
    }

    #[inline(always)]
    fn combine<T: Number>(x: T, y: T) -> T {
        x.maximum(y)
    }
}

impl Reduction for Min {
    fn identity<T: Number>() -> T {
        T::MAX
    }

    #[inline(always)]
    fn combine<T: Number>(x: T, y: T) -> T {
        x.minimum(y)
    }
}

/// Reduces the axes for which `reduced` says so; `out` holds the others, row-major.
///
/// ```
/// use tapeflow_kernels::reduce::{Sum, reduce};
///
/// let mut columns = [0; 3];
/// reduce(Sum, &[1, 2, 3, 4, 5, 6], &[2, 3], &[true, false], &mut columns, |sum| sum);
/// assert_eq!(columns, [5, 7, 9]);
/// ```
///
/// `finish` maps each result in the accumulator's type before it is rounded to `T`: the division
/// of a mean, or nothing.
///
/// # Panics
/// If a length is not the product of its extents.
pub fn reduce<T: Number, R: Reduction>(
    _: R,
    x: &[T],
    dims: &[usize],
    reduced: &[bool],
    out: &mut [T],
    finish: impl Fn(T::Accumulator) -> T::Accumulator,
) {
    assert_eq!(x.len(), dims.iter().product());
    let plan = Plan::new(dims, reduced);
    assert_eq!(out.len(), plan.results());
    if x.is_empty() {
        out.fill(T::from_accumulator(finish(R::identity())));
        return;
    }
    let mut partials = vec![R::identity::<T::Accumulator>(); plan.results() * plan.blocks];
    // Whole partial rows at a time, as many as make a block of work.
    let per_task = (BLOCK / (plan.rows_per_block * plan.row_len)).max(1);
    for_each_chunk_mut(&mut partials, per_task * plan.width, |task, partials| {
        vectorize_for::<T, _>(|| {
            for (i, partial) in partials.chunks_exact_mut(plan.width).enumerate() {
                plan.reduce_block::<T, R>(x, task * per_task + i, partial);
            }
        });
    });
    for (partials, out) in
        partials.chunks_exact(plan.width * plan.blocks).zip(out.chunks_exact_mut(plan.width))
    {
        for (column, out) in out.iter_mut().enumerate() {
            let mut parts = partials[column..].iter().step_by(plan.width);
            let first = parts.next().map_or_else(R::identity, |&part| part);
            let total = parts.fold(first, |total, &part| R::combine(total, part));
            *out = T::from_accumulator(finish(total));
        }
    }
}

/// How an array is read: `outer` groups of `rows` rows each reduce to `width` results.
struct Plan {
    /// Offsets of the groups and of the rows within a group.
    outer: Walk<1>,
    outer_len: usize,
    rows: Walk<1>,
    rows_len: usize,
    row_len: usize,
    rows_per_block: usize,
    blocks: usize,
    /// 1 where the last axis is reduced, its extent where it is kept.
    width: usize,
}

impl Plan {
    fn new(dims: &[usize], reduced: &[bool]) -> Plan {
        let (mut merged, mut kinds): (Vec<usize>, Vec<bool>) = (Vec::new(), Vec::new());
        for (&dim, &kind) in dims.iter().zip(reduced) {
            match kinds.last() {
                _ if dim == 1 => {}
                Some(&last) if last == kind => *merged.last_mut().expect("as long as kinds") *= dim,
                _ => {
                    merged.push(dim);
                    kinds.push(kind);
                }
            }
        }
        let row_len = merged.pop().unwrap_or(1);
        let row_is_reduced = kinds.pop().unwrap_or(true);
        // A long reduced row is several shorter ones, so that it makes several blocks.
        let mut cut_row_len = row_len;
        if row_is_reduced && row_len > BLOCK && row_len.is_multiple_of(LANES) {
            cut_row_len = largest_divisor(row_len, BLOCK);
            merged.push(row_len / cut_row_len);
            kinds.push(true);
        }
        let strides = |wanted: bool| {
            let (mut own_dims, mut own_strides) = (Vec::new(), Vec::new());
            let mut step = cut_row_len as isize;
            for (&dim, &kind) in merged.iter().zip(&kinds).rev() {
                if kind == wanted {
                    own_dims.insert(0, dim);
                    own_strides.insert(0, step);
                }
                step *= dim as isize;
            }
            debug_assert!(own_dims.len() <= MAX_AXES);
            let len: usize = own_dims.iter().product();
            (Walk::new(&own_dims, [&own_strides[..]]), len)
        };
        let (outer, outer_len) = strides(false);
        let (rows, rows_len) = strides(true);
        let rows_per_block = (BLOCK / cut_row_len.max(1)).max(1);
        Plan {
            outer,
            outer_len,
            rows,
            rows_len,
            row_len: cut_row_len,
            rows_per_block: rows_per_block.min(rows_len.max(1)),
            blocks: rows_len.div_ceil(rows_per_block).max(1),
            width: if row_is_reduced { 1 } else { cut_row_len },
        }
    }

    fn results(&self) -> usize {
        self.outer_len * self.width
    }

    /// Reduces block `index`, counted group by group, into `partial`.
    #[inline(always)]
    fn reduce_block<T: Number, R: Reduction>(
        &self,
        x: &[T],
        index: usize,
        partial: &mut [T::Accumulator],
    ) {
        let (group, block) = (index / self.blocks, index % self.blocks);
        let start = block * self.rows_per_block;
        let count = self.rows_per_block.min(self.rows_len - start);
        let mut group_offset = 0;
        self.outer.rows(group, 1, |[offset], _| group_offset = offset);
        let [step] = self.rows.row_strides();
        let mut first = true;
        self.rows.rows(start, count, |[offset], run| {
            for row in 0..run as isize {
                let at = (group_offset + offset + row * step) as usize;
                let row = &x[at..at + self.row_len];
                if self.width == 1 {
                    partial[0] = R::combine(partial[0], reduce_row::<T, R>(row));
                } else if first {
                    for (partial, x) in partial.iter_mut().zip(row) {
                        *partial = x.to_accumulator();
                    }
                } else {
                    for (partial, x) in partial.iter_mut().zip(row) {
                        *partial = R::combine(*partial, x.to_accumulator());
                    }
                }
                first = false;
            }
        });
    }
}

#[inline(always)]
fn reduce_row<T: Number, R: Reduction>(row: &[T]) -> T::Accumulator {
    let mut lanes = [R::identity::<T::Accumulator>(); LANES];
    let (whole, rest) = row.as_chunks::<LANES>();
    for values in whole {
        for (lane, value) in lanes.iter_mut().zip(values) {
            *lane = R::combine(*lane, value.to_accumulator());
        }
    }
    for (lane, value) in lanes.iter_mut().zip(rest) {
        *lane = R::combine(*lane, value.to_accumulator());
    }
    let mut width = LANES;
    while width > 1 {
        width /= 2;
        for i in 0..width {
            lanes[i] = R::combine(lanes[i], lanes[i + width]);
        }
    }
    lanes[0]
}

/// The largest divisor of `n` not above `limit` that is a multiple of [`LANES`], as `n` is.
fn largest_divisor(n: usize, limit: usize) -> usize {
    (1..=limit / LANES)
        .rev()
        .map(|i| i * LANES)
        .find(|divisor| n.is_multiple_of(*divisor))
        .unwrap_or(n)
}

/// The index of the first largest value along the middle of `[outer, len, inner]`. NaN is never the
/// largest, as in TensorFlow; where no value is above the lowest, the index is 0.
///
/// ```
/// let mut indices = [0i64; 2];
/// tapeflow_kernels::reduce::argmax(&[1, 9, 9, 5, 4, 3], [2, 3, 1], &mut indices, |i| i as i64);
/// assert_eq!(indices, [1, 0]);
/// ```
///
/// # Panics
/// If a length is not the product of its extents, or `len` is 0.
pub fn argmax<T: Number, I>(
    x: &[T],
    [outer, len, inner]: [usize; 3],
    out: &mut [I],
    index: impl Fn(usize) -> I,
) {
    assert_eq!(x.len(), outer * len * inner);
    assert_eq!(out.len(), outer * inner);
    assert!(len > 0, "the largest of nothing has no index");
    for (at, out) in out.iter_mut().enumerate() {
        let start = at / inner * len * inner + at % inner;
        let (mut best, mut largest) = (0, T::MIN);
        for i in 0..len {
            let value = x[start + i * inner];
            if value > largest {
                (best, largest) = (i, value);
            }
        }
        *out = index(best);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn naive(x: &[i64], dims: &[usize], reduced: &[bool]) -> Vec<i64> {
        let kept: Vec<usize> =
            dims.iter().zip(reduced).map(|(&dim, &gone)| if gone { 1 } else { dim }).collect();
        let mut out = vec![0; kept.iter().product()];
        for (flat, &value) in x.iter().enumerate() {
            let (mut rest, mut place, mut step) = (flat, 0, 1);
            for axis in (0..dims.len()).rev() {
                let index = rest % dims[axis];
                rest /= dims[axis];
                place += if reduced[axis] { 0 } else { index * step };
                step *= kept[axis];
            }
            out[place] += value;
        }
        out
    }

    #[test]
    fn sums_over_every_set_of_axes_agree_with_the_naive_one() {
        let shapes: [&[usize]; 7] =
            [&[], &[5], &[2, 3, 4], &[1, 7, 1], &[3, 0, 2], &[2, 3, 2, 3, 2], &[5, 70_000]];
        for dims in shapes {
            let x: Vec<i64> =
                (0..dims.iter().product::<usize>() as i64).map(|i| i * i % 97).collect();
            for set in 0..1 << dims.len() {
                let reduced: Vec<bool> = (0..dims.len()).map(|axis| set >> axis & 1 == 1).collect();
                let want = naive(&x, dims, &reduced);
                let mut got = vec![-1; want.len()];
                reduce(Sum, &x, dims, &reduced, &mut got, |sum| sum);
                assert_eq!(got, want, "{dims:?} {reduced:?}");
            }
        }
    }

    #[test]
    fn extremes_propagate_nan_and_know_the_empty_case() {
        let mut out = [0.0f32];
        reduce(Max, &[1.0f32, f32::NAN, 3.0], &[3], &[true], &mut out, |max| max);
        assert!(out[0].is_nan());
        reduce(Min, &[] as &[f32], &[0], &[true], &mut out, |min| min);
        assert_eq!(out[0], f32::INFINITY);
    }

    #[test]
    fn argmax_passes_over_nan() {
        let mut out = [9];
        let nan = f32::NAN;
        for (x, want) in [([nan, 1.0, 2.0], 2), ([1.0, nan, 0.0], 0), ([nan; 3], 0)] {
            argmax(&x, [1, 3, 1], &mut out, |index| index);
            assert_eq!(out, [want]);
        }
    }

    #[test]
    fn a_long_f32_sum_is_accurate() {
        let x = vec![0.1f32; 1 << 22];
        let mut out = [0.0];
        reduce(Sum, &x, &[x.len()], &[true], &mut out, |sum| sum);
        let exact = f64::from(0.1f32) * x.len() as f64;
        assert!((f64::from(out[0]) / exact - 1.0).abs() < 2e-5, "{} {exact}", out[0]);
    }
}
