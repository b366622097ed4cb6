//! A rectangle of an image, which may extend beyond it: there it is zero.

use crate::element::Number;

/// Zeros may take this many times the elements of the image...
const MAX_GROWTH: usize = 8;
/// ... and this many more.
const MAX_EXTRA: usize = 1 << 16;

/// Rows `top..top + rows` and columns `left..left + cols` of an image.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub top: isize,
    pub left: isize,
    pub rows: usize,
    pub cols: usize,
}

/// Height, width and channels of an image.
#[derive(Clone, Copy, Debug)]
pub(super) struct ImageSize {
    pub h: usize,
    pub w: usize,
    pub c: usize,
}

impl Window {
    /// The elements of a copy of the window; none if it is mostly zeros.
    pub(super) fn len(&self, image: ImageSize) -> Option<usize> {
        let len = self.rows.checked_mul(self.cols)?.checked_mul(image.c)?;
        let limit = (image.h * image.w * image.c).saturating_mul(MAX_GROWTH) + MAX_EXTRA;
        (len <= limit).then_some(len)
    }

    /// Whether the window lies within the image, so that no copy is needed.
    pub(super) fn is_inside(&self, image: ImageSize) -> bool {
        let ends_by = |start: isize, len: usize, end: usize| {
            usize::try_from(start).is_ok_and(|start| start + len <= end)
        };
        ends_by(self.top, self.rows, image.h) && ends_by(self.left, self.cols, image.w)
    }

    /// The elements from one row to the next in what [`view`](Self::view) returns.
    pub(super) fn row_stride(&self, image: ImageSize) -> usize {
        image.c * if self.is_inside(image) { image.w } else { self.cols }
    }

    /// The window's elements, in place or copied to `scratch`.
    pub(super) fn view<'a, T: Number>(
        &self,
        image: ImageSize,
        data: &'a [T],
        scratch: &'a mut [T],
    ) -> &'a [T] {
        if self.is_inside(image) {
            return &data[(self.top as usize * image.w + self.left as usize) * image.c..];
        }
        self.copy(image, data, scratch)
    }

    /// The window's elements, copied to `scratch`.
    pub(super) fn copy<'a, T: Number>(
        &self,
        image: ImageSize,
        data: &[T],
        scratch: &'a mut [T],
    ) -> &'a [T] {
        let ImageSize { h, w, c } = image;
        let scratch = &mut scratch[..self.rows * self.cols * c];
        let (before, inside, after) = overlap(self.left, self.cols, w);
        let first_col = (self.left + before as isize).max(0) as usize;
        for (row, out) in (self.top..).zip(scratch.chunks_exact_mut(self.cols * c)) {
            let Some(row) = usize::try_from(row).ok().filter(|&row| row < h) else {
                out.fill(T::ZERO);
                continue;
            };
            let (zeros, out) = out.split_at_mut(before * c);
            zeros.fill(T::ZERO);
            let (copy, zeros) = out.split_at_mut(inside * c);
            debug_assert_eq!(zeros.len(), after * c);
            if inside > 0 {
                copy.copy_from_slice(&data[(row * w + first_col) * c..][..inside * c]);
            }
            zeros.fill(T::ZERO);
        }
        scratch
    }
}

/// How many of `start..start + len` lie before 0, within `0..end`, and after.
fn overlap(start: isize, len: usize, end: usize) -> (usize, usize, usize) {
    let before = len.min(start.min(0).unsigned_abs());
    let first = start.max(0) as usize;
    let inside = (len - before).min(end.saturating_sub(first));
    (before, inside, len - before - inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlap_counts_all() {
        assert_eq!(overlap(-2, 5, 2), (2, 2, 1));
        assert_eq!(overlap(1, 2, 4), (0, 2, 0));
        assert_eq!(overlap(5, 3, 4), (0, 0, 3));
        assert_eq!(overlap(-5, 3, 4), (3, 0, 0));
    }

    #[test]
    fn a_view_has_zeros_outside() {
        let image = ImageSize { h: 2, w: 2, c: 1 };
        let window = Window { top: -1, left: 1, rows: 3, cols: 2 };
        let mut scratch = [9; 6];
        assert_eq!(window.view(image, &[1, 2, 3, 4], &mut scratch), [0, 0, 2, 0, 4, 0]);
        let window = Window { top: 1, left: 0, rows: 1, cols: 2 };
        assert_eq!(window.view(image, &[1, 2, 3, 4], &mut []), [3, 4]);
    }
}
