//! A function of each element, several at a time.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use tapeflow_core::{Error, Result};

use crate::cardinality::Cardinality;
use crate::dataset::{AUTOTUNE, Dataset, Elements, Pass, Source};
use crate::structure::Structure;
use crate::worker::{guarded, spawn};

const OP: &str = "data.map_parallel";

/// The most threads of one iteration.
const LIMIT: usize = 256;

impl<E: Structure> Dataset<E> {
    /// Like [`map`](Self::map) with up to `num_parallel_calls` calls of `f` under way in threads of
    /// their own: `Dataset.map(f, num_parallel_calls, deterministic=True)`. [`AUTOTUNE`] is the
    /// number of cores; there are no more than 256 threads. The order is that of
    /// [`map`](Self::map), errors and panics included.
    ///
    /// A `num_parallel_calls` of 0 is an error of the first element.
    ///
    /// ```
    /// use tapeflow_core::math;
    /// use tapeflow_data::{AUTOTUNE, Dataset};
    ///
    /// let squares = Dataset::range(0, 5, 1).map_parallel(|x| math::square(x), AUTOTUNE);
    /// let third = squares.iter().nth(2).expect("there are five")?;
    /// assert_eq!(third.to_scalar::<i64>()?, 4);
    /// # Ok::<(), tapeflow_core::Error>(())
    /// ```
    pub fn map_parallel<T: Structure>(
        &self,
        f: impl Fn(E) -> Result<T> + Send + Sync + 'static,
        num_parallel_calls: usize,
    ) -> Dataset<T> {
        let threads = match num_parallel_calls {
            AUTOTUNE => thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        };
        Dataset::new(MapParallel {
            upstream: self.source(),
            f: Arc::new(f),
            threads: threads.min(LIMIT),
        })
    }
}

struct MapParallel<E, F> {
    upstream: Arc<dyn Source<E>>,
    f: Arc<F>,
    threads: usize,
}

impl<E, T, F> Source<T> for MapParallel<E, F>
where
    E: Structure,
    T: Structure,
    F: Fn(E) -> Result<T> + Send + Sync + 'static,
{
    fn elements(&self, pass: Pass) -> Result<Box<dyn Elements<T>>> {
        if self.threads == 0 {
            return Err(Error::invalid_argument(format!("{OP}: the number of calls is 0")));
        }
        Ok(Box::new(MapParallelElements {
            upstream: self.upstream.elements(pass)?,
            f: self.f.clone(),
            threads: self.threads,
            calls: None,
            under_way: VecDeque::new(),
        }))
    }

    fn cardinality(&self) -> Cardinality {
        self.upstream.cardinality()
    }
}

/// An element to map, and where the result goes.
type Call<E, T> = (E, SyncSender<Result<T>>);

struct MapParallelElements<E, T, F> {
    upstream: Box<dyn Elements<E>>,
    f: Arc<F>,
    threads: usize,
    /// Where the threads take their calls from, once they are started.
    calls: Option<SyncSender<Call<E, T>>>,
    /// The results to come, in order, and an upstream error after them.
    under_way: VecDeque<Result<Receiver<Result<T>>>>,
}

impl<E, T, F> MapParallelElements<E, T, F>
where
    E: Structure,
    T: Structure,
    F: Fn(E) -> Result<T> + Send + Sync + 'static,
{
    fn calls(&mut self) -> Result<&SyncSender<Call<E, T>>> {
        if self.calls.is_none() {
            let (sender, receiver) = sync_channel(self.threads);
            let receiver = Arc::new(Mutex::new(receiver));
            for _ in 0..self.threads {
                let (receiver, f) = (receiver.clone(), self.f.clone());
                spawn(OP, move || serve(&receiver, &*f))?;
            }
            self.calls = Some(sender);
        }
        self.calls.as_ref().ok_or_else(threads_ended)
    }

    /// Hands out elements until each thread has one to work on and one to follow.
    fn refill(&mut self) -> Result<()> {
        while self.under_way.len() < 2 * self.threads
            && !self.under_way.back().is_some_and(Result::is_err)
        {
            match self.upstream.next() {
                Ok(Some(element)) => {
                    let (sender, receiver) = sync_channel(1);
                    self.calls()?.send((element, sender)).map_err(|_| threads_ended())?;
                    self.under_way.push_back(Ok(receiver));
                }
                Ok(None) => break,
                Err(error) => self.under_way.push_back(Err(error)),
            }
        }
        Ok(())
    }
}

/// Works on calls until the iterator is dropped.
fn serve<E, T>(calls: &Mutex<Receiver<Call<E, T>>>, f: &impl Fn(E) -> Result<T>) {
    loop {
        // Nothing panics while it holds the lock.
        let call = calls.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((element, result)) = call else { break };
        // A result that was skipped is waited for by nobody.
        let _ = result.send(guarded(OP, || f(element)));
    }
}

fn threads_ended() -> Error {
    Error::data(format!("{OP}: the threads have ended"))
}

impl<E, T, F> Elements<T> for MapParallelElements<E, T, F>
where
    E: Structure,
    T: Structure,
    F: Fn(E) -> Result<T> + Send + Sync + 'static,
{
    fn next(&mut self) -> Result<Option<T>> {
        self.refill()?;
        match self.under_way.pop_front().transpose()? {
            Some(receiver) => receiver.recv().map_err(|_| threads_ended())?.map(Some),
            None => Ok(None),
        }
    }

    fn skip(&mut self, count: u64) -> Result<u64> {
        let mut skipped = 0;
        while skipped < count {
            match self.under_way.pop_front().transpose()? {
                Some(_) => skipped += 1,
                None => return Ok(skipped + self.upstream.skip(count - skipped)?),
            }
        }
        Ok(skipped)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tapeflow_core::Tensor;

    use super::*;
    use crate::testing::{assert_skips, numbers};

    fn slow_at_even(x: Tensor) -> Result<Tensor> {
        if x.to_scalar::<i64>()? % 2 == 0 {
            thread::sleep(Duration::from_millis(2));
        }
        Ok(-x)
    }

    #[test]
    fn the_order_is_that_of_map() {
        let dataset = Dataset::range(0, 40, 1);
        let expected: Vec<i64> = (0..40).map(|x| -x).collect();
        for threads in [1, 3, AUTOTUNE] {
            assert_eq!(numbers(&dataset.map_parallel(slow_at_even, threads)), expected);
        }
        assert_skips(&Dataset::range(0, 9, 1).map_parallel(slow_at_even, 2));
    }

    #[test]
    fn errors_and_panics_come_in_their_place() {
        let upstream = Dataset::range(0, 9, 1).map(|x| match x.to_scalar::<i64>()? {
            6 => Err(Error::data("six")),
            _ => Ok(x),
        });
        let mut iter = upstream.map_parallel(slow_at_even, 4).iter();
        assert_eq!(iter.by_ref().take(6).filter(|element| element.is_ok()).count(), 6);
        assert_eq!(iter.next().unwrap().unwrap_err().to_string(), "six");
        assert!(iter.next().is_none());

        let panicking = Dataset::range(0, 9, 1)
            .map_parallel(|x| if x.to_scalar::<i64>()? == 1 { panic!("one") } else { Ok(x) }, 2);
        let results: Vec<_> = panicking.iter().collect();
        assert_eq!(results.len(), 2);
        let message = results[1].as_ref().unwrap_err().to_string();
        assert_eq!(message, "data.map_parallel: a panic while making an element: one");
        let none = Dataset::range(0, 9, 1).map_parallel(slow_at_even, 0);
        assert!(none.iter().next().unwrap().unwrap_err().is_invalid_argument());
    }
}
