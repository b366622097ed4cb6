//! `POST /v1/digits:read`: the digits of an image file, as `digits predict --json` tells them.
//!
//! `?name=...` is what the answer calls the image. The page also asks for `seen=1`, the images that
//! the network saw, and `activations=N`, the first layer's maps for the digit numbered N from 0 or
//! the `last`.

use std::ops::Deref;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::error::{ApiError, Code, json_answer};
use super::metrics::Endpoint;
use super::observe::{Images, about};
use super::servable::{Activations, Servable};
use super::server::Server;
use crate::predict::as_json;
use crate::reading::{self, Digit, Reading};

/// The most pixels of a picture: what telephones take, without letting one request have the memory.
const MOST_PIXELS: u64 = 25_000_000;

/// What an answer holds besides the reading.
#[derive(Debug, Default, PartialEq)]
struct Wanted {
    name: Option<String>,
    seen: bool,
    activations: Option<Which>,
}

/// A digit of a reading.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Which {
    Last,
    Numbered(usize),
}

pub async fn handle(State(server): State<Arc<Server>>, request: Request) -> Response {
    about(Endpoint::Read, read(&server, request).await)
}

async fn read(server: &Arc<Server>, request: Request) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let wanted = Wanted::of(parts.uri.query().unwrap_or_default())?;
    refuse_forms(&parts.headers)?;
    let file = server.body(&parts.headers, body).await?;
    server
        .in_time(async {
            let servable = server.shelf.current();
            let reading = read_file(server, &servable, file).await?;
            let answer = answer(wanted, &servable, &reading)?;
            let mut response = json_answer(answer.to_string());
            response.extensions_mut().insert(Images(reading.digits().count()));
            Ok(response)
        })
        .await
}

/// Reads an image file with this model.
pub async fn read_file(
    server: &Arc<Server>,
    servable: &Arc<Servable>,
    file: impl Deref<Target = [u8]> + Send + 'static,
) -> Result<Reading, ApiError> {
    let find = move || reading::find(&file, MOST_PIXELS);
    let found = server.workers.run(find).await?.map_err(ApiError::invalid)?;
    let pixels = found.images();
    let images = pixels.as_flattened().iter().map(|&pixel| ink(pixel)).collect();
    let announced = Some(server.batcher.announce());
    let rows = server.batcher.probabilities(servable.clone(), images, announced).await?;
    Ok(found.read(&rows))
}

fn ink(pixel: u8) -> f32 {
    f32::from(pixel) / 255.0
}

/// Clients that wrap the file are told how to send it, rather than that it is no image.
fn refuse_forms(headers: &HeaderMap) -> Result<(), ApiError> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    match kind {
        Some(kind) if kind.starts_with("multipart/") || kind.starts_with("application/json") => {
            Err(ApiError::invalid(format!(
                "The body is the image file itself, not {kind}: curl --data-binary @photo.jpg ..."
            )))
        }
        _ => Ok(()),
    }
}

impl Wanted {
    fn of(query: &str) -> Result<Wanted, ApiError> {
        let mut wanted = Wanted::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=').unwrap_or((pair, "")) {
                ("name", name) => wanted.name = Some(super::models::decoded(name)),
                ("seen", "1") => wanted.seen = true,
                ("activations", "last") => wanted.activations = Some(Which::Last),
                ("activations", number) if number.parse::<usize>().is_ok() => {
                    wanted.activations = number.parse().ok().map(Which::Numbered);
                }
                _ => {
                    let message = format!(
                        "{pair}: known are name=..., seen=1, activations=last or a digit's number"
                    );
                    return Err(ApiError::invalid(message));
                }
            }
        }
        Ok(wanted)
    }
}

fn answer(wanted: Wanted, servable: &Servable, reading: &Reading) -> Result<Value, ApiError> {
    let mut answer = as_json(wanted.name.as_deref().unwrap_or("-"), reading, wanted.seen);
    let digits: Vec<&Digit> = reading.digits().collect();
    if wanted.seen {
        answer["model"] = json!({"network": servable.architecture, "version": servable.version});
    }
    let index = match wanted.activations {
        None => None,
        Some(Which::Last) => digits.len().checked_sub(1),
        Some(Which::Numbered(index)) => Some(index).filter(|&index| index < digits.len()),
    };
    if let Some(index) = index {
        let image: Vec<f32> = digits[index].image.iter().map(|&pixel| ink(pixel)).collect();
        let maps = servable
            .activations(&image)
            .map_err(|error| ApiError::new(Code::Internal, error.to_string()))?;
        answer["activations"] = json!({
            "digit": index,
            "height": maps.height,
            "width": maps.width,
            "channels": maps.channels,
            "data": STANDARD.encode(shades(&maps)),
        });
    }
    Ok(answer)
}

/// Activations as bytes, map by map, the largest 255.
fn shades(maps: &Activations) -> Vec<u8> {
    let most = maps.values.iter().copied().fold(f32::MIN_POSITIVE, f32::max);
    let mut shades = Vec::with_capacity(maps.values.len());
    for channel in 0..maps.channels {
        let values = maps.values[channel..].iter().step_by(maps.channels);
        shades.extend(values.map(|value| (value / most * 255.0).round() as u8));
    }
    shades
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries() {
        assert_eq!(Wanted::of("").unwrap(), Wanted::default());
        let expected = Wanted {
            name: Some("a b.png".into()),
            seen: true,
            activations: Some(Which::Numbered(2)),
        };
        assert_eq!(Wanted::of("name=a%20b.png&seen=1&activations=2").unwrap(), expected);
        for query in ["seen=2", "activations=-1", "what", "activations"] {
            assert!(Wanted::of(query).unwrap_err().message.contains("known are"), "{query}");
        }
    }

    #[test]
    fn maps_are_laid_out_one_after_the_other() {
        let maps = Activations {
            height: 1,
            width: 2,
            channels: 3,
            values: vec![0.0, 1.0, 2.0, 4.0, 3.0, 2.0],
        };
        assert_eq!(shades(&maps), [0, 255, 64, 191, 128, 128]);
    }
}
