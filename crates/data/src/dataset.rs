//! The dataset, and what its combinators implement.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tapeflow_core::Result;

use crate::cardinality::Cardinality;
use crate::structure::Structure;

/// A buffer size or number of threads that is left to the library: `tf.data.AUTOTUNE`.
pub const AUTOTUNE: usize = usize::MAX;

/// A sequence of elements that can be iterated over any number of times: `tf.data.Dataset`.
///
/// A dataset holds no elements, only how to make them. It is immutable and cheap to clone; each
/// combinator returns another dataset. An error ends the iteration it occurs in. Arguments that no
/// pipeline could run with, such as a batch size of 0, are errors of the first element.
///
/// ```
/// use tapeflow_data::Dataset;
///
/// let pairs = Dataset::range(0, 5, 1).batch(2);
/// for _ in 0..2 {
///     let mut sums = Vec::new();
///     for batch in &pairs {
///         sums.push(batch?.to_vec::<i64>()?.iter().sum::<i64>());
///     }
///     assert_eq!(sums, [1, 5, 4]);
/// }
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
pub struct Dataset<E> {
    source: Arc<dyn Source<E>>,
    // How many iterations have begun: each gets another order of what is reshuffled.
    iterations: Arc<AtomicU64>,
}

/// How to make the elements of a dataset: what each combinator implements.
pub(crate) trait Source<E>: Send + Sync {
    /// Begins a pass.
    fn elements(&self, pass: Pass) -> Result<Box<dyn Elements<E>>>;

    fn cardinality(&self) -> Cardinality;
}

/// A pass over the elements of a dataset.
///
/// After an error neither method is called again; after the end both keep reporting it.
pub(crate) trait Elements<E>: Send {
    fn next(&mut self) -> Result<Option<E>>;

    /// Leaves out `count` elements, doing as little as it takes to go on as if they had been
    /// made, and returns how many there were.
    fn skip(&mut self, count: u64) -> Result<u64> {
        for skipped in 0..count {
            if self.next()?.is_none() {
                return Ok(skipped);
            }
        }
        Ok(count)
    }
}

/// Which pass over a dataset it is, counted by the iteration and by each `repeat` on the way: what
/// the order of a shuffle depends on besides its seed. It is handed down when a pass begins, so
/// it depends neither on threads nor on other iterations that are under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pass(pub u64);

impl Pass {
    /// The pass of number `index` of those within this one.
    pub(crate) fn nested(self, index: u64) -> Pass {
        // The finalizer of SplitMix64 (Steele, Lea and Flood, 2014) spreads both numbers over all
        // bits.
        let mut mixed =
            self.0.wrapping_add(index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Pass(mixed ^ (mixed >> 31))
    }
}

impl<E: Structure> Dataset<E> {
    pub(crate) fn new(source: impl Source<E> + 'static) -> Dataset<E> {
        Dataset { source: Arc::new(source), iterations: Arc::default() }
    }

    pub(crate) fn source(&self) -> Arc<dyn Source<E>> {
        self.source.clone()
    }

    /// How many elements there are, `Dataset.cardinality`.
    pub fn cardinality(&self) -> Cardinality {
        self.source.cardinality()
    }

    /// Begins to iterate. `for element in &dataset` does the same.
    ///
    /// The first iteration of a dataset is the same in every process; a later one differs in the
    /// order of what [`shuffle`](Self::shuffle) shuffles.
    ///
    /// ```
    /// use tapeflow_data::Dataset;
    ///
    /// let last = Dataset::range(0, 5, 1).iter().last().expect("there are five")?;
    /// assert_eq!(last.to_scalar::<i64>()?, 4);
    /// # Ok::<(), tapeflow_core::Error>(())
    /// ```
    pub fn iter(&self) -> Iter<E> {
        let pass = Pass(self.iterations.fetch_add(1, Ordering::Relaxed));
        Iter { state: Some(self.source.elements(pass)) }
    }
}

impl<E> Clone for Dataset<E> {
    fn clone(&self) -> Dataset<E> {
        Dataset { source: self.source.clone(), iterations: self.iterations.clone() }
    }
}

impl<E> fmt::Debug for Dataset<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dataset({:?})", self.source.cardinality())
    }
}

impl<E: Structure> IntoIterator for &Dataset<E> {
    type Item = Result<E>;
    type IntoIter = Iter<E>;

    fn into_iter(self) -> Iter<E> {
        self.iter()
    }
}

/// An iteration over a [`Dataset`]. It ends after the last element or the first error.
///
/// [`nth`](Iterator::nth), and so [`skip`](Iterator::skip), does not make the elements it passes
/// over where they are not needed.
pub struct Iter<E> {
    // None after the end.
    state: Option<Result<Box<dyn Elements<E>>>>,
}

impl<E> Iterator for Iter<E> {
    type Item = Result<E>;

    fn next(&mut self) -> Option<Result<E>> {
        self.nth(0)
    }

    fn nth(&mut self, count: usize) -> Option<Result<E>> {
        let mut elements = match self.state.take()? {
            Ok(elements) => elements,
            Err(error) => return Some(Err(error)),
        };
        match skip_then_next(elements.as_mut(), count as u64).transpose()? {
            Ok(element) => {
                self.state = Some(Ok(elements));
                Some(Ok(element))
            }
            Err(error) => Some(Err(error)),
        }
    }
}

impl<E> std::iter::FusedIterator for Iter<E> {}

impl<E> fmt::Debug for Iter<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Iter").field("ended", &self.state.is_none()).finish_non_exhaustive()
    }
}

fn skip_then_next<E>(elements: &mut dyn Elements<E>, count: u64) -> Result<Option<E>> {
    if count > 0 && elements.skip(count)? < count {
        return Ok(None);
    }
    elements.next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_skips, rows};

    #[test]
    fn pipelines_of_training_can_be_resumed_anywhere() {
        let numbers = Dataset::range(0, 10, 1);
        assert_skips(&numbers.repeat(2).shuffle(6, 1).batch(3).prefetch(2));
        assert_skips(&numbers.shuffle(10, 1).repeat(3).batch(4));
        assert_skips(&numbers.shuffle(4, 1).cache().repeat(2).enumerate(0).batch(4));
        let mapped = numbers.map_parallel(|x| Ok(-x), 2).shuffle(5, 2).batch_with(3, true);
        assert_skips(&mapped.repeat(2).prefetch(AUTOTUNE));
    }

    #[test]
    fn iterations_under_way_together_have_the_orders_they_have_alone() {
        let make = || Dataset::range(0, 20, 1).shuffle(20, 1).repeat(2).batch(5).prefetch(1);
        let alone = make();
        let expected = [rows(&alone), rows(&alone)];
        let both = make();
        let (first, second) = (both.iter(), both.iter());
        for (index, (a, b)) in first.zip(second).enumerate() {
            assert_eq!(a.unwrap().to_vec::<i64>().unwrap(), expected[0][index]);
            assert_eq!(b.unwrap().to_vec::<i64>().unwrap(), expected[1][index]);
        }
        assert_ne!(expected[0], expected[1]);
    }
}
