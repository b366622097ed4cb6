//! How much a client may ask for.

use std::num::NonZero;
use std::thread;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::cli::ServeOptions;

/// The limits in force.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of a body.
    pub body: usize,
    /// Bytes that long bodies and what is made of them take, all together.
    pub memory: usize,
    /// Images of a predict request.
    pub instances: usize,
    /// Images that wait for the network.
    pub queue: usize,
    /// Pictures and long JSON that are decoded at once. A picture takes up to some hundred megabytes.
    pub workers: usize,
    /// How many of them wait.
    pub waiting: usize,
    /// Open connections.
    pub connections: usize,
    /// From the end of a body to the answer.
    pub answer: Duration,
    /// For a client to send its headers, to send its body, or to take a part of the answer.
    pub patience: Duration,
}

impl Limits {
    pub fn new(options: &ServeOptions) -> Limits {
        let body = options.max_body.saturating_mul(1 << 20);
        Limits {
            body,
            memory: body.saturating_mul(16),
            instances: options.max_instances,
            queue: options.max_queue,
            workers: thread::available_parallelism().map_or(1, NonZero::get).min(4),
            waiting: 64,
            connections: options.max_connections.min(descriptors().saturating_sub(SPARE)).max(1),
            answer: options.timeout,
            patience: options.patience,
        }
    }
}

/// Descriptors kept for everything but open connections.
pub const SPARE: usize = 32;

/// How many files and connections this process may have open, once it has asked for as many as it
/// can get: shells start programs with 1024.
fn descriptors() -> usize {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // Failing only leaves the limit as it was, which is then what counts.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let current = getrlimit(Resource::Nofile).current;
    current.map_or(usize::MAX, |count| usize::try_from(count).unwrap_or(usize::MAX))
}
