//! Where the images come from.

use std::path::Path;

use tapeflow as tf;
use tf::Tensor;
use tf::datasets::mnist;

use crate::failure::Failure;
use crate::model::SIZE;

/// Images `[n, 28, 28]` and labels `[n]`, bytes.
pub struct Split {
    pub images: Tensor,
    pub labels: Tensor,
}

impl Split {
    pub fn len(&self) -> usize {
        self.labels.shape()[0]
    }
}

/// Training and test images: the embedded MNIST, or the IDX files of a directory.
pub fn load(directory: Option<&Path>) -> Result<(Split, Split), Failure> {
    let loaded = match directory {
        None => mnist::load_data(),
        Some(directory) => mnist::load_data_from(directory),
    };
    let ((train_images, train_labels), (test_images, test_labels)) =
        loaded.map_err(Failure::input)?;
    let train = Split { images: train_images, labels: train_labels };
    let test = Split { images: test_images, labels: test_labels };
    for (name, split) in [("training", &train), ("test", &test)] {
        let shape = split.images.shape();
        if shape[1..] != [SIZE, SIZE] {
            return Err(Failure::Input(format!(
                "the {name} images are {}x{} pixels, the networks read {SIZE}x{SIZE}",
                shape[1], shape[2]
            )));
        }
        if split.len() == 0 {
            return Err(Failure::Input(format!("there are no {name} images")));
        }
    }
    Ok((train, test))
}
