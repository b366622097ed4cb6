//! What prefetching and parallel mapping share: threads that never take the process down.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use tapeflow_core::{Error, Result};

/// Runs `f`; a panic is an error that names `op`.
pub(crate) fn guarded<T>(op: &str, f: impl FnOnce() -> Result<T>) -> Result<T> {
    // After an error what `f` worked on is only dropped, so that it may be left half-changed.
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|panic| {
        Err(Error::data(format!("{op}: a panic while making an element: {}", message(&*panic))))
    })
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

/// Starts a thread that is not waited for.
pub(crate) fn spawn(op: &str, f: impl FnOnce() + Send + 'static) -> Result<()> {
    thread::Builder::new()
        .name(op.to_owned())
        .spawn(f)
        .map(drop)
        .map_err(|error| Error::io(format!("{op}: starting a thread"), error))
}
