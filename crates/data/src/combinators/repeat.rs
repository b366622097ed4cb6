//! The same elements again.

use std::sync::Arc;

use tapeflow_core::Result;

use crate::cardinality::Cardinality;
use crate::dataset::{Dataset, Elements, Pass, Source};
use crate::structure::Structure;

impl<E: Structure> Dataset<E> {
    /// `count` passes over this dataset, one after the other, `Dataset.repeat`.
    ///
    /// ```
    /// use tapeflow_data::Dataset;
    ///
    /// assert_eq!(Dataset::range(0, 5, 1).repeat(2).iter().count(), 10);
    /// ```
    pub fn repeat(&self, count: u64) -> Dataset<E> {
        Dataset::new(Repeat { upstream: self.source(), count: Some(count) })
    }

    /// Passes over this dataset without end, `Dataset.repeat()`; none where it is empty.
    ///
    /// ```
    /// use tapeflow_data::Dataset;
    ///
    /// let number = Dataset::range(0, 5, 1).repeat_forever().iter().nth(1_000_003);
    /// assert_eq!(number.expect("there is no end")?.to_scalar::<i64>()?, 3);
    /// # Ok::<(), tapeflow_core::Error>(())
    /// ```
    pub fn repeat_forever(&self) -> Dataset<E> {
        Dataset::new(Repeat { upstream: self.source(), count: None })
    }
}

struct Repeat<E> {
    upstream: Arc<dyn Source<E>>,
    count: Option<u64>,
}

impl<E: Structure> Source<E> for Repeat<E> {
    fn elements(&self, pass: Pass) -> Result<Box<dyn Elements<E>>> {
        Ok(Box::new(RepeatElements {
            upstream: self.upstream.clone(),
            pass,
            begun: 0,
            count: self.count.unwrap_or(u64::MAX),
            current: None,
        }))
    }

    fn cardinality(&self) -> Cardinality {
        match (self.upstream.cardinality(), self.count) {
            (_, Some(0)) | (Cardinality::Finite(0), _) => Cardinality::Finite(0),
            (Cardinality::Finite(length), Some(count)) => {
                Cardinality::Finite(length.saturating_mul(count))
            }
            (Cardinality::Finite(_), None) | (Cardinality::Infinite, _) => Cardinality::Infinite,
            (Cardinality::Unknown, _) => Cardinality::Unknown,
        }
    }
}

struct RepeatElements<E> {
    upstream: Arc<dyn Source<E>>,
    pass: Pass,
    /// Passes over the upstream dataset that have begun, of `count`.
    begun: u64,
    count: u64,
    current: Option<Current<E>>,
}

struct Current<E> {
    elements: Box<dyn Elements<E>>,
    empty: bool,
}

impl<E: Structure> RepeatElements<E> {
    /// The pass under way, or a new one, or none after the last.
    fn current(&mut self) -> Result<Option<&mut Current<E>>> {
        if self.current.is_none() {
            if self.begun == self.count {
                return Ok(None);
            }
            let elements = self.upstream.elements(self.pass.nested(self.begun))?;
            self.begun += 1;
            self.current = Some(Current { elements, empty: true });
        }
        Ok(self.current.as_mut())
    }

    fn end_pass(&mut self) {
        // Where a pass was empty all are: without this, repeating it for ever would hang.
        if self.current.take().is_some_and(|current| current.empty) {
            self.begun = self.count;
        }
    }

    /// Leaves out whole passes that hold at most `count` elements without beginning them.
    fn skip_passes(&mut self, count: u64) -> u64 {
        match (&self.current, self.upstream.cardinality()) {
            (None, Cardinality::Finite(length)) if length > 0 => {
                let passes = (count / length).min(self.count - self.begun);
                self.begun += passes;
                passes * length
            }
            _ => 0,
        }
    }
}

impl<E: Structure> Elements<E> for RepeatElements<E> {
    fn next(&mut self) -> Result<Option<E>> {
        while let Some(current) = self.current()? {
            if let Some(element) = current.elements.next()? {
                current.empty = false;
                return Ok(Some(element));
            }
            self.end_pass();
        }
        Ok(None)
    }

    fn skip(&mut self, count: u64) -> Result<u64> {
        let mut skipped = 0;
        while skipped < count {
            skipped += self.skip_passes(count - skipped);
            let left = count - skipped;
            if left == 0 {
                break;
            }
            let Some(current) = self.current()? else { break };
            let here = current.elements.skip(left)?;
            current.empty &= here == 0;
            skipped += here;
            if here < left {
                self.end_pass();
            }
        }
        Ok(skipped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_skips, numbers};

    #[test]
    fn passes_follow_each_other() {
        let dataset = Dataset::range(0, 3, 1);
        assert_eq!(numbers(&dataset.repeat(2)), [0, 1, 2, 0, 1, 2]);
        assert_eq!(numbers(&dataset.repeat(0)), [0; 0]);
        assert_eq!(numbers(&dataset.repeat_forever().take(4)), [0, 1, 2, 0]);
        assert_eq!(dataset.repeat(4).cardinality(), Cardinality::Finite(12));
        assert_skips(&dataset.repeat(3));
        assert_skips(&dataset.filter(|_| Ok(true)).repeat(3));
    }

    #[test]
    fn repeating_nothing_for_ever_ends() {
        let nothing = Dataset::range(0, 3, 1).filter(|_| Ok(false));
        assert_eq!(numbers(&nothing.repeat_forever()), [0; 0]);
        assert_eq!(numbers(&nothing.repeat(u64::MAX)), [0; 0]);
        assert_eq!(numbers(&nothing.repeat_forever().skip(2)), [0; 0]);
    }

    #[test]
    fn a_far_skip_takes_no_time() {
        let element =
            Dataset::range(0, 7, 1).repeat_forever().skip(7_000_000_000_003).iter().next();
        assert_eq!(element.unwrap().unwrap().to_scalar::<i64>().unwrap(), 3);
    }
}
