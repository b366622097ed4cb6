//! From a graph to the steps that compute it: their order, where every value lies, and which
//! variables are updated in place.

use std::ops::Range;
use std::sync::Arc;

use super::{Graph, Source, Value};
use crate::error::{Error, Result};
use crate::op::Op;
use crate::shape::Spec;
use crate::tensor::Tensor;
use crate::variable::{Held, Variable, panels_spec};

/// Values begin at multiples of this, so that vectors never straddle cache lines.
const ALIGNMENT: usize = 64;

/// Where a value lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Argument(usize),
    Constant(usize),
    Variable(usize),
    RandomStart(usize),
    /// At this byte of the arena.
    Arena(usize),
}

/// A value, or the part of one that a view is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Location {
    pub(super) place: Place,
    /// Bytes from the start of the place.
    pub(super) start: usize,
    pub(super) bytes: usize,
}

impl Location {
    /// The part of the arena that it is, if it lies there.
    pub(super) fn in_arena(&self) -> Option<Range<usize>> {
        let Place::Arena(offset) = self.place else { return None };
        let start = offset + self.start;
        Some(start..start + self.bytes)
    }
}

/// One op, ready to run.
pub(super) struct Step {
    pub(super) op: Arc<dyn Op>,
    /// Where the op [updates](Op::updates) variables in place: which. Else it writes `outputs`.
    pub(super) in_place: Vec<usize>,
    pub(super) inputs: Vec<Location>,
    pub(super) input_specs: Vec<Spec>,
    /// Parts of the arena.
    pub(super) outputs: Vec<Range<usize>>,
    pub(super) output_specs: Vec<Spec>,
}

/// What a variable holds once the steps are done, where no step has written it in place.
pub(super) struct Store {
    pub(super) variable: usize,
    pub(super) from: Location,
}

/// The steps of a graph and the places of its values.
pub(super) struct Plan {
    pub(super) steps: Vec<Step>,
    pub(super) constants: Vec<Tensor>,
    /// Those read or written.
    pub(super) variables: Vec<Variable>,
    /// For each variable, whether ops take it in panels.
    pub(super) in_panels: Vec<bool>,
    pub(super) draws: Vec<u128>,
    pub(super) results: Vec<(Location, Spec)>,
    pub(super) stores: Vec<Store>,
    arena_bytes: usize,
    /// What the arena would take if no two values shared a place.
    unshared_bytes: usize,
}

/// A value in the arena: its size and the steps from the one that computes it to the last that
/// reads it.
struct Interval {
    value: Value,
    bytes: usize,
    first: usize,
    last: usize,
}

impl Plan {
    pub(super) fn new(graph: &Graph) -> Result<Plan> {
        let mut in_place = in_place_updates(graph);
        let ordered =
            |in_place: &[usize]| graph.order(&|node| readers_before(graph, in_place, node));
        let order = match ordered(&in_place) {
            Some(order) => order,
            None => {
                // Updates wait for each other: of those, only the ones in panels stay in place.
                // Nothing reads what they compute, and no other update reads their old value.
                let others = in_place.clone();
                in_place.retain(|&node| {
                    is_in_panels(graph, node)
                        || !has_readers(graph, node) && !reads_old_of_another(graph, &others, node)
                });
                ordered(&in_place).expect("a trace has no circles")
            }
        };
        Layout::new(graph, &order, &in_place)?.into_plan(&order, &in_place)
    }

    pub(super) fn arena_bytes(&self) -> usize {
        self.arena_bytes
    }

    /// What a variable holds, in the order in which the steps take it.
    pub(super) fn held(&self, variable: usize) -> Result<Held> {
        match self.in_panels[variable] {
            true => self.variables[variable].stored_panels().map(Held::Panels),
            false => Ok(Held::Plain(self.variables[variable].stored())),
        }
    }

    /// A line about order, memory and updates.
    pub(super) fn explain(&self) -> String {
        let in_place: Vec<_> = self
            .steps
            .iter()
            .flat_map(|step| &step.in_place)
            .map(|&variable| format!("{:?}", self.variables[variable].name()))
            .collect();
        format!(
            "plan: {} steps; values in between share {:.1} MB of memory, {:.1} MB if each had its \
             own; updated in place: {}",
            self.steps.len(),
            self.arena_bytes as f64 / 1e6,
            self.unshared_bytes as f64 / 1e6,
            if in_place.is_empty() { "none".into() } else { in_place.join(", ") }
        )
    }
}

/// The nodes that may write over variables: each one's old values come from variables whose new
/// ones it computes, and nothing else keeps the old ones until the end.
fn in_place_updates(graph: &Graph) -> Vec<usize> {
    let may = |&node: &usize| {
        let Source::Op(op) = &graph.nodes[node].source else { return false };
        let inputs = &graph.nodes[node].inputs;
        let updates = op.updates();
        updates > 0
            && (0..updates).all(|output| {
                let old = inputs[output];
                let Source::Variable(variable) = &graph.nodes[old.node].source else {
                    return false;
                };
                let becomes = |(updated, new): &(Variable, Value)| {
                    updated.id() == variable.id() && *new == Value { node, output }
                };
                let is_old = |value: &Value| root(graph, *value) == old;
                graph.updates.iter().any(becomes)
                    && !graph.ends().any(is_old)
                    && inputs.iter().filter(|input| is_old(input)).count() == 1
            })
    };
    (0..graph.nodes.len()).filter(may).collect()
}

/// Whether another node or a result takes what a node computes.
fn has_readers(graph: &Graph, node: usize) -> bool {
    let inputs = graph.nodes.iter().flat_map(|node| &node.inputs);
    inputs.chain(&graph.results).any(|value| value.node == node)
}

/// Whether a node updates a variable in panels.
fn is_in_panels(graph: &Graph, node: usize) -> bool {
    match &graph.nodes[graph.nodes[node].inputs[0].node].source {
        Source::Variable(variable) => graph.panels.contains(&variable.id()),
        _ => false,
    }
}

/// Whether a node reads a value that another one of `in_place` writes over.
fn reads_old_of_another(graph: &Graph, in_place: &[usize], node: usize) -> bool {
    in_place
        .iter()
        .any(|&other| other != node && readers_before(graph, in_place, other).contains(&node))
}

/// What has to run before a node because it reads the values that the node writes over.
fn readers_before(graph: &Graph, in_place: &[usize], node: usize) -> Vec<usize> {
    if !in_place.contains(&node) {
        return Vec::new();
    }
    let Source::Op(op) = &graph.nodes[node].source else { return Vec::new() };
    let old = &graph.nodes[node].inputs[..op.updates()];
    let reads = |other: &usize| {
        *other != node
            && graph.nodes[*other].inputs.iter().any(|input| old.contains(&root(graph, *input)))
    };
    (0..graph.nodes.len()).filter(reads).collect()
}

/// The value that a view is a part of, or the value itself.
fn root(graph: &Graph, mut value: Value) -> Value {
    while let Some((input, _)) = viewed(graph, value) {
        value = input;
    }
    value
}

/// For a view, what it is a part of and the byte at which it begins.
fn viewed(graph: &Graph, value: Value) -> Option<(Value, usize)> {
    let node = &graph.nodes[value.node];
    let Source::Op(op) = &node.source else { return None };
    let specs: Vec<Spec> = node.inputs.iter().map(|&input| *graph.spec(input)).collect();
    let offset = op.view(&specs)?;
    Some((node.inputs[0], offset * node.outputs[0].dtype.size()))
}

/// The places of all values.
struct Layout<'a> {
    graph: &'a Graph,
    /// By node, then by output.
    locations: Vec<Vec<Location>>,
    constants: Vec<Tensor>,
    variables: Vec<Variable>,
    arena_bytes: usize,
    unshared_bytes: usize,
}

impl<'a> Layout<'a> {
    fn new(graph: &'a Graph, order: &[usize], in_place: &[usize]) -> Result<Layout<'a>> {
        let mut layout = Layout {
            graph,
            locations: vec![Vec::new(); graph.nodes.len()],
            constants: Vec::new(),
            variables: Vec::new(),
            arena_bytes: 0,
            unshared_bytes: 0,
        };
        let intervals = intervals(graph, order, in_place);
        let (offsets, arena_bytes) = place(&intervals);
        layout.unshared_bytes = intervals.iter().map(|interval| interval.bytes).sum();
        layout.arena_bytes = arena_bytes;
        if arena_bytes > isize::MAX as usize {
            return Err(Error::resource_exhausted(format!(
                "tf::function: the values in between take {arena_bytes} bytes"
            )));
        }
        for &node in order {
            let located = (0..graph.nodes[node].outputs.len()).map(|output| {
                let value = Value { node, output };
                let at = intervals.iter().position(|interval| interval.value == value);
                layout.locate(value, at.map(|at| offsets[at]))
            });
            let located = located.collect::<Result<Vec<_>>>()?;
            layout.locations[node] = located;
        }
        for (variable, _) in &graph.updates {
            layout.variable(variable)?;
        }
        Ok(layout)
    }

    fn locate(&mut self, value: Value, offset: Option<usize>) -> Result<Location> {
        let node = &self.graph.nodes[value.node];
        let bytes = node.outputs[value.output].num_bytes();
        let at = |place| Location { place, start: 0, bytes };
        if let Some(offset) = offset {
            return Ok(at(Place::Arena(offset)));
        }
        if let Some((input, start)) = viewed(self.graph, value) {
            let whole = self.locations[input.node][input.output];
            return Ok(Location { start: whole.start + start, bytes, ..whole });
        }
        Ok(at(match &node.source {
            Source::Argument(index) => Place::Argument(*index),
            Source::RandomStart(index) => Place::RandomStart(*index),
            Source::Constant(tensor) => {
                self.constants.push(tensor.clone());
                Place::Constant(self.constants.len() - 1)
            }
            Source::Variable(variable) => {
                let place = Place::Variable(self.variable(variable)?);
                let bytes = held_bytes(self.graph, variable);
                return Ok(Location { place, start: 0, bytes });
            }
            // What is in no interval was written over the input of the same index.
            Source::Op(_) => self.locations[node.inputs[value.output].node][0].place,
        }))
    }

    fn variable(&mut self, variable: &Variable) -> Result<usize> {
        if variable.holds_symbol() {
            return Err(Error::traced(format!(
                "tf::function: the variable {:?} was made inside, of a value that is not computed \
                 yet; make variables outside",
                variable.name()
            )));
        }
        let known = self.variables.iter().position(|other| other.id() == variable.id());
        Ok(known.unwrap_or_else(|| {
            self.variables.push(variable.clone());
            self.variables.len() - 1
        }))
    }

    fn into_plan(self, order: &[usize], in_place: &[usize]) -> Result<Plan> {
        let Layout { graph, locations, variables, .. } = self;
        let location = |value: &Value| locations[value.node][value.output];
        let variable_of = |variable: &Variable| {
            let known = variables.iter().position(|other| other.id() == variable.id());
            known.expect("every updated variable was listed")
        };
        let mut steps = Vec::new();
        for &index in order {
            let node = &graph.nodes[index];
            let Source::Op(op) = &node.source else { continue };
            if viewed(graph, Value { node: index, output: 0 }).is_some() {
                continue;
            }
            let over = in_place.contains(&index);
            let outputs = &locations[index];
            let variable = |location: &Location| match location.place {
                Place::Variable(variable) => Some(variable),
                _ => None,
            };
            steps.push(Step {
                op: op.clone(),
                in_place: if over { outputs.iter().filter_map(variable).collect() } else { vec![] },
                inputs: node.inputs.iter().map(location).collect(),
                input_specs: node.inputs.iter().map(|input| *graph.spec(*input)).collect(),
                outputs: outputs.iter().filter_map(Location::in_arena).collect(),
                output_specs: node.outputs.clone(),
            });
        }
        let done = |new: &Value| in_place.contains(&new.node);
        let stores = graph.updates.iter().filter(|(_, new)| !done(new));
        Ok(Plan {
            steps,
            stores: stores
                .map(|(variable, new)| Store {
                    variable: variable_of(variable),
                    from: location(new),
                })
                .collect(),
            in_panels: variables.iter().map(|v| graph.panels.contains(&v.id())).collect(),
            results: graph.results.iter().map(|v| (location(v), *graph.spec(*v))).collect(),
            draws: graph.draws.clone(),
            constants: self.constants,
            arena_bytes: self.arena_bytes,
            unshared_bytes: self.unshared_bytes,
            variables,
        })
    }
}

/// The bytes of a variable's value as ops take it.
fn held_bytes(graph: &Graph, variable: &Variable) -> usize {
    match (graph.panels.contains(&variable.id()), variable.shape().dims()) {
        (true, &[rows, cols]) => panels_spec(rows, cols).num_bytes(),
        _ => variable.spec().num_bytes(),
    }
}

/// The values that need a place in the arena, and from which to which step.
fn intervals(graph: &Graph, order: &[usize], in_place: &[usize]) -> Vec<Interval> {
    let mut intervals: Vec<Interval> = Vec::new();
    let extend = |intervals: &mut Vec<Interval>, value: Value, step: usize| {
        let value = root(graph, value);
        if let Some(interval) = intervals.iter_mut().find(|interval| interval.value == value) {
            interval.last = step;
        }
    };
    for (step, &index) in order.iter().enumerate() {
        let node = &graph.nodes[index];
        for &input in &node.inputs {
            extend(&mut intervals, input, step);
        }
        let is_view = viewed(graph, Value { node: index, output: 0 }).is_some();
        if !matches!(node.source, Source::Op(_)) || is_view || in_place.contains(&index) {
            continue;
        }
        for (output, spec) in node.outputs.iter().enumerate() {
            let value = Value { node: index, output };
            let bytes = spec.num_bytes().next_multiple_of(ALIGNMENT);
            intervals.push(Interval { value, bytes, first: step, last: step });
        }
    }
    for &value in graph.ends() {
        extend(&mut intervals, value, order.len());
    }
    intervals
}

/// A byte of the arena for each interval, largest first, each at the lowest place that is free
/// while it lives; and the bytes of the arena.
fn place(intervals: &[Interval]) -> (Vec<usize>, usize) {
    let mut by_size: Vec<usize> = (0..intervals.len()).collect();
    by_size.sort_by_key(|&i| std::cmp::Reverse(intervals[i].bytes));
    let mut offsets = vec![0; intervals.len()];
    let mut placed: Vec<usize> = Vec::new();
    let mut arena = 0;
    for i in by_size {
        let interval = &intervals[i];
        let overlaps = |&other: &usize| {
            let other = &intervals[other];
            interval.first <= other.last && other.first <= interval.last
        };
        let mut taken: Vec<Range<usize>> = placed
            .iter()
            .filter(|other| overlaps(other))
            .map(|&other| offsets[other]..offsets[other] + intervals[other].bytes)
            .collect();
        taken.sort_by_key(|range| range.start);
        let mut offset = 0;
        for range in taken {
            if offset + interval.bytes <= range.start {
                break;
            }
            offset = offset.max(range.end);
        }
        offsets[i] = offset;
        arena = arena.max(offset + interval.bytes);
        placed.push(i);
    }
    (offsets, arena)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interval(bytes: usize, first: usize, last: usize) -> Interval {
        Interval { value: Value { node: 0, output: 0 }, bytes, first, last }
    }

    #[test]
    fn values_share_a_place_unless_they_live_at_the_same_time() {
        let (offsets, arena) =
            place(&[interval(64, 0, 1), interval(128, 1, 2), interval(64, 2, 3)]);
        assert_eq!(offsets, [128, 0, 128]);
        assert_eq!(arena, 192);
        let (offsets, arena) = place(&[interval(64, 0, 1), interval(64, 2, 3)]);
        assert_eq!((offsets, arena), (vec![0, 0], 64));
    }
}
