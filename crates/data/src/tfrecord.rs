//! TFRecord, TensorFlow's file of records: `tf.io.TFRecordWriter` and what reads its files.
//!
//! A record is its length in 64 bits, the masked CRC-32C of those eight bytes, its bytes, and their
//! masked CRC-32C; integers are little-endian. What the bytes are is not the file's business:
//! TensorBoard's event files hold `Event` messages, data sets usually `tf.train.Example`.
//! [`Dataset::from_tfrecords`](crate::Dataset::from_tfrecords) gives the records of files as
//! elements.

mod crc32c;

use std::fs::File;
use std::io::{self, BufReader, BufWriter, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use tapeflow_core::{Error, Result};

/// The bytes before a record's content, and those behind it.
const HEADER: usize = 12;
const FOOTER: usize = 4;

/// A checksum as the format stores it: that of data which itself holds checksums would be weak.
fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c::checksum(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// Appends a record to `bytes`, framed as in a file.
///
/// ```
/// use tapeflow_data::tfrecord::{TFRecordReader, frame};
///
/// let mut file = Vec::new();
/// frame(b"first", &mut file);
/// frame(b"second", &mut file);
/// let records: Vec<_> = TFRecordReader::new(&file[..]).collect::<Result<_, _>>()?;
/// assert_eq!(records, [b"first".to_vec(), b"second".to_vec()]);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
pub fn frame(record: &[u8], bytes: &mut Vec<u8>) {
    let length = (record.len() as u64).to_le_bytes();
    bytes.reserve(HEADER + record.len() + FOOTER);
    bytes.extend(length);
    bytes.extend(masked_crc(&length).to_le_bytes());
    bytes.extend(record);
    bytes.extend(masked_crc(record).to_le_bytes());
}

/// Writes records to a file, one after the other: `tf.io.TFRecordWriter`, without compression.
///
/// ```
/// use tapeflow_data::tfrecord::{TFRecordReader, TFRecordWriter};
///
/// let path = std::env::temp_dir().join(format!("tapeflow-tfrecord-{}", std::process::id()));
/// let mut writer = TFRecordWriter::create(&path)?;
/// writer.write(b"a record")?;
/// writer.close()?;
/// let record = TFRecordReader::open(&path)?.next().expect("there is one")?;
/// assert_eq!(record, b"a record");
/// # std::fs::remove_file(path).unwrap();
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
#[derive(Debug)]
pub struct TFRecordWriter {
    file: BufWriter<File>,
    path: PathBuf,
    framed: Vec<u8>,
}

impl TFRecordWriter {
    /// Creates the file, or empties the one there is.
    ///
    /// # Errors
    /// A file that cannot be created.
    pub fn create(path: impl AsRef<Path>) -> Result<TFRecordWriter> {
        let path = path.as_ref().to_path_buf();
        let file = File::create(&path).map_err(|error| failed("creating", &path, error))?;
        Ok(TFRecordWriter { file: BufWriter::new(file), path, framed: Vec::new() })
    }

    /// Appends a record.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&mut self, record: &[u8]) -> Result<()> {
        self.framed.clear();
        frame(record, &mut self.framed);
        self.file.write_all(&self.framed).map_err(|error| failed("writing", &self.path, error))
    }

    /// Hands everything written so far to the operating system, so that readers see it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn flush(&mut self) -> Result<()> {
        self.file.flush().map_err(|error| failed("writing", &self.path, error))
    }

    /// Flushes, and ends. Dropping the writer does the same without telling of errors.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn close(mut self) -> Result<()> {
        self.flush()
    }
}

fn failed(what: &str, path: &Path, error: io::Error) -> Error {
    Error::io(format!("{what} {}", path.display()), error)
}

/// The records of a file or stream, in order; each one's checksums are verified.
///
/// It ends after the last record or the first error. A record takes no more memory than about twice
/// the bytes that are really there, whatever its length claims.
#[derive(Debug)]
pub struct TFRecordReader<R> {
    reader: R,
    path: Option<PathBuf>,
    /// Bytes of the records read so far.
    position: u64,
    ended: bool,
}

impl TFRecordReader<BufReader<File>> {
    /// Opens a file.
    ///
    /// # Errors
    /// A file that cannot be opened.
    pub fn open(path: impl AsRef<Path>) -> Result<TFRecordReader<BufReader<File>>> {
        let path = path.as_ref();
        let file = File::open(path).map_err(|error| failed("reading", path, error))?;
        let reader = TFRecordReader::new(BufReader::with_capacity(1 << 16, file));
        Ok(TFRecordReader { path: Some(path.to_path_buf()), ..reader })
    }
}

impl<R: Read> TFRecordReader<R> {
    /// Reads a stream. Where many records are short it should be buffered.
    pub fn new(reader: R) -> TFRecordReader<R> {
        TFRecordReader { reader, path: None, position: 0, ended: false }
    }

    fn read(&mut self) -> Result<Option<Vec<u8>>> {
        let header = self.take(HEADER as u64)?;
        if header.is_empty() {
            return Ok(None);
        }
        let (length, crc) = header.split_at(8.min(header.len()));
        let Ok(length) = <[u8; 8]>::try_from(length) else { return Err(self.cut_short()) };
        let Ok(crc) = <[u8; 4]>::try_from(crc) else { return Err(self.cut_short()) };
        if u32::from_le_bytes(crc) != masked_crc(&length) {
            return Err(self.wrong_length(&header));
        }
        let length = u64::from_le_bytes(length);
        let mut record = self.take(length)?;
        let footer = self.take(FOOTER as u64)?;
        let Ok(crc) = <[u8; 4]>::try_from(&footer[..]) else { return Err(self.cut_short()) };
        if u32::from_le_bytes(crc) != masked_crc(&record) {
            return Err(self.error("its checksum does not match: the record is damaged"));
        }
        record.shrink_to_fit();
        self.position += HEADER as u64 + length + FOOTER as u64;
        Ok(Some(record))
    }

    /// The next bytes, fewer where the stream ends.
    fn take(&mut self, length: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        match (&mut self.reader).take(length).read_to_end(&mut bytes) {
            Ok(_) => Ok(bytes),
            Err(error) if error.kind() == ErrorKind::OutOfMemory => {
                Err(Error::resource_exhausted(self.place("no memory for it")).with_source(error))
            }
            Err(error) => Err(Error::io(self.place("reading"), error)),
        }
    }

    fn wrong_length(&self, header: &[u8]) -> Error {
        if self.position == 0 && header.starts_with(&[0x1f, 0x8b]) {
            return self.error("the file is gzipped, unpack it first");
        }
        self.error(
            "its length's checksum does not match: the file is damaged here, or is no TFRecord",
        )
    }

    fn cut_short(&self) -> Error {
        self.error("the file ends inside of it")
    }

    fn error(&self, what: &str) -> Error {
        Error::data(self.place(what))
    }

    /// A message with where in which file it is about.
    fn place(&self, what: &str) -> String {
        let place = format!("the record at byte {}: {what}", self.position);
        match &self.path {
            Some(path) => format!("{}: {place}", path.display()),
            None => place,
        }
    }
}

impl<R: Read> Iterator for TFRecordReader<R> {
    type Item = Result<Vec<u8>>;

    fn next(&mut self) -> Option<Result<Vec<u8>>> {
        if self.ended {
            return None;
        }
        let next = self.read().transpose();
        self.ended = !matches!(next, Some(Ok(_)));
        next
    }
}

#[cfg(test)]
mod tests {
    use tapeflow_testing::mutation;

    use super::*;

    fn records(bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
        TFRecordReader::new(bytes).collect()
    }

    /// What went wrong with this file.
    fn refusal(bytes: &[u8]) -> String {
        let error = records(bytes).unwrap_err();
        assert!(error.is_data(), "{error:?}");
        error.to_string()
    }

    fn file(records: &[&[u8]]) -> Vec<u8> {
        let mut bytes = Vec::new();
        records.iter().for_each(|record| frame(record, &mut bytes));
        bytes
    }

    #[test]
    fn frames_are_tensorflows() {
        // What tf.io.TFRecordWriter of TensorFlow 2.21 writes for these two records.
        let theirs =
            b"\x05\0\0\0\0\0\0\0\xea\xb2\x04>hello\xbb\x1f\x1c\x19\0\0\0\0\0\0\0\0)\x03\x98\x07\xd8\xea\x82\xa2";
        assert_eq!(file(&[b"hello", b""]), theirs);
        assert_eq!(records(theirs).unwrap(), [b"hello".to_vec(), vec![]]);
        assert!(records(b"").unwrap().is_empty());
    }

    #[test]
    fn damage_is_told_with_its_place() {
        let whole = file(&[b"first", b"second"]);
        for end in [22, 32, 40, whole.len() - 1] {
            let why = refusal(&whole[..end]);
            assert_eq!(why, "the record at byte 21: the file ends inside of it");
        }
        let flipped = |at: usize| {
            let mut bytes = whole.clone();
            bytes[at] ^= 4;
            refusal(&bytes)
        };
        assert!(flipped(0).starts_with("the record at byte 0: its length's checksum"));
        assert!(flipped(35).starts_with("the record at byte 21: its checksum"));
        assert!(flipped(whole.len() - 1).starts_with("the record at byte 21: its checksum"));
        assert!(refusal(b"\x1f\x8b\x08\0\0\0\0\0\0\x03\x01\x02").contains("gzipped"));
    }

    #[test]
    fn a_length_that_lies_takes_no_memory() {
        for length in [1 << 20, u64::MAX - 100, u64::MAX] {
            let length = length.to_le_bytes();
            let bytes = [&length[..], &masked_crc(&length).to_le_bytes(), b"short"].concat();
            assert!(refusal(&bytes).ends_with("the file ends inside of it"));
        }
    }

    #[test]
    fn an_error_ends_the_iteration() {
        let whole = file(&[b"first", b"second"]);
        let mut reader = TFRecordReader::new(&whole[..whole.len() - 2]);
        assert_eq!(reader.next().unwrap().unwrap(), b"first");
        assert!(reader.next().unwrap().is_err());
        assert!(reader.next().is_none());
    }

    #[test]
    fn damaged_files_never_panic_and_whole_records_are_kept() {
        let valid = file(&[b"first", &[7; 300], b"", b"last"]);
        let mut refused = 0;
        mutation::for_each(&valid, 20_000, |bytes| {
            let mut read = 0;
            for record in TFRecordReader::new(bytes) {
                match record {
                    Ok(record) => read += HEADER + record.len() + FOOTER,
                    Err(error) => {
                        assert!(error.is_data(), "{error:?}");
                        refused += 1;
                    }
                }
            }
            assert!(read <= bytes.len());
        });
        assert!(refused > 15_000, "only {refused} were refused");
    }

    #[test]
    fn files_that_cannot_be_opened_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("none/file");
        let error = TFRecordReader::open(&missing).unwrap_err();
        assert!(error.is_io() && error.to_string().contains("none/file"), "{error}");
        let error = TFRecordWriter::create(&missing).unwrap_err();
        assert!(error.is_io() && error.to_string().contains("none/file"), "{error}");
    }
}
