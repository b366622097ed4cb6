//! What the handlers share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Router, middleware};
use serde_json::json;

use super::batch::Batcher;
use super::body::{self, Bytes, Share};
use super::error::{ApiError, Code, json_answer};
use super::limits::Limits;
use super::log::Log;
use super::metrics::{Endpoint, Metrics};
use super::observe::{about, observe};
use super::servable::Shelf;
use super::work::Workers;
use super::{models, page, read};

/// The server's parts.
pub struct Server {
    pub limits: Limits,
    pub shelf: Shelf,
    pub batcher: Batcher,
    pub workers: Workers,
    pub metrics: Arc<Metrics>,
    pub log: Log,
    /// The origin that other pages may ask from.
    pub cors: Option<HeaderValue>,
    pub stopping: AtomicBool,
}

impl Server {
    /// Reads a body within the limits.
    pub async fn body(&self, headers: &HeaderMap, body: Body) -> Result<Bytes, ApiError> {
        body::read(headers, body, &self.limits, self.share()).await
    }

    /// A share, still empty, of the memory of long requests.
    pub fn share(&self) -> Share {
        Share::new(self.metrics.clone(), self.limits.memory)
    }

    /// An answer, if it comes in time.
    pub async fn in_time(
        &self,
        answer: impl Future<Output = Result<Response, ApiError>>,
    ) -> Result<Response, ApiError> {
        let within = tokio::time::timeout(self.limits.answer, answer);
        within.await.unwrap_or_else(|_| {
            let message = format!("No answer within {} s", self.limits.answer.as_secs_f64());
            Err(ApiError::new(Code::DeadlineExceeded, message))
        })
    }
}

/// All routes.
pub fn router(server: Arc<Server>) -> Router {
    let mut router = Router::new();
    for file in page::FILES {
        router = router.route(file.path, get(move |request| page::send(file, request)));
    }
    router
        .route("/v1/digits:read", post(read::handle))
        .route("/healthz", get(health))
        .route("/metrics", get(metrics))
        .route("/monitoring/prometheus/metrics", get(metrics))
        .method_not_allowed_fallback(not_allowed)
        .fallback(|State(server): State<Arc<Server>>, request: Request| async {
            let (parts, body) = request.into_parts();
            models::handle(server, parts, body).await
        })
        .layer(middleware::from_fn_with_state(server.clone(), observe))
        .with_state(server)
}

async fn not_allowed(request: Request) -> Response {
    let message = format!("{} does not take {}", request.uri().path(), request.method());
    about(Endpoint::Other, Err(ApiError::new(Code::MethodNotAllowed, message)))
}

/// Whether new requests are welcome; not while the server is stopping.
async fn health(State(server): State<Arc<Server>>) -> Response {
    let answer = if server.stopping.load(Ordering::Relaxed) {
        Err(ApiError::new(Code::Unavailable, "Stopping"))
    } else {
        let servable = server.shelf.current();
        let health = json!({
            "status": "ok",
            "model": servable.architecture,
            "version": servable.version,
        });
        Ok(json_answer(health.to_string()))
    };
    about(Endpoint::Health, answer)
}

async fn metrics(State(server): State<Arc<Server>>) -> Response {
    let content_type = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    let text = server.metrics.text(server.shelf.current().version);
    about(Endpoint::Metrics, Ok(([(header::CONTENT_TYPE, content_type)], text).into_response()))
}
