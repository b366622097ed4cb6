//! The model in use, and how a changed file takes its place.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::SystemTime;

use tapeflow as tf;
use tf::{Tensor, nn};

use super::log::{Event, Log};
use super::metrics::Metrics;
use crate::failure::Failure;
use crate::model::{CLASSES, Model, PIXELS, SIZE};
use crate::model_file;

/// The most images that the network reads at once.
pub const LARGEST_BATCH: usize = 64;
/// TensorFlow Serving's versions are signed.
const HIGHEST_VERSION: u64 = i64::MAX as u64;

type Compiled = Box<dyn Fn(Tensor) -> tf::Result<Tensor> + Send + Sync>;

/// A model, compiled for every size of batch.
pub struct Servable {
    pub version: u64,
    pub architecture: &'static str,
    probabilities: Compiled,
    first_layer: Compiled,
}

/// The first layer's activations for one image, row by row, each pixel with all its channels.
pub struct Activations {
    pub height: usize,
    pub width: usize,
    pub channels: usize,
    pub values: Vec<f32>,
}

impl Servable {
    /// Compiles a model for batches of 1, 2, 4, ... images.
    pub fn new(model: Model, version: u64) -> tf::Result<Servable> {
        let architecture = model.name().name();
        let probabilities = tf::function({
            let model = model.clone();
            move |images: Tensor| nn::softmax(model.logits(&images)?)
        });
        let first_layer = tf::function(move |images: Tensor| model.first_layer(&images));
        let servable = Servable {
            version,
            architecture,
            probabilities: Box::new(move |images| probabilities.call(images)),
            first_layer: Box::new(move |images| first_layer.call(images)),
        };
        let blank = vec![0.0; LARGEST_BATCH * PIXELS];
        let mut batch = 1;
        while batch <= LARGEST_BATCH {
            servable.probabilities(&blank[..batch * PIXELS])?;
            batch *= 2;
        }
        servable.activations(&blank[..PIXELS])?;
        Ok(servable)
    }

    /// One whose network is this function.
    #[cfg(test)]
    pub fn made_up(
        version: u64,
        network: impl Fn(Tensor) -> tf::Result<Tensor> + Send + Sync + 'static,
    ) -> Servable {
        let first_layer = Box::new(Ok);
        Servable { version, architecture: "none", probabilities: Box::new(network), first_layer }
    }

    /// The probabilities of the digits, ten for each of up to [`LARGEST_BATCH`] images, ink 0 to 1.
    pub fn probabilities(&self, images: &[f32]) -> tf::Result<Vec<f32>> {
        let count = images.len() / PIXELS;
        let batch = count.next_power_of_two();
        // Blank images fill a batch up to a size that it is compiled for.
        let images = if batch == count {
            Tensor::from_slice(images, [count, SIZE, SIZE, 1])?
        } else {
            let mut filled = images.to_vec();
            filled.resize(batch * PIXELS, 0.0);
            Tensor::from_slice(&filled, [batch, SIZE, SIZE, 1])?
        };
        let rows = (self.probabilities)(images)?;
        Ok(rows.as_slice::<f32>()?[..count * CLASSES].to_vec())
    }

    /// What the first layer makes of one image.
    pub fn activations(&self, image: &[f32]) -> tf::Result<Activations> {
        let maps = (self.first_layer)(Tensor::from_slice(image, [1, SIZE, SIZE, 1])?)?;
        let [_, height, width, channels] = maps.shape()[..] else {
            unreachable!("the first layer is a convolution")
        };
        Ok(Activations { height, width, channels, values: maps.to_vec::<f32>()? })
    }
}

/// Holds the model in use.
pub struct Shelf {
    current: RwLock<Arc<Servable>>,
    /// The file that it is from and that may be replaced, if it is from one.
    file: Option<Watched>,
}

struct Watched {
    path: PathBuf,
    seen: Mutex<Seen>,
}

/// What was last seen of a file.
struct Seen {
    /// When the file looked like this, it was read, or refused.
    settled: Option<Stamp>,
    /// It looked like this when it was last looked at.
    last: Option<Stamp>,
}

/// What tells one content of a file from another without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
    inode: u64,
}

impl Stamp {
    fn of(path: &Path) -> Option<Stamp> {
        let file = fs::metadata(path).ok()?;
        Some(Stamp { modified: file.modified().ok(), length: file.len(), inode: file.ino() })
    }
}

impl Shelf {
    /// Holds the model of a file, which may be replaced.
    pub fn open(path: &Path) -> Result<Shelf, Failure> {
        let stamp = Stamp::of(path);
        let servable = load(path, 1)?;
        let seen = Mutex::new(Seen { settled: stamp, last: stamp });
        Ok(Shelf { file: Some(Watched { path: path.into(), seen }), ..Shelf::new(servable) })
    }

    /// Holds a model that comes from no file.
    pub fn new(servable: Servable) -> Shelf {
        Shelf { current: RwLock::new(Arc::new(servable)), file: None }
    }

    pub fn current(&self) -> Arc<Servable> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn put(&self, next: Servable) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
    }

    /// Looks at the file once. One that has changed, and has then stayed the same from one look to
    /// the next and while it was read, takes the place of the model in use, under a higher version.
    /// One that cannot be used is told of once and otherwise ignored.
    pub fn look(&self, log: &Log, metrics: &Metrics) {
        let Some(Watched { path, seen }) = &self.file else { return };
        metrics.model_looks.add(1);
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = Stamp::of(path);
        let stayed = stamp == seen.last;
        seen.last = stamp;
        // A file that is gone is being replaced, or was never needed again.
        if stamp.is_none() || !stayed || stamp == seen.settled {
            return;
        }
        let next = self.current().version + 1;
        let loaded = catch_unwind(AssertUnwindSafe(|| load(path, next)))
            .unwrap_or_else(|_| Err(Failure::Failed("reading it met a defect of digits".into())));
        if Stamp::of(path) != stamp {
            return;
        }
        seen.settled = stamp;
        match loaded {
            Ok(next) => {
                let (version, architecture) = (next.version, next.architecture);
                self.put(next);
                metrics.model_loads.add(1);
                log.tell(Event::Model { version, architecture });
            }
            Err(why) => {
                metrics.model_failures.add(1);
                log.tell(Event::ModelRefused { why: why.to_string() });
            }
        }
    }
}

/// Reads a model file, which is served under the version that it names if that is no lower than
/// `next`, else under `next`.
fn load(path: &Path, next: u64) -> Result<Servable, Failure> {
    let (model, named) = model_file::load_versioned(path)?;
    let version = named.unwrap_or(next).max(next);
    if version > HIGHEST_VERSION {
        return Err(Failure::Input(format!(
            "{}: it would be version {version}; the highest is {HIGHEST_VERSION}",
            path.display()
        )));
    }
    Ok(Servable::new(model, version)?)
}
