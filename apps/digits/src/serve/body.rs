//! Reading bodies, with a bound on the bytes of one, of all long ones together, and on the time.

use std::ops::Deref;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, header};
use http_body_util::BodyExt;
use tokio::time::timeout;

use super::error::{ApiError, Code};
use super::limits::Limits;
use super::metrics::Metrics;

/// A body of up to this many bytes is short: it takes nothing of the memory that long ones share, so
/// that no number of those, however slowly they come, keeps it out.
pub const SHORT: usize = 64 << 10;

/// A part of the memory that requests share, given back when it is dropped.
pub struct Share {
    metrics: Arc<Metrics>,
    most: usize,
    taken: usize,
}

impl Share {
    /// Nothing yet, of `most` bytes.
    pub fn new(metrics: Arc<Metrics>, most: usize) -> Share {
        Share { metrics, most, taken: 0 }
    }

    /// Takes more, until it is `bytes` in all.
    pub fn grow_to(&mut self, bytes: usize) -> Result<(), ApiError> {
        if bytes > self.most {
            let message = format!("The request takes more than {} bytes of memory", self.most);
            return Err(ApiError::new(Code::TooLarge, message));
        }
        let more = bytes.saturating_sub(self.taken);
        if !self.metrics.memory.add_up_to(more as u64, self.most as u64) {
            let message = "Too many large requests at once; try again";
            return Err(ApiError::new(Code::ResourceExhausted, message));
        }
        self.taken += more;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.metrics.memory.sub(self.taken as u64);
    }
}

/// A body that came whole.
pub struct Bytes {
    bytes: Vec<u8>,
    share: Share,
}

impl Bytes {
    /// Its memory, which what is made of it takes over.
    pub fn into_share(self) -> Share {
        self.share
    }
}

impl Deref for Bytes {
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
    share: Share,
) -> Result<Bytes, ApiError> {
    let declared = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    let declared = declared.and_then(|text| text.parse::<u64>().ok());
    if declared.is_some_and(|length| length > limits.body as u64) {
        return Err(too_large(limits));
    }
    let within = timeout(limits.patience, read_all(body, limits, share));
    within.await.unwrap_or_else(|_| {
        let seconds = limits.patience.as_secs_f64();
        let message = format!("The body did not come within {seconds} s");
        Err(ApiError::new(Code::RequestTimeout, message))
    })
}

async fn read_all(mut body: Body, limits: &Limits, share: Share) -> Result<Bytes, ApiError> {
    let mut read = Bytes { bytes: Vec::new(), share };
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| ApiError::invalid(format!("Broken body: {error}")))?;
        let Ok(data) = frame.into_data() else { continue };
        let length = read.bytes.len() + data.len();
        if length > limits.body {
            return Err(too_large(limits));
        }
        // Room is taken as the bytes come: what a client merely declares costs nothing.
        let room = read.bytes.capacity();
        if length > room {
            let room = (2 * room).max(4096).min(limits.body).max(length);
            if room > SHORT {
                read.share.grow_to(room)?;
            }
            read.bytes.reserve_exact(room - read.bytes.len());
        }
        read.bytes.extend_from_slice(&data);
    }
    Ok(read)
}

fn too_large(limits: &Limits) -> ApiError {
    let message = format!("The body has more than {} bytes", limits.body);
    ApiError::new(Code::TooLarge, message)
}
