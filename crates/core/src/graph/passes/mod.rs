//! What rewrites a graph between tracing and planning: one file for each pass.
//!
//! A pass looks for a pattern and puts something better in its place. Each can be switched off;
//! the results agree within rounding with and without it.

mod batch_norm_conv;
mod batch_norm_relu_pool;
mod common_subexpressions;
mod constants;
mod conv_bias_relu_pool;
mod dead_code;
mod elementwise_chains;
mod matmul_bias_activation;
mod stable_cross_entropy;
mod variable_updates;
mod weight_panels;

use std::fmt;

use super::{Graph, Value};
use crate::error::{Error, Result};
use crate::ops::math::Add;
use crate::ops::nn::{BiasAdd, DataFormat};

/// A pass: its name, what it does in a few words, and the rewriting, which says what it changed.
struct Pass {
    name: &'static str,
    run: fn(&mut Graph) -> Result<Vec<String>>,
}

/// All passes, in the order in which they run.
const ALL: &[Pass] = &[
    Pass { name: "constants", run: constants::run },
    Pass { name: "common_subexpressions", run: common_subexpressions::run },
    Pass { name: "stable_cross_entropy", run: stable_cross_entropy::run },
    Pass { name: "conv_bias_relu_pool", run: conv_bias_relu_pool::run },
    Pass { name: "batch_norm_relu_pool", run: batch_norm_relu_pool::run },
    Pass { name: "batch_norm_conv", run: batch_norm_conv::run },
    Pass { name: "matmul_bias_activation", run: matmul_bias_activation::run },
    Pass { name: "variable_updates", run: variable_updates::run },
    Pass { name: "weight_panels", run: weight_panels::run },
    Pass { name: "elementwise_chains", run: elementwise_chains::run },
];

/// The pass that runs after each of them.
const DEAD_CODE: &str = "dead_code";

/// The passes that rewrite a [`function`](crate::function()); all of them unless told otherwise.
///
/// ```
/// use tapeflow_core::{Passes, Tensor, function, math};
///
/// let plain = function(|x: Tensor| math::exp(x)).with_passes(Passes::none());
/// assert_eq!(plain.call(Tensor::from(0.0f32))?.to_scalar::<f32>()?, 1.0);
/// assert!(Passes::all().without("constants").is_ok());
/// assert!(Passes::all().without("magic").unwrap_err().is_invalid_argument());
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passes(Vec<&'static str>);

impl Default for Passes {
    fn default() -> Passes {
        Passes::all()
    }
}

impl Passes {
    /// All passes.
    pub fn all() -> Passes {
        Passes(ALL.iter().map(|pass| pass.name).chain([DEAD_CODE]).collect())
    }

    /// No pass: the graph runs as it was traced.
    pub fn none() -> Passes {
        Passes(Vec::new())
    }

    /// The names of all passes, in the order in which they run.
    pub fn names() -> Vec<&'static str> {
        Passes::all().0
    }

    /// These passes without one of them.
    ///
    /// # Errors
    /// There is no pass of that name.
    pub fn without(mut self, name: &str) -> Result<Passes> {
        known(name)?;
        self.0.retain(|other| *other != name);
        Ok(self)
    }

    /// These passes and another one.
    ///
    /// # Errors
    /// There is no pass of that name.
    pub fn with(mut self, name: &str) -> Result<Passes> {
        self.0.push(known(name)?);
        Ok(self)
    }

    pub(super) fn run(&self, graph: &mut Graph) -> Result<Vec<Note>> {
        let mut notes = Vec::new();
        if !self.0.contains(&DEAD_CODE) {
            graph.keep_unneeded();
        }
        graph.drop_dead();
        let mut dropped = 0;
        for pass in ALL.iter().filter(|pass| self.0.contains(&pass.name)) {
            let changes = (pass.run)(graph)?;
            notes.extend(changes.into_iter().map(|change| Note { pass: pass.name, change }));
            dropped += dead_code::run(graph);
        }
        if dropped > 0 {
            let change = format!("dropped {dropped} ops that nothing needs any more");
            notes.push(Note { pass: DEAD_CODE, change });
        }
        Ok(notes)
    }
}

/// What a vector along the last axis is added to, and the vector, where a value is that sum.
fn bias_of(graph: &Graph, value: Value) -> Option<(Value, Value)> {
    if let Some((op, inputs)) = graph.op::<BiasAdd>(value) {
        return (op.data_format == DataFormat::Nhwc).then_some((inputs[0], inputs[1]));
    }
    let (_, &[x, y]) = graph.op::<Add>(value)? else { return None };
    let shape = graph.spec(value).shape;
    let fits = |x: Value, bias: Value| {
        graph.spec(x).shape == shape
            && shape.rank() >= 2
            && graph.spec(bias).shape.dims() == &shape[shape.rank() - 1..]
    };
    if fits(x, y) {
        return Some((x, y));
    }
    fits(y, x).then_some((y, x))
}

fn known(name: &str) -> Result<&'static str> {
    let found = Passes::names().into_iter().find(|pass| *pass == name);
    found.ok_or_else(|| {
        Error::invalid_argument(format!(
            "Passes: there is no pass {name:?}, only {}",
            Passes::names().join(", ")
        ))
    })
}

/// What a pass changed.
#[derive(Debug, Clone)]
pub(super) struct Note {
    pass: &'static str,
    change: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.pass, self.change)
    }
}
