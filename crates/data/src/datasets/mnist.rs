//! MNIST, 70,000 handwritten digits, and datasets in the same files: `tf.keras.datasets.mnist`.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use tapeflow_core::{DType, Error, Result, Tensor};
use tapeflow_mnist::{COLUMNS, ROWS, Split};

use crate::idx;

/// Images `[n, height, width]` and labels `[n]` from 0 to 9, both `uint8`.
pub type Examples = (Tensor, Tensor);

const TRAINING: &str = "train";
const TEST: &str = "t10k";

/// The embedded MNIST: `((x_train, y_train), (x_test, y_test))`, all `uint8`, of the shapes
/// `[60000, 28, 28]`, `[60000]`, `[10000, 28, 28]` and `[10000]`. Pixels are 0 for paper to 255 for
/// ink.
///
/// # Errors
/// No memory for the 55 MB.
///
/// ```
/// use tapeflow_data::datasets::mnist;
///
/// let ((x_train, y_train), (x_test, y_test)) = mnist::load_data()?;
/// assert_eq!(x_train.shape().dims(), [60_000, 28, 28]);
/// assert_eq!(y_train.as_slice::<u8>()?[..5], [5, 0, 4, 1, 9]);
/// assert_eq!(x_test.shape()[0], y_test.shape()[0]);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
pub fn load_data() -> Result<(Examples, Examples)> {
    Ok((embedded(Split::Train)?, embedded(Split::Test)?))
}

fn embedded(split: Split) -> Result<Examples> {
    let images = split.images().map_err(|error| Error::data("mnist").with_source(error))?;
    let images = Tensor::from_slice(&images, [split.len(), ROWS, COLUMNS])?;
    Ok((images, Tensor::from_slice(split.labels(), [split.len()])?))
}

/// Like [`load_data`] from the four IDX files in `directory`, so that Fashion-MNIST and others can
/// take MNIST's place: `train-images-idx3-ubyte`, `train-labels-idx1-ubyte` and the same with
/// `t10k`. Each may end in `.gz` and may have a dot before `idx`. Images may have any size.
///
/// # Errors
/// A file that is missing or that [`idx::read`] refuses; images that are not `uint8` with three
/// axes, labels that are not `uint8` with one or above 9; numbers of images and labels that differ;
/// training and test images of different sizes.
///
/// ```
/// use tapeflow_data::datasets::mnist;
///
/// let error = mnist::load_data_from("no-such-directory").unwrap_err();
/// assert!(error.is_io());
/// ```
pub fn load_data_from(directory: impl AsRef<Path>) -> Result<(Examples, Examples)> {
    let directory = directory.as_ref();
    let train = load_split(directory, TRAINING)?;
    let test = load_split(directory, TEST)?;
    let size = |(images, _): &Examples| (images.shape()[1], images.shape()[2]);
    if size(&train) != size(&test) {
        return Err(Error::data(format!(
            "{}: training images have shape {}, test images {}; their sizes must agree",
            directory.display(),
            train.0.shape(),
            test.0.shape()
        )));
    }
    Ok((train, test))
}

fn load_split(directory: &Path, split: &str) -> Result<Examples> {
    let images_path = find(directory, split, "images", 3)?;
    let labels_path = find(directory, split, "labels", 1)?;
    let images = read(&images_path, "images", 3)?;
    let labels = read(&labels_path, "labels", 1)?;
    let (number_of_images, number_of_labels) = (images.shape()[0], labels.shape()[0]);
    if number_of_images != number_of_labels {
        return Err(Error::data(format!(
            "{} has {number_of_images} images and {} has {number_of_labels} labels",
            images_path.display(),
            labels_path.display()
        )));
    }
    if let Some((place, label)) =
        labels.as_bytes().iter().enumerate().find(|(_, label)| **label > 9)
    {
        return Err(Error::data(format!(
            "{}: label {place} is {label}, labels are 0 to 9",
            labels_path.display()
        )));
    }
    Ok((images, labels))
}

/// The file of this content under the first of its names.
fn find(directory: &Path, split: &str, content: &str, rank: usize) -> Result<PathBuf> {
    let usual = format!("{split}-{content}-idx{rank}-ubyte");
    for name in [usual.clone(), format!("{split}-{content}.idx{rank}-ubyte")] {
        for name in [format!("{name}.gz"), name].iter().rev() {
            let path = directory.join(name);
            if path.exists() {
                return Ok(path);
            }
        }
    }
    let missing = format!("neither {usual} nor {usual}.gz is there");
    Err(Error::io(directory.display().to_string(), io::Error::new(ErrorKind::NotFound, missing)))
}

fn read(path: &Path, content: &str, rank: usize) -> Result<Tensor> {
    let tensor = idx::read(path)?;
    if tensor.dtype() != DType::UInt8 || tensor.shape().rank() != rank {
        return Err(Error::data(format!(
            "{}: holds {}, {content} are uint8 with {rank} axes",
            path.display(),
            tensor.spec()
        )));
    }
    Ok(tensor)
}

#[cfg(test)]
mod tests;
