//! The log: a line an event, for people or, with `--json`, for machines.
//!
//! A thread writes it, so that a slow or closed standard error holds up no request. Where it cannot
//! keep up, lines are dropped and counted.

use std::fmt::Write as _;
use std::io::{self, BufWriter, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{panic, thread};

use axum::http::{Method, StatusCode};
use serde_json::{Map, Value, json};

use super::metrics::Metrics;

/// Lines that may wait to be written.
const LINES: usize = 4096;
/// The most of a path that is logged, in bytes.
const LONGEST_PATH: usize = 200;

/// Something that happened.
pub enum Event {
    Listening { address: SocketAddr, model: String, version: u64, architecture: &'static str },
    Request(Box<Request>),
    Model { version: u64, architecture: &'static str },
    ModelRefused { why: String },
    Stopping { signal: &'static str },
    Stopped { answered: bool },
    Trouble { what: String },
}

/// A request that was answered.
pub struct Request {
    pub peer: Option<SocketAddr>,
    pub method: Method,
    pub path: String,
    pub status: StatusCode,
    pub took: Duration,
    pub images: Option<usize>,
    pub error: Option<String>,
}

/// Where events are told.
#[derive(Clone)]
pub struct Log {
    lines: SyncSender<String>,
    json: bool,
    quiet: bool,
    metrics: Arc<Metrics>,
}

impl Log {
    /// A log, and its lines, which end when every clone of the log is gone.
    pub fn new(json: bool, quiet: bool, metrics: Arc<Metrics>) -> (Log, Receiver<String>) {
        let (lines, waiting) = sync_channel(LINES);
        (Log { lines, json, quiet, metrics }, waiting)
    }

    /// Tells of panics, on whatever thread: standard error then has lines of the log alone.
    pub fn tell_panics(&self) {
        let log = self.clone();
        panic::set_hook(Box::new(move |panic| {
            let thread = thread::current();
            let name = thread.name().unwrap_or("without a name");
            log.tell(Event::Trouble { what: format!("a defect: thread {name} {panic}") });
        }));
    }

    pub fn tell(&self, event: Event) {
        if self.quiet && matches!(&event, Event::Request(request) if request.status.as_u16() < 500)
        {
            return;
        }
        let now = SystemTime::now();
        let line = if self.json { for_machines(now, event) } else { for_people(now, event) };
        if let Err(TrySendError::Full(_)) = self.lines.try_send(line) {
            self.metrics.lost_log_lines.add(1);
        }
    }
}

/// Writes lines until they end.
pub fn write_all(waiting: &Receiver<String>) {
    let mut out = BufWriter::new(io::stderr());
    while let Ok(line) = waiting.recv() {
        // That nobody reads it is no reason to stop.
        let _ = writeln!(out, "{line}");
        while let Ok(line) = waiting.try_recv() {
            let _ = writeln!(out, "{line}");
        }
        let _ = out.flush();
    }
}

fn for_machines(now: SystemTime, event: Event) -> String {
    let (level, name, fields) = match event {
        Event::Listening { address, model, version, architecture } => (
            "info",
            "listening",
            json!({"address": address.to_string(), "model": model, "version": version,
                "architecture": architecture}),
        ),
        Event::Request(request) => {
            let mut fields = json!({
                "method": request.method.as_str(),
                "path": request.path,
                "status": request.status.as_u16(),
                "ms": (request.took.as_secs_f64() * 1e6).round() / 1e3,
                "peer": request.peer.map(|peer| peer.to_string()),
            });
            if let Some(images) = request.images {
                fields["images"] = images.into();
            }
            if let Some(error) = request.error {
                fields["error"] = error.into();
            }
            (if request.status.is_server_error() { "error" } else { "info" }, "request", fields)
        }
        Event::Model { version, architecture } => {
            ("info", "model", json!({"version": version, "architecture": architecture}))
        }
        Event::ModelRefused { why } => ("warning", "model_refused", json!({"error": why})),
        Event::Stopping { signal } => ("info", "stopping", json!({"signal": signal})),
        Event::Stopped { answered } => ("info", "stopped", json!({"all_answered": answered})),
        Event::Trouble { what } => ("error", "trouble", json!({"error": what})),
    };
    let mut line = Map::new();
    line.insert("time".into(), timestamp(now).into());
    line.insert("level".into(), level.into());
    line.insert("event".into(), name.into());
    if let Value::Object(fields) = fields {
        line.extend(fields);
    }
    Value::Object(line).to_string()
}

fn for_people(now: SystemTime, event: Event) -> String {
    let mut line = timestamp(now)[11..23].to_owned();
    // Writing into a string cannot fail.
    let _ = match event {
        Event::Listening { address, model, version, architecture } => write!(
            line,
            " http://{address} serves {model}, the {architecture} network, version {version}; \
             Ctrl-C stops it"
        ),
        Event::Request(request) => {
            let Request { method, path, status, took, images, error, .. } = &*request;
            let ms = took.as_secs_f64() * 1e3;
            let _ = write!(line, " {} {method} {path} {ms:.1} ms", status.as_u16());
            let _ = match images {
                None => Ok(()),
                Some(1) => write!(line, ", 1 image"),
                Some(images) => write!(line, ", {images} images"),
            };
            error.as_ref().map_or(Ok(()), |error| write!(line, ": {error}"))
        }
        Event::Model { version, architecture } => {
            write!(line, " the model file changed: version {version}, {architecture}, is in use")
        }
        Event::ModelRefused { why } => {
            write!(line, " the model file changed and cannot be used, the old one stays: {why}")
        }
        Event::Stopping { signal } => {
            write!(line, " {signal}: finishing what was asked; again to stop at once")
        }
        Event::Stopped { answered: true } => write!(line, " stopped, everything is answered"),
        Event::Stopped { answered: false } => {
            write!(line, " stopped; some clients did not take their answers in time")
        }
        Event::Trouble { what } => write!(line, " {what}"),
    };
    on_one_line(&line)
}

/// The text without what would end a line, or move or color a terminal: clients choose some of it.
fn on_one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '"' | '\'' | '\\' => line.push(character),
            _ => line.extend(character.escape_debug()),
        }
    }
    line
}

/// The path as it is logged.
pub fn path_for_log(path: &str) -> String {
    if path.len() <= LONGEST_PATH {
        return path.to_owned();
    }
    format!("{}...", path.chars().take(LONGEST_PATH).collect::<String>())
}

/// UTC, as RFC 3339 has it, with milliseconds.
fn timestamp(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (seconds, milliseconds) = (since.as_secs(), since.subsec_millis());
    let (year, month, day) = date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milliseconds:03}Z")
}

/// The date of a day counted from 1 January 1970, by eras of 400 years that begin in March.
fn date(days: u64) -> (u64, u64, u64) {
    const ERA: u64 = 146_097;
    let days = days + 719_468;
    let (era, day) = (days / ERA, days % ERA);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + next, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_dates() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399, "2000-02-28T23:59:59.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (1_795_804_286, "2026-11-27T18:31:26.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(timestamp(UNIX_EPOCH + Duration::from_secs(seconds)), text);
        }
    }

    fn request() -> Event {
        Event::Request(Box::new(Request {
            peer: None,
            method: Method::POST,
            path: "/v1/models/digits:predict".into(),
            status: StatusCode::BAD_REQUEST,
            took: Duration::from_micros(1234),
            images: Some(3),
            error: Some("two\nlines, \"quoted\" \u{1b}[31m\u{9b}\u{202e}é".into()),
        }))
    }

    #[test]
    fn an_event_is_a_line() {
        let line = for_people(UNIX_EPOCH, request());
        let expected = "00:00:00.000 400 POST /v1/models/digits:predict 1.2 ms, 3 images: \
            two\\nlines, \"quoted\" \\u{1b}[31m\\u{9b}\\u{202e}é";
        assert_eq!(line, expected);
        let why = "model\n.safetensors: unreadable".to_owned();
        for event in [Event::Trouble { what: why.clone() }, Event::ModelRefused { why }] {
            let line = for_people(UNIX_EPOCH, event);
            assert!(line.contains(r"model\n.safetensors"), "{line}");
        }
        let line = for_machines(UNIX_EPOCH, request());
        assert!(!line.contains(['\n', '\u{1b}']), "{line}");
        let line: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(
            line,
            json!({"time": "1970-01-01T00:00:00.000Z", "level": "info", "event": "request",
                "method": "POST", "path": "/v1/models/digits:predict", "status": 400, "ms": 1.234,
                "peer": null, "images": 3,
                "error": "two\nlines, \"quoted\" \u{1b}[31m\u{9b}\u{202e}é"})
        );
    }
}
