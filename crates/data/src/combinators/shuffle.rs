//! Elements in random order.

use std::sync::Arc;

use tapeflow_core::random::Philox;
use tapeflow_core::{Error, Result};

use crate::cardinality::Cardinality;
use crate::dataset::{Dataset, Elements, Pass, Source};
use crate::structure::Structure;

impl<E: Structure> Dataset<E> {
    /// The elements in random order, `Dataset.shuffle` with `reshuffle_each_iteration=True`.
    ///
    /// A buffer is filled with `buffer_size` elements; each step takes a random one out and fills
    /// its place with the next. Every order is possible where the buffer holds all elements. After
    /// a [`repeat`](Self::repeat) elements of neighbouring passes mix; before it each pass gets an
    /// order of its own, as does each iteration over a dataset. The orders depend on `seed` alone:
    /// they are the same in every process, though not TensorFlow's.
    ///
    /// A `buffer_size` of 0 is an error of the first element.
    ///
    /// ```
    /// use tapeflow_data::Dataset;
    ///
    /// let shuffled = Dataset::range(0, 100, 1).shuffle(100, 7);
    /// let mut numbers = Vec::new();
    /// for number in &shuffled {
    ///     numbers.push(number?.to_scalar::<i64>()?);
    /// }
    /// assert!(!numbers.is_sorted());
    /// numbers.sort();
    /// assert_eq!(numbers, (0..100).collect::<Vec<_>>());
    /// # Ok::<(), tapeflow_core::Error>(())
    /// ```
    pub fn shuffle(&self, buffer_size: usize, seed: i64) -> Dataset<E> {
        self.shuffle_with(buffer_size, seed, true)
    }

    /// Like [`shuffle`](Self::shuffle); without `reshuffle_each_iteration` every pass and every
    /// iteration has the same order.
    ///
    /// ```
    /// use tapeflow_data::Dataset;
    ///
    /// let shuffled = Dataset::range(0, 100, 1).shuffle_with(100, 7, false).batch(100);
    /// let mut passes = shuffled.repeat(2).iter();
    /// let first = passes.next().expect("there are two")?.to_vec::<i64>()?;
    /// let second = passes.next().expect("there are two")?.to_vec::<i64>()?;
    /// assert_eq!(first, second);
    /// # Ok::<(), tapeflow_core::Error>(())
    /// ```
    pub fn shuffle_with(
        &self,
        buffer_size: usize,
        seed: i64,
        reshuffle_each_iteration: bool,
    ) -> Dataset<E> {
        Dataset::new(Shuffle {
            upstream: self.source(),
            buffer_size,
            seed,
            reshuffle_each_iteration,
        })
    }
}

struct Shuffle<E> {
    upstream: Arc<dyn Source<E>>,
    buffer_size: usize,
    seed: i64,
    reshuffle_each_iteration: bool,
}

impl<E: Structure> Source<E> for Shuffle<E> {
    fn elements(&self, pass: Pass) -> Result<Box<dyn Elements<E>>> {
        if self.buffer_size == 0 {
            return Err(Error::invalid_argument("data.shuffle: the buffer size is 0"));
        }
        let order = if self.reshuffle_each_iteration { pass.0 as i64 } else { 0 };
        Ok(Box::new(ShuffleElements {
            upstream: self.upstream.elements(pass)?,
            upstream_length: self.upstream.cardinality(),
            taken: 0,
            buffer: Vec::new(),
            buffer_size: self.buffer_size,
            random: Philox::from_seed([self.seed, order]),
        }))
    }

    fn cardinality(&self) -> Cardinality {
        self.upstream.cardinality()
    }
}

struct ShuffleElements<E> {
    upstream: Box<dyn Elements<E>>,
    upstream_length: Cardinality,
    /// How many elements of `upstream` are used up.
    taken: u64,
    buffer: Vec<E>,
    buffer_size: usize,
    random: Philox,
}

/// A place in the buffer while elements are skipped.
enum Slot<E> {
    Held(E),
    /// The element of this number of `upstream`, to be made if it is still there in the end.
    Later(u64),
}

/// Takes a random element out; the order of the others in the buffer is of no matter.
fn draw<T>(buffer: &mut Vec<T>, random: &mut Philox) -> Option<T> {
    (!buffer.is_empty()).then(|| buffer.swap_remove(random.below(buffer.len() as u64) as usize))
}

impl<E: Structure> ShuffleElements<E> {
    fn fill(&mut self) -> Result<()> {
        while self.buffer.len() < self.buffer_size {
            let Some(element) = self.upstream.next()? else { break };
            self.taken += 1;
            self.buffer.push(element);
        }
        Ok(())
    }

    /// Draws `count` times from the numbers of the elements in their stead; `length` is how many
    /// the upstream pass has. Then makes only those that are left in the buffer.
    fn skip_by_number(&mut self, count: u64, length: u64) -> Result<u64> {
        let mut slots: Vec<Slot<E>> = self.buffer.drain(..).map(Slot::Held).collect();
        let mut end = self.taken;
        let mut skipped = 0;
        while skipped < count {
            while slots.len() < self.buffer_size && end < length {
                slots.push(Slot::Later(end));
                end += 1;
            }
            if draw(&mut slots, &mut self.random).is_none() {
                break;
            }
            skipped += 1;
        }
        self.make(slots, end)?;
        Ok(skipped)
    }

    /// Fills the buffer from `slots` and moves `upstream` on to the element of number `end`.
    fn make(&mut self, mut slots: Vec<Slot<E>>, end: u64) -> Result<()> {
        let number = |slot: &Slot<E>| match slot {
            Slot::Held(_) => None,
            Slot::Later(number) => Some(*number),
        };
        let mut places: Vec<(u64, usize)> = (slots.iter().enumerate())
            .filter_map(|(place, slot)| Some((number(slot)?, place)))
            .collect();
        places.sort_unstable();
        for (number, place) in places {
            self.move_to(number)?;
            let element = self.upstream.next()?.ok_or_else(|| ended_early(number))?;
            self.taken += 1;
            slots[place] = Slot::Held(element);
        }
        self.move_to(end)?;
        self.buffer.extend(slots.into_iter().filter_map(|slot| match slot {
            Slot::Held(element) => Some(element),
            Slot::Later(_) => None,
        }));
        Ok(())
    }

    fn move_to(&mut self, number: u64) -> Result<()> {
        let left = number - self.taken;
        if left > 0 && self.upstream.skip(left)? < left {
            return Err(ended_early(number));
        }
        self.taken = number;
        Ok(())
    }
}

fn ended_early(number: u64) -> Error {
    Error::data(format!("data.shuffle: the elements to shuffle ended before number {number}"))
}

impl<E: Structure> Elements<E> for ShuffleElements<E> {
    fn next(&mut self) -> Result<Option<E>> {
        self.fill()?;
        Ok(draw(&mut self.buffer, &mut self.random))
    }

    fn skip(&mut self, count: u64) -> Result<u64> {
        match self.upstream_length {
            Cardinality::Finite(length) => self.skip_by_number(count, length),
            Cardinality::Infinite => self.skip_by_number(count, u64::MAX),
            Cardinality::Unknown => {
                for skipped in 0..count {
                    if self.next()?.is_none() {
                        return Ok(skipped);
                    }
                }
                Ok(count)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::testing::{assert_skips, numbers};

    #[test]
    fn an_element_moves_forward_by_less_than_the_buffer() {
        let shuffled = numbers(&Dataset::range(0, 1000, 1).shuffle(10, 3));
        assert!(!shuffled.is_sorted());
        for (place, &number) in shuffled.iter().enumerate() {
            assert!(number < place as i64 + 10, "{number} at {place}");
        }
        let mut sorted = shuffled;
        sorted.sort();
        assert_eq!(sorted, (0..1000).collect::<Vec<_>>());
        assert_eq!(numbers(&Dataset::range(0, 9, 1).shuffle(1, 3)), (0..9).collect::<Vec<_>>());
    }

    #[test]
    fn every_order_is_as_likely() {
        let mut counts = std::collections::HashMap::new();
        let shuffled = Dataset::range(0, 3, 1).shuffle(3, 5);
        for _ in 0..6000 {
            *counts.entry(numbers(&shuffled)).or_insert(0u32) += 1;
        }
        assert_eq!(counts.len(), 6);
        assert!(counts.values().all(|&count| count.abs_diff(1000) < 150), "{counts:?}");
    }

    #[test]
    fn orders_depend_on_seed_and_pass_alone() {
        let make = |seed| Dataset::range(0, 50, 1).shuffle(50, seed);
        let (first, again, other) = (make(1), make(1), make(2));
        let pass = numbers(&first);
        assert_eq!(pass, numbers(&again));
        assert_ne!(pass, numbers(&other));
        assert_ne!(pass, numbers(&first));
        assert_eq!(numbers(&make(1).repeat(4)), numbers(&make(1).repeat(4)));
        let repeated = numbers(&make(1).repeat(2));
        assert_ne!(repeated[..50], repeated[50..]);
        let same = numbers(&Dataset::range(0, 50, 1).shuffle_with(50, 1, false).repeat(2));
        assert_eq!(same[..50], same[50..]);
    }

    #[test]
    fn passes_mix_after_repeat() {
        let shuffled = numbers(&Dataset::range(0, 20, 1).repeat(2).shuffle(15, 1));
        let mut first: Vec<_> = shuffled[..20].to_vec();
        first.sort();
        assert_ne!(first, (0..20).collect::<Vec<_>>());
    }

    #[test]
    fn skipping_makes_only_what_stays() {
        static MADE: AtomicU64 = AtomicU64::new(0);
        let counted = Dataset::range(0, 1000, 1).map(|x| {
            MADE.fetch_add(1, Ordering::Relaxed);
            Ok(x)
        });
        let mut iter = counted.shuffle(10, 1).iter();
        iter.nth(899).unwrap().unwrap();
        assert!(MADE.load(Ordering::Relaxed) <= 11);
        assert_skips(&Dataset::range(0, 40, 1).shuffle(8, 4));
        assert_skips(&Dataset::range(0, 10, 1).repeat(3).shuffle(100, 4));
        assert_skips(&Dataset::range(0, 10, 1).repeat_forever().shuffle(7, 4).take(40));
        assert_skips(&Dataset::range(0, 40, 1).filter(|_| Ok(true)).shuffle(8, 4));
    }

    #[test]
    fn a_buffer_of_nothing_is_an_error() {
        let error = Dataset::range(0, 5, 1).shuffle(0, 1).iter().next().unwrap().unwrap_err();
        assert!(error.is_invalid_argument());
    }
}
