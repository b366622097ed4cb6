//! TensorFlow's own numbers: every case of every golden set, and the training runs.
//!
//! Reads the sets below `goldens/`, and those below the directories that `TAPEFLOW_GOLDENS` names
//! (separated by `:`). `goldens/README.md` says how they are made.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod attrs;
mod ops;
mod parity;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use tapeflow as tf;
use tapeflow_testing::golden::{self, Case};
use tf::{GradientTape, Result, Tensor, UnconnectedGradients, function};

/// How many cases the project's own sets have at least.
const OWN_CASES: usize = 400;

const CASES: &str = "cases.json";
const PARITY: &str = "parity.safetensors";

/// The directories at or below the roots that hold `file`. A root that holds no set fails.
fn directories_with(file: &str) -> Vec<PathBuf> {
    fn walk(directory: &Path, file: &str, found: &mut Vec<PathBuf>) {
        if directory.join(file).is_file() {
            found.push(directory.to_owned());
        }
        let entries =
            directory.read_dir().unwrap_or_else(|e| panic!("{}: {e}", directory.display()));
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, file, found);
            }
        }
    }
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../goldens");
    let more = std::env::var_os("TAPEFLOW_GOLDENS").unwrap_or_default();
    let mut found = Vec::new();
    for root in std::iter::once(own).chain(std::env::split_paths(&more)) {
        if root.as_os_str().is_empty() {
            continue;
        }
        let mut sets = Vec::new();
        for kind in [CASES, PARITY] {
            walk(&root, kind, &mut sets);
        }
        assert!(!sets.is_empty(), "{} has neither {CASES} nor {PARITY}", root.display());
        found.extend(sets.into_iter().filter(|set| set.join(file).is_file()));
    }
    found.sort();
    found.dedup();
    found
}

#[test]
fn golden_ops() {
    let sets = directories_with(CASES);
    let mut counts: BTreeMap<String, (usize, usize, usize)> = BTreeMap::new();
    let mut failures = Vec::new();
    for set in &sets {
        let cases = golden::load(set).unwrap_or_else(|error| panic!("{}: {error}", set.display()));
        for case in cases {
            let count = counts.entry(case.op.clone()).or_default();
            count.0 += 1;
            count.1 += usize::from(!case.grads.is_empty());
            count.2 += usize::from(case.error.is_some());
            let checked = catch_unwind(AssertUnwindSafe(|| check(&case)));
            let checked = checked.unwrap_or_else(|panic| Err(panic_text(panic.as_ref())));
            if let Err(why) = checked {
                failures.push(format!("{}: {}: {why}", set.display(), case.name));
            }
        }
    }
    println!("{:<46} cases  gradients  refusals", "op");
    for (op, (cases, gradients, refusals)) in &counts {
        println!("{op:<46} {cases:>5} {gradients:>10} {refusals:>9}");
    }
    let total: usize = counts.values().map(|count| count.0).sum();
    assert!(total >= OWN_CASES, "only {total} cases in {sets:?}");
    assert!(
        failures.is_empty(),
        "{} of {total} cases fail:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    format!("panicked: {}", text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("?"))
}

/// How a case is computed.
type Run = fn(&Case) -> Result<(Tensor, Vec<Option<Tensor>>)>;

fn check(case: &Case) -> Result<(), String> {
    check_run(case, run)?;
    check_run(case, run_compiled).map_err(|why| format!("compiled: {why}"))
}

fn check_run(case: &Case, run: Run) -> Result<(), String> {
    if case.error.is_some() {
        return match run(case) {
            Ok((output, _)) => Err(format!("TensorFlow refuses it, this gives {}", output.spec())),
            Err(error) if error.is_traced() => Err(error.to_string()),
            Err(_) => Ok(()),
        };
    }
    let (output, gradients) = run(case).map_err(|error| error.to_string())?;
    let [want] = case.outputs.as_slice() else {
        return Err(format!("{} outputs, the runner knows ops of one", case.outputs.len()));
    };
    golden::compare(&output, want, case.rtol, case.atol).map_err(|why| format!("output: {why}"))?;
    for (i, (got, want)) in gradients.iter().zip(&case.grads).enumerate() {
        match (got, want) {
            (None, None) => {}
            (Some(got), Some(want)) => golden::compare(got, want, case.rtol, case.atol)
                .map_err(|why| format!("gradient {i}: {why}"))?,
            (None, Some(_)) => {
                return Err(format!("gradient {i}: there is none, TensorFlow has one"));
            }
            (Some(_), None) => return Err(format!("gradient {i}: TensorFlow has none")),
        }
    }
    Ok(())
}

/// The output and, where the case has gradients, those with respect to every input.
fn run(case: &Case) -> Result<(Tensor, Vec<Option<Tensor>>)> {
    if case.grads.is_empty() {
        return Ok((ops::call(case)?, Vec::new()));
    }
    let tape = GradientTape::new();
    for input in &case.inputs {
        tape.watch(input);
    }
    let output = ops::call(case)?;
    let upstream: Vec<&Tensor> = case.upstream.iter().collect();
    let sources = case.inputs.as_slice();
    let gradients =
        tape.gradient_with(&[&output], &upstream, sources, UnconnectedGradients::None)?;
    Ok((output, gradients))
}

/// As [`run`], in a compiled function that takes the inputs and the upstream gradient.
fn run_compiled(case: &Case) -> Result<(Tensor, Vec<Option<Tensor>>)> {
    let is_there = RefCell::new(Vec::new());
    let compiled = function(|(inputs, upstream): (Vec<Tensor>, Vec<Tensor>)| {
        let (output, gradients) = run(&Case { inputs, upstream, ..case.clone() })?;
        is_there.replace(gradients.iter().map(Option::is_some).collect());
        Ok((output, gradients.into_iter().flatten().collect::<Vec<_>>()))
    });
    let (output, gradients) = compiled.call((case.inputs.clone(), case.upstream.clone()))?;
    let mut gradients = gradients.into_iter();
    let is_there = is_there.into_inner();
    let gradients = is_there.into_iter().map(|there| there.then(|| gradients.next()).flatten());
    Ok((output, gradients.collect()))
}

#[test]
fn golden_training_runs() {
    let sets = directories_with(PARITY);
    assert!(!sets.is_empty());
    for set in sets {
        parity::check(&set.join(PARITY), false);
        parity::check(&set.join(PARITY), true);
    }
}
