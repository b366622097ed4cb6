//! What a record of an event file holds: `Event` of TensorFlow.

use tapeflow_core::{Error, Result};

use crate::summary::Summary;
use crate::wire::{Message, fields};

/// What the first event of a file says.
pub(crate) const FILE_VERSION: &str = "brain.Event:2";
/// `SessionLog.SessionStatus`.
const START: i64 = 1;

/// One record of an event file.
#[derive(Debug, Clone)]
pub struct Event {
    /// When it was written, in seconds since 1970.
    pub wall_time: f64,
    /// The step that the caller named.
    pub step: i64,
    /// What happened.
    pub what: What,
}

/// What an event tells.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum What {
    /// The version of the format; the first event of a file.
    FileVersion(String),
    /// A graph, a `GraphDef` message.
    GraphDef(Vec<u8>),
    /// Values, usually one. Images and histograms that are no tensors, as TensorFlow 1 wrote them,
    /// are left out.
    Summaries(Vec<Summary>),
    /// A run begins here, or goes on from an earlier step: what other files have from this step on
    /// no longer counts.
    SessionStart,
    /// Something that this library does not write.
    Other,
}

impl Event {
    pub(crate) fn encode(&self) -> Result<Vec<u8>> {
        let event = Message::new().double(1, self.wall_time).int(2, self.step);
        let event = match &self.what {
            What::FileVersion(version) => {
                let writer = concat!("tapeflow-summary ", env!("CARGO_PKG_VERSION"));
                event.bytes(3, version).message(10, Message::new().bytes(1, writer))
            }
            What::GraphDef(graph) => event.bytes(4, graph),
            What::Summaries(summaries) => {
                let values = summaries.iter().map(Summary::encode).collect::<Result<Vec<_>>>()?;
                let summary =
                    Message::new().each(values, |summary, value| summary.message(1, value));
                event.message(5, summary)
            }
            What::SessionStart => event.message(7, Message::new().int(1, START)),
            What::Other => event,
        };
        Ok(event.into_bytes())
    }

    /// What a record holds.
    ///
    /// # Errors
    /// A damaged message; a tensor of a dtype that tapeflow has not.
    pub fn decode(message: &[u8]) -> Result<Event> {
        let mut event = Event { wall_time: 0.0, step: 0, what: What::Other };
        for field in fields(message) {
            match field? {
                (1, value) => event.wall_time = value.double(),
                (2, value) => event.step = value.int(),
                (3, value) => event.what = What::FileVersion(value.text()),
                (4, value) => event.what = What::GraphDef(value.bytes().to_vec()),
                (5, value) => event.what = What::Summaries(summaries(value.bytes())?),
                (7, value) => event.what = session_log(value.bytes())?,
                _ => {}
            }
        }
        Ok(event)
    }
}

fn summaries(message: &[u8]) -> Result<Vec<Summary>> {
    let mut summaries = Vec::new();
    for field in fields(message) {
        if let (1, value) = field? {
            summaries.extend(Summary::decode(value.bytes())?);
        }
    }
    Ok(summaries)
}

fn session_log(message: &[u8]) -> Result<What> {
    let status = fields(message)
        .find_map(|field| match field {
            Ok((1, status)) => Some(Ok(status.int())),
            Ok(_) => None,
            Err(error) => Some(Err(error)),
        })
        .transpose()?;
    Ok(if status == Some(START) { What::SessionStart } else { What::Other })
}

/// The first event of every file.
pub(crate) fn check_version(event: &Event) -> Result<()> {
    match &event.what {
        What::FileVersion(version) if version == FILE_VERSION => Ok(()),
        What::FileVersion(version) => Err(Error::unsupported(format!(
            "the file's version is {version:?}, {FILE_VERSION:?} is read"
        ))),
        _ => Err(Error::data(format!(
            "not an event file: its first record does not say {FILE_VERSION:?}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Data;

    #[test]
    fn what_older_writers_say_is_read_as_far_as_it_is_a_number() {
        let mut number = Message::new().bytes(1, "loss").into_bytes();
        number.push(2 << 3 | 5);
        number.extend(0.5f32.to_le_bytes());
        let image = Message::new().bytes(1, "image").bytes(4, "an image message");
        let summary = Message::new().bytes(1, number).message(1, image);
        let event = Message::new().int(2, 7).message(5, summary).into_bytes();
        let What::Summaries(read) = Event::decode(&event).unwrap().what else { panic!("others") };
        assert_eq!((read.len(), &*read[0].tag, &*read[0].plugin), (1, "loss", "scalars"));
        let Data::Tensor(value) = &read[0].data else { panic!("strings") };
        assert_eq!(value.to_scalar::<f32>().unwrap(), 0.5);
    }
}
