//! The default writer of a thread, and the functions that write to it.

use std::cell::RefCell;
use std::marker::PhantomData;

use tapeflow_core::{Result, Tensor};

use crate::summary::Summary;
use crate::writer::SummaryWriter;

thread_local! {
    /// The default writers of this thread, the present one last.
    static DEFAULT: RefCell<Vec<SummaryWriter>> = const { RefCell::new(Vec::new()) };
}

/// Keeps a writer the default of its thread, from [`SummaryWriter::as_default`].
#[derive(Debug)]
#[must_use = "the writer is the default for as long as this lives"]
pub struct DefaultWriter {
    // It belongs to the thread that made it.
    thread: PhantomData<*const ()>,
}

impl SummaryWriter {
    /// Makes this the writer of [`scalar`], [`histogram`], [`image`] and [`text`] on this thread,
    /// until the guard is dropped: `with writer.as_default():`. Guards are dropped in the reverse
    /// of the order in which they were made.
    ///
    /// ```
    /// use tapeflow_summary as summary;
    ///
    /// # let dir = std::env::temp_dir().join(format!("tapeflow-default-{}", std::process::id()));
    /// let writer = summary::create_file_writer(&dir)?;
    /// {
    ///     let _default = writer.as_default();
    ///     assert!(summary::scalar("loss", 0.25, 1)?);
    /// }
    /// assert!(!summary::scalar("loss", 0.25, 2)?, "there is no writer, nothing was written");
    /// # std::fs::remove_dir_all(dir).unwrap();
    /// # Ok::<(), tapeflow_core::Error>(())
    /// ```
    pub fn as_default(&self) -> DefaultWriter {
        DEFAULT.with_borrow_mut(|writers| writers.push(self.clone()));
        DefaultWriter { thread: PhantomData }
    }
}

impl Drop for DefaultWriter {
    fn drop(&mut self) {
        let writer = DEFAULT.with_borrow_mut(Vec::pop);
        // Outside of the borrow: the last clone of a writer writes its file.
        drop(writer);
    }
}

/// Does as `write` says with this thread's default writer; false where there is none.
fn with_default(write: impl FnOnce(&SummaryWriter) -> Result<()>) -> Result<bool> {
    let writer = DEFAULT.with_borrow(|writers| writers.last().cloned());
    writer.map_or(Ok(false), |writer| write(&writer).map(|()| true))
}

/// Writes a number to the default writer: `tf.summary.scalar`. False where this thread has none.
///
/// # Errors
/// Those of [`SummaryWriter::scalar`].
pub fn scalar(name: &str, data: impl Into<Tensor>, step: i64) -> Result<bool> {
    with_default(|writer| writer.scalar(name, data, step))
}

/// Writes how values are distributed to the default writer: `tf.summary.histogram`. False where
/// this thread has none.
///
/// # Errors
/// Those of [`SummaryWriter::histogram`].
pub fn histogram(name: &str, data: impl Into<Tensor>, step: i64) -> Result<bool> {
    with_default(|writer| writer.histogram(name, data, step))
}

/// Writes images to the default writer: `tf.summary.image`. False where this thread has none.
///
/// # Errors
/// Those of [`SummaryWriter::image`].
pub fn image(name: &str, data: impl Into<Tensor>, step: i64) -> Result<bool> {
    with_default(|writer| writer.image(name, data, step))
}

/// Writes a text to the default writer: `tf.summary.text`. False where this thread has none.
///
/// # Errors
/// Those of [`SummaryWriter::text`].
pub fn text(name: &str, data: &str, step: i64) -> Result<bool> {
    with_default(|writer| writer.text(name, data, step))
}

/// Writes a summary to the default writer: `tf.summary.write`. False where this thread has none.
///
/// # Errors
/// Those of [`SummaryWriter::write`].
pub fn write(summary: Summary, step: i64) -> Result<bool> {
    with_default(|writer| writer.write(summary, step))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EventReader, create_file_writer};

    #[test]
    fn the_innermost_writer_is_the_default_of_its_thread() {
        let folder = tempfile::tempdir().unwrap();
        let count = |writer: &SummaryWriter| {
            writer.flush().unwrap();
            EventReader::open(writer.path()).unwrap().count() - 1
        };
        let outer = create_file_writer(folder.path()).unwrap();
        let inner = create_file_writer(folder.path()).unwrap();
        assert!(!text("x", "nobody listens", 0).unwrap());
        let guard = outer.as_default();
        {
            let _guard = inner.as_default();
            assert!(text("x", "inner", 0).unwrap());
            std::thread::scope(|scope| {
                let elsewhere = scope.spawn(|| scalar("x", 1.0, 0).unwrap());
                assert!(!elsewhere.join().unwrap());
            });
        }
        assert!(histogram("x", [1.0f32], 0).unwrap());
        drop(guard);
        assert!(!scalar("x", 1.0, 0).unwrap());
        assert_eq!((count(&outer), count(&inner)), (1, 1));
    }
}
