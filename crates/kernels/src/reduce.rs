//! Reductions over any set of axes.
//!
//! The array is read as rows along its last axis (after merging axes that are reduced or kept
//! together). A row is either reduced to one value, in 16 interleaved partial results, or, where its
//! axis is kept, added to a row of results, strip by strip. Rows are taken in blocks whose size
//! depends on the shape alone; partial results of the blocks are combined in order. So the result is
//! the same whatever the number of threads, and a long sum loses little: its error grows with the
//! number of blocks and the length of one lane, not with the number of elements.

use std::ops::Range;

use crate::MAX_AXES;
use crate::buffer::{AllocError, Buffer};
use crate::element::Number;
use crate::parallel::{SharedMut, for_each_chunk_mut, for_each_index};
use crate::simd::{Task, run_for};
use crate::strided::Walk;

/// Partial results side by side in the reduction of a row: one vector register of `f32`.
const LANES: usize = 16;

/// About how many elements a block reduces, and the least that a task does.
const BLOCK: usize = 16 * 1024;

/// The most results that a block works on: they stay in the first-level cache.
const STRIP: usize = 1024;

/// The fewest rows added to a strip of results before it is put away.
const STRIP_ROWS: usize = 128;

type Accumulator<T> = <T as Number>::Accumulator;

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
/// reduce(Sum, &[1, 2, 3, 4, 5, 6], &[2, 3], &[true, false], &mut columns, |sum| sum)?;
/// assert_eq!(columns, [5, 7, 9]);
/// # Ok::<(), tapeflow_kernels::AllocError>(())
/// ```
///
/// `finish` maps each result in the accumulator's type before it is rounded to `T`: the division
/// of a mean, or nothing.
///
/// # Errors
/// The system refuses the memory for partial results.
///
/// # Panics
/// If a length is not the product of its extents.
pub fn reduce<T: Number, R: Reduction>(
    reduction: R,
    x: &[T],
    dims: &[usize],
    reduced: &[bool],
    out: &mut [T],
    finish: impl Fn(Accumulator<T>) -> Accumulator<T> + Sync,
) -> Result<(), AllocError> {
    assert_eq!(x.len(), dims.iter().product());
    let plan = Plan::new(dims, reduced);
    assert_eq!(out.len(), plan.results());
    if x.is_empty() {
        out.fill(T::from_accumulator(finish(R::identity())));
        return Ok(());
    }
    if plan.blocks == 1 {
        let out = SharedMut::new(out);
        for_each_index(plan.tasks(), |task| {
            let units = plan.units(task);
            run_for::<T>(Whole { reduction, plan: &plan, x, units, out: &out, finish: &finish });
        });
        return Ok(());
    }
    let mut buffer =
        Buffer::uninit_reused(plan.results() * plan.blocks * size_of::<Accumulator<T>>())?;
    let partials = buffer.as_mut_slice::<Accumulator<T>>();
    let shared = SharedMut::new(partials);
    for_each_index(plan.tasks(), |task| {
        let units = plan.units(task);
        run_for::<T>(Partial { reduction, plan: &plan, x, units, partials: &shared });
    });
    let groups = partials.chunks_exact_mut(plan.width * plan.blocks);
    for (blocks, out) in groups.zip(out.chunks_exact_mut(plan.width)) {
        let (total, others) = blocks.split_at_mut(plan.width);
        for block in others.chunks_exact(plan.width) {
            for (total, &part) in total.iter_mut().zip(block) {
                *total = R::combine(*total, part);
            }
        }
        for (out, &total) in out.iter_mut().zip(&*total) {
            *out = T::from_accumulator(finish(total));
        }
    }
    Ok(())
}

/// Units of a plan that reduces each group in one block: the results are final.
struct Whole<'a, T: Number, R, F> {
    reduction: R,
    plan: &'a Plan,
    x: &'a [T],
    units: Range<usize>,
    out: &'a SharedMut<'a, T>,
    finish: &'a F,
}

impl<T, R, F> Task for Whole<'_, T, R, F>
where
    T: Number,
    R: Reduction,
    F: Fn(Accumulator<T>) -> Accumulator<T>,
{
    #[inline(always)]
    fn run(self) {
        let Whole { reduction, plan, x, units, out, finish } = self;
        if plan.is_matrix_of_rows() {
            // SAFETY: the units of a task are its own, and each has one result.
            let out = unsafe { out.range(units.start, units.end) };
            let rows = x[units.start * plan.row_len..].chunks_exact(plan.row_len);
            for (out, row) in out.iter_mut().zip(rows) {
                *out = T::from_accumulator(finish(reduce_row::<T, R>(row)));
            }
            return;
        }
        let mut partial = [R::identity::<Accumulator<T>>(); STRIP];
        for unit in units {
            let place = plan.place(unit);
            let partial = &mut partial[..place.len()];
            plan.reduce_unit(reduction, x, unit, partial);
            // SAFETY: the units of a task are its own, and their places do not overlap.
            let out = unsafe { out.range(place.start, place.end) };
            for (out, &partial) in out.iter_mut().zip(&*partial) {
                *out = T::from_accumulator(finish(partial));
            }
        }
    }
}

/// Units of a plan of several blocks for each group.
struct Partial<'a, T: Number, R> {
    reduction: R,
    plan: &'a Plan,
    x: &'a [T],
    units: Range<usize>,
    partials: &'a SharedMut<'a, Accumulator<T>>,
}

impl<T: Number, R: Reduction> Task for Partial<'_, T, R> {
    #[inline(always)]
    fn run(self) {
        for unit in self.units {
            let place = self.plan.place(unit);
            // SAFETY: the units of a task are its own, and their places do not overlap.
            let partial = unsafe { self.partials.range(place.start, place.end) };
            self.plan.reduce_unit(self.reduction, self.x, unit, partial);
        }
    }
}

/// How an array is read: `groups` groups of `rows_len` rows each reduce to `width` results. A unit of
/// work is a strip of the results of a block of the rows of a group.
struct Plan {
    /// Offsets of the groups and of the rows within a group.
    outer: Walk<1>,
    groups: usize,
    rows: Walk<1>,
    rows_len: usize,
    row_len: usize,
    rows_per_block: usize,
    blocks: usize,
    /// 1 where the last axis is reduced, its extent where it is kept.
    width: usize,
    /// The results of a unit, fewer in the last one of a row.
    strip: usize,
}

/// Axes that are reduced or kept together, as one: at most two more than there were.
struct Merged {
    dims: [usize; MAX_AXES + 1],
    reduced: [bool; MAX_AXES + 1],
    rank: usize,
}

impl Merged {
    fn new(dims: &[usize], reduced: &[bool]) -> Merged {
        let mut merged =
            Merged { dims: [1; MAX_AXES + 1], reduced: [false; MAX_AXES + 1], rank: 0 };
        for (&dim, &kind) in dims.iter().zip(reduced).filter(|&(&dim, _)| dim != 1) {
            match merged.rank.checked_sub(1) {
                Some(last) if merged.reduced[last] == kind => merged.dims[last] *= dim,
                _ => merged.push(dim, kind),
            }
        }
        merged
    }

    fn push(&mut self, dim: usize, reduced: bool) {
        (self.dims[self.rank], self.reduced[self.rank]) = (dim, reduced);
        self.rank += 1;
    }

    /// The last axis and whether it is reduced; a scalar is reduced.
    fn pop(&mut self) -> (usize, bool) {
        let Some(last) = self.rank.checked_sub(1) else { return (1, true) };
        self.rank = last;
        (self.dims[last], self.reduced[last])
    }

    /// The offsets along the axes that are reduced, or those that are not, and their number, where
    /// the last axis has rows of `row_len`.
    fn walk(&self, reduced: bool, row_len: usize) -> (Walk<1>, usize) {
        let (mut dims, mut strides) = ([1; MAX_AXES], [0; MAX_AXES]);
        let (mut first, mut step) = (MAX_AXES, row_len as isize);
        for axis in (0..self.rank).rev() {
            if self.reduced[axis] == reduced {
                first -= 1;
                (dims[first], strides[first]) = (self.dims[axis], step);
            }
            step *= self.dims[axis] as isize;
        }
        (Walk::new(&dims[first..], [&strides[first..]]), dims[first..].iter().product())
    }
}

impl Plan {
    fn new(dims: &[usize], reduced: &[bool]) -> Plan {
        let mut merged = Merged::new(dims, reduced);
        let (mut row_len, row_is_reduced) = merged.pop();
        // A long reduced row is several shorter ones, so that it makes several blocks.
        if row_is_reduced && row_len > BLOCK && row_len.is_multiple_of(LANES) {
            let cut = largest_divisor(row_len, BLOCK);
            merged.push(row_len / cut, true);
            row_len = cut;
        }
        let (outer, groups) = merged.walk(false, row_len);
        let (rows, rows_len) = merged.walk(true, row_len);
        let width = if row_is_reduced { 1 } else { row_len };
        let strip = width.clamp(1, STRIP);
        let rows_per_block =
            if row_is_reduced { BLOCK / row_len.max(1) } else { (BLOCK / strip).max(STRIP_ROWS) };
        let rows_per_block = rows_per_block.clamp(1, rows_len.max(1));
        let blocks = rows_len.div_ceil(rows_per_block).max(1);
        Plan { outer, groups, rows, rows_len, row_len, rows_per_block, blocks, width, strip }
    }

    fn results(&self) -> usize {
        self.groups * self.width
    }

    fn strips(&self) -> usize {
        self.width.div_ceil(self.strip)
    }

    /// Whether each unit is a row, one after the other.
    fn is_matrix_of_rows(&self) -> bool {
        self.width == 1 && self.rows_len == 1
    }

    fn units_per_task(&self) -> usize {
        let row = if self.width == 1 { self.row_len } else { self.strip };
        (BLOCK / (self.rows_per_block * row)).max(1)
    }

    fn tasks(&self) -> usize {
        (self.groups * self.blocks * self.strips()).div_ceil(self.units_per_task())
    }

    fn units(&self, task: usize) -> Range<usize> {
        let start = task * self.units_per_task();
        let end = self.groups * self.blocks * self.strips();
        start..end.min(start + self.units_per_task())
    }

    /// Where the results of a unit are among those of all blocks.
    fn place(&self, unit: usize) -> Range<usize> {
        let (row, strip) = (unit / self.strips(), unit % self.strips());
        let start = strip * self.strip;
        let end = self.width.min(start + self.strip);
        row * self.width + start..row * self.width + end
    }

    /// Reduces a unit into `partial`, whatever that held.
    #[inline(always)]
    fn reduce_unit<T: Number, R: Reduction>(
        &self,
        _: R,
        x: &[T],
        unit: usize,
        partial: &mut [Accumulator<T>],
    ) {
        let (row, strip) = (unit / self.strips(), unit % self.strips());
        let (group, block) = (row / self.blocks, row % self.blocks);
        let start = block * self.rows_per_block;
        let count = self.rows_per_block.min(self.rows_len - start);
        let mut first_column = 0;
        self.outer.rows(group, 1, |[offset], _| first_column = offset);
        first_column += (strip * self.strip) as isize;
        let [step] = self.rows.row_strides();
        let mut first = true;
        self.rows.rows(start, count, |[offset], run| {
            for row in 0..run as isize {
                let at = (first_column + offset + row * step) as usize;
                if self.width == 1 {
                    let result = reduce_row::<T, R>(&x[at..at + self.row_len]);
                    partial[0] = if first { result } else { R::combine(partial[0], result) };
                } else {
                    let row = &x[at..at + partial.len()];
                    if first {
                        for (partial, x) in partial.iter_mut().zip(row) {
                            *partial = x.to_accumulator();
                        }
                    } else {
                        for (partial, x) in partial.iter_mut().zip(row) {
                            *partial = R::combine(*partial, x.to_accumulator());
                        }
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
pub fn argmax<T: Number, I: Send>(
    x: &[T],
    [outer, len, inner]: [usize; 3],
    out: &mut [I],
    index: impl Fn(usize) -> I + Sync,
) {
    assert_eq!(x.len(), outer * len * inner);
    assert_eq!(out.len(), outer * inner);
    assert!(len > 0, "the largest of nothing has no index");
    let results = (BLOCK / len).max(1);
    let find = |first: usize, places: &mut [usize]| places_of_largest(x, len, inner, first, places);
    indices(out, results, &find, index);
}

/// `out[i] = index(place of i)`, where `find(first, places)` finds the places from `first` on; `piece`
/// of them are one piece of work.
fn indices<I: Send>(
    out: &mut [I],
    piece: usize,
    find: &(dyn Fn(usize, &mut [usize]) + Sync),
    index: impl Fn(usize) -> I + Sync,
) {
    const PLACES: usize = 256;
    for_each_chunk_mut(out, piece, |chunk, out| {
        let mut places = [0; PLACES];
        let firsts = (chunk * piece..).step_by(PLACES);
        for (first, out) in firsts.zip(out.chunks_mut(PLACES)) {
            let places = &mut places[..out.len()];
            find(first, places);
            for (out, &place) in out.iter_mut().zip(&*places) {
                *out = index(place);
            }
        }
    });
}

/// The place of the largest along the middle of `[outer, len, inner]`, for as many as there are
/// `places`, from `first` on.
fn places_of_largest<T: Number>(
    x: &[T],
    len: usize,
    inner: usize,
    first: usize,
    places: &mut [usize],
) {
    if inner == 1 {
        return run_for::<T>(ArgmaxOfRows { x: &x[first * len..], len, places });
    }
    for (at, place) in (first..).zip(places) {
        let start = at / inner * len * inner + at % inner;
        let (mut best, mut largest) = (0, T::MIN);
        for i in 0..len {
            let value = x[start + i * inner];
            if value > largest {
                (best, largest) = (i, value);
            }
        }
        *place = best;
    }
}

struct ArgmaxOfRows<'a, T> {
    x: &'a [T],
    len: usize,
    places: &'a mut [usize],
}

impl<T: Number> Task for ArgmaxOfRows<'_, T> {
    /// The largest first, in vectors, then its place.
    #[inline(always)]
    fn run(self) {
        for (row, place) in self.x.chunks_exact(self.len).zip(self.places) {
            let mut lanes = [T::MIN; LANES];
            for values in row.chunks(LANES) {
                for (lane, &value) in lanes.iter_mut().zip(values) {
                    *lane = if value > *lane { value } else { *lane };
                }
            }
            let largest = lanes.into_iter().fold(T::MIN, |x, y| if y > x { y } else { x });
            let found =
                if largest > T::MIN { row.iter().position(|&x| x == largest) } else { None };
            *place = found.unwrap_or(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parallel::set_threads;

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
        let shapes: [&[usize]; 9] = [
            &[],
            &[5],
            &[2, 3, 4],
            &[1, 7, 1],
            &[3, 0, 2],
            &[2, 3, 2, 3, 2],
            &[5, 70_000],
            &[300, 2, 1500],
            &[3000, 40],
        ];
        for dims in shapes {
            let x: Vec<i64> =
                (0..dims.iter().product::<usize>() as i64).map(|i| i * i % 97).collect();
            for set in 0..1 << dims.len() {
                let reduced: Vec<bool> = (0..dims.len()).map(|axis| set >> axis & 1 == 1).collect();
                let want = naive(&x, dims, &reduced);
                let mut got = vec![-1; want.len()];
                reduce(Sum, &x, dims, &reduced, &mut got, |sum| sum).unwrap();
                assert_eq!(got, want, "{dims:?} {reduced:?}");
            }
        }
    }

    #[test]
    fn float_sums_are_the_same_bytes_with_any_number_of_threads() {
        for dims in [[100_352, 32, 1], [128, 25_000, 1], [7, 300, 33], [3, 50_000, 7]] {
            let len: usize = dims.iter().product();
            let x: Vec<f32> = (0..len).map(|i| (i * 7919 % 10_007) as f32 / 1e3 - 5.0).collect();
            for set in 1..8 {
                let reduced = [set & 1 != 0, set & 2 != 0, set & 4 != 0];
                let kept = (0..3).filter(|&axis| !reduced[axis]).map(|axis| dims[axis]);
                let results: usize = kept.product();
                let sums = [1, 2].map(|threads| {
                    set_threads(threads);
                    let mut out = vec![0.0f32; results];
                    reduce(Sum, &x, &dims, &reduced, &mut out, |sum| sum).unwrap();
                    out
                });
                set_threads(0);
                assert_eq!(sums[0], sums[1], "{dims:?} {reduced:?}");
                let exact: f64 = x.iter().map(|&x| f64::from(x)).sum();
                let total: f64 = sums[0].iter().map(|&sum| f64::from(sum)).sum();
                assert!((total - exact).abs() < 1e-3 * len as f64, "{dims:?} {total} {exact}");
            }
        }
    }

    #[test]
    fn argmax_finds_the_first_along_any_axis() {
        for [outer, len, inner] in [[3, 5, 1], [1, 100, 1], [70, 33, 1], [4, 9, 5]] {
            let x: Vec<f32> =
                (0..outer * len * inner).map(|i| (i * 7919 % 13) as f32 - 20.0).collect();
            let mut out = vec![0; outer * inner];
            argmax(&x, [outer, len, inner], &mut out, |index| index);
            for (at, &got) in out.iter().enumerate() {
                let value = |i: usize| x[at / inner * len * inner + at % inner + i * inner];
                let want = (0..len).rev().max_by(|&i, &j| value(i).total_cmp(&value(j)));
                assert_eq!(Some(got), want, "{at} of {outer} {len} {inner}");
            }
        }
    }

    #[test]
    fn extremes_propagate_nan_and_know_the_empty_case() {
        let mut out = [0.0f32];
        reduce(Max, &[1.0f32, f32::NAN, 3.0], &[3], &[true], &mut out, |max| max).unwrap();
        assert!(out[0].is_nan());
        reduce(Min, &[] as &[f32], &[0], &[true], &mut out, |min| min).unwrap();
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
        reduce(Sum, &x, &[x.len()], &[true], &mut out, |sum| sum).unwrap();
        let exact = f64::from(0.1f32) * x.len() as f64;
        assert!((f64::from(out[0]) / exact - 1.0).abs() < 2e-5, "{} {exact}", out[0]);
    }
}
