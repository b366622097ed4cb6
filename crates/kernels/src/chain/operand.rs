//! The arrays that a chain reads and writes.

/// The elements of an input.
#[derive(Debug, Clone, Copy)]
pub enum Values<'a> {
    /// Read as they are.
    F32(&'a [f32]),
    /// Converted to `f32`: small integers, or truth as 0 and 1.
    U8(&'a [u8]),
}

impl Values<'_> {
    fn len(&self) -> usize {
        match self {
            Values::F32(values) => values.len(),
            Values::U8(values) => values.len(),
        }
    }
}

/// An input of a chain, whose element `i` is `values[i / inner % values.len()]`.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    values: Values<'a>,
    /// How often each value is repeated, one after the other.
    inner: usize,
}

impl<'a> Input<'a> {
    /// An input of which each element is read once.
    pub fn full(values: Values<'a>) -> Input<'a> {
        Input { values, inner: 1 }
    }

    /// An input of extents `dims` that broadcasts to `out_dims` by NumPy's rule; `None` where the
    /// axes that it has (those of an extent above 1) are interrupted by one that it has not.
    ///
    /// ```
    /// use tapeflow_kernels::chain::{Input, Values};
    ///
    /// let values = Values::F32(&[1.0, 2.0]);
    /// assert!(Input::broadcast(values, &[2, 1], &[3, 2, 5]).is_some());
    /// let values = Values::F32(&[1.0, 2.0, 3.0, 4.0]);
    /// assert!(Input::broadcast(values, &[2, 1, 2], &[2, 3, 2]).is_none());
    /// ```
    pub fn broadcast(values: Values<'a>, dims: &[usize], out_dims: &[usize]) -> Option<Input<'a>> {
        repeats(dims, out_dims).map(|inner| Input { values, inner })
    }

    /// Whether it broadcasts to `len` elements.
    pub(super) fn has_elements(&self, len: usize) -> bool {
        len == 0 || (self.period() > 0 && len.is_multiple_of(self.period()))
    }

    /// The number of elements after which they repeat.
    pub(super) fn period(&self) -> usize {
        self.inner * self.values.len()
    }

    /// Whether each block, all of length `block` up to the last one before `end`, lies in memory as
    /// it is wanted.
    pub(super) fn is_in_place(&self, end: usize, block: usize) -> bool {
        let Values::F32(values) = self.values else { return false };
        self.inner == 1 && (values.len() >= end || values.len().is_multiple_of(block))
    }

    /// The block that begins at `at`, of an input that [is in place](Self::is_in_place).
    #[inline(always)]
    pub(super) fn in_place(&self, at: usize, len: usize) -> &'a [f32] {
        let Values::F32(values) = self.values else { return &[] };
        let first = if at < values.len() { at } else { at % values.len() };
        &values[first..first + len]
    }

    /// Copies the elements from `at` to `block`.
    #[inline(always)]
    pub(super) fn load(&self, at: usize, block: &mut [f32]) {
        match self.values {
            Values::F32(values) => load(values, self.inner, at, block, |value| value),
            Values::U8(values) => load(values, self.inner, at, block, f32::from),
        }
    }
}

#[inline(always)]
fn load<T: Copy>(
    values: &[T],
    inner: usize,
    at: usize,
    mut block: &mut [f32],
    convert: impl Fn(T) -> f32,
) {
    let mut index = at / inner % values.len();
    let mut within = at % inner;
    while !block.is_empty() {
        let run = if inner == 1 { values.len() - index } else { inner - within };
        let (now, rest) = block.split_at_mut(run.min(block.len()));
        block = rest;
        if inner == 1 {
            for (out, &value) in now.iter_mut().zip(&values[index..]) {
                *out = convert(value);
            }
            index = 0;
        } else {
            now.fill(convert(values[index]));
            index = if index + 1 == values.len() { 0 } else { index + 1 };
            within = 0;
        }
    }
}

/// How often each element of `dims` is repeated in a row within `out_dims`, if its axes are one
/// unbroken group.
pub fn repeats(dims: &[usize], out_dims: &[usize]) -> Option<usize> {
    let lead = out_dims.len().checked_sub(dims.len())?;
    let own = |axis: usize| if axis < lead { 1 } else { dims[axis - lead] };
    let broadcasts = |axis: usize| own(axis) == 1 && out_dims[axis] != 1;
    if (0..out_dims.len()).any(|axis| own(axis) != 1 && own(axis) != out_dims[axis]) {
        return None;
    }
    let kept = |axis: &usize| own(*axis) != 1;
    let Some(first) = (0..out_dims.len()).find(kept) else { return Some(1) };
    let last = (0..out_dims.len()).rfind(kept).unwrap_or(first);
    if (first..last).any(broadcasts) {
        return None;
    }
    Some(out_dims[last + 1..].iter().product())
}

/// An output of a chain.
#[derive(Debug)]
pub enum Output<'a> {
    /// Written as it is.
    F32(&'a mut [f32]),
    /// 1 where the result is not 0, else 0.
    Bool(&'a mut [u8]),
}

impl Output<'_> {
    pub(super) fn len(&self) -> usize {
        match self {
            Output::F32(values) => values.len(),
            Output::Bool(values) => values.len(),
        }
    }
}
