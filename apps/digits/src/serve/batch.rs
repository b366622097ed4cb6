//! The thread that runs the network: requests that come together are read together.

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::error::{ApiError, Code};
use super::metrics::{Gauge, Held, Metrics};
use super::servable::{LARGEST_BATCH, Servable};
use crate::model::{CLASSES, PIXELS};

/// How long a batch waits for requests that are already being read.
const PATIENCE: Duration = Duration::from_millis(1);

/// Images of one request.
struct Job {
    servable: Arc<Servable>,
    images: Vec<f32>,
    answer: oneshot::Sender<Result<Vec<f32>, String>>,
}

impl Job {
    fn count(&self) -> usize {
        self.images.len() / PIXELS
    }
}

/// Hands images to the thread.
pub struct Batcher {
    jobs: Sender<Job>,
    on_the_way: Arc<Gauge>,
    metrics: Arc<Metrics>,
    /// Images that may wait.
    most: usize,
}

impl Batcher {
    /// A batcher whose queue holds `most` images, and the runner that a thread is to run.
    pub fn new(most: usize, metrics: Arc<Metrics>) -> (Batcher, Runner) {
        let (jobs, queue) = channel();
        let on_the_way = Arc::new(Gauge::default());
        let runner =
            Runner { queue, on_the_way: on_the_way.clone(), metrics: metrics.clone(), next: None };
        (Batcher { jobs, on_the_way, metrics, most }, runner)
    }

    /// Says that images are on the way, until what is returned is dropped: a batch then waits a
    /// moment for them.
    pub fn announce(&self) -> Held<'_> {
        self.on_the_way.hold()
    }

    /// The probabilities for each image.
    pub async fn probabilities(
        &self,
        servable: Arc<Servable>,
        images: Vec<f32>,
        announced: Option<Held<'_>>,
    ) -> Result<Vec<f32>, ApiError> {
        let count = (images.len() / PIXELS) as u64;
        if count == 0 {
            return Ok(Vec::new());
        }
        // A request that is larger than the queue is served when the queue is empty.
        let most = (self.most as u64).max(count);
        if !self.metrics.queue.add_up_to(count, most) {
            let message = "Too many images wait for the network; try again";
            return Err(ApiError::new(Code::ResourceExhausted, message));
        }
        let (answer, answered) = oneshot::channel();
        let sent = self.jobs.send(Job { servable, images, answer });
        drop(announced);
        sent.map_err(|_| ApiError::defect())?;
        // A job whose batch panicked is dropped with its sender.
        let result = answered.await.map_err(|_| ApiError::defect())?;
        result.map_err(|why| ApiError::new(Code::Internal, why))
    }
}

/// Runs the network over what the batcher is handed.
pub struct Runner {
    queue: Receiver<Job>,
    on_the_way: Arc<Gauge>,
    metrics: Arc<Metrics>,
    /// A job that did not fit into the last batch.
    next: Option<Job>,
}

impl Runner {
    /// Ends when the batcher is dropped. A panic costs the batch that it happens in, no other.
    pub fn run(mut self) {
        while let Some(jobs) = self.gather() {
            let _ = catch_unwind(AssertUnwindSafe(|| answer(jobs, &self.metrics)));
        }
    }

    /// Waits for a job and takes those that wait behind it, up to a full batch for the same model.
    /// It waits for more only while requests are known to be on their way.
    fn gather(&mut self) -> Option<Vec<Job>> {
        let first = match self.next.take() {
            Some(job) => job,
            None => self.queue.recv().ok()?,
        };
        let until = Instant::now() + PATIENCE;
        let mut images = first.count();
        let mut jobs = vec![first];
        while images < LARGEST_BATCH {
            let Some(job) = self.another(until) else { break };
            let fits = images + job.count() <= LARGEST_BATCH;
            if !fits || !Arc::ptr_eq(&job.servable, &jobs[0].servable) {
                self.next = Some(job);
                break;
            }
            images += job.count();
            jobs.push(job);
        }
        let taken: usize = jobs.iter().map(Job::count).sum();
        self.metrics.queue.sub(taken as u64);
        Some(jobs)
    }

    fn another(&self, until: Instant) -> Option<Job> {
        match self.queue.try_recv() {
            Ok(job) => return Some(job),
            Err(TryRecvError::Disconnected) => return None,
            Err(TryRecvError::Empty) => {}
        }
        if self.on_the_way.get() == 0 {
            return None;
        }
        self.queue.recv_timeout(until.saturating_duration_since(Instant::now())).ok()
    }
}

/// Runs the network over the images of all jobs and hands out what it says.
fn answer(mut jobs: Vec<Job>, metrics: &Metrics) {
    // Whoever gave up, by time or by hanging up, is not worked for.
    jobs.retain(|job| {
        let wanted = !job.answer.is_closed();
        if !wanted {
            metrics.abandoned.add(job.count() as u64);
        }
        wanted
    });
    let Some(first) = jobs.first_mut() else { return };
    let servable = first.servable.clone();
    let mut images = mem::take(&mut first.images);
    let mut counts = vec![images.len() / PIXELS];
    for job in &mut jobs[1..] {
        counts.push(job.count());
        images.append(&mut job.images);
    }
    let result = probabilities(&servable, &images, metrics);
    let mut from = 0;
    for (job, count) in jobs.into_iter().zip(counts) {
        let rows = from..from + count * CLASSES;
        from = rows.end;
        // A client that gave up meanwhile does not hear it.
        let _ = job.answer.send(match &result {
            Ok(all) => Ok(all[rows].to_vec()),
            Err(why) => Err(why.clone()),
        });
    }
}

fn probabilities(
    servable: &Servable,
    images: &[f32],
    metrics: &Metrics,
) -> Result<Vec<f32>, String> {
    let mut all = Vec::with_capacity(images.len() / PIXELS * CLASSES);
    for batch in images.chunks(LARGEST_BATCH * PIXELS) {
        let start = Instant::now();
        all.extend(servable.probabilities(batch).map_err(|error| error.to_string())?);
        metrics.batches.observe((batch.len() / PIXELS) as f64);
        metrics.compute.observe_since(start);
    }
    Ok(all)
}
