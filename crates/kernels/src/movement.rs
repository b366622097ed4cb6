//! Moving elements without computing: gathers from and scatters to strided places.
//!
//! Transposing, slicing, broadcasting and mirroring read a strided view; concatenating and padding
//! write one.

use crate::element::{Element, Number};
use crate::parallel::for_each_chunk_mut;
use crate::strided::Walk;

pub use crate::strided::{Strides, broadcast_strides};

/// Elements per piece of work.
const CHUNK: usize = 16 * 1024;

/// `out`, dense with extents `dims`, becomes the elements of `x` at `start + index · strides`.
///
/// ```
/// // The transpose of a 2x3 matrix.
/// let mut out = [0; 6];
/// tapeflow_kernels::movement::gather(&[1, 2, 3, 4, 5, 6], 0, &[1, 3], &[3, 2], &mut out);
/// assert_eq!(out, [1, 4, 2, 5, 3, 6]);
/// ```
///
/// # Panics
/// If an index falls outside `x`, or `out` has not the product of `dims` as its length.
pub fn gather<T: Element>(x: &[T], start: isize, strides: &[isize], dims: &[usize], out: &mut [T]) {
    assert_eq!(out.len(), dims.iter().product());
    let walk = Walk::new(dims, [strides]);
    let [step] = walk.row_strides();
    for_each_chunk_mut(out, CHUNK, |chunk_index, out| {
        let mut done = 0;
        walk.rows(chunk_index * CHUNK, out.len(), |[offset], len| {
            let out = &mut out[done..done + len];
            let first = start + offset;
            match step {
                1 => out.copy_from_slice(&x[first as usize..][..len]),
                0 => out.fill(x[first as usize]),
                _ => {
                    for (i, out) in out.iter_mut().enumerate() {
                        *out = x[(first + i as isize * step) as usize];
                    }
                }
            }
            done += len;
        });
    });
}

/// The elements of `out` at `start + index · strides` become those of `x`, dense with extents
/// `dims`; the others stay.
///
/// ```
/// // A 2x2 block into the middle of a 4x4 matrix.
/// let mut out = [0; 16];
/// tapeflow_kernels::movement::scatter(&[1, 2, 3, 4], &mut out, 5, &[4, 1], &[2, 2]);
/// assert_eq!(out, [0, 0, 0, 0, 0, 1, 2, 0, 0, 3, 4, 0, 0, 0, 0, 0]);
/// ```
///
/// # Panics
/// If an index falls outside `out`, or `x` has not the product of `dims` as its length.
pub fn scatter<T: Element>(
    x: &[T],
    out: &mut [T],
    start: usize,
    strides: &[isize],
    dims: &[usize],
) {
    assert_eq!(x.len(), dims.iter().product());
    if x.is_empty() {
        return;
    }
    let walk = Walk::new(dims, [strides]);
    let [step] = walk.row_strides();
    let mut done = 0;
    walk.rows(0, x.len(), |[offset], len| {
        let x = &x[done..done + len];
        let first = (start as isize + offset) as usize;
        if step == 1 {
            out[first..first + len].copy_from_slice(x);
        } else {
            for (i, &x) in x.iter().enumerate() {
                out[(first as isize + i as isize * step) as usize] = x;
            }
        }
        done += len;
    });
}

/// Columns `start..start + width` of `out`, a matrix of `row` columns, become those of `x`.
///
/// ```
/// let mut out = [0; 6];
/// tapeflow_kernels::movement::copy_columns(&[1, 2, 3, 4], 2, &mut out, 1, 3);
/// assert_eq!(out, [0, 1, 2, 0, 3, 4]);
/// ```
///
/// # Panics
/// If the columns are not within a row, or `x` and `out` have not as many rows.
pub fn copy_columns<T: Element>(x: &[T], width: usize, out: &mut [T], start: usize, row: usize) {
    assert!(start + width <= row || x.is_empty());
    if x.is_empty() {
        return;
    }
    assert_eq!(x.len() / width * row, out.len());
    if x.len() == width {
        return for_each_chunk_mut(&mut out[start..start + width], CHUNK, |index, out| {
            out.copy_from_slice(&x[index * CHUNK..][..out.len()]);
        });
    }
    let rows = (CHUNK / width).max(1);
    for_each_chunk_mut(out, rows * row, |index, out| {
        let x = x[index * rows * width..].chunks_exact(width);
        for (out, x) in out.chunks_exact_mut(row).zip(x) {
            out[start..start + width].copy_from_slice(x);
        }
    });
}

/// `out`, dense with as many elements on each axis as `indices` names there, becomes
/// `out[i, j, ..] = x[indices[0][i], indices[1][j], ..]`.
///
/// ```
/// // Rows 1 and 0, column 2 twice.
/// let mut out = [0; 4];
/// let indices = [vec![1, 0], vec![2, 2]];
/// tapeflow_kernels::movement::gather_by_index(&[1, 2, 3, 4, 5, 6], &[2, 3], &indices, &mut out);
/// assert_eq!(out, [6, 6, 3, 3]);
/// ```
///
/// # Panics
/// If an index falls outside its axis' part of `x`, or a length does not fit.
pub fn gather_by_index<T: Element>(x: &[T], dims: &[usize], indices: &[Vec<usize>], out: &mut [T]) {
    assert_eq!(dims.len(), indices.len());
    assert_eq!(out.len(), indices.iter().map(Vec::len).product());
    let Some((columns, rows)) = indices.split_last() else {
        return out.copy_from_slice(&x[..1]);
    };
    if out.is_empty() {
        return;
    }
    let row_len = dims[dims.len() - 1];
    let is_whole_row = columns.iter().copied().eq(0..row_len);
    let per_piece = (CHUNK / columns.len()).max(1);
    for_each_chunk_mut(out, per_piece * columns.len(), |piece, out| {
        for (row, out) in (piece * per_piece..).zip(out.chunks_exact_mut(columns.len())) {
            let (mut rest, mut step, mut start) = (row, row_len, 0);
            for (axis, indices) in rows.iter().enumerate().rev() {
                start += indices[rest % indices.len()] * step;
                rest /= indices.len();
                step *= dims[axis];
            }
            let x = &x[start..start + row_len];
            if is_whole_row {
                out.copy_from_slice(x);
            } else {
                for (out, &column) in out.iter_mut().zip(columns) {
                    *out = x[column];
                }
            }
        }
    });
}

/// The reverse of [`gather_by_index`]: `out[indices[0][i], indices[1][j], ..] += x[i, j, ..]`.
///
/// ```
/// let mut out = [0; 3];
/// tapeflow_kernels::movement::add_by_index(&[1, 2, 3], &[vec![2, 0, 2]], &mut out, &[3]);
/// assert_eq!(out, [2, 0, 4]);
/// ```
///
/// # Panics
/// If an index falls outside its axis' part of `out`, or a length does not fit.
pub fn add_by_index<T: Number>(x: &[T], indices: &[Vec<usize>], out: &mut [T], dims: &[usize]) {
    let mut values = x.iter();
    for_each_place(dims, indices, |place| {
        let value = *values.next().expect("x has a value for each index");
        out[place] = out[place].add(value);
    });
}

/// Visits, in row-major order, where in an array of extents `dims` the named elements lie.
fn for_each_place(dims: &[usize], indices: &[Vec<usize>], mut visit: impl FnMut(usize)) {
    assert_eq!(dims.len(), indices.len());
    let count: usize = indices.iter().map(Vec::len).product();
    let Some((columns, rows)) = indices.split_last() else {
        return visit(0);
    };
    if count == 0 {
        return;
    }
    let strides = row_major_strides(dims);
    let mut at = vec![0; rows.len()];
    for _ in 0..count / columns.len() {
        let row: usize =
            (0..rows.len()).map(|axis| rows[axis][at[axis]] * strides[axis] as usize).sum();
        for column in columns {
            visit(row + column);
        }
        for axis in (0..rows.len()).rev() {
            at[axis] += 1;
            if at[axis] < rows[axis].len() {
                break;
            }
            at[axis] = 0;
        }
    }
}

/// The strides of a dense row-major array.
pub fn row_major_strides(dims: &[usize]) -> Strides {
    let mut strides = Strides::from_elem(1, dims.len());
    for axis in (1..dims.len()).rev() {
        strides[axis - 1] = strides[axis] * dims[axis] as isize;
    }
    strides
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reversed_slice_is_a_gather_with_a_negative_stride() {
        let x: Vec<u16> = (0..12).collect();
        let mut out = [0; 4];
        gather(&x, 11, &[-4, -2], &[2, 2], &mut out);
        assert_eq!(out, [11, 9, 7, 5]);
    }

    #[test]
    fn adding_undoes_a_gather_by_index_that_repeats_nothing() {
        let x: Vec<i32> = (0..24).collect();
        let indices = [vec![1, 0], vec![2, 0, 1], vec![3, 1, 0, 2]];
        let (mut moved, mut back) = (vec![0; 24], vec![0; 24]);
        gather_by_index(&x, &[2, 3, 4], &indices, &mut moved);
        assert_eq!(moved[..5], [23, 21, 20, 22, 15]);
        add_by_index(&moved, &indices, &mut back, &[2, 3, 4]);
        assert_eq!(back, x);
        // Nothing is nowhere.
        scatter(&x[..0], &mut back, 24, &[4, 1], &[2, 0]);
        gather_by_index(&x[..0], &[0, 2], &[vec![], vec![0, 1]], &mut []);
    }

    #[test]
    fn columns_are_copied_in_any_number_of_pieces() {
        for (rows, width, start, row) in [(1, 40_000, 5, 40_010), (30_000, 3, 1, 5), (3, 7, 0, 7)] {
            let x: Vec<u32> = (1..=(rows * width) as u32).collect();
            let mut out = vec![0; rows * row];
            copy_columns(&x, width, &mut out, start, row);
            for (i, &value) in out.iter().enumerate() {
                let column = i % row;
                let inside = (start..start + width).contains(&column);
                let want = if inside { (i / row * width + column - start + 1) as u32 } else { 0 };
                assert_eq!(value, want, "{rows} {width} {start} {row}");
            }
        }
        copy_columns(&[0u8; 0], 0, &mut [1, 2], 1, 2);
    }

    #[test]
    fn scattering_a_gather_restores_it() {
        let dims = [37, 5, 101];
        let x: Vec<u32> = (0..dims.iter().product::<usize>() as u32).collect();
        let strides = row_major_strides(&dims);
        let permuted = [strides[2], strides[0], strides[1]];
        let permuted_dims = [dims[2], dims[0], dims[1]];
        let mut moved = vec![0; x.len()];
        gather(&x, 0, &permuted, &permuted_dims, &mut moved);
        let mut back = vec![0; x.len()];
        scatter(&moved, &mut back, 0, &permuted, &permuted_dims);
        assert_eq!(back, x);
    }
}
