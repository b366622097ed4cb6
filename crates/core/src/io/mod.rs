//! Tensors in files: NumPy's `.npy` and `.safetensors`.
//!
//! Every file is written whole or not at all, see [`write_atomically`]. A reader takes no more
//! memory than the file is long, whatever its header says.

mod atomic;
mod npy;
mod safetensors;
mod values;

pub use atomic::write_atomically;
pub use npy::{read_npy, write_npy};
pub use safetensors::{SafeTensors, load_safetensors, parse_safetensors, save_safetensors};

pub(crate) use atomic::{TEMPORARY_SUFFIX, sync_directory};
pub(crate) use values::little_endian;
