//! MNIST in the program: 60,000 training and 10,000 test images of handwritten digits.
//!
//! ```
//! use tapeflow_mnist::Split;
//!
//! let images = Split::Test.images()?;
//! let labels = Split::Test.labels();
//! assert_eq!(images.len(), labels.len() * 28 * 28);
//! # Ok::<(), tapeflow_mnist::Error>(())
//! ```
//!
//! # The encoding
//! The four files gzipped are 11.4 MB, and a package may have 10. The images are therefore stored
//! with Brotli. Of the well-kept libraries in pure Rust it decodes fastest among those that make
//! the package small enough. The training images as one stream, decoded on one core of a 2026
//! server:
//!
//! | encoder       | decoder               |  bytes    | 1 thread |
//! |---------------|-----------------------|-----------|----------|
//! | brotli -q 11  | `brotli-decompressor` | 7,798,806 |   166 ms |
//! | xz -9e        | `lzma-rust2`          | 7,820,300 |   540 ms |
//! | zstd -22      | `ruzstd`              | 8,256,796 |   283 ms |
//! | gzip -9       | `zune-inflate`        | 9,719,397 |    65 ms |
//! | gzip -9       | `zlib-rs`             | 9,719,397 |    67 ms |
//!
//! 20 ms of each is the system handing out 47 MB of memory.
//!
//! A stream is decoded by one thread, so the training images are four streams and the test images
//! two: 8,059,779 and 1,355,316 bytes as the `brotli` crate writes them. The four take about
//! 195 ms of processor time, on one thread as on two, measured while other programs kept the
//! server busy.
#![forbid(unsafe_code)]

mod decode;

use std::fmt;
use std::num::NonZero;
use std::thread;

/// Height of an image, in pixels.
pub const ROWS: usize = 28;
/// Width of an image, in pixels.
pub const COLUMNS: usize = 28;

/// Bytes of the IDX magic number and of three dimensions.
const IMAGES_HEADER: usize = 16;
/// Bytes of the IDX magic number and of one dimension.
const LABELS_HEADER: usize = 8;

/// One of the two halves of MNIST.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Split {
    /// 60,000 images to learn from.
    Train,
    /// 10,000 images by other writers, to be judged by.
    Test,
}

#[allow(clippy::len_without_is_empty, reason = "never empty")]
impl Split {
    /// Number of images and of labels: 60,000 or 10,000.
    ///
    /// ```
    /// assert_eq!(tapeflow_mnist::Split::Test.len(), 10_000);
    /// ```
    pub fn len(self) -> usize {
        self.labels().len()
    }

    /// The pixels, `[len, 28, 28]` row-major, from 0 (paper) to 255 (ink). They are decoded by
    /// every call, on all cores.
    ///
    /// # Errors
    /// If the embedded data is damaged.
    ///
    /// ```
    /// use tapeflow_mnist::{COLUMNS, ROWS, Split};
    ///
    /// let images = Split::Test.images()?;
    /// let seven = &images[..ROWS * COLUMNS];
    /// assert_eq!(seven[7 * COLUMNS + 7], 185);
    /// # Ok::<(), tapeflow_mnist::Error>(())
    /// ```
    pub fn images(self) -> Result<Vec<u8>, Error> {
        self.images_with(all_cores())
    }

    /// Like [`images`](Self::images), on at most `threads` threads, the caller's included. Their
    /// number makes no difference to the result.
    ///
    /// # Errors
    /// If the embedded data is damaged.
    ///
    /// ```
    /// use std::num::NonZero;
    /// use tapeflow_mnist::Split;
    ///
    /// assert!(Split::Test.images_with(NonZero::<usize>::MIN)? == Split::Test.images()?);
    /// # Ok::<(), tapeflow_mnist::Error>(())
    /// ```
    pub fn images_with(self, threads: NonZero<usize>) -> Result<Vec<u8>, Error> {
        let mut pixels = vec![0; self.len() * ROWS * COLUMNS];
        decode::images(self.parts(), &mut pixels, threads.get())?;
        Ok(pixels)
    }

    /// The labels, `[len]`, from 0 to 9.
    ///
    /// ```
    /// assert_eq!(tapeflow_mnist::Split::Train.labels()[..5], [5, 0, 4, 1, 9]);
    /// ```
    pub fn labels(self) -> &'static [u8] {
        &self.labels_idx()[LABELS_HEADER..]
    }

    /// The genuine file of images, as published: an IDX header of 16 bytes, then the pixels.
    ///
    /// # Errors
    /// If the embedded data is damaged.
    ///
    /// ```
    /// let file = tapeflow_mnist::Split::Test.images_idx()?;
    /// assert_eq!(file[..8], [0, 0, 8, 3, 0, 0, 0x27, 0x10]);
    /// # Ok::<(), tapeflow_mnist::Error>(())
    /// ```
    pub fn images_idx(self) -> Result<Vec<u8>, Error> {
        let mut file = vec![0; IMAGES_HEADER + self.len() * ROWS * COLUMNS];
        let (header, pixels) = file.split_at_mut(IMAGES_HEADER);
        let magic = 0x0803;
        let fields = [magic, self.len(), ROWS, COLUMNS];
        for (bytes, field) in header.chunks_exact_mut(4).zip(fields) {
            bytes.copy_from_slice(&(field as u32).to_be_bytes());
        }
        decode::images(self.parts(), pixels, all_cores().get())?;
        Ok(file)
    }

    /// The genuine file of labels, as published: an IDX header of 8 bytes, then the labels.
    ///
    /// ```
    /// let file = tapeflow_mnist::Split::Test.labels_idx();
    /// assert_eq!(file[..8], [0, 0, 8, 1, 0, 0, 0x27, 0x10]);
    /// ```
    pub fn labels_idx(self) -> &'static [u8] {
        match self {
            Self::Train => include_bytes!("../data/train-labels-idx1-ubyte"),
            Self::Test => include_bytes!("../data/t10k-labels-idx1-ubyte"),
        }
    }

    /// The Brotli streams of the images, each of equally many.
    fn parts(self) -> &'static [&'static [u8]] {
        match self {
            Self::Train => &[
                include_bytes!("../data/train-images.0.br"),
                include_bytes!("../data/train-images.1.br"),
                include_bytes!("../data/train-images.2.br"),
                include_bytes!("../data/train-images.3.br"),
            ],
            Self::Test => &[
                include_bytes!("../data/t10k-images.0.br"),
                include_bytes!("../data/t10k-images.1.br"),
            ],
        }
    }
}

fn all_cores() -> NonZero<usize> {
    thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN)
}

/// The embedded data could not be decoded. No build from an intact package gives this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    reason: &'static str,
}

impl Error {
    fn corrupt(reason: &'static str) -> Self {
        Self { reason }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the embedded MNIST images are damaged: {}", self.reason)
    }
}

impl std::error::Error for Error {}
