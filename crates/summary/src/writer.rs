//! Event files, written.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tapeflow_core::{Error, Graph, Result, Tensor};
use tapeflow_data::tfrecord;

use crate::event::{Event, FILE_VERSION, What};
use crate::hparams::{self, Experiment, HParam, Status};
use crate::summary::Summary;
use crate::{graph, histogram, image};

/// A writer of an event file in `dir`, which is made where it is missing:
/// `tf.summary.create_file_writer`. [`FileWriterOptions`] has what can be chosen.
///
/// # Errors
/// A directory or file that cannot be made.
///
/// ```
/// use tapeflow_summary::create_file_writer;
///
/// # let dir = std::env::temp_dir().join(format!("tapeflow-writer-{}", std::process::id()));
/// let writer = create_file_writer(&dir)?;
/// for step in 0..100 {
///     writer.scalar("loss", 1.0 / (step + 1) as f32, step)?;
/// }
/// writer.flush()?;
/// # std::fs::remove_dir_all(dir).unwrap();
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
pub fn create_file_writer(dir: impl AsRef<Path>) -> Result<SummaryWriter> {
    FileWriterOptions::default().create(dir)
}

/// How a [`SummaryWriter`] writes.
#[derive(Debug, Clone)]
pub struct FileWriterOptions {
    /// The most events that wait in memory; TensorFlow's 10 by default.
    pub max_queue: usize,
    /// The longest time that events wait, as long as others follow: a writer has no thread of its
    /// own. 2 seconds by default, so that a running TensorBoard follows; TensorFlow's are 120.
    pub flush_after: Duration,
    /// What the file's name ends with, `.v2` by default.
    pub filename_suffix: String,
}

impl Default for FileWriterOptions {
    fn default() -> FileWriterOptions {
        FileWriterOptions {
            max_queue: 10,
            flush_after: Duration::from_secs(2),
            filename_suffix: ".v2".into(),
        }
    }
}

impl FileWriterOptions {
    /// A writer of a new event file in `dir`, which is made where it is missing.
    ///
    /// # Errors
    /// A directory or file that cannot be made.
    pub fn create(self, dir: impl AsRef<Path>) -> Result<SummaryWriter> {
        let dir = dir.as_ref();
        fs::create_dir_all(dir)
            .map_err(|error| Error::io(format!("creating {}", dir.display()), error))?;
        let (path, file) = create_file(dir, &self.filename_suffix)
            .map_err(|error| Error::io(format!("creating a file in {}", dir.display()), error))?;
        let file = EventFile {
            file,
            path: path.clone(),
            options: self,
            pending: Vec::new(),
            queued: 0,
            flushed: Instant::now(),
            length: 0,
        };
        let writer = SummaryWriter { path: path.into(), file: Arc::new(Mutex::new(file)) };
        writer.event(What::FileVersion(FILE_VERSION.into()), 0)?;
        writer.flush()?;
        Ok(writer)
    }
}

/// Writes summaries to an event file, which TensorBoard shows: `tf.summary.SummaryWriter`.
///
/// A clone writes to the same file; threads may share it. The file is flushed when the last clone
/// is dropped, but only [`flush`](Self::flush) tells of errors.
#[derive(Debug, Clone)]
pub struct SummaryWriter {
    path: Arc<Path>,
    file: Arc<Mutex<EventFile>>,
}

impl SummaryWriter {
    /// The event file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a number, a point of the curve `name`: `tf.summary.scalar`.
    ///
    /// # Errors
    /// Those of [`Summary::scalar`]; a file that cannot be written.
    pub fn scalar(&self, name: &str, data: impl Into<Tensor>, step: i64) -> Result<()> {
        self.write(Summary::scalar(name, data)?, step)
    }

    /// Writes how the values of a tensor are distributed, in 30 buckets: `tf.summary.histogram`.
    ///
    /// # Errors
    /// Those of [`Summary::histogram`]; a file that cannot be written.
    pub fn histogram(&self, name: &str, data: impl Into<Tensor>, step: i64) -> Result<()> {
        self.write(Summary::histogram(name, data, histogram::BUCKETS)?, step)
    }

    /// Writes the first three of images `[k, height, width, channels]`: `tf.summary.image`.
    ///
    /// # Errors
    /// Those of [`Summary::image`]; a file that cannot be written.
    pub fn image(&self, name: &str, data: impl Into<Tensor>, step: i64) -> Result<()> {
        self.write(Summary::image(name, data, image::MAX_OUTPUTS)?, step)
    }

    /// Writes a text, which is shown as Markdown: `tf.summary.text`.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn text(&self, name: &str, data: &str, step: i64) -> Result<()> {
        self.write(Summary::text(name, data), step)
    }

    /// Writes the graph of a compiled function: `tf.summary.graph`. A run has one.
    ///
    /// # Errors
    /// A file that cannot be written.
    ///
    /// ```
    /// use tapeflow_core::{Tensor, function, math};
    ///
    /// # let dir = std::env::temp_dir().join(format!("tapeflow-graph-{}", std::process::id()));
    /// # let writer = tapeflow_summary::create_file_writer(&dir)?;
    /// let double_exp = function(|x: Tensor| math::exp(&x + &x));
    /// let concrete = double_exp.get_concrete_function(&Tensor::from([1.0f32]))?;
    /// writer.graph(concrete.graph())?;
    /// # std::fs::remove_dir_all(dir).unwrap();
    /// # Ok::<(), tapeflow_core::Error>(())
    /// ```
    pub fn graph(&self, graph: &Graph) -> Result<()> {
        self.event(What::GraphDef(graph::encode(graph)), 0)
    }

    /// Writes with which hyperparameters the run in this directory is made, when it begins: the
    /// `hparams` of `tensorboard.plugins.hparams.api`.
    ///
    /// # Errors
    /// A file that cannot be written.
    ///
    /// ```
    /// use tapeflow_summary::{HParam, Status};
    ///
    /// # let dir = std::env::temp_dir().join(format!("tapeflow-hparams-{}", std::process::id()));
    /// # let writer = tapeflow_summary::create_file_writer(&dir)?;
    /// writer.hparams(&[("learning_rate", HParam::from(0.1)), ("optimizer", "adam".into())])?;
    /// // ... training ...
    /// writer.session_end(Status::Success)?;
    /// # std::fs::remove_dir_all(dir).unwrap();
    /// # Ok::<(), tapeflow_core::Error>(())
    /// ```
    pub fn hparams(&self, hparams: &[(&str, HParam)]) -> Result<()> {
        self.write(hparams::session_start(hparams, now()), 0)
    }

    /// Writes what TensorBoard's table of runs shows: `hparams_config`. Without it the table has
    /// all hyperparameters, and every scalar as a metric.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn hparams_config(&self, experiment: &Experiment) -> Result<()> {
        self.write(experiment.summary(now()), 0)
    }

    /// Writes how the run ended whose start [`hparams`](Self::hparams) wrote.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn session_end(&self, status: Status) -> Result<()> {
        self.write(hparams::session_end(status, now()), 0)
    }

    /// Writes a summary: `tf.summary.write`.
    ///
    /// # Errors
    /// A tensor of a function being traced, which has no values yet; a file that cannot be written.
    pub fn write(&self, summary: Summary, step: i64) -> Result<()> {
        self.event(What::Summaries(vec![summary]), step)
    }

    /// Says that the run goes on from an earlier `step`: TensorBoard then forgets what other files
    /// of the directory have from there on, which would otherwise be shown twice.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn session_start(&self, step: i64) -> Result<()> {
        self.event(What::SessionStart, step)
    }

    /// Hands everything written so far to the operating system, so that a running TensorBoard sees
    /// it.
    ///
    /// # Errors
    /// A file that cannot be written. The events that waited are lost then; later ones follow those
    /// that the file has.
    pub fn flush(&self) -> Result<()> {
        self.lock().flush()
    }

    fn event(&self, what: What, step: i64) -> Result<()> {
        let record = Event { wall_time: now(), step, what }.encode()?;
        self.lock().append(&record)
    }

    fn lock(&self) -> MutexGuard<'_, EventFile> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct EventFile {
    file: File,
    path: PathBuf,
    options: FileWriterOptions,
    /// Whole records, framed.
    pending: Vec<u8>,
    queued: usize,
    flushed: Instant,
    /// Bytes of whole records in the file.
    length: u64,
}

impl EventFile {
    fn append(&mut self, record: &[u8]) -> Result<()> {
        tfrecord::frame(record, &mut self.pending);
        self.queued += 1;
        let full = self.queued > self.options.max_queue;
        if full || self.flushed.elapsed() >= self.options.flush_after {
            return self.flush();
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        self.flushed = Instant::now();
        if self.pending.is_empty() {
            return Ok(());
        }
        let written = self.file.write_all(&self.pending);
        let length = self.pending.len() as u64;
        self.pending.clear();
        self.queued = 0;
        match written {
            Ok(()) => {
                self.length += length;
                Ok(())
            }
            Err(error) => {
                // No reader gets past half a record: best not to leave one.
                let _ = self.file.set_len(self.length);
                let _ = self.file.seek(SeekFrom::Start(self.length));
                Err(failed(&self.path, error))
            }
        }
    }
}

impl Drop for EventFile {
    fn drop(&mut self) {
        let _ = self.flush();
    }
}

fn failed(path: &Path, error: io::Error) -> Error {
    let message = format!("writing {}", path.display());
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            Error::resource_exhausted(message).with_source(error)
        }
        _ => Error::io(message, error),
    }
}

/// A new file named as TensorFlow names it: time, host, process, and a number within it.
fn create_file(dir: &Path, suffix: &str) -> io::Result<(PathBuf, File)> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    loop {
        let (time, host, process) = (now() as u64, host(), process::id());
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("events.out.tfevents.{time:010}.{host}.{process}.{number}{suffix}");
        let path = dir.join(name);
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(file) => return Ok((path, file)),
            // A process of the same number on another host of that name.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
}

/// This machine's name, as far as it can be had without a system call of its own.
fn host() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname")
        .or_else(|_| std::env::var("HOSTNAME"))
        .or_else(|_| std::env::var("COMPUTERNAME"))
        .unwrap_or_default();
    let plain = |c: &char| c.is_ascii_alphanumeric() || "-_.".contains(*c);
    let name: String = name.chars().filter(plain).collect();
    if name.is_empty() { "localhost".into() } else { name }
}

/// Seconds since 1970.
fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0.0, |time| time.as_secs_f64())
}

#[cfg(test)]
mod tests;
