//! Handing out work: every piece is called once and by whom it may, whatever else is going on.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use tapeflow_kernels::parallel::{
    for_each_chunk_mut, for_each_index, set_threads, threads, try_for_each_index,
};

/// The system's allocator, counting.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: it is the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// One test at a time, with `count` threads: their number is the process's.
fn with_threads(count: usize) -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    let guard = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    set_threads(count);
    guard
}

fn assert_each_called_once(count: usize) {
    let calls: Vec<_> = (0..count).map(|_| AtomicUsize::new(0)).collect();
    for_each_index(count, |index| {
        calls[index].fetch_add(1, Ordering::Relaxed);
    });
    for (index, calls) in calls.iter().enumerate() {
        assert_eq!(calls.load(Ordering::Relaxed), 1, "piece {index} of {count}");
    }
}

fn message(panic: &(dyn std::any::Any + Send)) -> &str {
    panic.downcast_ref::<String>().map_or("", String::as_str)
}

fn busy_for(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        std::hint::spin_loop();
    }
}

/// Waits until `count` threads are in a piece at a time.
fn meet(here: &AtomicUsize, count: usize) {
    here.fetch_add(1, Ordering::AcqRel);
    while here.load(Ordering::Acquire) < count {
        thread::yield_now();
    }
}

#[test]
fn each_piece_is_called_once_with_any_number_of_threads() {
    let _guard = with_threads(1);
    for round in 0..200 {
        for count in [1, 2, 3, 4, 7] {
            set_threads(count);
            assert_eq!(threads(), count);
            for pieces in [0, 1, 2, 3, 5, 8, 100 + round] {
                assert_each_called_once(pieces);
            }
        }
    }
}

#[test]
fn as_many_threads_work_at_a_time_as_were_set() {
    let _guard = with_threads(1);
    for count in [2, 5, 3, 1, 4] {
        set_threads(count);
        let (here, ids) = (AtomicUsize::new(0), Mutex::new(HashSet::<ThreadId>::new()));
        for_each_index(count, |_| {
            ids.lock().unwrap().insert(thread::current().id());
            meet(&here, count);
        });
        let ids = ids.into_inner().unwrap();
        assert_eq!(ids.len(), count);
        assert!(ids.contains(&thread::current().id()));
    }
}

#[test]
fn a_long_piece_is_waited_for_and_what_it_wrote_is_seen() {
    let _guard = with_threads(2);
    // The caller sleeps while the helper works. With other threads in its way it may wake so late that
    // the helper has gone to sleep too.
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let caller = thread::current().id();
        for round in 0..100 {
            let here = AtomicUsize::new(0);
            let mut out = [0; 2];
            for_each_chunk_mut(&mut out, 1, |index, chunk| {
                meet(&here, 2);
                if thread::current().id() != caller {
                    busy_for(Duration::from_micros(200));
                }
                chunk[0] = round + index;
            });
            assert_eq!(out, [round, round + 1]);
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn sleeping_helpers_wake() {
    let _guard = with_threads(2);
    for _ in 0..30 {
        thread::sleep(Duration::from_millis(1));
        let here = AtomicUsize::new(0);
        for_each_index(2, |_| meet(&here, 2));
    }
}

#[test]
fn a_panic_reaches_the_caller_after_all_threads_have_left() {
    let _guard = with_threads(3);
    for round in 0..100 {
        let bad = round % 7;
        let inside = AtomicUsize::new(0);
        let result = catch_unwind(AssertUnwindSafe(|| {
            for_each_index(7, |index| {
                inside.fetch_add(1, Ordering::Relaxed);
                if index == bad {
                    inside.fetch_sub(1, Ordering::Relaxed);
                    panic!("piece {index}");
                }
                busy_for(Duration::from_micros(50));
                inside.fetch_sub(1, Ordering::Relaxed);
            });
        }));
        assert_eq!(inside.into_inner(), 0);
        assert_eq!(message(&*result.unwrap_err()), format!("piece {bad}"));
        assert_each_called_once(20);
    }
}

#[test]
fn panics_of_caller_and_helper_at_once_are_one() {
    let _guard = with_threads(2);
    let here = AtomicUsize::new(0);
    let result = catch_unwind(AssertUnwindSafe(|| {
        for_each_index(2, |index| {
            meet(&here, 2);
            panic!("piece {index}");
        });
    }));
    assert!(message(&*result.unwrap_err()).starts_with("piece "));
    assert_each_called_once(20);
}

#[test]
fn the_failing_piece_of_the_lowest_index_is_reported() {
    let _guard = with_threads(4);
    for _ in 0..200 {
        let result =
            try_for_each_index(100, |index| if index % 10 == 3 { Err(index) } else { Ok(()) });
        assert_eq!(result, Err(3));
    }
}

#[test]
fn pieces_within_pieces_run_in_the_same_thread() {
    let _guard = with_threads(3);
    for _ in 0..100 {
        let calls = AtomicUsize::new(0);
        for_each_index(6, |_| {
            let own = thread::current().id();
            for_each_index(4, |_| {
                assert_eq!(thread::current().id(), own);
                for_each_index(2, |_| _ = calls.fetch_add(1, Ordering::Relaxed));
            });
        });
        assert_eq!(calls.into_inner(), 48);
    }
}

#[test]
fn several_callers_get_their_own_work_done() {
    let _guard = with_threads(3);
    thread::scope(|scope| {
        for caller in 0..4 {
            scope.spawn(move || {
                for round in 0..2000 {
                    let mut out = vec![0; 1 + (round * 7 + caller) % 40];
                    for_each_chunk_mut(&mut out, 3, |index, chunk| chunk.fill(index + round));
                    assert!(out.iter().enumerate().all(|(i, &value)| value == i / 3 + round));
                }
            });
        }
        // And the number of threads changes meanwhile.
        scope.spawn(|| {
            for count in (1..=4).cycle().take(400) {
                set_threads(count);
                thread::yield_now();
            }
        });
    });
}

#[test]
fn a_caller_that_began_alone_hands_out_the_rest() {
    let _guard = with_threads(2);
    let (busy, began_alone) = (AtomicUsize::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            // Both threads of the crew are here until the other caller has begun.
            for_each_index(2, |_| {
                meet(&busy, 2);
                while !began_alone.load(Ordering::Acquire) {
                    thread::yield_now();
                }
            });
        });
        while busy.load(Ordering::Acquire) < 2 {
            thread::yield_now();
        }
        let here = AtomicUsize::new(0);
        for_each_index(3, |index| match index {
            0 => {
                began_alone.store(true, Ordering::Release);
                // Long enough for the first caller to be done, even on a busy machine.
                thread::sleep(Duration::from_millis(300));
            }
            _ => meet(&here, 2),
        });
    });
}

#[test]
fn nothing_is_allocated_once_the_threads_run() {
    let _guard = with_threads(3);
    let mut out = vec![0u32; 1000];
    let mut call = |round: usize| {
        for_each_chunk_mut(&mut out, 10, |index, chunk| chunk.fill((index + round) as u32));
    };
    (0..10).for_each(&mut call);
    // Other tests wait for the lock, but their threads may still be starting: some round is quiet.
    let quiet = (0..50).any(|_| {
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        (0..1000).for_each(&mut call);
        ALLOCATIONS.load(Ordering::Relaxed) == before
    });
    assert!(quiet, "each thousand calls came with an allocation");
}

#[test]
fn idle_helpers_sleep() {
    let _guard = with_threads(3);
    for_each_index(3, |_| {});
    thread::sleep(Duration::from_millis(100));
    let before = processor_ticks();
    thread::sleep(Duration::from_millis(500));
    // A helper that went on spinning would use up 50 ticks of 10 ms.
    assert!(processor_ticks() - before < 20);
}

/// The processor time of this process, in ticks of the system: 10 ms on Linux; 0 elsewhere.
fn processor_ticks() -> u64 {
    let Ok(stat) = std::fs::read_to_string("/proc/self/stat") else { return 0 };
    // The name, which may hold spaces, ends with the last parenthesis; fields 14 and 15 are meant.
    let after_name = stat.rsplit(')').next().unwrap_or("");
    after_name.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum()
}
