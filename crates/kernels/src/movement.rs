//! Moving elements without computing: gathers from and scatters to strided places.
//!
//! Transposing, slicing, broadcasting and mirroring read a strided view; concatenating and padding
//! write one.

use crate::element::Element;
use crate::parallel::for_each_chunk_mut;
use crate::strided::Walk;

pub use crate::strided::broadcast_strides;

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

/// The strides of a dense row-major array.
pub fn row_major_strides(dims: &[usize]) -> Vec<isize> {
    let mut strides = vec![1; dims.len()];
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
