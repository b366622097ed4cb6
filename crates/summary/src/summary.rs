//! One value under a name: what every kind of summary is made of.

use tapeflow_core::{Result, Tensor};

use crate::tensor::{self, Data};
use crate::wire::{Message, Value, fields};
use crate::{histogram, image, scalar, text};

/// A value under a name, and what shows it: `Summary.Value` of TensorFlow.
///
/// [`SummaryWriter::write`](crate::SummaryWriter::write) writes it at a step. The writer's methods
/// [`scalar`](crate::SummaryWriter::scalar), [`image`](crate::SummaryWriter::image) and so on make
/// and write the common ones.
///
/// ```
/// use tapeflow_summary::{Summary, create_file_writer};
///
/// # let dir = std::env::temp_dir().join(format!("tapeflow-summary-{}", std::process::id()));
/// let writer = create_file_writer(&dir)?;
/// let weights = Summary::histogram("weights", [0.5f32, -0.5, 0.1], 50)?;
/// writer.write(weights.with_description("of the *first* layer"), 7)?;
/// # std::fs::remove_dir_all(dir).unwrap();
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Summary {
    /// The name under which TensorBoard shows it. What is before a slash is a group.
    pub tag: String,
    /// The part of TensorBoard that shows it, such as `scalars`.
    pub plugin: String,
    /// What that part knows about it.
    pub content: Vec<u8>,
    /// Words about it, Markdown. TensorBoard shows those of the first summary of a name.
    pub description: String,
    /// The value.
    pub data: Data,
}

impl Summary {
    pub(crate) fn new(tag: impl Into<String>, plugin: &str, data: Data) -> Summary {
        Summary {
            tag: tag.into(),
            plugin: plugin.into(),
            content: Vec::new(),
            description: String::new(),
            data,
        }
    }

    /// A number, shown as a point of a curve.
    ///
    /// # Errors
    /// A tensor with axes; a tensor of a function being traced, which has no values yet.
    pub fn scalar(name: impl Into<String>, data: impl Into<Tensor>) -> Result<Summary> {
        Ok(Summary::new(name, scalar::PLUGIN, scalar::data(&data.into())?))
    }

    /// How the values of a tensor are distributed, in `buckets` of equal width between the least
    /// and the largest. Where they are all the same, the last bucket has them all; where one is not
    /// a number, neither are the edges, and nothing is counted.
    ///
    /// # Errors
    /// A tensor of a function being traced, which has no values yet.
    pub fn histogram(
        name: impl Into<String>,
        data: impl Into<Tensor>,
        buckets: usize,
    ) -> Result<Summary> {
        Ok(Summary::new(name, histogram::PLUGIN, histogram::data(&data.into(), buckets)?))
    }

    /// The first `max_outputs` of images `[k, height, width, channels]`: floats from 0 to 1, or
    /// integers of which the whole positive range counts; what is outside is clipped. 1 channel is
    /// grey, 2 are grey and alpha, 3 RGB, 4 RGBA.
    ///
    /// # Errors
    /// Another shape; `bool`; a tensor of a function being traced, which has no values yet.
    pub fn image(
        name: impl Into<String>,
        data: impl Into<Tensor>,
        max_outputs: usize,
    ) -> Result<Summary> {
        Ok(Summary::new(name, image::PLUGIN, image::data(&data.into(), max_outputs)?))
    }

    /// A text, shown as Markdown.
    pub fn text(name: impl Into<String>, data: impl Into<String>) -> Summary {
        Summary::new(name, text::PLUGIN, text::data(data.into()))
    }

    /// The same with words about it, Markdown.
    pub fn with_description(self, description: impl Into<String>) -> Summary {
        Summary { description: description.into(), ..self }
    }

    /// `Summary.Value`.
    pub(crate) fn encode(&self) -> Result<Message> {
        let mut plugin = Message::new().bytes(1, &self.plugin);
        if !self.content.is_empty() {
            plugin = plugin.bytes(2, &self.content);
        }
        let mut metadata = Message::new().message(1, plugin);
        if !self.description.is_empty() {
            metadata = metadata.bytes(3, &self.description);
        }
        let value = tensor::encode(&self.data)
            .map_err(|error| error.context(format_args!("summary {:?}", self.tag)))?;
        Ok(Message::new().bytes(1, &self.tag).message(8, value).message(9, metadata))
    }

    /// What a `Summary.Value` holds; none where it is an image or a histogram in a field of its own,
    /// as TensorFlow 1 wrote them.
    pub(crate) fn decode(message: &[u8]) -> Result<Option<Summary>> {
        let mut data = None;
        let mut summary = Summary::new("", "", Data::Tensor(Tensor::from(0.0f32)));
        for field in fields(message) {
            match field? {
                (1, value) => summary.tag = value.text(),
                // The number of TensorFlow 1 and of PyTorch.
                (2, Value::Fixed32(value)) => {
                    data = Some(Data::Tensor(Tensor::from(f32::from_le_bytes(value))));
                    if summary.plugin.is_empty() {
                        summary.plugin = scalar::PLUGIN.into();
                    }
                }
                (8, value) => data = Some(tensor::decode(value.bytes())?),
                (9, value) => summary.decode_metadata(value.bytes())?,
                _ => {}
            }
        }
        Ok(data.map(|data| Summary { data, ..summary }))
    }

    fn decode_metadata(&mut self, message: &[u8]) -> Result<()> {
        for field in fields(message) {
            match field? {
                (1, plugin) => {
                    for field in fields(plugin.bytes()) {
                        match field? {
                            (1, value) => self.plugin = value.text(),
                            (2, value) => self.content = value.bytes().to_vec(),
                            _ => {}
                        }
                    }
                }
                (3, value) => self.description = value.text(),
                _ => {}
            }
        }
        Ok(())
    }
}
