//! The executor of plans. After a plan's first run it allocates nothing, unless the caller still
//! holds a result or a variable's value of an earlier call.

use std::ops::Range;
use std::sync::Arc;

use smallvec::SmallVec;
use tapeflow_kernels::arena::Arena;

use super::plan::{Location, Place, Plan, Step};
use super::trace;
use crate::error::{Error, Result};
use crate::execute::{Few, allocate};
use crate::op::{Array, ArrayMut};
use crate::random;
use crate::shape::Spec;
use crate::structure::Structure;
use crate::tensor::Tensor;
use crate::variable::{self, Held};

/// A list that is on the stack for every op that a pass makes.
type Many<T> = SmallVec<[T; 16]>;

/// What a plan needs while it runs, kept between runs.
pub(super) struct State {
    arena: Arena,
    values: Values,
    /// Those of the last run, written over where the caller has dropped them.
    results: Vec<Option<Tensor>>,
}

/// The values outside of the arena.
struct Values {
    arguments: Vec<Tensor>,
    variables: Vec<Option<Held>>,
    constants: Vec<Tensor>,
    random_starts: Vec<random::start::State>,
}

impl Values {
    fn bytes(&self, location: &Location) -> Result<&[u8]> {
        let bytes = match location.place {
            Place::Argument(index) => self.arguments[index].bytes()?,
            Place::Constant(index) => self.constants[index].bytes()?,
            Place::Variable(index) => self.variable(index)?.bytes()?,
            Place::RandomStart(index) => bytemuck::bytes_of(&self.random_starts[index]),
            Place::Arena(_) => unreachable!("the arena holds it"),
        };
        Ok(&bytes[location.start..][..location.bytes])
    }

    fn variable(&self, index: usize) -> Result<&Held> {
        // It is gone only while its update runs, which the plan gives no other reader.
        self.variables[index]
            .as_ref()
            .ok_or_else(|| Error::invalid_argument("tf::function: a variable's value is in use"))
    }

    fn tensor(&self, location: &Location, spec: &Spec) -> Result<Option<Tensor>> {
        let whole = match location.place {
            Place::Argument(index) => &self.arguments[index],
            Place::Constant(index) => &self.constants[index],
            Place::Variable(index) => match self.variable(index)? {
                Held::Plain(tensor) => tensor,
                Held::Panels(_) => return Err(Error::unsupported("panels are no result")),
            },
            Place::RandomStart(_) | Place::Arena(_) => return Ok(None),
        };
        whole.view(*spec, location.start / spec.dtype.size()).map(Some)
    }
}

impl State {
    pub(super) fn new(plan: &Plan) -> Result<State> {
        let arena = Arena::new(plan.arena_bytes()).map_err(|error| {
            Error::resource_exhausted(format!("tf::function: {error} for values in between"))
        })?;
        let values = Values {
            arguments: Vec::new(),
            variables: vec![None; plan.variables.len()],
            constants: plan.constants.clone(),
            random_starts: vec![[0; 3]; plan.draws.len()],
        };
        Ok(State { arena, values, results: vec![None; plan.results.len()] })
    }

    /// Runs the plan once; [`results`](State::results) are then there.
    pub(super) fn run(&mut self, plan: &Plan, arguments: &impl Structure) -> Result<()> {
        let outcome = self.load(plan, arguments).and_then(|()| {
            plan.steps.iter().try_for_each(|step| self.step(plan, step))?;
            self.keep_results(plan)?;
            self.store(plan)
        });
        // Nothing is held between runs that others could want to write over.
        self.values.arguments.clear();
        self.values.variables.fill(None);
        outcome
    }

    /// The tensors that the last run returned.
    pub(super) fn results(&self) -> impl Iterator<Item = Tensor> {
        self.results.iter().flatten().cloned()
    }

    /// Lets go of results that share the memory of variables, arguments or constants.
    pub(super) fn forget_shared(&mut self, plan: &Plan) {
        for (result, (location, _)) in self.results.iter_mut().zip(&plan.results) {
            if !matches!(location.place, Place::Arena(_) | Place::RandomStart(_)) {
                *result = None;
            }
        }
    }

    fn load(&mut self, plan: &Plan, arguments: &impl Structure) -> Result<()> {
        let values = &mut self.values;
        // What a run that panicked has left.
        values.arguments.clear();
        let mut left_behind = None;
        arguments.visit(&mut |tensor| {
            if tensor.symbol().is_some() {
                left_behind = Some(trace::left_behind("tf::function: an argument", tensor.spec()));
            }
            values.arguments.push(tensor.clone());
        });
        for (index, value) in values.variables.iter_mut().enumerate() {
            *value = Some(plan.held(index)?);
        }
        for (start, &blocks) in values.random_starts.iter_mut().zip(&plan.draws) {
            *start = random::take_global_state(blocks);
        }
        left_behind.map_or(Ok(()), Err)
    }

    fn step(&mut self, plan: &Plan, step: &Step) -> Result<()> {
        for &variable in &step.in_place {
            self.values.variables[variable] = None;
        }
        let updates = step.op.updates();
        // What is written over in place is not read besides.
        let skipped = if step.in_place.is_empty() { 0 } else { updates };
        let inputs = &step.inputs[skipped..];
        let read: Many<Range<usize>> = inputs.iter().filter_map(Location::in_arena).collect();
        let (written, read) = self.arena.parts(&step.outputs, &read);
        let mut read = read.into_iter();
        let mut arrays: Many<Array<'_>> = SmallVec::new();
        for (location, spec) in inputs.iter().zip(&step.input_specs[skipped..]) {
            let bytes = match location.place {
                Place::Arena(_) => read.next().expect("each input in the arena has a part"),
                _ => self.values.bytes(location)?,
            };
            arrays.push(Array::new(spec, bytes));
        }
        if !step.in_place.is_empty() {
            let run = |values: &mut [ArrayMut<'_>]| step.op.run(&arrays, values);
            match step.in_place[..] {
                [variable] if plan.in_panels[variable] => {
                    variable::write_panels(&plan.variables[variable], run)?;
                }
                _ => {
                    let variables = step.in_place.iter().map(|&index| &plan.variables[index]);
                    variable::write(&variables.collect::<Few<_>>(), run)?;
                }
            }
            drop(arrays);
            for &variable in &step.in_place {
                self.values.variables[variable] = Some(plan.held(variable)?);
            }
            return Ok(());
        }
        let mut outputs: Many<ArrayMut<'_>> = SmallVec::new();
        for (i, (bytes, spec)) in written.into_iter().zip(&step.output_specs).enumerate() {
            if i < updates {
                bytes.copy_from_slice(arrays[i].bytes());
            }
            outputs.push(ArrayMut::new(spec, bytes));
        }
        step.op.run(&arrays[updates..], &mut outputs)
    }

    fn keep_results(&mut self, plan: &Plan) -> Result<()> {
        for (result, (location, spec)) in self.results.iter_mut().zip(&plan.results) {
            if let Some(tensor) = self.values.tensor(location, spec)? {
                *result = Some(tensor);
                continue;
            }
            let bytes = part(&mut self.arena, &self.values, location)?;
            let reused = result.as_mut().and_then(Tensor::renewed_buffer);
            if let Some(buffer) = reused {
                buffer.as_mut_slice::<u8>()[..bytes.len()].copy_from_slice(bytes);
                continue;
            }
            let mut buffer = allocate(spec)?;
            buffer.as_mut_slice::<u8>()[..bytes.len()].copy_from_slice(bytes);
            *result = Some(Tensor::from_buffer(*spec, Arc::new(buffer)));
        }
        Ok(())
    }

    fn store(&mut self, plan: &Plan) -> Result<()> {
        for store in &plan.stores {
            let variable = &plan.variables[store.variable];
            if let Some(tensor) = self.values.tensor(&store.from, variable.spec())? {
                variable.store(tensor);
                continue;
            }
            // The clone taken at the start would keep the variable from being written in place; a
            // later store of the old value would miss it, so only the last one lets go.
            let later = plan.stores.iter().any(|other| {
                other.variable != store.variable
                    && other.from.place == Place::Variable(store.variable)
            });
            if !later {
                self.values.variables[store.variable] = None;
            }
            let bytes = part(&mut self.arena, &self.values, &store.from)?;
            variable::write(&[variable], |values| {
                values[0].bytes().copy_from_slice(bytes);
                Ok(())
            })?;
        }
        Ok(())
    }
}

/// The bytes of a value that is a copy away from the caller.
fn part<'a>(arena: &'a mut Arena, values: &'a Values, location: &Location) -> Result<&'a [u8]> {
    match location.in_arena() {
        Some(part) => {
            let (_, mut read) = arena.parts(&[], std::slice::from_ref(&part));
            Ok(read.remove(0))
        }
        None => values.bytes(location),
    }
}
