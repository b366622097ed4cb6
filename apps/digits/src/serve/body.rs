//! Reading bodies, with a bound on the bytes of one, of all together, and on the time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Body;
use axum::http::{HeaderMap, header};
use http_body_util::BodyExt;
use tokio::time::timeout;

use super::error::{ApiError, Code};
use super::limits::Limits;

/// The memory that bodies take, all together.
#[derive(Default)]
pub struct Budget {
    taken: AtomicUsize,
}

impl Budget {
    fn take(self: &Arc<Budget>, bytes: usize, most: usize) -> Option<Share> {
        let grown = |taken: usize| taken.checked_add(bytes).filter(|&taken| taken <= most);
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown).ok()?;
        Some(Share { budget: self.clone(), bytes })
    }
}

/// A part of the budget, given back when it is dropped.
struct Share {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.taken.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A body that came whole.
pub struct Bytes {
    bytes: Vec<u8>,
    _shares: Vec<Share>,
}

impl std::ops::Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Reads a body. A client that declares more than is allowed is refused before it sends any.
pub async fn read(
    headers: &HeaderMap,
    body: Body,
    limits: &Limits,
    budget: &Arc<Budget>,
) -> Result<Bytes, ApiError> {
    let declared = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    let declared = declared.and_then(|text| text.parse::<u64>().ok());
    if declared.is_some_and(|length| length > limits.body as u64) {
        return Err(too_large(limits));
    }
    let within = timeout(limits.patience, read_all(body, limits, budget));
    within.await.unwrap_or_else(|_| {
        let seconds = limits.patience.as_secs_f64();
        let message = format!("The body did not come within {seconds} s");
        Err(ApiError::new(Code::RequestTimeout, message))
    })
}

async fn read_all(
    mut body: Body,
    limits: &Limits,
    budget: &Arc<Budget>,
) -> Result<Bytes, ApiError> {
    let mut read = Bytes { bytes: Vec::new(), _shares: Vec::new() };
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| ApiError::invalid(format!("Broken body: {error}")))?;
        let Ok(data) = frame.into_data() else { continue };
        if read.bytes.len() + data.len() > limits.body {
            return Err(too_large(limits));
        }
        // Room is taken as the bytes come: what a client merely declares costs nothing.
        if read.bytes.len() + data.len() > read.bytes.capacity() {
            let more = read.bytes.capacity().max(data.len()).max(4096);
            let share = budget.take(more, limits.bodies).ok_or_else(|| {
                ApiError::new(Code::ResourceExhausted, "Too many large requests at once; try again")
            })?;
            read._shares.push(share);
            read.bytes.reserve_exact(more);
        }
        read.bytes.extend_from_slice(&data);
    }
    Ok(read)
}

fn too_large(limits: &Limits) -> ApiError {
    let message = format!("The body has more than {} bytes", limits.body);
    ApiError::new(Code::TooLarge, message)
}
