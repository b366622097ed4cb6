//! The user's side of compiled functions.

use std::cell::RefCell;
use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::passes::{Note, Passes};
use super::plan::Plan;
use super::run::State;
use super::{Graph, trace};
use crate::error::{Error, Result};
use crate::execute::Few;
use crate::shape::Spec;
use crate::structure::Structure;
use crate::tape;
use crate::tensor::Tensor;

/// Compiles a computation, like `tf.function`.
///
/// The closure takes and returns a [`Structure`] of tensors. The first [`call`](Function::call)
/// with arguments of a new signature, that is other dtypes or shapes, runs it once on symbolic
/// tensors to record a graph: the ops it applies, gradients it takes, variables it reads and
/// updates, random numbers it draws from the global generator. The graph is rewritten (see
/// [`Passes`]) and planned; this and every later call then runs the plan.
///
/// What is not an op is done once, when the closure is traced: control flow of Rust is unrolled,
/// a `println!` prints once, and a tensor captured from outside is a constant. A value read inside
/// (`to_scalar`, `as_slice`) is an error that names its place.
///
/// Called where a tape records, or from inside another compiled function, the closure just runs as
/// a part of that. Any number of threads may call it.
///
/// ```
/// use tapeflow_core::optimizers::SGD;
/// use tapeflow_core::{GradientTape, Tensor, Variable, function, math};
///
/// let w = Variable::named("w", [1.0f32, 2.0]);
/// let optimizer = SGD::new(0.25);
/// let step = function({
///     let w = w.clone();
///     move |x: Tensor| {
///         let tape = GradientTape::new();
///         let loss = math::reduce_sum(math::square(math::subtract(&w, x)?)?, ..)?;
///         let gradient = tape.gradient(&loss, &w)?;
///         optimizer.apply_gradients([(gradient, &w)])?;
///         Ok(loss)
///     }
/// });
/// assert_eq!(step.call(Tensor::from([0.0f32, 0.0]))?.to_scalar::<f32>()?, 5.0);
/// assert_eq!(step.call(Tensor::from([0.0f32, 0.0]))?.to_scalar::<f32>()?, 1.25);
/// assert_eq!(w.value().to_vec::<f32>()?, [0.25, 0.5]);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
pub fn function<A, R, F>(closure: F) -> Function<A, R, F>
where
    A: Structure,
    R: Structure,
    F: Fn(A) -> Result<R>,
{
    Function {
        closure,
        passes: Passes::default(),
        compiled: Mutex::new(Compiled { done: Vec::new(), under_way: Vec::new() }),
        traced: Condvar::new(),
        arguments: PhantomData,
    }
}

/// A computation that is compiled for each signature it is called with; made by
/// [`function`](function()).
pub struct Function<A, R, F> {
    closure: F,
    passes: Passes,
    compiled: Mutex<Compiled<R>>,
    /// Told whenever a trace is over.
    traced: Condvar,
    arguments: PhantomData<fn(A)>,
}

/// What a function has been compiled for.
struct Compiled<R> {
    done: Vec<(Signature, Arc<ConcreteFunction<R>>)>,
    /// The signatures that a thread traces.
    under_way: Vec<Signature>,
}

impl<R> Compiled<R> {
    fn find(&self, signature: &Signature) -> Option<Arc<ConcreteFunction<R>>> {
        let found = self.done.iter().find(|(known, _)| known == signature);
        found.map(|(_, concrete)| concrete.clone())
    }
}

thread_local! {
    /// The functions that this thread traces, by address, the innermost last.
    static TRACES: RefCell<Vec<(usize, Signature)>> = const { RefCell::new(Vec::new()) };
}

/// What one compilation serves: the specs of all components, and what the type leaves open.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Signature {
    specs: Few<Spec>,
    lengths: Few<usize>,
}

impl Signature {
    fn of(arguments: &impl Structure) -> Signature {
        let mut signature = Signature { specs: Few::new(), lengths: Few::new() };
        arguments.visit(&mut |tensor| signature.specs.push(*tensor.spec()));
        arguments.visit_lengths(&mut |length| signature.lengths.push(length));
        signature
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let specs: Vec<_> = self.specs.iter().map(Spec::to_string).collect();
        write!(f, "({})", specs.join(", "))
    }
}

impl<A, R, F> Function<A, R, F>
where
    A: Structure,
    R: Structure,
    F: Fn(A) -> Result<R>,
{
    /// The same function, rewritten by these passes alone.
    pub fn with_passes(mut self, passes: Passes) -> Self {
        self.passes = passes;
        self.lock().done.clear();
        self
    }

    /// Computes the function.
    ///
    /// # Errors
    /// Those of the closure, when it is traced; values that an op refuses, such as a label outside
    /// its range: then some variables may have been updated and others not.
    pub fn call(&self, arguments: A) -> Result<R> {
        if trace::is_active() || tape::is_recording() {
            return (self.closure)(arguments);
        }
        self.get_concrete_function(&arguments)?.call(&arguments)
    }

    /// The compilation that serves arguments like these, made now if it is not there yet.
    ///
    /// One thread traces while others that need the same wait for it, unless they trace a function
    /// themselves: they trace this one too, since the two might wait for each other.
    ///
    /// # Errors
    /// Those of the closure; a closure that asks for the compilation being made of it.
    pub fn get_concrete_function(&self, arguments: &A) -> Result<Arc<ConcreteFunction<R>>> {
        let signature = Signature::of(arguments);
        let mut compiled = self.lock();
        loop {
            if let Some(found) = compiled.find(&signature) {
                return Ok(found);
            }
            let traces = TRACES.with_borrow(|traces| !traces.is_empty());
            if traces || !compiled.under_way.contains(&signature) {
                break;
            }
            compiled = self.traced.wait(compiled).unwrap_or_else(PoisonError::into_inner);
        }
        compiled.under_way.push(signature.clone());
        drop(compiled);
        // Not held while the closure runs, which may look at this function or at others.
        let _under_way = UnderWay { function: self, signature: &signature };
        let concrete = Arc::new(self.compile(arguments, &signature)?);
        let mut compiled = self.lock();
        Ok(compiled.find(&signature).unwrap_or_else(|| {
            compiled.done.push((signature.clone(), concrete.clone()));
            concrete
        }))
    }

    /// The graph of each signature called so far, as text.
    pub fn graph(&self) -> String {
        self.each(|concrete| concrete.graph().to_string())
    }

    /// For each signature called so far, what was rewritten into what, and the memory planned.
    pub fn explain(&self) -> String {
        self.each(ConcreteFunction::explain)
    }

    fn each(&self, text: impl Fn(&ConcreteFunction<R>) -> String) -> String {
        let compiled = self.lock();
        let texts = compiled
            .done
            .iter()
            .map(|(signature, concrete)| format!("signature {signature}\n{}", text(concrete)));
        texts.collect::<Vec<_>>().join("\n")
    }

    fn compile(&self, arguments: &A, signature: &Signature) -> Result<ConcreteFunction<R>> {
        let work = |symbols: &[Tensor]| {
            let mut symbols = symbols.iter();
            let arguments = arguments.map_components(&mut |_| {
                Ok(symbols.next().expect("there is a symbol for each component").clone())
            })?;
            (self.closure)(arguments)
        };
        let results = |returned: &R| returned.components().into_iter().cloned().collect();
        let _traces = Traces::begin(std::ptr::from_ref(self).addr(), signature)?;
        let (traced, returned) = trace::trace(&signature.specs, work, results)?;
        let mut graph = traced.clone();
        let notes = self.passes.run(&mut graph)?;
        let plan = Plan::new(&graph)?;
        let state = Mutex::new(State::new(&plan)?);
        Ok(ConcreteFunction { traced, graph, plan, notes, returned, state })
    }
}

impl<A, R, F> Function<A, R, F> {
    fn lock(&self) -> MutexGuard<'_, Compiled<R>> {
        self.compiled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets those who wait for a trace go on once it is over, also where it failed or panicked.
struct UnderWay<'a, A, R, F> {
    function: &'a Function<A, R, F>,
    signature: &'a Signature,
}

impl<A, R, F> Drop for UnderWay<'_, A, R, F> {
    fn drop(&mut self) {
        let mut compiled = self.function.lock();
        let place = compiled.under_way.iter().position(|other| other == self.signature);
        place.map(|place| compiled.under_way.swap_remove(place));
        drop(compiled);
        self.function.traced.notify_all();
    }
}

/// An entry of [`TRACES`], for as long as it lives.
struct Traces;

impl Traces {
    /// # Errors
    /// This thread is at it already.
    fn begin(function: usize, signature: &Signature) -> Result<Traces> {
        TRACES.with_borrow_mut(|traces| {
            let entry = (function, signature.clone());
            if traces.contains(&entry) {
                return Err(Error::invalid_argument(format!(
                    "tf::function: to compile the function for {signature}, its closure asks for \
                     that very compilation"
                )));
            }
            traces.push(entry);
            Ok(Traces)
        })
    }
}

impl Drop for Traces {
    fn drop(&mut self) {
        TRACES.with_borrow_mut(Vec::pop);
    }
}

impl<A, R, F> fmt::Debug for Function<A, R, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let compiled = self.lock();
        let signatures: Vec<_> = compiled.done.iter().map(|(signature, _)| signature).collect();
        f.debug_struct("Function").field("compiled", &signatures).finish_non_exhaustive()
    }
}

/// A function compiled for one signature.
pub struct ConcreteFunction<R> {
    traced: Graph,
    graph: Graph,
    plan: Plan,
    notes: Vec<Note>,
    /// What the closure returned: symbols in the structure of the results.
    returned: R,
    state: Mutex<State>,
}

impl<R: Structure> ConcreteFunction<R> {
    /// The graph that runs, after the passes.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The graph as it was traced.
    pub fn traced_graph(&self) -> &Graph {
        &self.traced
    }

    /// The most memory that values in between take, in bytes: one arena, kept between calls.
    pub fn peak_memory(&self) -> usize {
        self.plan.arena_bytes()
    }

    /// What was rewritten into what, and the memory planned, as text.
    pub fn explain(&self) -> String {
        let mut lines: Vec<String> = self.notes.iter().map(Note::to_string).collect();
        lines.push(self.plan.explain());
        lines.join("\n") + "\n"
    }

    fn call(&self, arguments: &impl Structure) -> Result<R> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.run(&self.plan, arguments)?;
        let mut results = state.results();
        let returned = self.returned.map_components(&mut |_| {
            Ok(results.next().expect("the plan has a result for each component"))
        });
        drop(results);
        state.forget_shared(&self.plan);
        returned
    }
}

impl<R> fmt::Debug for ConcreteFunction<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConcreteFunction").field("graph", &self.graph).finish_non_exhaustive()
    }
}
