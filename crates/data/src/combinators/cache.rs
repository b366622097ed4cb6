//! Elements kept in memory.

use std::sync::{Arc, OnceLock};

use tapeflow_core::Result;

use crate::cardinality::Cardinality;
use crate::dataset::{Dataset, Elements, Pass, Source};
use crate::structure::Structure;

impl<E: Structure> Dataset<E> {
    /// Keeps the elements in memory once a pass has reached the end, `Dataset.cache`. Later passes,
    /// of this dataset and of those made from it, are served from there, in the same order.
    ///
    /// ```
    /// use std::sync::atomic::{AtomicU32, Ordering};
    /// use tapeflow_data::Dataset;
    ///
    /// static CALLS: AtomicU32 = AtomicU32::new(0);
    /// let slow = Dataset::range(0, 5, 1).map(|x| {
    ///     CALLS.fetch_add(1, Ordering::Relaxed);
    ///     Ok(x)
    /// });
    /// assert_eq!(slow.cache().repeat(3).iter().count(), 15);
    /// assert_eq!(CALLS.load(Ordering::Relaxed), 5);
    /// ```
    pub fn cache(&self) -> Dataset<E> {
        Dataset::new(Cache { upstream: self.source(), kept: Arc::default() })
    }
}

type Kept<E> = Arc<OnceLock<Vec<E>>>;

struct Cache<E> {
    upstream: Arc<dyn Source<E>>,
    kept: Kept<E>,
}

impl<E: Structure> Source<E> for Cache<E> {
    fn elements(&self, pass: Pass) -> Result<Box<dyn Elements<E>>> {
        if self.kept.get().is_some() {
            return Ok(Box::new(KeptElements { kept: self.kept.clone(), position: 0 }));
        }
        Ok(Box::new(KeepingElements {
            upstream: self.upstream.elements(pass)?,
            elements: Vec::new(),
            kept: self.kept.clone(),
        }))
    }

    fn cardinality(&self) -> Cardinality {
        self.upstream.cardinality()
    }
}

/// A pass over what is kept.
struct KeptElements<E> {
    kept: Kept<E>,
    position: usize,
}

impl<E: Structure> KeptElements<E> {
    fn left(&self) -> &[E] {
        self.kept.get().map_or(&[], |kept| &kept[self.position..])
    }
}

impl<E: Structure> Elements<E> for KeptElements<E> {
    fn next(&mut self) -> Result<Option<E>> {
        let element = self.left().first().cloned();
        self.position += usize::from(element.is_some());
        Ok(element)
    }

    fn skip(&mut self, count: u64) -> Result<u64> {
        let skipped = count.min(self.left().len() as u64);
        self.position += skipped as usize;
        Ok(skipped)
    }
}

/// A pass that remembers its elements; the default `skip`, which makes them all, is the right one.
struct KeepingElements<E> {
    upstream: Box<dyn Elements<E>>,
    elements: Vec<E>,
    kept: Kept<E>,
}

impl<E: Structure> Elements<E> for KeepingElements<E> {
    fn next(&mut self) -> Result<Option<E>> {
        let element = self.upstream.next()?;
        match &element {
            Some(element) => self.elements.push(element.clone()),
            // Where another pass was faster, its elements stay.
            None => drop(self.kept.set(std::mem::take(&mut self.elements))),
        }
        Ok(element)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_skips, numbers};

    #[test]
    fn a_shuffled_order_is_kept() {
        let cached = Dataset::range(0, 20, 1).shuffle(20, 1).cache();
        let first = numbers(&cached);
        assert_eq!(numbers(&cached), first);
        let both = numbers(&cached.repeat(2));
        assert_eq!((&both[..20], &both[20..]), (&first[..], &first[..]));
    }

    #[test]
    fn a_pass_that_is_given_up_keeps_nothing() {
        let cached = Dataset::range(0, 5, 1).cache();
        cached.iter().nth(2).unwrap().unwrap();
        assert_eq!(numbers(&cached), [0, 1, 2, 3, 4]);
        assert_skips(&cached);
        assert_skips(&Dataset::range(0, 5, 1).cache().repeat(2));
    }
}
