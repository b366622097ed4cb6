//! Event files, read.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use tapeflow_core::Result;
use tapeflow_data::tfrecord::TFRecordReader;

use crate::event::{Event, check_version};

/// The events of a file, in order: `tf.compat.v1.train.summary_iterator`.
///
/// Both checksums of each record are verified. It ends after the last event or the first error; a
/// file that is being written may end inside of a record, which is such an error. No more memory is
/// taken than a small multiple of what the file really holds, whatever its lengths claim.
///
/// ```
/// use tapeflow_summary::{Data, EventReader, What, create_file_writer};
///
/// let dir = std::env::temp_dir().join(format!("tapeflow-reader-{}", std::process::id()));
/// let writer = create_file_writer(&dir)?;
/// writer.scalar("loss", 0.5, 3)?;
/// writer.flush()?;
/// let events: Vec<_> = EventReader::open(writer.path())?.collect::<Result<_, _>>()?;
/// assert!(matches!(&events[0].what, What::FileVersion(version) if version == "brain.Event:2"));
/// let What::Summaries(summaries) = &events[1].what else { panic!("a summary was written") };
/// assert_eq!((events[1].step, &*summaries[0].tag), (3, "loss"));
/// assert!(matches!(&summaries[0].data, Data::Tensor(x) if x.to_scalar::<f32>()? == 0.5));
/// # std::fs::remove_dir_all(dir).unwrap();
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
#[derive(Debug)]
pub struct EventReader<R> {
    records: TFRecordReader<R>,
    path: Option<PathBuf>,
    begun: bool,
    ended: bool,
}

impl EventReader<BufReader<File>> {
    /// Opens a file.
    ///
    /// # Errors
    /// A file that cannot be opened.
    pub fn open(path: impl AsRef<Path>) -> Result<EventReader<BufReader<File>>> {
        let path = path.as_ref();
        let records = TFRecordReader::open(path)?;
        Ok(EventReader { records, path: Some(path.into()), begun: false, ended: false })
    }
}

impl<R: Read> EventReader<R> {
    /// Reads a stream.
    pub fn new(reader: R) -> EventReader<R> {
        let records = TFRecordReader::new(reader);
        EventReader { records, path: None, begun: false, ended: false }
    }

    fn read(&mut self) -> Option<Result<Event>> {
        let record = match self.records.next()? {
            Ok(record) => record,
            // It names the file already.
            Err(error) => return Some(Err(error)),
        };
        let mut event = Event::decode(&record);
        if !std::mem::replace(&mut self.begun, true) {
            event = event.and_then(|event| check_version(&event).map(|()| event));
        }
        Some(event.map_err(|error| match &self.path {
            Some(path) => error.context(path.display()),
            None => error,
        }))
    }
}

impl<R: Read> Iterator for EventReader<R> {
    type Item = Result<Event>;

    fn next(&mut self) -> Option<Result<Event>> {
        if self.ended {
            return None;
        }
        let next = self.read();
        self.ended = !matches!(next, Some(Ok(_)));
        next
    }
}
