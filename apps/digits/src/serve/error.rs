//! Refusals, in TensorFlow Serving's form.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::json::push_string;

/// What kind of refusal: TensorFlow's codes, and two that only HTTP has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    InvalidArgument,
    NotFound,
    MethodNotAllowed,
    /// The body did not come in time.
    RequestTimeout,
    /// The body is too long.
    TooLarge,
    ResourceExhausted,
    Internal,
    Unavailable,
    DeadlineExceeded,
}

impl Code {
    fn status(self) -> StatusCode {
        match self {
            Code::InvalidArgument => StatusCode::BAD_REQUEST,
            Code::NotFound => StatusCode::NOT_FOUND,
            Code::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Code::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Code::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
            Code::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        }
    }
}

/// The most characters of a message: clients' own words, which it may repeat, can be megabytes.
const LONGEST_MESSAGE: usize = 1000;

/// A refusal: its code and what the client is told.
#[derive(Debug, Clone)]
pub struct ApiError {
    pub code: Code,
    pub message: String,
}

impl ApiError {
    pub fn new(code: Code, message: impl Into<String>) -> ApiError {
        let mut message = message.into();
        if let Some((end, _)) = message.char_indices().nth(LONGEST_MESSAGE) {
            message.truncate(end);
            message.push('…');
        }
        ApiError { code, message }
    }

    pub fn invalid(message: impl Into<String>) -> ApiError {
        ApiError::new(Code::InvalidArgument, message)
    }

    /// What a panic is answered with; the log has the panic.
    pub fn defect() -> ApiError {
        ApiError::new(Code::Internal, "A defect of digits; its log says more")
    }
}

/// The message of a refusal, left in the response for the log.
#[derive(Clone)]
pub struct Refused(pub String);

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut body = String::from("{\"error\": ");
        push_string(&mut body, &self.message);
        body.push('}');
        let mut response = json_answer(body);
        *response.status_mut() = self.code.status();
        let headers = response.headers_mut();
        if matches!(self.code, Code::ResourceExhausted | Code::Unavailable) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        // What is left of such a body is not worth waiting for.
        if matches!(self.code, Code::TooLarge | Code::RequestTimeout) {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response.extensions_mut().insert(Refused(self.message));
        response
    }
}

/// A JSON answer.
pub fn json_answer(body: String) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response()
}
