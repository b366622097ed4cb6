//! How many elements a dataset has.

/// The number of elements of a [`Dataset`](crate::Dataset), as far as it is known without iterating.
///
/// ```
/// use tapeflow_data::{Cardinality, Dataset};
///
/// let numbers = Dataset::range(0, 10, 1);
/// assert_eq!(numbers.batch(4).cardinality(), Cardinality::Finite(3));
/// assert_eq!(numbers.repeat_forever().cardinality(), Cardinality::Infinite);
/// assert_eq!(numbers.filter(|_| Ok(true)).cardinality(), Cardinality::Unknown);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cardinality {
    /// Exactly so many.
    Finite(u64),
    /// There is always another one: `tf.data.INFINITE_CARDINALITY`.
    Infinite,
    /// Only iterating tells: `tf.data.UNKNOWN_CARDINALITY`.
    Unknown,
}

impl Cardinality {
    /// The number, where it is finite and known.
    pub fn finite(self) -> Option<u64> {
        match self {
            Cardinality::Finite(number) => Some(number),
            Cardinality::Infinite | Cardinality::Unknown => None,
        }
    }

    /// The same with `f` applied to a finite number.
    pub(crate) fn map(self, f: impl FnOnce(u64) -> u64) -> Cardinality {
        match self {
            Cardinality::Finite(number) => Cardinality::Finite(f(number)),
            other => other,
        }
    }
}
