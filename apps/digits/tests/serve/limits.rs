//! Clients that ask for too much, take too long or make no sense.

use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tapeflow_testing::mutation;

use crate::bench::{AGES, Answer, Server, images, instances, send, wait_for};

fn healthy(server: &Server) -> bool {
    server.get("/healthz").status == 200
}

fn answer(stream: TcpStream) -> Answer {
    Answer::read(&mut BufReader::new(stream), false)
}

#[test]
fn bodies_that_are_too_long_are_refused_before_and_while_they_come() {
    let server = Server::start("--max-body 1");
    let path = "/v1/models/digits:predict";
    let mut stream = server.connect();
    let head = "Host: h\r\nContent-Length: 18446744073709551615\r\n\r\n";
    stream.write_all(format!("POST {path} HTTP/1.1\r\n{head}").as_bytes()).unwrap();
    let refused = answer(stream);
    // A length that no number holds is malformed already; either way nothing is waited for.
    assert!((400..500).contains(&refused.status), "{}", refused.status);

    let mut stream = server.connect();
    let head = "Host: h\r\nContent-Length: 999999999999\r\n\r\n";
    stream.write_all(format!("POST {path} HTTP/1.1\r\n{head}").as_bytes()).unwrap();
    let refused = answer(stream);
    assert_eq!(
        (refused.status, refused.error().as_str()),
        (413, "The body has more than 1048576 bytes")
    );

    let mut stream = server.connect();
    let head = "Host: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    stream.write_all(format!("POST {path} HTTP/1.1\r\n{head}").as_bytes()).unwrap();
    let chunk = [b"10000\r\n".as_slice(), &[b' '; 0x10000], b"\r\n"].concat();
    for _ in 0..100 {
        stream.write_all(&chunk).unwrap();
    }
    assert_eq!(answer(stream).status, 413);
    assert!(healthy(&server));
    let most = server.metric("process_resident_memory_bytes");
    assert!(most < 300e6, "{most} bytes");
}

#[test]
fn a_refusal_arrives_though_the_body_was_not_read() {
    let server = Server::start("--max-body 1");
    let body = vec![b' '; 20 << 20];
    for (path, status) in [
        ("/v1/models/digits:predict", 413),
        ("/v1/digits:read?what", 400),
        ("/v1/models/digits:nothing", 400),
        ("/healthz", 405),
    ] {
        // Many clients send all of the body before they look for an answer.
        let mut stream = server.connect();
        send(&mut stream, "POST", path, "", &body);
        let mut stream = BufReader::new(stream);
        assert_eq!(Answer::read(&mut stream, false).status, status, "{path}");
        assert_eq!(stream.read(&mut [0]).unwrap(), 0, "{path}");
    }
}

#[test]
fn chunks_make_a_body() {
    let server = Server::start("");
    let body = instances(&images(2));
    let mut stream = server.connect();
    let head =
        "POST /v1/models/digits:predict HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    for piece in body.as_bytes().chunks(1000) {
        let size = format!("{:x}\r\n", piece.len());
        stream.write_all(&[size.as_bytes(), piece, b"\r\n"].concat()).unwrap();
    }
    stream.write_all(b"0\r\n\r\n").unwrap();
    assert_eq!(answer(stream).rows("predictions").len(), 2);
}

#[test]
fn a_refusal_repeats_no_more_than_a_little_of_what_it_refuses() {
    let server = Server::start("");
    let body = format!(r#"{{"instances": [{{"{}": 1}}]}}"#, "k".repeat(8 << 20));
    let refused = server.post("/v1/models/digits:predict", body.as_bytes());
    assert_eq!(refused.status, 400);
    assert!(refused.error().chars().count() <= 1001, "{} bytes", refused.error().len());
}

#[test]
fn slow_clients_are_not_waited_for() {
    let server = Server::start("--patience 2");
    let half_head = {
        let mut stream = server.connect();
        stream.write_all(b"POST /v1/models/digits:predict HTTP/1.1\r\nHos").unwrap();
        stream
    };
    let half_body = {
        let mut stream = server.connect();
        let head =
            "POST /v1/models/digits:predict HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n{";
        stream.write_all(head.as_bytes()).unwrap();
        stream
    };
    let idle = server.connect();
    let kept = {
        let mut stream = BufReader::new(server.connect());
        send(stream.get_mut(), "GET", "/healthz", "", b"");
        assert_eq!(Answer::read(&mut stream, false).status, 200);
        stream
    };
    let late = answer(half_body);
    assert_eq!((late.status, late.error().as_str()), (408, "The body did not come within 2 s"));
    for mut stream in [half_head, idle, kept.into_inner()] {
        // Whatever comes, the end comes too.
        stream.read_to_end(&mut Vec::new()).unwrap();
    }
    wait_for("the end of connections", || {
        (server.metric("digits_connections") <= 1.0).then_some(())
    });
    assert!(healthy(&server));
}

#[test]
fn a_thousand_open_connections_leave_room_for_more() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
    let server = Server::start("--patience 300");
    let mut open = Vec::new();
    for i in 0..1000 {
        let mut stream = server.connect();
        if i % 2 == 0 {
            stream.write_all(b"POST /v1/models/digits:predict HTTP/1.1\r\nContent-Le").unwrap();
        }
        open.push(stream);
    }
    wait_for("a thousand", || (server.metric("digits_connections") > 1000.0).then_some(()));
    let rows = server.predict(&instances(&images(3))).rows("predictions");
    assert_eq!(rows.len(), 3);
    // The idle ones work too.
    let mut stream = open.swap_remove(1);
    send(&mut stream, "GET", "/healthz", "", b"");
    assert_eq!(answer(stream).status, 200);
    let memory = server.metric("process_resident_memory_bytes");
    assert!(memory < 300e6, "{memory} bytes");
    drop(open);
    wait_for("their end", || (server.metric("digits_connections") <= 1.0).then_some(()));
}

#[test]
fn connections_beyond_the_limit_are_told() {
    let server = Server::start("--max-connections 2");
    let open = [server.connect(), server.connect()];
    let refused = answer(server.connect());
    assert_eq!((refused.status, refused.error().as_str()), (503, "Too many connections"));
    assert_eq!(refused.header("retry-after"), Some("1"));
    drop(open);
    wait_for("room", || {
        let mut stream = server.connect();
        send(&mut stream, "GET", "/healthz", "", b"");
        (answer(stream).status == 200).then_some(())
    });
}

#[test]
fn a_request_that_takes_too_long_is_told() {
    let server = Server::start("--timeout 0.001");
    let late = server.predict(&instances(&images(1000)));
    assert_eq!((late.status, late.error().as_str()), (504, "No answer within 0.001 s"));
    wait_for("an empty queue", || (server.metric("digits_queue_images") == 0.0).then_some(()));
}

#[test]
fn a_full_queue_turns_away_and_loses_nothing() {
    let server = Server::start("--max-queue 8 --quiet");
    let body = instances(&images(6));
    let (taken, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let start = Instant::now();
    thread::scope(|scope| {
        // Until both has happened, however the machine hands out its time.
        let ask = || {
            while taken.load(Ordering::Relaxed) < 100 || refused.load(Ordering::Relaxed) == 0 {
                assert!(start.elapsed() < AGES, "{refused:?} were refused");
                match server.predict(&body).status {
                    200 => taken.fetch_add(1, Ordering::Relaxed),
                    429 => refused.fetch_add(1, Ordering::Relaxed),
                    status => panic!("answered with {status}"),
                };
            }
        };
        for _ in 0..12 {
            scope.spawn(ask);
        }
    });
    let (taken, refused) = (taken.into_inner() as f64, refused.into_inner() as f64);
    assert_eq!(server.answered("predict", 200), taken);
    assert_eq!(server.answered("predict", 429), refused);
    assert_eq!(server.metric("digits_batch_images_sum"), 6.0 * taken);
    assert_eq!(server.metric("digits_queue_images"), 0.0);
}

#[test]
fn malformed_http_harms_nobody() {
    let server = Server::start("--quiet --patience 2");
    let body = instances(&images(1));
    let valid = format!(
        "POST /v1/models/digits:predict HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(200_000));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(10_000));
    for bytes in [
        "\r\n\r\n\r\n",
        "GET\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "\u{16}\u{3}\u{1}\u{0}",
        "GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        "GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
        &long,
        &many,
    ] {
        let mut stream = server.connect();
        let _ = stream.write_all(bytes.as_bytes());
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut reply = Vec::new();
        let _ = stream.read_to_end(&mut reply);
        assert!(!reply.starts_with(b"HTTP/1.1 2"), "{}", String::from_utf8_lossy(&reply));
    }
    mutation::for_each(valid.as_bytes(), 300, |bytes| {
        let mut stream = server.connect();
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new());
    });
    assert!(healthy(&server));
    for endpoint in ["predict", "other"] {
        assert_eq!(server.answered(endpoint, 500), 0.0);
    }
}
