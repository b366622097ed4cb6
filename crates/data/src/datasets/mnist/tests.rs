use std::fs;
use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use tempfile::TempDir;

use super::*;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn images(dims: [u32; 3]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, 3];
    dims.iter().for_each(|dim| bytes.extend(dim.to_be_bytes()));
    bytes.resize(16 + dims.iter().product::<u32>() as usize, 7);
    bytes
}

fn labels(values: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, 1];
    bytes.extend((values.len() as u32).to_be_bytes());
    bytes.extend(values);
    bytes
}

/// A directory of two small images for each split.
fn small() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: Vec<u8>| fs::write(directory.path().join(name), bytes).unwrap();
    write("train-images-idx3-ubyte", images([2, 4, 5]));
    write("train-labels.idx1-ubyte", labels(&[0, 9]));
    write("t10k-images.idx3-ubyte.gz", gzip(&images([2, 4, 5])));
    write("t10k-labels-idx1-ubyte.gz", gzip(&labels(&[1, 2])));
    directory
}

fn message(directory: &TempDir) -> String {
    load_data_from(directory.path()).unwrap_err().to_string()
}

#[test]
fn the_genuine_files_give_the_embedded_tensors() {
    let ((x_train, y_train), (x_test, y_test)) = load_data().unwrap();
    assert_eq!(x_train.spec().to_string(), "uint8 [60000, 28, 28]");
    assert_eq!(y_train.spec().to_string(), "uint8 [60000]");
    assert_eq!(x_test.spec().to_string(), "uint8 [10000, 28, 28]");
    assert_eq!(y_test.spec().to_string(), "uint8 [10000]");
    for compress in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        for (name, bytes) in [
            ("train-images-idx3-ubyte", Split::Train.images_idx().unwrap()),
            ("train-labels-idx1-ubyte", Split::Train.labels_idx().to_vec()),
            ("t10k-images-idx3-ubyte", Split::Test.images_idx().unwrap()),
            ("t10k-labels-idx1-ubyte", Split::Test.labels_idx().to_vec()),
        ] {
            let (name, bytes) = match compress {
                true => (format!("{name}.gz"), gzip(&bytes)),
                false => (name.to_owned(), bytes),
            };
            fs::write(directory.path().join(name), bytes).unwrap();
        }
        let (train, test) = load_data_from(directory.path()).unwrap();
        for (read, embedded) in
            [(&train.0, &x_train), (&train.1, &y_train), (&test.0, &x_test), (&test.1, &y_test)]
        {
            assert_eq!(read.spec(), embedded.spec());
            assert!(read.as_bytes() == embedded.as_bytes());
        }
    }
}

#[test]
fn every_spelling_and_any_size() {
    let directory = small();
    let ((x_train, y_train), (x_test, y_test)) = load_data_from(directory.path()).unwrap();
    assert_eq!(x_train.shape().dims(), [2, 4, 5]);
    assert_eq!(y_train.to_vec::<u8>().unwrap(), [0, 9]);
    assert_eq!(x_test.shape().dims(), [2, 4, 5]);
    assert_eq!(y_test.to_vec::<u8>().unwrap(), [1, 2]);
}

#[test]
fn what_does_not_fit_is_named() {
    let directory = small();
    let path = |name: &str| directory.path().join(name);
    let train_labels = path("train-labels.idx1-ubyte");
    fs::write(&train_labels, labels(&[1, 2, 3])).unwrap();
    let text = message(&directory);
    assert!(text.contains("train-images-idx3-ubyte has 2 images"), "{text}");
    assert!(text.ends_with("has 3 labels"), "{text}");

    fs::write(&train_labels, labels(&[1, 10])).unwrap();
    let text = message(&directory);
    assert!(text.ends_with("train-labels.idx1-ubyte: label 1 is 10, labels are 0 to 9"), "{text}");

    fs::write(&train_labels, images([2, 1, 1])).unwrap();
    let text = message(&directory);
    assert!(text.ends_with("holds uint8 [2, 1, 1], labels are uint8 with 1 axes"), "{text}");

    fs::write(&train_labels, labels(&[1, 2])).unwrap();
    fs::write(path("train-images-idx3-ubyte"), images([2, 4, 6])).unwrap();
    let text = message(&directory);
    assert!(text.contains("training images have shape [2, 4, 6], test images [2, 4, 5]"), "{text}");

    fs::remove_file(&train_labels).unwrap();
    let error = load_data_from(directory.path()).unwrap_err();
    assert!(error.is_io());
    assert!(error.to_string().contains("train-labels-idx1-ubyte"), "{error}");
}
