//! Converts between `.npy` and `.safetensors`, and prints what is in them.
//!
//! ```text
//! cargo run --release --example convert -- x.npy x.safetensors
//! cargo run --release --example convert -- weights.safetensors conv_w.npy conv_w
//! ```
//!
//! A `.safetensors` file holds several tensors: the last argument names the one to take, or to
//! write (`tensor` where it is left out).

use std::path::Path;
use std::process::ExitCode;

use tapeflow as tf;
use tf::{Error, Result, Tensor};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let done = match args.as_slice() {
        [from, to] => convert(from, to, "tensor"),
        [from, to, name] => convert(from, to, name),
        _ => Err(Error::invalid_argument("usage: convert FROM TO [NAME]")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("convert: {error}");
            ExitCode::from(2)
        }
    }
}

fn convert(from: &str, to: &str, name: &str) -> Result<()> {
    let tensor = read(Path::new(from), name)?;
    println!("{tensor}");
    write(Path::new(to), name, tensor)
}

fn read(path: &Path, name: &str) -> Result<Tensor> {
    if is_npy(path) {
        return tf::io::read_npy(path);
    }
    let mut file = tf::io::load_safetensors(path)?;
    file.tensors.remove(name).ok_or_else(|| {
        let names: Vec<_> = file.tensors.keys().collect();
        Error::invalid_argument(format!("{}: no tensor {name:?} in {names:?}", path.display()))
    })
}

fn write(path: &Path, name: &str, tensor: Tensor) -> Result<()> {
    if is_npy(path) {
        return tf::io::write_npy(path, &tensor);
    }
    tf::io::save_safetensors(path, &[(name.to_owned(), tensor)], &Default::default())
}

fn is_npy(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "npy")
}
