//! Ends.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::thread;
use std::time::Duration;

use crate::bench::{Answer, Server, images, instances, wait_for};

#[test]
fn what_runs_is_finished() {
    let mut server = Server::start("");
    let idle = server.connect();
    let body = instances(&images(2));
    let (first, rest) = body.as_bytes().split_at(100);
    let mut running = server.connect();
    let head = format!(
        "POST /v1/models/digits:predict HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    running.write_all(&[head.as_bytes(), first].concat()).unwrap();
    wait_for("the request", || (server.metric("digits_requests_in_flight") >= 2.0).then_some(()));
    server.signal();
    server.wait_for_event("stopping");
    wait_for("the refusal of new connections", || TcpStream::connect(server.address).err());
    thread::sleep(Duration::from_millis(700));
    running.write_all(rest).unwrap();
    let mut running = BufReader::new(running);
    assert_eq!(Answer::read(&mut running, false).rows("predictions").len(), 2);
    assert_eq!(running.read(&mut [0]).unwrap(), 0);
    assert_eq!(server.wait_for_end().code(), Some(0));
    assert_eq!(server.wait_for_event("stopped")["all_answered"], true);
    drop(idle);
}

#[test]
fn what_is_answered_is_sent() {
    let mut server = Server::start("");
    // More answers than fit on the way to a client that takes none.
    let mut client = server.connect();
    let asked = "GET /result.js HTTP/1.1\r\nHost: h\r\n\r\n".repeat(4000);
    client.write_all(asked.as_bytes()).unwrap();
    wait_for("a full way", || (server.metric("digits_connections_sending") >= 1.0).then_some(()));
    server.signal();
    server.wait_for_event("stopping");
    // Longer than the server waits where nothing happens.
    thread::sleep(Duration::from_millis(700));
    let length = include_bytes!("../../src/serve/page/result.js").len();
    let mut client = BufReader::new(client);
    while !client.fill_buf().unwrap().is_empty() {
        assert_eq!(Answer::read(&mut client, false).body.len(), length);
    }
    drop(client);
    assert_eq!(server.wait_for_end().code(), Some(0));
    assert_eq!(server.wait_for_event("stopped")["all_answered"], true);
}

#[test]
fn bad_options_are_told() {
    let run = |args: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_digits"));
        command.arg("serve").args(args.split_whitespace());
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, message) = run("--model no-such-file");
    assert_eq!(code, Some(2));
    assert!(message.starts_with("digits: ") && message.contains("no-such-file"), "{message}");
    for options in ["--addr nowhere", "--timeout 0", "--max-body 0", "--patience -1"] {
        assert_eq!(run(options).0, Some(2), "{options}");
    }
    let server = Server::start("");
    let taken = format!("--model {} --addr {}", server.model().display(), server.address);
    let (code, message) = run(&taken);
    assert_eq!(code, Some(1));
    assert!(message.contains("cannot listen on 127.0.0.1:"), "{message}");
}
