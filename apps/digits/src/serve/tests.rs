//! Requests in a server whose network does as the test says: waits, fails, panics.

use std::io::Cursor;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Parser;
use http_body_util::BodyExt;
use image::{GrayImage, ImageFormat, Luma};
use serde_json::Value;
use tapeflow as tf;
use tf::Tensor;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tower_service::Service;

use super::batch::{Batcher, Runner};
use super::limits::Limits;
use super::log::Log;
use super::metrics::Metrics;
use super::observe::observe;
use super::servable::{LARGEST_BATCH, Servable, Shelf};
use super::server::{self, Server};
use super::work::Workers;
use crate::cli::{Cli, Command};
use crate::model::CLASSES;

/// A server, whose network does not run yet.
struct Bench {
    server: Arc<Server>,
    router: Router,
    runner: Option<Runner>,
    log: Receiver<String>,
}

impl Bench {
    fn new(options: &str, network: Servable) -> Bench {
        let words = ["digits", "serve"].into_iter().chain(options.split_whitespace());
        let Command::Serve(options) = Cli::parse_from(words).command else {
            unreachable!("it says serve")
        };
        let limits = Limits::new(&options);
        let metrics = Arc::new(Metrics::new());
        let (log, lines) = Log::new(true, false, metrics.clone());
        let (batcher, runner) = Batcher::new(limits.queue, metrics.clone());
        let server = Arc::new(Server {
            limits,
            shelf: Shelf::new(network),
            batcher,
            workers: Workers::new(limits.workers, limits.waiting),
            metrics,
            log,
            cors: None,
            stopping: false.into(),
        });
        let router = server::router(server.clone());
        Bench { server, router, runner: Some(runner), log: lines }
    }

    fn run_network(&mut self) {
        let runner = self.runner.take().expect("it does not run yet");
        thread::spawn(move || runner.run());
    }

    /// Asks, without waiting for the answer.
    fn post(&self, path: &str, body: String) -> JoinHandle<(u16, Value)> {
        let request = Request::post(path).body(Body::from(body)).unwrap();
        tokio::spawn(answer(self.router.clone(), request))
    }

    fn predict(&self, images: usize) -> JoinHandle<(u16, Value)> {
        self.post("/v1/models/digits:predict", instances(images))
    }

    fn queued(&self) -> u64 {
        self.server.metrics.queue.get()
    }

    fn metric(&self, line: &str) -> bool {
        self.server.metrics.text(1).lines().any(|found| found == line)
    }
}

async fn answer(mut router: Router, request: Request<Body>) -> (u16, Value) {
    let response = router.call(request).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap())
}

fn error(answer: &Value) -> &str {
    answer["error"].as_str().unwrap()
}

/// Longer than anything should take.
const AGES: Duration = Duration::from_secs(60);

/// Waits until something is so.
async fn until(mut is_so: impl FnMut() -> bool) {
    let wait = async {
        while !is_so() {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(AGES, wait).await.expect("it does not come");
}

async fn soon<T>(answer: JoinHandle<T>) -> T {
    timeout(AGES, answer).await.expect("no answer").unwrap()
}

fn instances(count: usize) -> String {
    let row = format!("[{}]", ["[0]"; 28].join(","));
    let image = format!("[{}]", vec![row; 28].join(","));
    format!("{{\"instances\": [{}]}}", vec![image; count].join(","))
}

/// Sure of one digit, whatever the images.
fn sure_of(digit: usize, images: &Tensor) -> tf::Result<Tensor> {
    let count = images.shape()[0];
    let mut rows = vec![0.0f32; count * CLASSES];
    rows.iter_mut().skip(digit).step_by(CLASSES).for_each(|share| *share = 1.0);
    Tensor::from_slice(&rows, [count, CLASSES])
}

fn always(digit: usize) -> Servable {
    Servable::made_up(1, move |images| sure_of(digit, &images))
}

#[tokio::test]
async fn a_panic_of_the_network_costs_its_batch_alone() {
    let panics = Mutex::new(1);
    let network = move |images: Tensor| {
        let mut left = panics.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if *left > 0 {
            *left -= 1;
            panic!("as the test says");
        }
        sure_of(3, &images)
    };
    let mut bench = Bench::new("", Servable::made_up(1, network));
    bench.run_network();
    let (status, body) = soon(bench.predict(1)).await;
    assert_eq!((status, error(&body)), (500, "A defect of digits; its log says more"));
    let (status, body) = soon(bench.predict(2)).await;
    assert_eq!((status, body["predictions"][1][3].as_f64()), (200, Some(1.0)));
    assert_eq!(bench.queued(), 0);
    assert!(bench.metric("digits_requests_total{endpoint=\"predict\",status=\"500\"} 1"));
}

#[tokio::test]
async fn a_failure_of_the_network_is_told() {
    let network = |_| Tensor::from_slice(&[0.0f32], [2]);
    let mut bench = Bench::new("", Servable::made_up(1, network));
    bench.run_network();
    let (status, body) = soon(bench.predict(1)).await;
    assert_eq!(status, 500);
    assert!(error(&body).contains("[2]"), "{body}");
}

#[tokio::test]
async fn a_panic_of_a_handler_is_a_500_and_in_the_log() {
    let bench = Bench::new("", always(3));
    async fn handler() {
        panic!("as the test says")
    }
    let router = Router::new()
        .route("/", get(handler))
        .layer(from_fn_with_state(bench.server.clone(), observe));
    bench.server.log.tell_panics();
    let (status, body) = answer(router, Request::get("/").body(Body::empty()).unwrap()).await;
    let _ = std::panic::take_hook();
    assert_eq!((status, error(&body)), (500, "A defect of digits; its log says more"));
    assert!(bench.metric("digits_requests_total{endpoint=\"other\",status=\"500\"} 1"));
    let lines: Vec<Value> =
        bench.log.try_iter().map(|line| serde_json::from_str(&line).unwrap()).collect();
    // Other tests' panics may come between.
    let is_told = |line: &Value| {
        line["error"].as_str().is_some_and(|why| {
            why.starts_with("a defect: thread ") && why.ends_with("as the test says")
        })
    };
    assert!(lines.iter().any(is_told), "{lines:?}");
    let request = lines.iter().find(|line| line["event"] == "request").unwrap();
    assert_eq!((request["status"].as_u64(), request["level"].as_str()), (Some(500), Some("error")));
}

#[tokio::test]
async fn requests_that_wait_together_are_read_together() {
    let mut bench = Bench::new("", always(7));
    let asked: Vec<_> = [1, 2, 3].map(|count| bench.predict(count)).into();
    until(|| bench.queued() == 6).await;
    bench.run_network();
    for (asked, count) in asked.into_iter().zip(1..) {
        let (status, body) = soon(asked).await;
        assert_eq!((status, body["predictions"].as_array().unwrap().len()), (200, count));
    }
    assert!(bench.metric("digits_batch_images_count 1"));
    assert!(bench.metric("digits_batch_images_sum 6"));
}

#[tokio::test]
async fn a_full_queue_turns_away() {
    let mut bench = Bench::new("--max-queue 8", always(7));
    let first = bench.predict(6);
    until(|| bench.queued() == 6).await;
    let (status, body) = soon(bench.predict(3)).await;
    assert_eq!((status, error(&body)), (429, "Too many images wait for the network; try again"));
    let second = bench.predict(2);
    until(|| bench.queued() == 8).await;
    bench.run_network();
    assert_eq!(soon(first).await.0, 200);
    assert_eq!(soon(second).await.0, 200);
    // One that is larger than the queue is served when the queue is empty.
    assert_eq!(soon(bench.predict(LARGEST_BATCH + 1)).await.0, 200);
    assert_eq!(bench.queued(), 0);
}

#[tokio::test]
async fn a_request_that_waits_too_long_is_told_and_not_worked_for() {
    let mut bench = Bench::new("--timeout 0.2", always(7));
    let (status, body) = soon(bench.predict(5)).await;
    assert_eq!((status, error(&body)), (504, "No answer within 0.2 s"));
    assert_eq!(bench.queued(), 5);
    bench.run_network();
    until(|| bench.server.metrics.abandoned.get() == 5).await;
    assert_eq!(bench.queued(), 0);
    assert!(bench.metric("digits_batch_images_count 0"));
}

/// A network that waits, before each batch, for what it is sent.
fn gated(version: u64, digit: usize) -> (Servable, Sender<()>) {
    let (open, gate) = mpsc::channel();
    let gate = Mutex::new(gate);
    let network = move |images| {
        gate.lock().unwrap().recv().unwrap();
        sure_of(digit, &images)
    };
    (Servable::made_up(version, network), open)
}

/// A picture of one upright stroke, as a file in base64.
fn picture() -> String {
    let picture = GrayImage::from_fn(160, 160, |x, y| {
        Luma([if (30..130).contains(&y) && (70..82).contains(&x) { 20 } else { 235 }])
    });
    let mut file = Cursor::new(Vec::new());
    picture.write_to(&mut file, ImageFormat::Png).unwrap();
    STANDARD.encode(file.into_inner())
}

#[tokio::test]
async fn a_request_is_answered_by_the_version_that_it_names() {
    let (first, open) = gated(1, 3);
    let mut bench = Bench::new("", first);
    bench.run_network();
    let image = format!("{{\"b64\": \"{}\"}}", picture());
    let body = format!("{{\"signature_name\": \"read\", \"instances\": [{image}, {image}]}}");
    let path = "/v1/models/digits/versions/1:predict";
    let asked = bench.post(path, body.clone());
    // The model is replaced between the two pictures.
    open.send(()).unwrap();
    let batches = || bench.metric("digits_batch_images_count 1");
    until(batches).await;
    let other = Servable::made_up(2, |images| sure_of(8, &images));
    bench.server.shelf.put(other);
    open.send(()).unwrap();
    let (status, answer) = soon(asked).await;
    assert_eq!(status, 200, "{answer}");
    for reading in answer["predictions"].as_array().unwrap() {
        assert_eq!(reading["text"], "3");
    }
    let (status, answer) = soon(bench.post(path, body)).await;
    assert_eq!(
        (status, error(&answer)),
        (404, "Servable not found for request: Specific(digits, 1)")
    );
}

#[tokio::test]
async fn long_requests_share_a_memory_that_short_ones_do_not_need() {
    let mut bench = Bench::new("--max-body 1", always(7));
    bench.run_network();
    let memory = &bench.server.metrics.memory;
    let mut share = bench.server.share();
    share.grow_to((16 << 20) - 1000).unwrap();
    let (status, body) = soon(bench.predict(30)).await;
    assert_eq!((status, error(&body)), (429, "Too many large requests at once; try again"));
    assert_eq!(soon(bench.predict(5)).await.0, 200);
    assert_eq!(memory.get(), (16 << 20) - 1000);
    drop(share);
    assert_eq!(soon(bench.predict(30)).await.0, 200);
    // One that could never have it is not told to try again.
    let (status, body) = soon(bench.post("/v1/models/digits:predict", ",".repeat(1 << 20))).await;
    assert_eq!(
        (status, error(&body)),
        (413, "The request takes more than 16777216 bytes of memory")
    );
    assert_eq!(memory.get(), 0);
}
