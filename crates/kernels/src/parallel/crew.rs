//! The helper threads, and how work reaches them.
//!
//! Each helper has a [`Mailbox`] whose state says whose turn it is. A caller offers its job to the
//! mailboxes, takes pieces itself, and when none is left takes back the offers that no helper has
//! accepted yet, so it never waits for a helper to wake up, only for pieces under way. A helper
//! without work spins for a moment, since the next kernel of a step follows within microseconds,
//! and then sleeps.
//!
//! Nothing is allocated once the threads run.

use std::any::Any;
use std::hint;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use super::Pieces;

/// How long a waiting thread spins before it sleeps, on the processor alone and with an offer to
/// the system, between two looks, to run another thread there.
const SPIN: Duration = Duration::from_micros(10);
const SPIN_AND_YIELD: Duration = Duration::from_micros(50);

/// The states of a [`Mailbox`]: the helper looks for work, sleeps, is offered a job, works on it,
/// and works while the caller sleeps until it is done.
const IDLE: u32 = 0;
const ASLEEP: u32 = 1;
const OFFERED: u32 = 2;
const WORKING: u32 = 3;
const AWAITED: u32 = 4;

/// The crew of the process. Whoever holds the lock has the helpers to itself.
static CREW: Mutex<Crew> = Mutex::new(Crew::new());

/// Runs `pieces` for every index below `count`, with up to `helpers` threads besides this one.
///
/// Where another caller has the helpers, and so inside a piece, this thread begins alone; it hands
/// out what is left once they are free.
pub(super) fn run(count: usize, helpers: usize, pieces: &dyn Pieces) {
    let mut begun = 0;
    while begun < count {
        if helpers > 0
            && count - begun > 1
            && let Some(mut crew) = try_lock()
        {
            return crew.run(begun..count, helpers, pieces);
        }
        pieces.run(begun);
        begun += 1;
    }
}

fn try_lock() -> Option<MutexGuard<'static, Crew>> {
    match CREW.try_lock() {
        Ok(crew) => Some(crew),
        // A piece panicked: by then the helpers had left the work.
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

struct Crew {
    helpers: Vec<Helper>,
    /// The pieces of the caller and of each helper.
    queues: Vec<Queue>,
    /// How many helpers were asked for at most; there are fewer where the system refused a thread.
    asked: usize,
}

struct Helper {
    mailbox: Arc<Mailbox>,
    thread: Thread,
}

/// Indices that are first one thread's and, when it has no others, anyone's. A line of its own, so
/// that taking a piece does not disturb the other threads.
#[repr(align(128))]
struct Queue {
    next: AtomicUsize,
    end: usize,
}

/// What one caller wants done.
struct Job<'a> {
    pieces: &'a dyn Pieces,
    queues: &'a [Queue],
    /// The first panic of a helper.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    caller: Thread,
}

#[repr(align(128))]
struct Mailbox {
    state: AtomicU32,
    /// The job on offer or under way; the caller keeps it alive until it has set the state back
    /// from [`OFFERED`] or the helper has from [`WORKING`].
    job: AtomicPtr<Job<'static>>,
    /// The helper's place in [`Job::queues`].
    place: usize,
}

impl Crew {
    const fn new() -> Self {
        Self { helpers: Vec::new(), queues: Vec::new(), asked: 0 }
    }

    fn run(&mut self, indices: Range<usize>, helpers: usize, pieces: &dyn Pieces) {
        let helpers = helpers.min(indices.len() - 1);
        self.grow(helpers);
        let helpers = helpers.min(self.helpers.len());
        self.share_out(indices, helpers + 1);
        let job = Job {
            pieces,
            queues: &self.queues[..=helpers],
            panic: Mutex::new(None),
            caller: thread::current(),
        };
        {
            let offers = Offers(&self.helpers[..helpers]);
            offers.make(&job);
            job.take_pieces(0);
        }
        let panic = job.panic.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }

    /// Starts helpers until there are `count`, or the system refuses.
    fn grow(&mut self, count: usize) {
        if count <= self.asked {
            return;
        }
        self.asked = count;
        self.queues.resize_with(count + 1, || Queue { next: AtomicUsize::new(0), end: 0 });
        while self.helpers.len() < count {
            let place = self.helpers.len() + 1;
            let mailbox = Arc::new(Mailbox {
                state: AtomicU32::new(IDLE),
                job: AtomicPtr::new(ptr::null_mut()),
                place,
            });
            let named = thread::Builder::new().name(format!("tapeflow-{place}"));
            let own = Arc::clone(&mailbox);
            let Ok(started) = named.spawn(move || own.serve()) else { break };
            self.helpers.push(Helper { mailbox, thread: started.thread().clone() });
        }
    }

    /// Gives each of `sharers` a run of neighbouring pieces: what one thread wrote for one kernel is
    /// then what it reads for the next.
    fn share_out(&mut self, pieces: Range<usize>, sharers: usize) {
        let (each, more) = (pieces.len() / sharers, pieces.len() % sharers);
        let mut start = pieces.start;
        for (place, queue) in self.queues[..sharers].iter_mut().enumerate() {
            *queue.next.get_mut() = start;
            start += each + usize::from(place < more);
            queue.end = start;
        }
    }
}

impl Job<'_> {
    /// Takes the pieces of the queue at `place`, then those that others have left.
    fn take_pieces(&self, place: usize) {
        let (others, own) = self.queues.split_at(place);
        for queue in own.iter().chain(others) {
            while let Some(index) = queue.take() {
                self.pieces.run(index);
            }
        }
    }
}

impl Queue {
    fn take(&self) -> Option<usize> {
        let index = self.next.fetch_add(1, Ordering::Relaxed);
        (index < self.end).then_some(index)
    }
}

/// The helpers that a job is offered to. Dropping it, also in a panic, waits until none has it.
struct Offers<'a>(&'a [Helper]);

impl Offers<'_> {
    fn make(&self, job: &Job<'_>) {
        let job = ptr::from_ref(job).cast_mut().cast();
        for Helper { mailbox, thread } in self.0 {
            mailbox.job.store(job, Ordering::Relaxed);
            if mailbox.state.swap(OFFERED, Ordering::AcqRel) == ASLEEP {
                thread.unpark();
            }
        }
    }
}

impl Drop for Offers<'_> {
    fn drop(&mut self) {
        for helper in self.0 {
            helper.mailbox.recall();
        }
    }
}

impl Mailbox {
    /// Waits until the helper neither works on the job on offer nor will.
    fn recall(&self) {
        // Once it is done the helper may be asleep before this thread looks again.
        if self.change(OFFERED, IDLE) || spin_until(|| self.state() != WORKING) {
            return;
        }
        if self.change(WORKING, AWAITED) {
            while self.state() == AWAITED {
                thread::park();
            }
        }
    }

    /// The life of a helper.
    fn serve(&self) {
        loop {
            if !spin_until(|| self.state() == OFFERED) && self.change(IDLE, ASLEEP) {
                while self.state() == ASLEEP {
                    thread::park();
                }
            }
            if self.change(OFFERED, WORKING) {
                // SAFETY: a caller has stored the address of its job, and recalls the offer before
                // the job is gone; it finds that this helper is working and waits for `finish`.
                let job = unsafe { &*self.job.load(Ordering::Relaxed) };
                self.work(job);
            }
        }
    }

    fn work(&self, job: &Job<'_>) {
        // The caller's closure is not called again after a panic.
        let done = catch_unwind(AssertUnwindSafe(|| job.take_pieces(self.place)));
        if let Err(panic) = done {
            let mut first = job.panic.lock().unwrap_or_else(PoisonError::into_inner);
            first.get_or_insert(panic);
        }
        // From the change of state on the job may be gone.
        if !self.change(WORKING, IDLE) {
            let caller = job.caller.clone();
            self.state.store(IDLE, Ordering::Release);
            caller.unpark();
        }
    }

    fn state(&self) -> u32 {
        self.state.load(Ordering::Acquire)
    }

    /// Whether the state was `from`, and is now `to`.
    fn change(&self, from: u32, to: u32) -> bool {
        self.state.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

/// Whether `done` comes true within a few tens of microseconds.
fn spin_until(done: impl Fn() -> bool) -> bool {
    if done() {
        return true;
    }
    let started = Instant::now();
    loop {
        for _ in 0..16 {
            if done() {
                return true;
            }
            hint::spin_loop();
        }
        let waited = started.elapsed();
        if waited > SPIN_AND_YIELD {
            return false;
        }
        if waited > SPIN {
            thread::yield_now();
        }
    }
}
