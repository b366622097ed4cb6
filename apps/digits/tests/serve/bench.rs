//! A model, a server that serves it, and a client.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tapeflow::{Shape, Tensor};
use tapeflow_testing::SplitMix;

/// Longer than anything should take.
pub const AGES: Duration = Duration::from_secs(60);

/// The fast network's layers.
const LAYOUT: [(&str, &[usize]); 8] = [
    ("conv1_w", &[5, 5, 1, 8]),
    ("conv1_b", &[8]),
    ("conv2_w", &[3, 3, 8, 16]),
    ("conv2_b", &[16]),
    ("fc1_w", &[400, 128]),
    ("fc1_b", &[128]),
    ("fc2_w", &[128, 10]),
    ("fc2_b", &[10]),
];

/// Writes a model file in place of what is there: arbitrary weights, which lean to `digit`.
pub fn write_model(path: &Path, digit: usize, version: Option<&str>) {
    let mut random = SplitMix::new(1);
    let mut value = || (random.bits() >> 40) as f32 / (1 << 24) as f32 - 0.5;
    let tensors: Vec<(&str, Tensor)> = LAYOUT
        .iter()
        .map(|&(name, shape)| {
            let inputs: usize = shape[..shape.len() - 1].iter().product();
            let scale = 2.0 / (inputs as f32).sqrt();
            let count = shape.iter().product();
            let mut values: Vec<f32> = (0..count).map(|_| value() * scale).collect();
            if name == "fc2_b" {
                values[digit] = 9.0;
            }
            (name, Tensor::from_slice(&values, Shape::new(shape).unwrap()).unwrap())
        })
        .collect();
    let mut metadata = BTreeMap::from(
        [("format", "tapeflow-digits-model"), ("format_version", "1"), ("architecture", "fast")]
            .map(|(key, value)| (key.to_owned(), value.to_owned())),
    );
    metadata.extend(version.map(|version| ("version".to_owned(), version.to_owned())));
    tapeflow::io::save_safetensors(path, &tensors, &metadata).unwrap();
}

/// A running server.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
    log: Arc<Mutex<Vec<String>>>,
    folder: tempfile::TempDir,
}

impl Server {
    /// Serves a model that leans to 3; `options` are separated by spaces.
    pub fn start(options: &str) -> Server {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("model.safetensors");
        write_model(&model, 3, None);
        let mut child = Command::new(env!("CARGO_BIN_EXE_digits"))
            .args(["serve", "--json", "--addr", "127.0.0.1:0", "--model"])
            .arg(&model)
            .args(options.split_whitespace())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let first = lines.next().expect("it says that it listens").unwrap();
        let listening: Value = serde_json::from_str(&first).expect(&first);
        assert_eq!(listening["event"], "listening", "{first}");
        let address = listening["address"].as_str().unwrap().parse().unwrap();
        let kept = log.clone();
        thread::spawn(move || {
            for line in lines {
                kept.lock().unwrap().push(line.unwrap());
            }
        });
        Server { child, address, log, folder }
    }

    pub fn model(&self) -> PathBuf {
        self.folder.path().join("model.safetensors")
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(AGES)).unwrap();
        stream
    }

    pub fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "", b"")
    }

    pub fn post(&self, path: &str, body: &[u8]) -> Answer {
        self.ask("POST", path, "", body)
    }

    /// A request on a connection of its own; `headers` are whole lines.
    pub fn ask(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> Answer {
        let mut stream = self.connect();
        send(&mut stream, method, path, headers, body);
        Answer::read(&mut BufReader::new(stream), method == "HEAD")
    }

    pub fn predict(&self, body: &str) -> Answer {
        self.post("/v1/models/digits:predict", body.as_bytes())
    }

    /// The value of a metric.
    pub fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").text();
        metric_in(&text, name).unwrap_or_else(|| panic!("no {name} in\n{text}"))
    }

    /// How many requests were answered so; what never happened is not in the metrics.
    pub fn answered(&self, endpoint: &str, status: u16) -> f64 {
        let text = self.get("/metrics").text();
        assert!(text.contains("# TYPE digits_requests_total counter\n"), "{text}");
        let endpoint = format!("endpoint=\"{endpoint}\"");
        assert!(text.contains(&endpoint), "nobody asked for {endpoint}\n{text}");
        let name = format!("digits_requests_total{{{endpoint},status=\"{status}\"}}");
        metric_in(&text, &name).unwrap_or(0.0)
    }

    pub fn log(&self) -> Vec<Value> {
        let log = self.log.lock().unwrap();
        log.iter().map(|line| serde_json::from_str(line).expect(line)).collect()
    }

    /// Waits until the log has such an event.
    pub fn wait_for_event(&self, event: &str) -> Value {
        wait_for(event, || self.log().into_iter().find(|line| line["event"] == event))
    }

    pub fn signal(&self) {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
    }

    pub fn wait_for_end(&mut self) -> ExitStatus {
        wait_for("the end", || self.child.try_wait().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn metric_in(text: &str, name: &str) -> Option<f64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.map(|value| value.parse().unwrap())
}

/// Waits until there is something.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < AGES, "{what} does not come");
        thread::sleep(Duration::from_millis(10));
    }
}

pub fn send(stream: &mut TcpStream, method: &str, path: &str, headers: &str, body: &[u8]) {
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\n{headers}Content-Length: {length}\r\n\r\n"
    );
    stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
}

/// A server's answer.
pub struct Answer {
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn read(stream: &mut impl BufRead, without_body: bool) -> Answer {
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        let status = line.split(' ').nth(1).unwrap_or_else(|| panic!("no answer: {line:?}"));
        let status = status.parse().unwrap();
        let mut headers = Vec::new();
        loop {
            line.clear();
            stream.read_line(&mut line).unwrap();
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            headers.push((name.to_lowercase(), value.to_owned()));
        }
        let mut answer = Answer { status, headers, body: Vec::new() };
        let length = answer.header("content-length").map_or(0, |text| text.parse().unwrap());
        if !without_body {
            answer.body = vec![0; length];
            stream.read_exact(&mut answer.body).unwrap();
        }
        answer
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub fn json(&self) -> Value {
        assert_eq!(self.header("content-type"), Some("application/json"), "{}", self.text());
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{}", self.text()))
    }

    /// What an error says.
    pub fn error(&self) -> String {
        assert!(self.status >= 400, "{}", self.text());
        self.json()["error"].as_str().unwrap().to_owned()
    }

    /// The rows of a prediction.
    pub fn rows(&self, key: &str) -> Vec<Vec<f64>> {
        assert_eq!(self.status, 200, "{}", self.text());
        serde_json::from_value(self.json()[key].clone()).unwrap()
    }
}

/// An image of an instance, `[28, 28, 1]` as JSON; another for every `seed`.
pub fn image(seed: usize) -> String {
    let pixel = |y: usize, x: usize| match (y * x + seed * (y + 1)) % 7 {
        0 => "1".to_owned(),
        1 => format!("0.{}", 1 + (x + seed) % 999),
        _ => "0.0".to_owned(),
    };
    let row = |y: usize| {
        let pixels: Vec<String> = (0..28).map(|x| format!("[{}]", pixel(y, x))).collect();
        format!("[{}]", pixels.join(","))
    };
    format!("[{}]", (0..28).map(row).collect::<Vec<_>>().join(","))
}

/// A predict request for some images.
pub fn instances(images: &[String]) -> String {
    format!("{{\"instances\": [{}]}}", images.join(","))
}

pub fn images(count: usize) -> Vec<String> {
    (0..count).map(image).collect()
}

pub fn assert_close(one: &[f64], other: &[f64]) {
    assert_eq!(one.len(), other.len());
    for (a, b) in one.iter().zip(other) {
        assert!((a - b).abs() < 1e-5, "{one:?}\n{other:?}");
    }
}
