//! Elements made ahead of time.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

use tapeflow_core::Result;

use crate::cardinality::Cardinality;
use crate::dataset::{AUTOTUNE, Dataset, Elements, Pass, Source};
use crate::structure::Structure;
use crate::worker::{guarded, spawn};

const OP: &str = "data.prefetch";

/// What [`AUTOTUNE`] is: one element to take, while the thread makes the one after it.
const AUTOTUNED: usize = 2;

/// The most elements to keep ready. A channel takes memory for all of its places.
const LIMIT: usize = 1 << 12;

impl<E: Structure> Dataset<E> {
    /// Makes up to `buffer_size` elements ahead, `Dataset.prefetch`, in a thread that begins with
    /// the first element asked for and ends soon after the iterator is dropped. [`AUTOTUNE`] is 2;
    /// no more than 4096 elements are kept ready; with 0 there is no thread.
    ///
    /// An error or a panic in the thread is returned in its place in the order.
    ///
    /// ```
    /// use tapeflow_data::{AUTOTUNE, Dataset};
    ///
    /// assert_eq!(Dataset::range(0, 5, 1).batch(2).prefetch(AUTOTUNE).iter().count(), 3);
    /// ```
    pub fn prefetch(&self, buffer_size: usize) -> Dataset<E> {
        let buffer_size = if buffer_size == AUTOTUNE { AUTOTUNED } else { buffer_size.min(LIMIT) };
        Dataset::new(Prefetch { upstream: self.source(), buffer_size })
    }
}

struct Prefetch<E> {
    upstream: Arc<dyn Source<E>>,
    buffer_size: usize,
}

impl<E: Structure> Source<E> for Prefetch<E> {
    fn elements(&self, pass: Pass) -> Result<Box<dyn Elements<E>>> {
        let upstream = self.upstream.elements(pass)?;
        if self.buffer_size == 0 {
            return Ok(upstream);
        }
        Ok(Box::new(PrefetchElements::Idle(Some(upstream), self.buffer_size)))
    }

    fn cardinality(&self) -> Cardinality {
        self.upstream.cardinality()
    }
}

enum PrefetchElements<E> {
    /// No element has been asked for yet: skipping is still cheap.
    Idle(Option<Box<dyn Elements<E>>>, usize),
    Started(Receiver<Result<E>>),
}

impl<E: Structure> Elements<E> for PrefetchElements<E> {
    fn next(&mut self) -> Result<Option<E>> {
        if let PrefetchElements::Idle(upstream, buffer_size) = self {
            let Some(upstream) = upstream.take() else { return Ok(None) };
            *self = PrefetchElements::Started(start(upstream, *buffer_size)?);
        }
        match self {
            PrefetchElements::Idle(..) => Ok(None),
            // The thread hangs up after the last element.
            PrefetchElements::Started(receiver) => receiver.recv().ok().transpose(),
        }
    }

    fn skip(&mut self, count: u64) -> Result<u64> {
        if let PrefetchElements::Idle(Some(upstream), _) = self {
            return upstream.skip(count);
        }
        for skipped in 0..count {
            if self.next()?.is_none() {
                return Ok(skipped);
            }
        }
        Ok(count)
    }
}

fn start<E: Structure>(
    mut upstream: Box<dyn Elements<E>>,
    buffer_size: usize,
) -> Result<Receiver<Result<E>>> {
    let (sender, receiver) = sync_channel(buffer_size);
    spawn(OP, move || {
        while let Some(element) = guarded(OP, || upstream.next()).transpose() {
            let failed = element.is_err();
            // Nobody receives once the iterator is dropped.
            if sender.send(element).is_err() || failed {
                break;
            }
        }
    })?;
    Ok(receiver)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use tapeflow_core::Error;

    use super::*;
    use crate::testing::{assert_skips, numbers};

    #[test]
    fn the_order_stays() {
        let dataset = Dataset::range(0, 100, 1);
        for buffer_size in [0, 1, 3, 1000, usize::MAX - 1, AUTOTUNE] {
            assert_eq!(numbers(&dataset.prefetch(buffer_size)), (0..100).collect::<Vec<_>>());
        }
        assert_skips(&Dataset::range(0, 9, 1).prefetch(2));
    }

    #[test]
    fn errors_and_panics_come_in_their_place() {
        let failing = Dataset::range(0, 9, 1).map(|x| match x.to_scalar::<i64>()? {
            3 => Err(Error::data("three")),
            _ => Ok(x),
        });
        let panicking = Dataset::range(0, 9, 1).map(|x| match x.to_scalar::<i64>()? {
            3 => panic!("at {}", 3),
            _ => Ok(x),
        });
        for (dataset, message) in [
            (failing, "three"),
            (panicking, "data.prefetch: a panic while making an element: at 3"),
        ] {
            let mut iter = dataset.prefetch(2).iter();
            for number in 0..3 {
                assert_eq!(iter.next().unwrap().unwrap().to_scalar::<i64>().unwrap(), number);
            }
            assert_eq!(iter.next().unwrap().unwrap_err().to_string(), message);
            assert!(iter.next().is_none());
        }
    }

    #[test]
    fn dropping_the_iterator_ends_the_thread() {
        let (sender, receiver) = channel::<()>();
        // The closure, and the sender with it, is dropped with the thread's iterator and dataset.
        let endless = Dataset::range(0, 9, 1).repeat_forever().map(move |x| {
            let _ = &sender;
            Ok(x)
        });
        let mut iter = endless.prefetch(2).iter();
        drop(endless);
        iter.next().unwrap().unwrap();
        drop(iter);
        let ended = receiver.recv_timeout(Duration::from_secs(10));
        assert_eq!(ended, Err(std::sync::mpsc::RecvTimeoutError::Disconnected));
    }
}
