//! The records of TFRecord files.

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;

use tapeflow_core::{Result, Tensor};

use crate::cardinality::Cardinality;
use crate::dataset::{Dataset, Elements, Pass, Source};
use crate::tfrecord::TFRecordReader;

impl Dataset<Tensor> {
    /// The records of TFRecord files, file after file, each a vector of `uint8`:
    /// `tf.data.TFRecordDataset`. A file is opened when its turn comes; one that is missing or
    /// damaged is an error of the element it would have given.
    ///
    /// ```
    /// use tapeflow_data::Dataset;
    /// use tapeflow_data::tfrecord::TFRecordWriter;
    ///
    /// let path = std::env::temp_dir().join(format!("tapeflow-tfrecords-{}", std::process::id()));
    /// let mut writer = TFRecordWriter::create(&path)?;
    /// writer.write(&[1, 2, 3])?;
    /// writer.close()?;
    /// let record = Dataset::from_tfrecords([&path]).iter().next().expect("there is one")?;
    /// assert_eq!(record.to_vec::<u8>()?, [1, 2, 3]);
    /// # std::fs::remove_file(path).unwrap();
    /// # Ok::<(), tapeflow_core::Error>(())
    /// ```
    pub fn from_tfrecords(paths: impl IntoIterator<Item = impl Into<PathBuf>>) -> Dataset<Tensor> {
        Dataset::new(Files { paths: paths.into_iter().map(Into::into).collect() })
    }
}

struct Files {
    paths: Vec<PathBuf>,
}

impl Source<Tensor> for Files {
    fn elements(&self, _pass: Pass) -> Result<Box<dyn Elements<Tensor>>> {
        Ok(Box::new(Records { left: self.paths.clone().into_iter(), open: None }))
    }

    fn cardinality(&self) -> Cardinality {
        Cardinality::Unknown
    }
}

struct Records {
    left: std::vec::IntoIter<PathBuf>,
    open: Option<TFRecordReader<BufReader<File>>>,
}

impl Elements<Tensor> for Records {
    fn next(&mut self) -> Result<Option<Tensor>> {
        loop {
            if let Some(record) = self.open.as_mut().and_then(Iterator::next) {
                let record = record?;
                return Tensor::from_slice(&record, [record.len()]).map(Some);
            }
            let Some(path) = self.left.next() else { return Ok(None) };
            self.open = Some(TFRecordReader::open(path)?);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tfrecord::TFRecordWriter;

    #[test]
    fn files_follow_each_other_and_a_bad_one_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for (name, records) in [("a", vec![1u8, 2]), ("empty", vec![]), ("b", vec![3])] {
            let mut writer = TFRecordWriter::create(path(name)).unwrap();
            records.iter().for_each(|&record| writer.write(&[record]).unwrap());
            writer.close().unwrap();
        }
        let files = Dataset::from_tfrecords(["a", "empty", "b", "missing"].map(path));
        for _ in 0..2 {
            let mut records = files.iter();
            for expected in [1, 2, 3] {
                let record = records.next().unwrap().unwrap();
                assert_eq!(record.to_vec::<u8>().unwrap(), [expected]);
            }
            let error = records.next().unwrap().unwrap_err();
            assert!(error.is_io() && error.to_string().contains("missing"), "{error}");
            assert!(records.next().is_none());
        }
    }
}
