//! Hyperparameters: what `tensorboard.plugins.hparams.api` writes.

use tapeflow_core::Tensor;

use crate::summary::Summary;
use crate::tensor::Data;
use crate::wire::Message;

const PLUGIN: &str = "hparams";
const VERSION: i64 = 0;

/// The value of a hyperparameter.
#[derive(Debug, Clone, PartialEq)]
pub enum HParam {
    /// A number.
    Number(f64),
    /// A switch.
    Bool(bool),
    /// A name.
    Text(String),
}

impl From<f64> for HParam {
    fn from(value: f64) -> HParam {
        HParam::Number(value)
    }
}

impl From<bool> for HParam {
    fn from(value: bool) -> HParam {
        HParam::Bool(value)
    }
}

impl From<&str> for HParam {
    fn from(value: &str) -> HParam {
        HParam::Text(value.into())
    }
}

impl HParam {
    /// `google.protobuf.Value`.
    fn encode(&self) -> Message {
        match self {
            HParam::Number(value) => Message::new().double(2, *value),
            HParam::Text(value) => Message::new().bytes(3, value),
            HParam::Bool(value) => Message::new().int(4, i64::from(*value)),
        }
    }

    /// The number of its `DataType`.
    fn data_type(&self) -> i64 {
        match self {
            HParam::Text(_) => 1,
            HParam::Bool(_) => 2,
            HParam::Number(_) => 3,
        }
    }
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// All was done.
    Success,
    /// It was stopped.
    Failure,
}

/// The hyperparameters and metrics that TensorBoard's table of runs shows.
///
/// ```
/// use tapeflow_summary::{Experiment, HParam};
///
/// # let dir = std::env::temp_dir().join(format!("tapeflow-config-{}", std::process::id()));
/// # let writer = tapeflow_summary::create_file_writer(&dir)?;
/// let experiment = Experiment::new()
///     .interval("learning_rate", 1e-4, 1.0)
///     .one_of("optimizer", &["sgd".into(), "adam".into()])
///     .metric("test/accuracy", "Test accuracy");
/// writer.hparams_config(&experiment)?;
/// # std::fs::remove_dir_all(dir).unwrap();
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Experiment {
    /// `HParamInfo` and `MetricInfo` messages.
    hparams: Vec<Message>,
    metrics: Vec<Message>,
}

impl Experiment {
    /// With nothing in it.
    pub fn new() -> Experiment {
        Experiment::default()
    }

    /// With a hyperparameter that has any value of the kind of `example`.
    pub fn hparam(mut self, name: &str, example: &HParam) -> Experiment {
        self.hparams.push(Message::new().bytes(1, name).int(4, example.data_type()));
        self
    }

    /// With a hyperparameter that is a number from `min` to `max`.
    pub fn interval(mut self, name: &str, min: f64, max: f64) -> Experiment {
        let interval = Message::new().double(1, min).double(2, max);
        let number = HParam::Number(min).data_type();
        self.hparams.push(Message::new().bytes(1, name).int(4, number).message(6, interval));
        self
    }

    /// With a hyperparameter that is one of `values`, all of one kind.
    pub fn one_of(mut self, name: &str, values: &[HParam]) -> Experiment {
        // `google.protobuf.ListValue`.
        let list = Message::new().each(values, |list, value| list.message(1, value.encode()));
        let kind = values.first().map_or(0, HParam::data_type);
        self.hparams.push(Message::new().bytes(1, name).int(4, kind).message(5, list));
        self
    }

    /// With a metric: the scalar `tag`, under a heading.
    pub fn metric(mut self, tag: &str, heading: &str) -> Experiment {
        let name = Message::new().bytes(2, tag);
        self.metrics.push(Message::new().message(1, name).bytes(3, heading));
        self
    }

    pub(crate) fn summary(&self, time: f64) -> Summary {
        let experiment = Message::new()
            .double(3, time)
            .each(&self.hparams, |message, info| message.message(4, info.clone()))
            .each(&self.metrics, |message, info| message.message(5, info.clone()));
        summary("_hparams_/experiment", 2, experiment)
    }
}

/// A run with these hyperparameters begins.
pub(crate) fn session_start(hparams: &[(&str, HParam)], time: f64) -> Summary {
    let mut sorted = hparams.to_vec();
    sorted.sort_by_key(|(name, _)| *name);
    let info = Message::new()
        .each(&sorted, |info, (name, value)| {
            info.message(1, Message::new().bytes(1, name).message(2, value.encode()))
        })
        .bytes(4, group(&sorted))
        .double(5, time);
    summary("_hparams_/session_start_info", 3, info)
}

/// The run that began in this directory is over.
pub(crate) fn session_end(status: Status, time: f64) -> Summary {
    let status = match status {
        Status::Success => 1,
        Status::Failure => 2,
    };
    summary("_hparams_/session_end_info", 4, Message::new().int(1, status).double(2, time))
}

/// The name that runs with the same hyperparameters share, for they are tries of one trial: the
/// FNV-1a hash of all.
fn group(sorted: &[(&str, HParam)]) -> String {
    let text = format!("{sorted:?}");
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

/// The summary that holds a field of `HParamsPluginData`; it has no value.
fn summary(tag: &str, field: u64, message: Message) -> Summary {
    let content = Message::new().int(1, VERSION).message(field, message).into_bytes();
    let nothing = Data::Tensor(Tensor::from([0.0f32; 0]));
    Summary { content, ..Summary::new(tag, PLUGIN, nothing) }
}
