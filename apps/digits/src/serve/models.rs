//! TensorFlow Serving's REST API: `/v1/models/...`.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Method, request::Parts};
use axum::response::Response;
use serde_json::{Value, json};

use super::body::{Bytes, SHORT, Share};
use super::error::{ApiError, Code, json_answer};
use super::json::{Document, push_float, push_string};
use super::metrics::Endpoint;
use super::observe::{Images, about};
use super::read;
use super::servable::Servable;
use super::server::Server;
use super::tensors::{self, Batch, Dtype, Form, Input, Values};
use crate::model::{CLASSES, SIZE};

/// The name that the model is served under.
const NAME: &str = "digits";

/// The input of the signature `serving_default`: images as the network takes them.
const IMAGES: Input = Input { name: "images", dtype: Dtype::Float, shape: &[SIZE, SIZE, 1] };
/// The input of the signature `read`: image files.
const FILES: Input = Input { name: "image_bytes", dtype: Dtype::Text, shape: &[] };

/// What a path asks for.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Asked {
    Status,
    Metadata,
    Predict,
    Classify,
    Regress,
}

/// Which of the model's versions a path means.
#[derive(Debug, Clone, PartialEq)]
enum Which {
    Latest,
    Version(i64),
    Label(String),
}

#[derive(Debug, Clone, PartialEq)]
struct Target {
    asked: Asked,
    model: String,
    which: Which,
}

/// Answers whatever no other route takes.
pub async fn handle(server: Arc<Server>, parts: Parts, body: Body) -> Response {
    let target = match target(&parts.method, parts.uri.path()) {
        Ok(target) => target,
        Err(error) => return about(Endpoint::Other, Err(error)),
    };
    match target.asked {
        Asked::Status => about(Endpoint::Status, status(&server, &target)),
        Asked::Metadata => about(Endpoint::Metadata, metadata(&server, &target)),
        Asked::Predict | Asked::Classify | Asked::Regress => {
            about(Endpoint::Predict, predict(&server, &target, parts, body).await)
        }
    }
}

/// Takes a path apart; the words in it may be in capitals.
fn target(method: &Method, path: &str) -> Result<Target, ApiError> {
    let malformed = || ApiError::invalid(format!("Malformed request: {method} {path}"));
    if !path.starts_with('/') || !matches!(*method, Method::GET | Method::POST) {
        return Err(malformed());
    }
    let rest = strip(path, "/v1/models").ok_or_else(|| {
        // Outside of the API there is nothing to be malformed.
        let api = strip(path, "/v1/").is_some();
        let nothing = || ApiError::new(Code::NotFound, format!("Nothing is at {path}"));
        if api { malformed() } else { nothing() }
    })?;
    let get = *method == Method::GET;
    if get && rest.is_empty() {
        return Err(ApiError::invalid("Missing model name in request."));
    }
    let rest = rest.strip_prefix('/').ok_or_else(malformed)?;
    let (model, rest) = segment(rest).ok_or_else(malformed)?;
    let (which, rest) = if let Some(rest) = strip(rest, "/versions/") {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (digits, rest) = rest.split_at(digits);
        if digits.is_empty() {
            return Err(malformed());
        }
        let version = digits.parse().map_err(|_| {
            ApiError::invalid(format!("Failed to convert version: {digits} to numeric."))
        })?;
        (Which::Version(version), rest)
    } else if let Some(rest) = strip(rest, "/labels/") {
        let (label, rest) = segment(rest).ok_or_else(malformed)?;
        (Which::Label(decoded(label)), rest)
    } else {
        (Which::Latest, rest)
    };
    let asked = match (get, rest.to_ascii_lowercase().as_str()) {
        (true, "") => Asked::Status,
        (true, "/metadata") => Asked::Metadata,
        (false, ":predict") => Asked::Predict,
        (false, ":classify") => Asked::Classify,
        (false, ":regress") => Asked::Regress,
        _ => return Err(malformed()),
    };
    Ok(Target { asked, model: decoded(model), which })
}

fn strip<'a>(path: &'a str, prefix: &str) -> Option<&'a str> {
    let begins = path.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
    begins.then(|| &path[prefix.len()..])
}

/// A name up to the next slash or colon, and what follows.
fn segment(path: &str) -> Option<(&str, &str)> {
    let end = path.find(['/', ':']).unwrap_or(path.len());
    (end > 0).then(|| path.split_at(end))
}

/// Undoes `%2F` and the like.
pub fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let hex = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match hex.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) if *first == b'%' => {
                bytes.push(byte);
                rest = &after[2..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The model, if it has that name and version.
fn servable(server: &Server, target: &Target) -> Result<Arc<Servable>, ApiError> {
    let Target { model, which, .. } = target;
    let servable = server.shelf.current();
    let sought = match which {
        Which::Label(label) if model == NAME => {
            let message = format!("Unrecognized servable version label: {label}");
            return Err(ApiError::invalid(message));
        }
        Which::Version(version) => format!("Specific({model}, {version})"),
        _ => format!("Latest({model})"),
    };
    let is_it = match which {
        Which::Version(version) => u64::try_from(*version) == Ok(servable.version),
        _ => true,
    };
    if model == NAME && is_it {
        return Ok(servable);
    }
    let message = format!("Servable not found for request: {sought}");
    Err(ApiError::new(Code::NotFound, message))
}

fn status(server: &Server, target: &Target) -> Result<Response, ApiError> {
    let servable = servable(server, target).map_err(|error| {
        let model = &target.model;
        let message = match target.which {
            Which::Label(_) => return error,
            Which::Version(version) if model == NAME => {
                format!("Could not find version {version} of model {model}")
            }
            _ => format!("Could not find any versions of model {model}"),
        };
        ApiError::new(Code::NotFound, message)
    })?;
    let version = servable.version.to_string();
    let status = json!({"model_version_status": [{
        "version": version,
        "state": "AVAILABLE",
        "status": {"error_code": "OK", "error_message": ""},
    }]});
    Ok(json_answer(status.to_string()))
}

fn metadata(server: &Server, target: &Target) -> Result<Response, ApiError> {
    let servable = servable(server, target)?;
    let tensor = |dtype: &str, shape: &[i64], name: &str| {
        let dims: Vec<_> =
            shape.iter().map(|size| json!({"size": size.to_string(), "name": ""})).collect();
        json!({
            "dtype": dtype,
            "tensor_shape": {"dim": dims, "unknown_rank": false},
            "name": name,
        })
    };
    let signature = |inputs: Value, outputs: Value| {
        json!({
            "inputs": inputs,
            "outputs": outputs,
            "method_name": "tensorflow/serving/predict",
            "defaults": {},
        })
    };
    let (side, classes) = (SIZE as i64, CLASSES as i64);
    let signatures = json!({
        "serving_default": signature(
            json!({
                "images": tensor("DT_FLOAT", &[-1, side, side, 1], "serving_default_images:0"),
            }),
            json!({
                "probabilities": tensor("DT_FLOAT", &[-1, classes], "StatefulPartitionedCall:0"),
            }),
        ),
        "read": signature(
            json!({"image_bytes": tensor("DT_STRING", &[-1], "read_image_bytes:0")}),
            json!({
                "confidence": tensor("DT_FLOAT", &[-1], "StatefulPartitionedCall_1:0"),
                "text": tensor("DT_STRING", &[-1], "StatefulPartitionedCall_1:1"),
            }),
        ),
    });
    let version = servable.version.to_string();
    let metadata = json!({
        "model_spec": {"name": NAME, "signature_name": "", "version": version},
        "metadata": {"signature_def": {"signature_def": signatures}},
    });
    Ok(json_answer(metadata.to_string()))
}

async fn predict(
    server: &Arc<Server>,
    target: &Target,
    parts: Parts,
    body: Body,
) -> Result<Response, ApiError> {
    let bytes = server.body(&parts.headers, body).await?;
    let answer = async {
        // Others wait for what comes in a moment, but not for a long body.
        let announced = (bytes.len() <= SHORT).then(|| server.batcher.announce());
        let Request { servable, batch, _share } = request(server, target, bytes).await?;
        let Batch { form, count, values } = batch;
        let body = match values {
            Values::Float(images) => {
                let rows = server.batcher.probabilities(servable, images, announced).await?;
                written(form, &rows)
            }
            Values::Text(files) => {
                drop(announced);
                written_readings(form, &read_files(server, &servable, files).await?)
            }
        };
        let mut response = json_answer(body);
        response.extensions_mut().insert(Images(count));
        Ok(response)
    };
    server.in_time(answer).await
}

/// What a body asks for.
struct Request {
    servable: Arc<Servable>,
    batch: Batch,
    /// The memory that the batch takes.
    _share: Share,
}

/// Takes a body apart: a short one where it was read, since a thread would cost more.
async fn request(server: &Arc<Server>, target: &Target, bytes: Bytes) -> Result<Request, ApiError> {
    if bytes.len() <= SHORT {
        return parse(server, target, bytes);
    }
    let (worker, target) = (server.clone(), target.clone());
    server.workers.run(move || parse(&worker, &target, bytes)).await?
}

fn parse(server: &Server, target: &Target, bytes: Bytes) -> Result<Request, ApiError> {
    let mut nodes = server.share();
    if bytes.len() > SHORT {
        // The nodes, and the values for as long as there is the text too.
        nodes.grow_to(Document::memory(&bytes) + bytes.len())?;
    }
    let document = Document::parse(&bytes).map_err(ApiError::invalid)?;
    let signature = tensors::signature_name(&document)?;
    let servable = servable(server, target)?;
    let expected = match target.asked {
        Asked::Classify => {
            Some("classification signature method_name to be tensorflow/serving/classify")
        }
        Asked::Regress => Some("regression signature method_name to be tensorflow/serving/regress"),
        _ => None,
    };
    if let Some(expected) = expected {
        let message = format!("Expected {expected}. Was: tensorflow/serving/predict");
        return Err(ApiError::invalid(message));
    }
    let input = match signature.as_str() {
        "" | "serving_default" => &IMAGES,
        "read" => &FILES,
        _ => {
            let message =
                format!("Serving signature name: \"{signature}\" not found in signature def");
            return Err(ApiError::invalid(message));
        }
    };
    let batch = tensors::batch(&document, input, server.limits.instances)?;
    drop(document);
    // Values of the right shape take hardly more than the text that they are from.
    Ok(Request { servable, batch, _share: bytes.into_share() })
}

fn written(form: Form, rows: &[f32]) -> String {
    let key = match form {
        Form::Row => "predictions",
        Form::Column => "outputs",
    };
    let mut out = String::with_capacity(32 + rows.len() * 14);
    out.push_str("{\"");
    out.push_str(key);
    out.push_str("\": [");
    for (i, row) in rows.chunks(CLASSES).enumerate() {
        out.push_str(if i > 0 { ", [" } else { "[" });
        for (j, &value) in row.iter().enumerate() {
            out.push_str(if j > 0 { ", " } else { "" });
            push_float(&mut out, value);
        }
        out.push(']');
    }
    out.push_str("]}");
    out
}

/// The text in each image file, and how sure its least sure digit is, 0 where there is none.
async fn read_files(
    server: &Arc<Server>,
    servable: &Arc<Servable>,
    files: Vec<Vec<u8>>,
) -> Result<Vec<(String, f32)>, ApiError> {
    let mut readings = Vec::with_capacity(files.len());
    for (i, file) in files.into_iter().enumerate() {
        let reading = read::read_file(server, servable, file).await.map_err(|error| {
            let message = format!("Failed to read image {i}: {}", error.message);
            ApiError::new(error.code, message)
        })?;
        let confidences = reading.digits().map(|digit| digit.confidence());
        readings.push((reading.text(), confidences.reduce(f32::min).unwrap_or(0.0)));
    }
    Ok(readings)
}

/// Two outputs by name, instance by instance or each as a whole.
fn written_readings(form: Form, readings: &[(String, f32)]) -> String {
    let list = |item: &dyn Fn(&mut String, &(String, f32))| {
        let mut out = String::from("[");
        for (i, reading) in readings.iter().enumerate() {
            out.push_str(if i > 0 { ", " } else { "" });
            item(&mut out, reading);
        }
        out.push(']');
        out
    };
    match form {
        Form::Row => {
            let rows = list(&|out, (text, confidence)| {
                out.push_str("{\"confidence\": ");
                push_float(out, *confidence);
                out.push_str(", \"text\": ");
                push_string(out, text);
                out.push('}');
            });
            format!("{{\"predictions\": {rows}}}")
        }
        Form::Column => {
            let confidences = list(&|out, (_, confidence)| push_float(out, *confidence));
            let texts = list(&|out, (text, _)| push_string(out, text));
            format!("{{\"outputs\": {{\"confidence\": {confidences}, \"text\": {texts}}}}}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_taken_apart() {
        let found = |method: Method, path: &str| target(&method, path).unwrap();
        for (method, path, asked, which) in [
            (Method::GET, "/v1/models/digits", Asked::Status, Which::Latest),
            (Method::GET, "/V1/Models/digits/Versions/7", Asked::Status, Which::Version(7)),
            (Method::GET, "/v1/models/digits/metadata", Asked::Metadata, Which::Latest),
            (
                Method::GET,
                "/v1/models/digits/labels/a%20b/metadata",
                Asked::Metadata,
                Which::Label("a b".into()),
            ),
            (Method::POST, "/v1/models/digits:predict", Asked::Predict, Which::Latest),
            (
                Method::POST,
                "/v1/models/digits/versions/1:PREDICT",
                Asked::Predict,
                Which::Version(1),
            ),
            (Method::POST, "/v1/models/digits:classify", Asked::Classify, Which::Latest),
            (Method::POST, "/v1/models/d%69gits:regress", Asked::Regress, Which::Latest),
        ] {
            let model = "digits".into();
            assert_eq!(found(method, path), Target { asked, model, which }, "{path}");
        }
    }

    #[test]
    fn other_paths_are_malformed_or_not_there() {
        let error = |method: Method, path: &str| target(&method, path).unwrap_err();
        for (method, path) in [
            (Method::GET, "/v1/foo"),
            (Method::POST, "/v1/foo"),
            (Method::POST, "/v1/models"),
            (Method::GET, "/v1/models/"),
            (Method::GET, "/v1/models/foo:predict"),
            (Method::POST, "/v1/models/foo/version/50:regress"),
            (Method::POST, "/v1/models/foo/versions/HELLO:regress"),
            (Method::POST, "/v1/models/foo:predictx"),
            (Method::POST, "/v1/models/foo"),
            (Method::PUT, "/v1/models/foo:predict"),
            (Method::GET, "/v1/models/é%"),
        ] {
            if path.ends_with("é%") {
                assert_eq!(target(&method, path).unwrap().model, "é%");
                continue;
            }
            let error = error(method.clone(), path);
            assert_eq!(error.message, format!("Malformed request: {method} {path}"));
            assert_eq!(error.code, Code::InvalidArgument);
        }
        assert_eq!(error(Method::GET, "/v1/models").message, "Missing model name in request.");
        let huge = "/v1/models/m/versions/18446744073709551615:predict";
        assert!(error(Method::POST, huge).message.starts_with("Failed to convert version"));
        assert_eq!(error(Method::GET, "/favicon.ico").code, Code::NotFound);
    }

    #[test]
    fn answers_are_written() {
        let row = [0.5, 1.0, 0.1, 0.0, 1e-9, 0.0, 0.0, 0.0, 0.0, f32::NAN];
        let expected = "{\"predictions\": [[0.5, 1.0, 0.1, 0.0, 1e-9, 0.0, 0.0, 0.0, 0.0, NaN]]}";
        assert_eq!(written(Form::Row, &row), expected);
        assert_eq!(written(Form::Column, &[]), "{\"outputs\": []}");
        let readings = [("70\n4".to_owned(), 0.5), (String::new(), 0.0)];
        assert_eq!(
            written_readings(Form::Row, &readings),
            "{\"predictions\": [{\"confidence\": 0.5, \"text\": \"70\\n4\"}, {\"confidence\": 0.0, \
             \"text\": \"\"}]}"
        );
        assert_eq!(
            written_readings(Form::Column, &readings),
            "{\"outputs\": {\"confidence\": [0.5, 0.0], \"text\": [\"70\\n4\", \"\"]}}"
        );
    }
}
