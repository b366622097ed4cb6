//! Writes the embedded MNIST as the four IDX files, for the peers to read: the argument is a directory.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tapeflow as tf;
use tf::Tensor;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = std::env::args().nth(1).ok_or("usage: export_mnist DIRECTORY")?;
    let directory = PathBuf::from(directory);
    fs::create_dir_all(&directory)?;
    let (train, test) = tf::datasets::mnist::load_data()?;
    for (split, (images, labels)) in [("train", train), ("t10k", test)] {
        write(&directory.join(format!("{split}-images-idx3-ubyte")), &images)?;
        write(&directory.join(format!("{split}-labels-idx1-ubyte")), &labels)?;
    }
    Ok(())
}

/// Two zeros, the code of unsigned bytes, the number of axes, their extents, the bytes.
fn write(path: &Path, tensor: &Tensor) -> io::Result<()> {
    let shape = tensor.shape();
    let mut file = vec![0, 0, 8, shape.rank() as u8];
    for &extent in shape.dims() {
        file.extend((extent as u32).to_be_bytes());
    }
    file.extend(tensor.as_bytes());
    fs::write(path, file)
}
