//! Element by element: maps of one array, of two that broadcast, and updates in place.
//!
//! Each takes the arithmetic as a closure, compiled once per type and run in vector registers of
//! the best level the CPU has. Work is cut into fixed chunks of the output.
//!
//! Closures hold what they need, a learning rate say, and are moved into the loops: behind a reference
//! the output might be, for all the compiler knows, and it would compute one element after the other.

use crate::element::Element;
use crate::parallel::{SharedMut, for_each_chunk_mut, for_each_index};
use crate::simd::vectorize_for;
use crate::strided::{Walk, broadcast_strides};

/// Elements per piece of work: large enough that handing it over costs little beside it.
const CHUNK: usize = 16 * 1024;

/// Elements that are computed at a time from copies, which stay in the first-level cache.
const BLOCK: usize = 512;

/// `out[i] = f(x[i])`.
///
/// ```
/// let mut out = [0.0f32; 3];
/// tapeflow_kernels::elementwise::unary(&[1.0f32, 2.0, 3.0], &mut out, |x: f32| x * x);
/// assert_eq!(out, [1.0, 4.0, 9.0]);
/// ```
///
/// # Panics
/// If the lengths differ.
pub fn unary<A: Element, C: Element>(x: &[A], out: &mut [C], f: impl Fn(A) -> C + Copy + Sync) {
    assert_eq!(x.len(), out.len());
    for_each_chunk_mut(out, CHUNK, |chunk_index, out| {
        let x = &x[chunk_index * CHUNK..][..out.len()];
        vectorize_for::<C, _>(move || {
            for (out, &x) in out.iter_mut().zip(x) {
                *out = f(x);
            }
        });
    });
}

/// `out[i] = f(load[i])`, where `load(start, block)` fills `block` with the elements from `start` on.
///
/// ```
/// use tapeflow_kernels::elementwise::from_blocks;
/// let x = [1u8, 2, 3];
/// let load = |start: usize, block: &mut [i64]| {
///     block.iter_mut().zip(&x[start..]).for_each(|(block, &x)| *block = i64::from(x));
/// };
/// let mut out = [0i16; 3];
/// from_blocks(&load, &mut out, |x| -(x as i16));
/// assert_eq!(out, [-1, -2, -3]);
/// ```
pub fn from_blocks<B: Element, C: Element>(
    load: &(dyn Fn(usize, &mut [B]) + Sync),
    out: &mut [C],
    f: impl Fn(B) -> C + Copy + Sync,
) {
    for_each_chunk_mut(out, CHUNK, |chunk_index, out| {
        let mut block = [B::zeroed(); BLOCK];
        let starts = (chunk_index * CHUNK..).step_by(BLOCK);
        for (start, out) in starts.zip(out.chunks_mut(BLOCK)) {
            let block = &mut block[..out.len()];
            load(start, block);
            for (out, &x) in out.iter_mut().zip(&*block) {
                *out = f(x);
            }
        }
    });
}

/// `out[i] = f(x[i], y[i])` with `x` and `y` broadcast to `out_dims` by NumPy's rule.
///
/// ```
/// let (x, y) = ([1, 2, 3, 4, 5, 6], [10, 20, 30]);
/// let mut out = [0; 6];
/// let add = |x: i32, y: i32| x + y;
/// tapeflow_kernels::elementwise::binary((&x, &[2, 3]), (&y, &[3]), (&mut out, &[2, 3]), add);
/// assert_eq!(out, [11, 22, 33, 14, 25, 36]);
/// ```
///
/// # Panics
/// If a length is not the product of its extents.
pub fn binary<A: Element, B: Element, C: Element>(
    (x, x_dims): (&[A], &[usize]),
    (y, y_dims): (&[B], &[usize]),
    (out, out_dims): (&mut [C], &[usize]),
    f: impl Fn(A, B) -> C + Copy + Sync,
) {
    assert_eq!(x.len(), x_dims.iter().product());
    assert_eq!(y.len(), y_dims.iter().product());
    assert_eq!(out.len(), out_dims.iter().product());
    let (x, y) = (Operand::new(x, x_dims, out_dims), Operand::new(y, y_dims, out_dims));
    by_parts(&x, &y, out, &|x, y, out| {
        vectorize_for::<C, _>(move || {
            for ((out, &x), &y) in out.iter_mut().zip(x).zip(y) {
                *out = f(x, y);
            }
        });
    });
}

/// A function of parts of two arrays and of the result, of equal length.
type Dense<'a, A, B, C> = dyn Fn(&[A], &[B], &mut [C]) + Sync + 'a;

/// [`binary`] by calls of `dense`. Compiled once for types, not for each function of them.
fn by_parts<A: Element, B: Element, C: Element>(
    x: &Operand<'_, A>,
    y: &Operand<'_, B>,
    out: &mut [C],
    dense: &Dense<'_, A, B, C>,
) {
    for_each_chunk_mut(out, CHUNK, |chunk_index, out| {
        let (mut x_block, mut y_block) = (None, None);
        let starts = (chunk_index * CHUNK..).step_by(BLOCK);
        for (start, out) in starts.zip(out.chunks_mut(BLOCK)) {
            let x = x.part(start, out.len(), &mut x_block);
            dense(x, y.part(start, out.len(), &mut y_block), out);
        }
    });
}

/// An array that broadcasts.
struct Operand<'a, T> {
    values: &'a [T],
    walk: Walk<1>,
    /// Whether it is repeated as a whole, so often that every block is the same: the bias of a layer.
    fills_blocks: bool,
}

impl<'a, T: Element> Operand<'a, T> {
    fn new(values: &'a [T], dims: &[usize], out_dims: &[usize]) -> Self {
        let walk = Walk::new(out_dims, [&broadcast_strides(dims, out_dims)]);
        let first = dims.iter().take_while(|&&dim| dim == 1).count();
        let whole = out_dims.ends_with(&dims[first..]);
        let fills_blocks = whole && !values.is_empty() && BLOCK.is_multiple_of(values.len());
        Self { values, walk, fills_blocks }
    }

    /// The elements that broadcast to `start..start + len` of the result, where blocks start: in place
    /// where they lie side by side, else copied to a block. What is in `block` comes from a block before,
    /// no shorter than this one.
    fn part<'b>(&'b self, start: usize, len: usize, block: &'b mut Option<[T; BLOCK]>) -> &'b [T] {
        let step = self.walk.row_strides()[0];
        let filled = self.fills_blocks && block.is_some();
        let in_place = (step == 1 || len == 1) && !filled;
        if in_place && let Some(from) = self.walk.within_row(start, len) {
            return &self.values[from..from + len];
        }
        let block = &mut block.get_or_insert_with(|| [T::zeroed(); BLOCK])[..len];
        if filled {
            return block;
        }
        let mut done = 0;
        self.walk.rows(start, len, |[from], len| {
            let (from, row) = (from as usize, &mut block[done..done + len]);
            match step {
                0 => row.fill(self.values[from]),
                _ => row.copy_from_slice(&self.values[from..from + len]),
            }
            done += len;
        });
        block
    }
}

/// `out[i]` is `x[i]` where `condition[i]` is not 0, else `y[i]`, the three broadcast to `out_dims`
/// by NumPy's rule.
///
/// ```
/// let mut out = [0; 4];
/// let (condition, x) = ([1, 0], [1, 2, 3, 4]);
/// tapeflow_kernels::elementwise::select(
///     (&condition, &[2]), (&x, &[2, 2]), (&[9], &[]), (&mut out, &[2, 2]),
/// );
/// assert_eq!(out, [1, 9, 3, 9]);
/// ```
///
/// # Panics
/// If a length is not the product of its extents.
pub fn select<T: Element>(
    (condition, condition_dims): (&[u8], &[usize]),
    (x, x_dims): (&[T], &[usize]),
    (y, y_dims): (&[T], &[usize]),
    (out, out_dims): (&mut [T], &[usize]),
) {
    assert_eq!(condition.len(), condition_dims.iter().product());
    assert_eq!(x.len(), x_dims.iter().product());
    assert_eq!(y.len(), y_dims.iter().product());
    assert_eq!(out.len(), out_dims.iter().product());
    let strides = [condition_dims, x_dims, y_dims].map(|dims| broadcast_strides(dims, out_dims));
    let walk = Walk::new(out_dims, [&strides[0], &strides[1], &strides[2]]);
    let steps = walk.row_strides().map(|step| step as usize);
    for_each_chunk_mut(out, CHUNK, |chunk_index, out| {
        let mut done = 0;
        vectorize_for::<T, _>(|| {
            walk.rows(chunk_index * CHUNK, out.len(), |starts, len| {
                let [condition_start, x_start, y_start] = starts.map(|start| start as usize);
                let (condition, x) = (&condition[condition_start..], &x[x_start..]);
                select_row(condition, x, &y[y_start..], steps, &mut out[done..done + len]);
                done += len;
            });
        });
    });
}

/// One row of [`select`], whose operands advance by one or stay where they are.
#[inline(always)]
fn select_row<T: Element>(
    condition: &[u8],
    x: &[T],
    y: &[T],
    [condition_step, x_step, y_step]: [usize; 3],
    out: &mut [T],
) {
    let chosen = |condition: u8, x: T, y: T| if condition != 0 { x } else { y };
    match [condition_step, x_step, y_step] {
        [1, 1, 1] => {
            for (((out, &condition), &x), &y) in out.iter_mut().zip(condition).zip(x).zip(y) {
                *out = chosen(condition, x, y);
            }
        }
        [1, 1, 0] => {
            let y = y[0];
            for ((out, &condition), &x) in out.iter_mut().zip(condition).zip(x) {
                *out = chosen(condition, x, y);
            }
        }
        [1, 0, 1] => {
            let x = x[0];
            for ((out, &condition), &y) in out.iter_mut().zip(condition).zip(y) {
                *out = chosen(condition, x, y);
            }
        }
        _ => {
            for (i, out) in out.iter_mut().enumerate() {
                *out = chosen(condition[i * condition_step], x[i * x_step], y[i * y_step]);
            }
        }
    }
}

/// `y[i] = f(y[i], x[i])`: the updates of variables.
///
/// ```
/// let mut w = [1.0f32, 2.0];
/// tapeflow_kernels::elementwise::zip_in_place(&mut w, &[10.0f32, 10.0], |w, dw: f32| w - 0.1 * dw);
/// assert_eq!(w, [0.0, 1.0]);
/// ```
///
/// # Panics
/// If the lengths differ.
pub fn zip_in_place<A: Element, B: Element>(
    y: &mut [A],
    x: &[B],
    f: impl Fn(A, B) -> A + Copy + Sync,
) {
    assert_eq!(x.len(), y.len());
    for_each_chunk_mut(y, CHUNK, |chunk_index, y| {
        let x = &x[chunk_index * CHUNK..][..y.len()];
        vectorize_for::<A, _>(move || {
            for (y, &x) in y.iter_mut().zip(x) {
                *y = f(*y, x);
            }
        });
    });
}

/// `z[i] = f(z[i], x[i], y[i])`: the updates of optimizers that keep state.
///
/// ```
/// let mut w = [1.0f32, 2.0];
/// let (m, v) = ([0.5, 0.5], [2.0, 4.0]);
/// tapeflow_kernels::elementwise::zip2_in_place(&mut w, &m, &v, |w, m: f32, v: f32| w - m / v);
/// assert_eq!(w, [0.75, 1.875]);
/// ```
///
/// # Panics
/// If the lengths differ.
pub fn zip2_in_place<A: Element, B: Element, C: Element>(
    z: &mut [A],
    x: &[B],
    y: &[C],
    f: impl Fn(A, B, C) -> A + Copy + Sync,
) {
    assert!(z.len() == x.len() && z.len() == y.len());
    for_each_chunk_mut(z, CHUNK, |chunk_index, z| {
        let start = chunk_index * CHUNK;
        let (x, y) = (&x[start..][..z.len()], &y[start..][..z.len()]);
        vectorize_for::<A, _>(move || {
            for ((z, &x), &y) in z.iter_mut().zip(x).zip(y) {
                *z = f(*z, x, y);
            }
        });
    });
}

/// Writes over three arrays in one sweep, each element from those at its place and that of `x`: the
/// updates of optimizers that keep more than one state.
///
/// ```
/// let (mut w, mut m, mut v) = ([1.0f32], [0.0], [0.0]);
/// let f = |[w, m, v]: [f32; 3], g: f32| [w - g, m + g, v + g * g];
/// tapeflow_kernels::elementwise::zip_three_in_place([&mut w, &mut m, &mut v], &[3.0f32], f);
/// assert_eq!([w, m, v], [[-2.0], [3.0], [9.0]]);
/// ```
///
/// # Panics
/// If the lengths differ.
pub fn zip_three_in_place<A: Element, B: Element>(
    arrays: [&mut [A]; 3],
    x: &[B],
    f: impl Fn([A; 3], B) -> [A; 3] + Copy + Sync,
) {
    assert!(arrays.iter().all(|array| array.len() == x.len()));
    let arrays = arrays.map(SharedMut::new);
    for_each_index(x.len().div_ceil(CHUNK), |chunk| {
        let (start, end) = (chunk * CHUNK, x.len().min((chunk + 1) * CHUNK));
        // SAFETY: chunks do not overlap.
        let [p, q, r] = arrays.each_ref().map(|array| unsafe { array.range(start, end) });
        let x = &x[start..end];
        vectorize_for::<A, _>(move || {
            for (((p, q), r), &x) in p.iter_mut().zip(q).zip(r).zip(x) {
                [*p, *q, *r] = f([*p, *q, *r], x);
            }
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// NumPy's rule, element by element.
    fn naive(x: &[i64], x_dims: &[usize], y: &[i64], y_dims: &[usize], out: &[usize]) -> Vec<i64> {
        let at = |values: &[i64], dims: &[usize], mut flat: usize| {
            let (mut offset, mut step) = (0, 1);
            for (i, &dim) in out.iter().enumerate().rev() {
                let index = flat % dim;
                flat /= dim;
                if let Some(own) = (i + dims.len()).checked_sub(out.len()).map(|axis| dims[axis]) {
                    offset += if own == 1 { 0 } else { index * step };
                    step *= own;
                }
            }
            values[offset]
        };
        (0..out.iter().product()).map(|i| at(x, x_dims, i) - 3 * at(y, y_dims, i)).collect()
    }

    #[test]
    fn broadcasting_agrees_with_the_naive_rule() {
        let cases: [(&[usize], &[usize], &[usize]); 8] = [
            (&[], &[], &[]),
            (&[7], &[], &[7]),
            (&[2, 3, 4], &[4], &[2, 3, 4]),
            (&[2, 1, 4], &[3, 1], &[2, 3, 4]),
            (&[1, 5], &[4, 1], &[4, 5]),
            (&[3, 1, 2, 1], &[1, 4, 1, 5], &[3, 4, 2, 5]),
            (&[0, 3], &[3], &[0, 3]),
            (&[70, 1, 300], &[70, 2, 300], &[70, 2, 300]),
        ];
        for (x_dims, y_dims, out_dims) in cases {
            let x: Vec<i64> = (0..x_dims.iter().product::<usize>() as i64).collect();
            let y: Vec<i64> = (0..y_dims.iter().product::<usize>() as i64).map(|i| i * i).collect();
            let mut out = vec![0; out_dims.iter().product()];
            binary((&x, x_dims), (&y, y_dims), (&mut out, out_dims), |x: i64, y: i64| x - 3 * y);
            assert_eq!(out, naive(&x, x_dims, &y, y_dims, out_dims), "{x_dims:?} {y_dims:?}");
        }
    }

    #[test]
    fn short_rows_are_repeated_across_chunk_borders() {
        for (rows, columns) in [(1, 2), (900, 33), (5000, 10), (40, BLOCK / 2)] {
            let x: Vec<f32> = (0..rows * columns).map(|i| i as f32).collect();
            let row: Vec<f32> = (0..columns).map(|i| i as f32).collect();
            let mut out = vec![0.0; x.len()];
            let dims = [rows, columns];
            binary((&x, &dims), (&row, &[columns]), (&mut out, &dims), |x: f32, y: f32| x - y);
            for (i, &out) in out.iter().enumerate() {
                assert_eq!(out, (i - i % columns) as f32, "{i} of {dims:?}");
            }
        }
    }

    #[test]
    fn select_crosses_chunk_borders() {
        let dims = [3, CHUNK / 2 + 7];
        let condition: Vec<u8> = (0..dims[1]).map(|i| u8::from(i % 3 == 0)).collect();
        let x: Vec<i32> = (0..dims[0] as i32 * dims[1] as i32).collect();
        let mut out = vec![0; x.len()];
        select((&condition, &dims[1..]), (&x, &dims), (&[-1, -2, -3], &[3, 1]), (&mut out, &dims));
        for (i, &value) in out.iter().enumerate() {
            let (row, column) = (i / dims[1], i % dims[1]);
            assert_eq!(value, if column % 3 == 0 { x[i] } else { -1 - row as i32 });
        }
    }

    #[test]
    fn maps_cross_chunk_borders() {
        let x: Vec<i32> = (0..CHUNK as i32 * 2 + 5).collect();
        let mut out = vec![0i64; x.len()];
        unary(&x, &mut out, |x: i32| i64::from(x) * 2);
        assert!(out.iter().enumerate().all(|(i, &value)| value == 2 * i as i64));
        zip_in_place(&mut out, &x, |y, x: i32| y - i64::from(x));
        assert!(out.iter().enumerate().all(|(i, &value)| value == i as i64));
    }
}
