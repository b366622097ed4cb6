//! Walking several arrays in step: strides over one set of extents, with axes merged where every
//! array allows it.

use smallvec::SmallVec;

use crate::MAX_AXES;

/// One set of extents and, for each of `N` arrays, the distance between neighbours on each axis.
///
/// Axes of extent one are gone and neighbouring axes are merged where all arrays cross from one to
/// the other without a jump, so the last axis is as long as it can be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Walk<const N: usize> {
    dims: [usize; MAX_AXES],
    strides: [[isize; MAX_AXES]; N],
    rank: usize,
}

/// A stride for each axis, on the stack.
pub type Strides = SmallVec<[isize; MAX_AXES]>;

/// Row-major strides of `dims` seen as the larger `out_dims`: zero along the axes where it
/// broadcasts. One for each of `out_dims`.
pub fn broadcast_strides(dims: &[usize], out_dims: &[usize]) -> Strides {
    let mut strides = Strides::from_elem(0, out_dims.len());
    let lead = out_dims.len() - dims.len();
    let mut step = 1;
    for axis in (0..dims.len()).rev() {
        if dims[axis] != 1 {
            strides[lead + axis] = step;
        }
        step *= dims[axis] as isize;
    }
    strides
}

impl<const N: usize> Walk<N> {
    pub(crate) fn new(dims: &[usize], strides: [&[isize]; N]) -> Walk<N> {
        let mut walk = Walk { dims: [1; MAX_AXES], strides: [[0; MAX_AXES]; N], rank: 0 };
        for (axis, &dim) in dims.iter().enumerate() {
            if dim == 1 {
                continue;
            }
            let merges = walk.rank > 0
                && (0..N)
                    .all(|i| walk.strides[i][walk.rank - 1] == strides[i][axis] * dim as isize);
            if merges {
                walk.dims[walk.rank - 1] *= dim;
            } else {
                walk.dims[walk.rank] = dim;
                walk.rank += 1;
            }
            for (own, given) in walk.strides.iter_mut().zip(strides) {
                own[walk.rank - 1] = given[axis];
            }
        }
        // A single element is one row of one.
        walk.rank = walk.rank.max(1);
        walk
    }

    /// The strides along the last axis.
    pub(crate) fn row_strides(&self) -> [isize; N] {
        std::array::from_fn(|i| self.strides[i][self.rank - 1])
    }

    /// Visits the rows, or parts of rows, that make up the elements `start..start + len` in
    /// row-major order: `visit(offset of each array, length)`.
    #[inline(always)]
    pub(crate) fn rows(&self, start: usize, len: usize, mut visit: impl FnMut([isize; N], usize)) {
        let mut cursor = self.cursor(start, len);
        while let Some((offsets, run)) = cursor.next() {
            visit(offsets, run);
        }
    }

    fn cursor(&self, start: usize, len: usize) -> Cursor<'_, N> {
        let mut index = [0; MAX_AXES];
        let mut rest = start;
        for axis in (0..self.rank).rev() {
            index[axis] = rest % self.dims[axis];
            rest /= self.dims[axis];
        }
        Cursor { walk: self, index, left: len }
    }
}

impl Walk<1> {
    /// The offset of the element `start` where this and the `len - 1` after it lie in one row.
    pub(crate) fn within_row(&self, start: usize, len: usize) -> Option<usize> {
        let ([offset], run) = self.cursor(start, len).next()?;
        (run == len).then_some(offset as usize)
    }
}

/// Where a [`Walk`] stands. What a kernel does with the rows is compiled for each kernel and type;
/// going from row to row is not.
struct Cursor<'a, const N: usize> {
    walk: &'a Walk<N>,
    index: [usize; MAX_AXES],
    left: usize,
}

impl<const N: usize> Cursor<'_, N> {
    /// The offset in each array of the next row or part of one, and its length.
    #[inline(never)]
    fn next(&mut self) -> Option<([isize; N], usize)> {
        if self.left == 0 {
            return None;
        }
        let Walk { dims, strides, rank } = self.walk;
        let last = rank - 1;
        let mut offsets = [0; N];
        for (offset, strides) in offsets.iter_mut().zip(strides) {
            for (&index, &stride) in self.index.iter().zip(strides).take(*rank) {
                *offset += index as isize * stride;
            }
        }
        let run = self.left.min(dims[last] - self.index[last]);
        self.left -= run;
        self.index[last] = 0;
        for axis in (0..last).rev() {
            self.index[axis] += 1;
            if self.index[axis] < dims[axis] {
                break;
            }
            self.index[axis] = 0;
        }
        Some((offsets, run))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_merge_where_both_arrays_are_dense() {
        let dims = [2, 3, 4];
        let dense = broadcast_strides(&dims, &dims);
        let row = broadcast_strides(&[4], &dims);
        let walk = Walk::new(&dims, [&dense[..], &dense[..]]);
        assert_eq!((walk.dims[0], walk.rank), (24, 1));
        let walk = Walk::new(&dims, [&dense[..], &row[..]]);
        assert_eq!((walk.dims[1], walk.rank), (4, 2));
    }

    #[test]
    fn any_part_of_the_walk_is_the_same_elements() {
        let dims = [2, 3, 4];
        let dense = broadcast_strides(&dims, &dims);
        let column = broadcast_strides(&[3, 1], &dims);
        let walk = Walk::new(&dims, [&dense[..], &column[..]]);
        let elements = |start, len| {
            let mut seen = Vec::new();
            let steps = walk.row_strides();
            walk.rows(start, len, |[a, b], run| {
                seen.extend((0..run as isize).map(|i| (a + i * steps[0], b + i * steps[1])));
            });
            seen
        };
        let all = elements(0, 24);
        assert_eq!(all[5], (5, 1));
        assert_eq!([elements(0, 7), elements(7, 10), elements(17, 7)].concat(), all);
    }
}
