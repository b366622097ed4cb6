//! Connections: accepted up to a limit, left to stop in their own time, closed where a client lets
//! them wait.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep};
use tower_service::Service;

use super::limits::SPARE;
use super::log::Event;
use super::observe::Peer;
use super::patience::Patient;
use super::server::Server;

/// The longest request line and headers, in bytes.
const LONGEST_HEAD: usize = 64 << 10;
/// After this long without an answer being made or sent, what is left open is only idle.
const IDLE: Duration = Duration::from_millis(500);
/// What a client is told that comes when too many are connected.
const TOO_MANY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\n\
    Content-Length: 33\r\nRetry-After: 1\r\nConnection: close\r\n\r\n\
    {\"error\": \"Too many connections\"}";

/// Serves until `stop` is ready, then until what runs is answered and sent. Whether all of it was.
pub async fn serve(
    server: Arc<Server>,
    listener: TcpListener,
    router: Router,
    stop: impl Future<Output = &'static str>,
) -> bool {
    let (stopping, stopped) = watch::channel(false);
    let places = Arc::new(Semaphore::new(server.limits.connections));
    let doors = Arc::new(Semaphore::new(SPARE / 2));
    let mut stop = pin!(stop);
    let signal = loop {
        let (stream, peer) = tokio::select! {
            signal = &mut stop => break signal,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    accept_failed(&server, &error).await;
                    continue;
                }
            },
        };
        server.metrics.accepted.add(1);
        let Ok(place) = places.clone().try_acquire_owned() else {
            server.metrics.turned_away.add(1);
            // Those that come while too many are turned away are cut off.
            if let Ok(door) = doors.clone().try_acquire_owned() {
                let stream = patient(&server, stream);
                tokio::spawn(async move {
                    stream.end_with(TOO_MANY).await;
                    drop(door);
                });
            }
            continue;
        };
        let connection = connection(server.clone(), stream, peer, router.clone(), stopped.clone());
        tokio::spawn(async move {
            connection.await;
            drop(place);
        });
    };
    drop(listener);
    server.log.tell(Event::Stopping { signal });
    server.stopping.store(true, Ordering::Relaxed);
    // There is a receiver, here.
    let _ = stopping.send(true);
    let all = places.acquire_many(server.limits.connections as u32);
    tokio::select! {
        _ = all => true,
        answered = until_idle(&server) => answered,
    }
}

/// Running out of descriptors or memory passes; trying again at once would burn a core.
async fn accept_failed(server: &Server, error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset};
    if !matches!(error.kind(), ConnectionAborted | ConnectionReset) {
        server.log.tell(Event::Trouble { what: format!("accepting a connection: {error}") });
        sleep(Duration::from_millis(200)).await;
    }
}

fn patient(server: &Server, stream: TcpStream) -> Patient {
    Patient::new(stream, server.limits.patience, server.metrics.clone())
}

async fn connection(
    server: Arc<Server>,
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    mut stopped: watch::Receiver<bool>,
) {
    let _open = server.metrics.connections.hold();
    // Answers are written whole; waiting for more to send would only delay them.
    let _ = stream.set_nodelay(true);
    let stream = patient(&server, stream);
    let service = service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(Peer(peer));
        let mut router = router.clone();
        async move {
            Ok::<_, Infallible>(router.call(request).await.unwrap_or_else(|never| match never {}))
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(server.limits.patience)
        .max_buf_size(LONGEST_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    // How a connection ends is the client's affair.
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = stopped.wait_for(|&stopped| stopped) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}

/// Waits until for a moment no answer was made, and none waited for its client to take it: whether
/// that came before the longest that an answer may take.
async fn until_idle(server: &Server) -> bool {
    let latest = Instant::now() + server.limits.answer + IDLE;
    let mut idle_since = Instant::now();
    while Instant::now() < latest {
        sleep(Duration::from_millis(10)).await;
        if server.metrics.in_flight.get() + server.metrics.sending.get() > 0 {
            idle_since = Instant::now();
        } else if idle_since.elapsed() >= IDLE {
            return true;
        }
    }
    false
}
