//! Measures how fast MNIST is there and how long a training step waits for its batch.
//!
//! `cargo run --release -p tapeflow-data --example input`

#![forbid(unsafe_code)]

use std::hint::{black_box, spin_loop};
use std::time::{Duration, Instant};

use tapeflow_core::{Result, Tensor};
use tapeflow_data::datasets::mnist;
use tapeflow_data::{AUTOTUNE, Dataset};

/// Prints median, 99th percentile and maximum.
fn report(name: &str, mut times: Vec<Duration>) {
    times.sort();
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    let [median, most] = [50, 99].map(|percent| micros(times[(times.len() - 1) * percent / 100]));
    let maximum = micros(times[times.len() - 1]);
    println!("{name:<40} median {median:>7.1} us  99% {most:>7.1} us  max {maximum:>7.1} us");
}

/// How long each batch takes to get, with `work` between them.
fn times(batches: &Dataset<(Tensor, Tensor)>, work: Duration) -> Result<Vec<Duration>> {
    let mut times = Vec::new();
    let mut batches = batches.iter();
    loop {
        let start = Instant::now();
        let Some(batch) = batches.next() else { return Ok(times) };
        black_box(batch?);
        times.push(start.elapsed());
        let start = Instant::now();
        while start.elapsed() < work {
            spin_loop();
        }
    }
}

fn main() -> Result<()> {
    let start = Instant::now();
    let ((images, labels), _) = mnist::load_data()?;
    println!("load_data {:.1} ms", start.elapsed().as_secs_f64() * 1e3);
    for size in [128, 256] {
        let batches = Dataset::from_tensor_slices((images.clone(), labels.clone()))?
            .repeat(2)
            .shuffle(5000, 1)
            .batch(size);
        let start = Instant::now();
        batches.prefetch(AUTOTUNE).iter().next().transpose()?;
        let first = start.elapsed().as_secs_f64() * 1e3;
        println!("first batch of {size}: {first:.1} ms");
        report(&format!("making a batch of {size}"), times(&batches, Duration::ZERO)?);
        let work = Duration::from_millis(2);
        let waits = times(&batches.prefetch(AUTOTUNE), work)?;
        report(&format!("waiting for a batch of {size}"), waits);
    }
    Ok(())
}
