//! What the server counts, in Prometheus' text format.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::http::StatusCode;

/// What a request asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    Page,
    Status,
    Metadata,
    Predict,
    Read,
    Health,
    Metrics,
    Other,
}

const ENDPOINTS: [(Endpoint, &str); 8] = [
    (Endpoint::Page, "page"),
    (Endpoint::Status, "status"),
    (Endpoint::Metadata, "metadata"),
    (Endpoint::Predict, "predict"),
    (Endpoint::Read, "read"),
    (Endpoint::Health, "health"),
    (Endpoint::Metrics, "metrics"),
    (Endpoint::Other, "other"),
];

/// The statuses that the server answers with; the last stands for all others.
const STATUSES: [u16; 14] = [200, 204, 304, 400, 404, 405, 408, 413, 429, 500, 503, 504, 499, 0];

/// Upper bounds of the buckets of latencies, in seconds.
const SECONDS: [f64; 14] =
    [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0];
/// Upper bounds of the buckets of batch sizes.
const IMAGES: [f64; 7] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0];

/// All counters.
pub struct Metrics {
    started: SystemTime,
    /// By endpoint and status.
    requests: [[AtomicU64; STATUSES.len()]; ENDPOINTS.len()],
    latency: [Histogram<{ SECONDS.len() }>; ENDPOINTS.len()],
    /// Requests being answered.
    pub in_flight: Gauge,
    pub batches: Histogram<{ IMAGES.len() }>,
    pub compute: Histogram<{ SECONDS.len() }>,
    /// Images that wait for the network.
    pub queue: Gauge,
    /// Images given up by their clients before the network came to them.
    pub abandoned: Counter,
    /// Connections whose client has yet to take some of its answer.
    pub sending: Gauge,
    /// Bytes that long bodies and what is made of them take.
    pub memory: Gauge,
    pub connections: Gauge,
    pub accepted: Counter,
    /// Connections turned away because too many were open.
    pub turned_away: Counter,
    /// Looks at the model file.
    pub model_looks: Counter,
    pub model_loads: Counter,
    pub model_failures: Counter,
    pub lost_log_lines: Counter,
}

impl Metrics {
    pub fn new() -> Metrics {
        Metrics {
            started: SystemTime::now(),
            requests: Default::default(),
            latency: std::array::from_fn(|_| Histogram::new(SECONDS)),
            in_flight: Gauge::default(),
            batches: Histogram::new(IMAGES),
            compute: Histogram::new(SECONDS),
            queue: Gauge::default(),
            abandoned: Counter::default(),
            sending: Gauge::default(),
            memory: Gauge::default(),
            connections: Gauge::default(),
            accepted: Counter::default(),
            turned_away: Counter::default(),
            model_looks: Counter::default(),
            model_loads: Counter::default(),
            model_failures: Counter::default(),
            lost_log_lines: Counter::default(),
        }
    }

    /// Counts a request that was answered.
    pub fn answered(&self, endpoint: Endpoint, status: StatusCode, took: Duration) {
        let row = ENDPOINTS.iter().position(|&(known, _)| known == endpoint).unwrap_or(0);
        let known = STATUSES.iter().position(|&known| known == status.as_u16());
        let column = known.unwrap_or(STATUSES.len() - 1);
        self.requests[row][column].fetch_add(1, Ordering::Relaxed);
        self.latency[row].observe(took.as_secs_f64());
    }

    /// All of it as text.
    pub fn text(&self, version: u64) -> String {
        let mut out = Text(String::with_capacity(8192));
        out.head("digits_requests_total", "counter", "Requests answered.");
        self.each_count(|endpoint, status, count| {
            out.line("digits_requests_total", &labels(endpoint, status), count);
        });
        out.head("digits_errors_total", "counter", "Requests answered with an error.");
        self.each_count(|endpoint, status, count| {
            if status == 0 || status >= 400 {
                out.line("digits_errors_total", &labels(endpoint, status), count);
            }
        });
        let name = "digits_request_duration_seconds";
        out.head(name, "histogram", "From the end of the headers to the answer.");
        for (histogram, (_, endpoint)) in self.latency.iter().zip(ENDPOINTS) {
            histogram.write(&mut out, name, &format!("endpoint=\"{endpoint}\""));
        }
        out.head("digits_batch_images", "histogram", "Images that the network read at once.");
        self.batches.write(&mut out, "digits_batch_images", "");
        out.head("digits_batch_duration_seconds", "histogram", "The network's time for a batch.");
        self.compute.write(&mut out, "digits_batch_duration_seconds", "");
        for (name, help, gauge) in [
            ("digits_requests_in_flight", "Requests being answered.", &self.in_flight),
            ("digits_queue_images", "Images that wait for the network.", &self.queue),
            ("digits_connections_sending", "Answers that wait for their clients.", &self.sending),
            ("digits_long_bodies_bytes", "Memory that long requests hold.", &self.memory),
            ("digits_connections", "Open connections.", &self.connections),
        ] {
            out.head(name, "gauge", help);
            out.line(name, "", gauge.get());
        }
        for (name, help, counter) in [
            ("digits_connections_total", "Connections accepted.", &self.accepted),
            ("digits_connections_turned_away_total", "Too many were open.", &self.turned_away),
            ("digits_abandoned_images_total", "Given up by their clients.", &self.abandoned),
            ("digits_model_looks_total", "Looks at the model file.", &self.model_looks),
            ("digits_model_loads_total", "Models put to use.", &self.model_loads),
            ("digits_model_load_failures_total", "Models refused.", &self.model_failures),
            ("digits_log_lines_lost_total", "Nobody took them.", &self.lost_log_lines),
        ] {
            out.head(name, "counter", help);
            out.line(name, "", counter.get());
        }
        out.head("digits_model_version", "gauge", "The version in use.");
        out.line("digits_model_version", "", version);
        let started = self.started.duration_since(UNIX_EPOCH).unwrap_or_default();
        out.head("process_start_time_seconds", "gauge", "When the server started, in Unix time.");
        out.line("process_start_time_seconds", "", started.as_secs_f64());
        if let Some(bytes) = resident_bytes() {
            out.head("process_resident_memory_bytes", "gauge", "Memory in use.");
            out.line("process_resident_memory_bytes", "", bytes);
        }
        out.0
    }

    fn each_count(&self, mut line: impl FnMut(&str, u16, u64)) {
        for (row, (_, endpoint)) in self.requests.iter().zip(ENDPOINTS) {
            for (count, status) in row.iter().zip(STATUSES) {
                match count.load(Ordering::Relaxed) {
                    0 => {}
                    count => line(endpoint, status, count),
                }
            }
        }
    }
}

fn labels(endpoint: &str, status: u16) -> String {
    match status {
        0 => format!("endpoint=\"{endpoint}\",status=\"other\""),
        status => format!("endpoint=\"{endpoint}\",status=\"{status}\""),
    }
}

/// The memory that the process has in RAM, where the system tells.
fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

struct Text(String);

impl Text {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing into a string cannot fail, here and below.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn line(&mut self, name: &str, labels: &str, value: impl std::fmt::Display) {
        let _ = match labels {
            "" => writeln!(self.0, "{name} {value}"),
            _ => writeln!(self.0, "{name}{{{labels}}} {value}"),
        };
    }
}

/// A number that only grows.
#[derive(Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Up by one, until what is returned is dropped.
    pub fn hold(&self) -> Held<'_> {
        self.add(1);
        Held(self)
    }

    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// Up by `count`, unless that passes `most`.
    pub fn add_up_to(&self, count: u64, most: u64) -> bool {
        let grown = |now: u64| now.checked_add(count).filter(|&sum| sum <= most);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown).is_ok()
    }

    pub fn sub(&self, count: u64) {
        self.0.fetch_sub(count, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One that a gauge counts.
pub struct Held<'a>(&'a Gauge);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.sub(1);
    }
}

/// How many observations fell into each bucket.
pub struct Histogram<const N: usize> {
    bounds: [f64; N],
    buckets: [AtomicU64; N],
    count: AtomicU64,
    /// In millionths.
    sum: AtomicU64,
}

impl<const N: usize> Histogram<N> {
    fn new(bounds: [f64; N]) -> Histogram<N> {
        let buckets = std::array::from_fn(|_| AtomicU64::new(0));
        Histogram { bounds, buckets, count: AtomicU64::new(0), sum: AtomicU64::new(0) }
    }

    pub fn observe(&self, value: f64) {
        if let Some(bucket) = self.bounds.iter().position(|&bound| value <= bound) {
            self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add((value * 1e6) as u64, Ordering::Relaxed);
    }

    /// The time from `start` to now.
    pub fn observe_since(&self, start: Instant) {
        self.observe(start.elapsed().as_secs_f64());
    }

    fn write(&self, out: &mut Text, name: &str, labels: &str) {
        // Read first: observations that come meanwhile must not make a bucket larger than the whole.
        let count = self.count.load(Ordering::Relaxed);
        if count == 0 && !labels.is_empty() {
            return;
        }
        let separator = if labels.is_empty() { "" } else { "," };
        let bucket = format!("{name}_bucket");
        let mut below = 0;
        for (bound, observed) in self.bounds.iter().zip(&self.buckets) {
            below = (below + observed.load(Ordering::Relaxed)).min(count);
            out.line(&bucket, &format!("{labels}{separator}le=\"{bound}\""), below);
        }
        out.line(&bucket, &format!("{labels}{separator}le=\"+Inf\""), count);
        let sum = self.sum.load(Ordering::Relaxed) as f64 / 1e6;
        out.line(&format!("{name}_sum"), labels, sum);
        out.line(&format!("{name}_count"), labels, count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_times_are_counted() {
        let metrics = Metrics::new();
        for (status, milliseconds) in [(200, 1), (200, 3), (429, 0), (418, 20_000)] {
            let status = StatusCode::from_u16(status).unwrap();
            metrics.answered(Endpoint::Predict, status, Duration::from_millis(milliseconds));
        }
        metrics.batches.observe(3.0);
        let held = metrics.connections.hold();
        let text = metrics.text(7);
        drop(held);
        for line in [
            r#"digits_requests_total{endpoint="predict",status="200"} 2"#,
            r#"digits_errors_total{endpoint="predict",status="429"} 1"#,
            r#"digits_errors_total{endpoint="predict",status="other"} 1"#,
            r#"digits_request_duration_seconds_bucket{endpoint="predict",le="0.001"} 2"#,
            r#"digits_request_duration_seconds_bucket{endpoint="predict",le="10"} 3"#,
            r#"digits_request_duration_seconds_bucket{endpoint="predict",le="+Inf"} 4"#,
            r#"digits_request_duration_seconds_sum{endpoint="predict"} 20.004"#,
            r#"digits_batch_images_bucket{le="4"} 1"#,
            "digits_connections 1",
            "digits_model_version 7",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(!text.contains("\"page\""), "{text}");
        assert_eq!(metrics.connections.get(), 0);
    }
}
