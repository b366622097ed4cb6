//! How a tile goes over A, step of k after step.
//!
//! What limits a tile on a core that it shares with a hyperthread is the number of instructions, so each
//! walk has as few beside the multiply-adds as what is known of A when compiled allows.
#![expect(clippy::pointers_in_nomem_asm_block, reason = "there is no code that could follow them")]

/// [`Walk::ROWS_LOADED`] where it is free: a step of 14 rows then reads 26 times, a row of B included. A
/// core reads 28 times while it multiplies, so what has to be read anew leaves it no slower.
const FEW_ROWS: usize = 4;

/// Where the elements of A are that a step of k reads, for tiles of `ROWS` rows. Each walk is right for
/// some layouts of A alone, and whoever makes one has to see to it.
pub(super) trait Walk<const ROWS: usize> {
    /// The steps that are compiled one after the other, so that they share what it takes to go on. More
    /// than one pays where the address of an element some steps on is at hand.
    const STEPS: usize;

    /// The rows whose elements have an instruction that reads them. Multiply-adds read those of the
    /// others themselves: fewer instructions, but a read for each vector of B.
    const ROWS_LOADED: usize;

    /// The walk over rows at these offsets from `a`, in steps of `step`.
    fn new(a: *const f32, rows: &[usize], step: usize) -> Self;

    /// Goes to where a segment of k starts.
    fn start(&mut self, segment: usize);

    /// The element of row `i`, `later` steps on, fewer than [`Walk::STEPS`].
    fn element(&self, i: usize, later: usize) -> *const f32;

    /// Hides from the compiler where the walk is. It would otherwise keep more pointers than there are
    /// registers, most of which it would have to load, advance and store at every step, and read each
    /// element once for all vectors of B.
    fn hide(&mut self);

    fn advance(&mut self, steps: usize);
}

/// The same number or pointer, which the compiler takes for any other.
macro_rules! hidden {
    ($value:expr) => {{
        let mut value = $value;
        // SAFETY: no code.
        unsafe {
            std::arch::asm!(
                "/* {0} */",
                inout(reg) value,
                options(pure, nomem, nostack, preserves_flags),
            );
        }
        value
    }};
}
pub(in crate::gemm) use hidden;

/// Rows packed side by side, step after step: one pointer.
pub(super) struct Packed {
    a: *const f32,
    at: *const f32,
}

impl<const ROWS: usize> Walk<ROWS> for Packed {
    const STEPS: usize = 2;
    const ROWS_LOADED: usize = FEW_ROWS;

    #[inline(always)]
    fn new(a: *const f32, _: &[usize], _: usize) -> Self {
        Self { a, at: a }
    }

    #[inline(always)]
    fn start(&mut self, segment: usize) {
        self.at = self.a.wrapping_add(segment);
    }

    #[inline(always)]
    fn element(&self, i: usize, later: usize) -> *const f32 {
        self.at.wrapping_add(later * ROWS + i)
    }

    #[inline(always)]
    fn hide(&mut self) {
        self.at = hidden!(self.at);
    }

    #[inline(always)]
    fn advance(&mut self, steps: usize) {
        self.at = self.at.wrapping_add(steps * ROWS);
    }
}

/// Rows at a distance of `DISTANCE`, but for the first of the second half, which is anywhere; steps of
/// one. A pointer for each half.
pub(super) struct Apart<const DISTANCE: usize> {
    halves: [*const f32; 2],
    at: [*const f32; 2],
}

impl<const ROWS: usize, const DISTANCE: usize> Walk<ROWS> for Apart<DISTANCE> {
    const STEPS: usize = 2;
    const ROWS_LOADED: usize = FEW_ROWS;

    #[inline(always)]
    fn new(a: *const f32, rows: &[usize], _: usize) -> Self {
        let halves = [0, first_half(ROWS)].map(|i| a.wrapping_add(rows[i]));
        Self { halves, at: halves }
    }

    #[inline(always)]
    fn start(&mut self, segment: usize) {
        self.at = self.halves.map(|half| half.wrapping_add(segment));
    }

    #[inline(always)]
    fn element(&self, i: usize, later: usize) -> *const f32 {
        let (half, i) = if i < first_half(ROWS) { (0, i) } else { (1, i - first_half(ROWS)) };
        self.at[half].wrapping_add(i * DISTANCE + later)
    }

    #[inline(always)]
    fn hide(&mut self) {
        self.at = self.at.map(|at| hidden!(at));
    }

    #[inline(always)]
    fn advance(&mut self, steps: usize) {
        self.at = self.at.map(|at| at.wrapping_add(steps));
    }
}

/// Rows one after the other, steps at any distance: a pointer for each of two steps.
pub(super) struct Beside {
    first: *const f32,
    step: usize,
    at: [*const f32; 2],
}

impl<const ROWS: usize> Walk<ROWS> for Beside {
    const STEPS: usize = 2;
    const ROWS_LOADED: usize = FEW_ROWS;

    #[inline(always)]
    fn new(a: *const f32, rows: &[usize], step: usize) -> Self {
        let first = a.wrapping_add(rows[0]);
        Self { first, step, at: [first; 2] }
    }

    #[inline(always)]
    fn start(&mut self, segment: usize) {
        let first = self.first.wrapping_add(segment);
        self.at = [first, first.wrapping_add(self.step)];
    }

    #[inline(always)]
    fn element(&self, i: usize, later: usize) -> *const f32 {
        self.at[later].wrapping_add(i)
    }

    #[inline(always)]
    fn hide(&mut self) {
        self.at = self.at.map(|at| hidden!(at));
    }

    #[inline(always)]
    fn advance(&mut self, steps: usize) {
        self.at = self.at.map(|at| at.wrapping_add(steps * self.step));
    }
}

/// Rows anywhere: a pointer for each, most of which are in memory. With `HALVES` the second half of the
/// rows lies as the first one, further on: half as many pointers.
pub(super) struct Scattered<const ROWS: usize, const HALVES: bool> {
    rows: [*const f32; ROWS],
    shift: usize,
    step: usize,
    offset: usize,
    shifted: usize,
}

impl<const ROWS: usize, const HALVES: bool> Walk<ROWS> for Scattered<ROWS, HALVES> {
    const STEPS: usize = 1;
    const ROWS_LOADED: usize = ROWS;

    #[inline(always)]
    fn new(a: *const f32, rows: &[usize], step: usize) -> Self {
        let shift = if HALVES { rows[first_half(ROWS)].wrapping_sub(rows[0]) } else { 0 };
        let rows = std::array::from_fn(|i| a.wrapping_add(rows[i]));
        Self { rows, shift, step, offset: 0, shifted: shift }
    }

    #[inline(always)]
    fn start(&mut self, segment: usize) {
        (self.offset, self.shifted) = (segment, segment.wrapping_add(self.shift));
    }

    #[inline(always)]
    fn element(&self, i: usize, _: usize) -> *const f32 {
        if HALVES && i >= first_half(ROWS) {
            self.rows[i - first_half(ROWS)].wrapping_add(self.shifted)
        } else {
            self.rows[i].wrapping_add(self.offset)
        }
    }

    #[inline(always)]
    fn hide(&mut self) {
        self.offset = hidden!(self.offset);
        if HALVES {
            self.shifted = hidden!(self.shifted);
        }
    }

    #[inline(always)]
    fn advance(&mut self, steps: usize) {
        self.offset = self.offset.wrapping_add(steps * self.step);
        self.shifted = self.shifted.wrapping_add(steps * self.step);
    }
}

/// How many of the rows are the first half.
pub(super) const fn first_half(rows: usize) -> usize {
    rows.div_ceil(2)
}

/// What is known of the rows of A where they are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Layout {
    /// One after the other.
    Beside,
    /// The second half as the first one, whose rows are at this distance if at the same.
    Halves(Option<usize>),
    Anywhere,
}

impl Layout {
    pub(super) fn of(rows: &[usize]) -> Self {
        if rows.windows(2).all(|pair| distance(pair) == 1) {
            return Self::Beside;
        }
        let (upper, lower) = rows.split_at(first_half(rows.len()));
        let shift = lower[0].wrapping_sub(upper[0]);
        if upper.iter().zip(lower).any(|(upper, lower)| lower.wrapping_sub(*upper) != shift) {
            return Self::Anywhere;
        }
        let even = upper.len() > 1 && line(upper) == upper.len();
        Self::Halves(even.then(|| distance(upper)))
    }
}

/// The distance of the first two rows.
fn distance(rows: &[usize]) -> usize {
    rows[1].wrapping_sub(rows[0])
}

/// How many of the rows, from the first on, are at the same distance from each other.
pub(super) fn line(rows: &[usize]) -> usize {
    let mut distances = rows.windows(2).map(distance);
    let Some(first) = distances.next() else { return rows.len() };
    2 + distances.take_while(|&distance| distance == first).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_ends_where_the_distance_changes() {
        assert_eq!(line(&[]), 0);
        assert_eq!(line(&[7]), 1);
        assert_eq!(line(&[7, 3]), 2);
        assert_eq!(line(&[0, 32, 64, 128, 160]), 3);
        assert_eq!(line(&[3, 4, 5]), 3);
    }

    #[test]
    fn what_is_known_of_rows() {
        assert_eq!(Layout::of(&[9]), Layout::Beside);
        assert_eq!(Layout::of(&[9, 10, 11]), Layout::Beside);
        assert_eq!(Layout::of(&[5, 37, 69]), Layout::Halves(Some(32)));
        assert_eq!(Layout::of(&[0, 64, 1000, 1064]), Layout::Halves(Some(64)));
        assert_eq!(Layout::of(&[0, 64, 128, 1000, 1064]), Layout::Halves(Some(64)));
        assert_eq!(Layout::of(&[0, 3, 4, 100, 103, 104]), Layout::Halves(None));
        assert_eq!(Layout::of(&[0, 32]), Layout::Halves(None));
        assert_eq!(Layout::of(&[0, 1, 2, 4]), Layout::Anywhere);
    }
}
