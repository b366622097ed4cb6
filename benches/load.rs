//! Asks a server on this machine for predictions, over many connections at once, and checks every
//! answer.
//!
//! `bench_load ADDRESS PATH REQUESTS CONNECTIONS SECONDS`: REQUESTS is a file with a request a line,
//! the digit that it should be read as, a space and the body. Prints one JSON object.

#![allow(clippy::unwrap_used, reason = "a bench fails by panicking")]

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

/// Time that does not count, for both sides to get going.
const WARM_UP: Duration = Duration::from_millis(500);

fn main() {
    let args: Vec<String> = env::args().skip(1).collect();
    let [address, path, requests, connections, seconds] = args.as_slice() else {
        panic!("usage: bench_load ADDRESS PATH REQUESTS CONNECTIONS SECONDS")
    };
    let address: SocketAddr = address.parse().unwrap();
    assert!(address.ip().is_loopback(), "only this machine is asked");
    let requests: Vec<(usize, Vec<u8>)> = fs::read_to_string(requests)
        .unwrap()
        .lines()
        .map(|line| {
            let (digit, body) = line.split_once(' ').unwrap();
            (digit.parse().unwrap(), request(path, body))
        })
        .collect();
    let connections: usize = connections.parse().unwrap();
    let seconds: f64 = seconds.parse().unwrap();
    assert!(seconds <= 60.0, "a minute is enough");
    let start = Instant::now() + WARM_UP;
    let end = start + Duration::from_secs_f64(seconds);
    let clients: Vec<Client> = thread::scope(|scope| {
        let run = |first| {
            let requests = &requests;
            scope.spawn(move || Client::default().run(address, requests, first * 7, start, end))
        };
        let threads: Vec<_> = (0..connections).map(run).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let mut times: Vec<f64> = clients.iter().flat_map(|client| client.times.clone()).collect();
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times.get((times.len() as f64 * share) as usize).copied().unwrap_or(0.0);
    let count = |of: fn(&Client) -> u64| clients.iter().map(of).sum::<u64>();
    println!(
        "{{\"connections\": {connections}, \"requests\": {}, \"per_second\": {:.1}, \"p50_ms\": {:.3}, \
         \"p99_ms\": {:.3}, \"max_ms\": {:.3}, \"refused\": {}, \"lost\": {}, \"wrong\": {}}}",
        times.len(),
        times.len() as f64 / seconds,
        at(0.5),
        at(0.99),
        at(1.0 - f64::EPSILON),
        count(|client| client.refused),
        count(|client| client.lost),
        count(|client| client.wrong),
    );
}

fn request(path: &str, body: &str) -> Vec<u8> {
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// One connection and what came of it.
#[derive(Default)]
struct Client {
    /// Of the requests that were answered while it counted, in milliseconds.
    times: Vec<f64>,
    /// Answered, but not with 200.
    refused: u64,
    /// Not answered.
    lost: u64,
    /// Answered with another digit.
    wrong: u64,
}

impl Client {
    fn run(
        mut self,
        address: SocketAddr,
        requests: &[(usize, Vec<u8>)],
        mut next: usize,
        start: Instant,
        end: Instant,
    ) -> Client {
        let connect = || {
            let stream = TcpStream::connect(address).unwrap();
            stream.set_nodelay(true).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            BufReader::new(stream)
        };
        let mut stream = connect();
        while Instant::now() < end {
            let (digit, request) = &requests[next % requests.len()];
            next += 1;
            let asked = Instant::now();
            let answer = stream.get_mut().write_all(request).ok().and_then(|()| read(&mut stream));
            match answer {
                None => {
                    self.lost += 1;
                    stream = connect();
                }
                Some((200, body)) => {
                    if likeliest(&body) != Some(*digit) {
                        self.wrong += 1;
                    }
                    let now = Instant::now();
                    if asked >= start && now <= end {
                        self.times.push((now - asked).as_secs_f64() * 1e3);
                    }
                }
                Some(_) => self.refused += 1,
            }
        }
        self
    }
}

/// Status and body of an answer.
fn read(stream: &mut BufReader<TcpStream>) -> Option<(u16, String)> {
    let mut line = String::new();
    stream.read_line(&mut line).ok()?;
    let status = line.split(' ').nth(1)?.parse().ok()?;
    let mut length = 0;
    loop {
        line.clear();
        stream.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    Some((status, String::from_utf8(body).ok()?))
}

/// The place of the largest number in `{"predictions": [[...]]}`.
fn likeliest(body: &str) -> Option<usize> {
    let row = body.split_once("[[")?.1.split_once(']')?.0;
    let values: Vec<f64> =
        row.split(',').map(|value| value.trim().parse().ok()).collect::<Option<_>>()?;
    (0..values.len()).max_by(|&a, &b| values[a].total_cmp(&values[b]))
}
