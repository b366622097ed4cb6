//! A rectangle of an image, which may extend beyond it: there it is zero.

use super::images::Images;
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

impl ImageSize {
    fn len(self) -> usize {
        self.h * self.w * self.c
    }
}

impl Window {
    /// Whether the window lies within the image, so that no copy is needed.
    fn is_inside(&self, image: ImageSize) -> bool {
        let ends_by = |start: isize, len: usize, end: usize| {
            usize::try_from(start).is_ok_and(|start| start + len <= end)
        };
        ends_by(self.top, self.rows, image.h) && ends_by(self.left, self.cols, image.w)
    }

    /// The window's elements in the image of number `index`, copied to `scratch`.
    pub(super) fn copy<'a, T: Number>(
        &self,
        image: ImageSize,
        images: &dyn Images<T>,
        index: usize,
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
            let (pixels, zeros) = out.split_at_mut(inside * c);
            debug_assert_eq!(zeros.len(), after * c);
            if inside > 0 {
                images.read(index * image.len() + (row * w + first_col) * c, pixels);
            }
            zeros.fill(T::ZERO);
        }
        scratch
    }
}

/// How windows of images are read. Where the whole of them lies within the image, their rows are as far
/// apart as there, and read in place if the images are in memory; else each window is copied, as wide as
/// it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader {
    image: ImageSize,
    /// The elements from one row of a window to the next.
    pub row_stride: usize,
    inside: bool,
}

impl Reader {
    /// For windows that are rows of `whole`; none if that is mostly zeros.
    pub(super) fn new(whole: Window, image: ImageSize) -> Option<Self> {
        let inside = whole.is_inside(image);
        let cols = if inside { image.w } else { whole.cols };
        let row_stride = cols.checked_mul(image.c)?;
        let limit = image.len().saturating_mul(MAX_GROWTH) + MAX_EXTRA;
        let len = whole.rows.checked_mul(row_stride)?;
        (len <= limit).then_some(Self { image, row_stride, inside })
    }

    /// Elements of scratch that [`read`](Self::read) needs for a window of `rows` rows of images that are
    /// in memory or not.
    pub(super) fn scratch_len(&self, rows: usize, in_memory: bool) -> usize {
        if self.inside && in_memory { 0 } else { rows * self.row_stride }
    }

    /// The window's elements in the image of number `index`.
    pub(super) fn read<'a, T: Number>(
        &self,
        window: Window,
        images: &'a dyn Images<T>,
        index: usize,
        scratch: &'a mut [T],
    ) -> &'a [T] {
        if !self.inside {
            return window.copy(self.image, images, index, scratch);
        }
        let (start, left) = (index * self.image.len(), window.left as usize * self.image.c);
        let top = window.top as usize * self.row_stride;
        if let Some(data) = images.in_memory() {
            return &data[start..start + self.image.len()][top + left..];
        }
        // Whole rows, so that they are as far apart as in the image.
        let rows = &mut scratch[..window.rows * self.row_stride];
        images.read(start + top, rows);
        &rows[left..]
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

    /// Images that are what was stored, doubled.
    struct Doubled<'a>(&'a [i32]);

    impl Images<i32> for Doubled<'_> {
        fn in_memory(&self) -> Option<&[i32]> {
            None
        }

        fn read(&self, start: usize, pixels: &mut [i32]) {
            pixels.iter_mut().zip(&self.0[start..]).for_each(|(to, from)| *to = 2 * from);
        }
    }

    #[test]
    fn there_are_zeros_outside() {
        let image = ImageSize { h: 2, w: 2, c: 1 };
        let data = &[7, 7, 7, 7, 1, 2, 3, 4][..];
        let window = Window { top: -1, left: 1, rows: 3, cols: 2 };
        let reader = Reader::new(window, image).unwrap();
        assert_eq!((reader.row_stride, reader.scratch_len(3, true)), (2, 6));
        assert_eq!(reader.read(window, &data, 1, &mut [9; 6]), [0, 0, 2, 0, 4, 0]);
        assert_eq!(reader.read(window, &Doubled(data), 1, &mut [9; 6]), [0, 0, 4, 0, 8, 0]);
        // Rows of it are copied, too, if they lie within the image.
        let row = Window { top: 1, left: 0, rows: 1, cols: 2 };
        assert_eq!(reader.read(row, &data, 1, &mut [9; 2]), [3, 4]);
    }

    #[test]
    fn what_lies_inside_is_as_wide_as_the_image() {
        let image = ImageSize { h: 2, w: 2, c: 1 };
        let data = &[7, 7, 7, 7, 1, 2, 3, 4][..];
        let window = Window { top: 0, left: 1, rows: 2, cols: 1 };
        let reader = Reader::new(window, image).unwrap();
        assert_eq!((reader.row_stride, reader.scratch_len(2, true)), (2, 0));
        assert_eq!(reader.read(window, &data, 0, &mut []), [7, 7, 7]);
        assert_eq!(reader.read(window, &data, 1, &mut []), [2, 3, 4]);
        assert_eq!(reader.scratch_len(2, false), 4);
        assert_eq!(reader.read(window, &Doubled(data), 1, &mut [9; 4]), [4, 6, 8]);
    }

    #[test]
    fn mostly_zeros_are_not_read() {
        let image = ImageSize { h: 2, w: 2, c: 1 };
        let around = |cols| Window { top: 0, left: -1, rows: 1, cols };
        assert!(Reader::new(around(MAX_EXTRA), image).is_some());
        assert!(Reader::new(around(MAX_EXTRA + 4 * MAX_GROWTH + 1), image).is_none());
        assert!(Reader::new(around(usize::MAX), ImageSize { c: 2, ..image }).is_none());
    }
}
