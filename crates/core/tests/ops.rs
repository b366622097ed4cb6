//! A walk over the files of all ops: each must say how it is differentiated, and prove it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;

/// Path and text of every file below `src/ops` that implements an op.
fn op_files() -> Vec<(String, String)> {
    let mut files = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ops")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            if text.contains("impl Op for ") {
                files.push((path.display().to_string(), text));
            }
        }
    }
    assert!(files.len() > 30, "the walk found only {} op files", files.len());
    files
}

/// Each op of a file with the code that follows its `impl`, up to the next one.
fn ops(text: &str) -> Vec<(&str, &str)> {
    let (code, _) = text.split_once("#[cfg(test)]").unwrap_or((text, ""));
    code.split("impl Op for ").skip(1).map(|rest| (rest.split(' ').next().unwrap(), rest)).collect()
}

#[test]
fn every_op_says_how_it_is_differentiated_and_every_rule_is_checked() {
    let mut wrong = Vec::new();
    for (path, text) in op_files() {
        for (op, body) in ops(&text) {
            let has_rule = body.contains("Gradient::rule(");
            if !has_rule && !body.contains("Gradient::NotDifferentiable") {
                wrong.push(format!("{path}: {op} has neither a rule nor NotDifferentiable"));
            }
            if has_rule && !text.contains("check_gradients(") {
                wrong.push(format!("{path}: no check_gradients test proves the rule of {op}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_op_file_has_a_runnable_example() {
    let without: Vec<_> =
        op_files().into_iter().filter(|(_, text)| !text.contains("/// ```\n")).collect();
    let paths: Vec<_> = without.iter().map(|(path, _)| path.as_str()).collect();
    assert!(paths.is_empty(), "{}", paths.join("\n"));
}
