//! Work that takes a core and much memory, decoding pictures and long JSON, on few threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Semaphore;
use tokio::task;

use super::error::{ApiError, Code};

/// Admits work to the cores; some of it may wait, the rest is turned away.
#[derive(Clone)]
pub struct Workers {
    cores: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
    most_waiting: usize,
}

impl Workers {
    pub fn new(cores: usize, most_waiting: usize) -> Workers {
        Workers { cores: Arc::new(Semaphore::new(cores)), waiting: Arc::default(), most_waiting }
    }

    /// Runs `work` on a thread of its own. A caller that gives up leaves it running to its end,
    /// and its core taken until then.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        let place = Place::take(&self.waiting, self.most_waiting)?;
        let core = self.cores.clone().acquire_owned().await;
        drop(place);
        let work = move || {
            let _core = core;
            work()
        };
        task::spawn_blocking(work).await.map_err(|_| ApiError::defect())
    }
}

/// A place among those that wait.
struct Place<'a>(&'a AtomicUsize);

impl Place<'_> {
    fn take(waiting: &AtomicUsize, most: usize) -> Result<Place<'_>, ApiError> {
        let grown = |count: usize| (count < most).then_some(count + 1);
        match waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown) {
            Ok(_) => Ok(Place(waiting)),
            Err(_) => Err(ApiError::new(Code::ResourceExhausted, "Too busy; try again")),
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
