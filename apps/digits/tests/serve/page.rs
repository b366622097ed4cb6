//! What the page and those who watch the server get.

use crate::bench::{Server, images, instances, wait_for};

#[test]
fn the_page_comes_from_here_alone() {
    let server = Server::start("");
    let page = server.get("/");
    assert_eq!(page.status, 200);
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self';"));
    assert!(!policy.contains("unsafe"));
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    assert!(page.text().contains("<title>digits</title>"));
    let script = server.get("/main.js");
    assert_eq!(script.header("content-type"), Some("text/javascript; charset=utf-8"));
    let tag = script.header("etag").unwrap();
    let again = server.ask("GET", "/main.js", &format!("If-None-Match: {tag}\r\n"), b"");
    assert_eq!((again.status, again.body.len()), (304, 0));
    let head = server.ask("HEAD", "/style.css", "", b"");
    assert_eq!(head.status, 200);
    assert!(head.header("content-length").unwrap().parse::<usize>().unwrap() > 1000);
}

#[test]
fn other_origins_are_let_in_only_where_asked() {
    let origin = "Origin: http://example.test\r\n";
    let closed = Server::start("");
    let answer = closed.ask("GET", "/v1/models/digits", origin, b"");
    assert_eq!(answer.header("access-control-allow-origin"), None);
    let open = Server::start("--cors http://example.test");
    let answer = open.ask("GET", "/v1/models/digits", origin, b"");
    assert_eq!(answer.header("access-control-allow-origin"), Some("http://example.test"));
    let preflight = open.ask("OPTIONS", "/v1/models/digits:predict", origin, b"");
    assert_eq!(preflight.status, 204);
    assert_eq!(preflight.header("access-control-allow-headers"), Some("Content-Type"));
    assert_eq!(open.get("/healthz").header("access-control-allow-origin"), None);
}

#[test]
fn health_metrics_and_log_tell_what_happened() {
    let server = Server::start("");
    let health = server.get("/healthz").json();
    assert_eq!((health["status"].as_str(), health["version"].as_u64()), (Some("ok"), Some(1)));
    server.predict(&instances(&images(3)));
    server.predict("{");
    let metrics = server.get("/monitoring/prometheus/metrics");
    assert_eq!(metrics.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let text = metrics.text();
    for line in [
        "digits_requests_total{endpoint=\"predict\",status=\"200\"} 1",
        "digits_requests_total{endpoint=\"predict\",status=\"400\"} 1",
        "digits_requests_total{endpoint=\"health\",status=\"200\"} 1",
        "digits_request_duration_seconds_count{endpoint=\"predict\"} 2",
        "digits_batch_images_bucket{le=\"2\"} 0",
        "digits_batch_images_bucket{le=\"4\"} 1",
        "digits_queue_images 0",
        "digits_model_version 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    server.get("/\"quoted\"\u{9b}");
    let log = wait_for("the log", || Some(server.log()).filter(|log| log.len() >= 5));
    assert_eq!(log[4]["path"], "/\"quoted\"\u{9b}");
    assert_eq!(log[4]["error"], "Nothing is at /\"quoted\"\u{9b}");
    let predictions: Vec<_> =
        log.iter().filter(|line| line["path"] == "/v1/models/digits:predict").collect();
    assert_eq!(
        (predictions[0]["status"].as_u64(), predictions[0]["images"].as_u64()),
        (Some(200), Some(3))
    );
    assert_eq!(predictions[1]["status"], 400);
    assert!(predictions[1]["error"].as_str().unwrap().starts_with("JSON Parse error"));
    assert!(predictions[0]["peer"].as_str().unwrap().starts_with("127.0.0.1:"));
}
