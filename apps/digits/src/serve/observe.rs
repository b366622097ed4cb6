//! What every request has: a line in the log, its place in the counters, safe headers.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::error::{ApiError, Refused};
use super::log::{self, Event};
use super::metrics::Endpoint;
use super::server::Server;

/// The client's address.
#[derive(Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// How many images a request was about, left in the response.
#[derive(Clone, Copy)]
pub struct Images(pub usize);

/// An answer, marked with what it was about.
pub fn about(endpoint: Endpoint, answer: Result<Response, ApiError>) -> Response {
    let mut response = answer.into_response();
    response.extensions_mut().insert(endpoint);
    response
}

/// Sent with every answer. The page is all there is, and it is made of its own files alone.
const HEADERS: [(HeaderName, &str); 5] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
         connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// Stands around every handler.
pub async fn observe(State(server): State<Arc<Server>>, request: Request, next: Next) -> Response {
    let _in_flight = server.metrics.in_flight.hold();
    let mut observation = Observation::new(server.clone(), &request);
    let cors = server.cors.as_ref().filter(|_| request.headers().contains_key(header::ORIGIN));
    let mut response = match (cors, request.method()) {
        (Some(_), &Method::OPTIONS) => StatusCode::NO_CONTENT.into_response(),
        _ => caught(next.run(request)).await,
    };
    observation.finish(&response);
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if let Some(origin) = cors {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST, GET"));
        headers
            .insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("Content-Type"));
        headers.insert(
            HeaderName::from_static("cross-origin-resource-policy"),
            HeaderValue::from_static("cross-origin"),
        );
        headers.insert(header::VARY, HeaderValue::from_static("Origin"));
    }
    response
}

/// What a handler answers; one that panics leaves the connection and all others as they are.
async fn caught(handler: impl Future<Output = Response>) -> Response {
    let mut handler = pin!(handler);
    poll_fn(|context| {
        let polled = catch_unwind(AssertUnwindSafe(|| handler.as_mut().poll(context)));
        polled.unwrap_or_else(|_| Poll::Ready(ApiError::defect().into_response()))
    })
    .await
}

/// A request until it is answered. One that is dropped before, because its client hung up, is
/// counted with status 499, as proxies do.
struct Observation {
    server: Arc<Server>,
    start: Instant,
    peer: Option<SocketAddr>,
    method: Method,
    path: String,
    finished: bool,
}

impl Observation {
    fn new(server: Arc<Server>, request: &Request) -> Observation {
        Observation {
            server,
            start: Instant::now(),
            peer: request.extensions().get::<Peer>().map(|peer| peer.0),
            method: request.method().clone(),
            path: log::path_for_log(request.uri().path()),
            finished: false,
        }
    }

    fn finish(&mut self, response: &Response) {
        let extensions = response.extensions();
        self.tell(
            extensions.get().copied().unwrap_or(Endpoint::Other),
            response.status(),
            extensions.get().map(|&Images(count)| count),
            extensions.get().map(|Refused(why)| why.clone()),
        );
    }

    fn tell(
        &mut self,
        endpoint: Endpoint,
        status: StatusCode,
        images: Option<usize>,
        error: Option<String>,
    ) {
        self.finished = true;
        let took = self.start.elapsed();
        self.server.metrics.answered(endpoint, status, took);
        self.server.log.tell(Event::Request(Box::new(log::Request {
            peer: self.peer,
            method: self.method.clone(),
            path: std::mem::take(&mut self.path),
            status,
            took,
            images,
            error,
        })));
    }
}

impl Drop for Observation {
    fn drop(&mut self) {
        if !self.finished {
            let status = StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST);
            self.tell(Endpoint::Other, status, None, Some("the client hung up".into()));
        }
    }
}
