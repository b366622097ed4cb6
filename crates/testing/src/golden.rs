//! Sets of golden cases: `cases.json` and `tensors.safetensors` in one directory.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Map, Value};
use tapeflow_core::{DType, Error, Result, Tensor, bf16, f16, io};

/// What TensorFlow computed for one call.
#[derive(Debug, Clone)]
pub struct Case {
    /// Unique in its set, such as `nn.conv2d/0003`.
    pub name: String,
    /// TensorFlow's Python name below `tf.`, such as `nn.conv2d`.
    pub op: String,
    /// The Python keyword arguments.
    pub attrs: Map<String, Value>,
    /// The positional tensors.
    pub inputs: Vec<Tensor>,
    /// How `inputs` form arguments: -1 is one tensor, `n` is a list of `n`.
    pub groups: Vec<i64>,
    /// The results; empty where TensorFlow refuses.
    pub outputs: Vec<Tensor>,
    /// What each output is multiplied with before the sum that `grads` differentiate.
    pub upstream: Vec<Tensor>,
    /// The gradient with respect to each input, `None` where there is none; empty where the case
    /// checks values only.
    pub grads: Vec<Option<Tensor>>,
    /// The relative tolerance.
    pub rtol: f64,
    /// The absolute tolerance.
    pub atol: f64,
    /// Why TensorFlow refuses the call, where it does.
    pub error: Option<String>,
}

/// Reads the set in a directory.
///
/// Python's `json` writes what JSON has no numbers for as bare `NaN`, `Infinity` and `-Infinity`;
/// they come as strings of these names.
///
/// # Errors
/// Files that cannot be read or are not in the format, a tensor that a case names and the set
/// lacks; the message names the case.
pub fn load(directory: impl AsRef<Path>) -> Result<Vec<Case>> {
    let directory = directory.as_ref();
    let path = directory.join("cases.json");
    let text = fs::read_to_string(&path)
        .map_err(|error| Error::io(format!("reading {}", path.display()), error))?;
    let tensors = io::load_safetensors(directory.join("tensors.safetensors"))?.tensors;
    let parse = || -> Result<Vec<Case>> {
        let cases: Vec<Map<String, Value>> = serde_json::from_str(&quote_bare_numbers(&text))
            .map_err(|error| Error::data("not a list of cases").with_source(error))?;
        cases.iter().map(|fields| Fields { fields, tensors: &tensors }.case()).collect()
    };
    parse().map_err(|error| error.context(path.display()))
}

/// JSON with quotes around the words that Python writes for numbers.
fn quote_bare_numbers(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len());
    let mut rest = text;
    let (mut in_string, mut escaped) = (false, false);
    while let Some(next) = rest.chars().next() {
        let word = ["NaN", "Infinity", "-Infinity"].into_iter().find(|word| rest.starts_with(word));
        if let (false, Some(word)) = (in_string, word) {
            quoted.extend(["\"", word, "\""]);
            rest = &rest[word.len()..];
            continue;
        }
        in_string ^= next == '"' && !escaped;
        escaped = next == '\\' && !escaped;
        quoted.push(next);
        rest = &rest[next.len_utf8()..];
    }
    quoted
}

/// One case as JSON.
struct Fields<'a> {
    fields: &'a Map<String, Value>,
    tensors: &'a BTreeMap<String, Tensor>,
}

impl Fields<'_> {
    fn case(&self) -> Result<Case> {
        let name = self.text("name")?.ok_or_else(|| Error::data("a case has no name"))?;
        let case = || {
            let error = self.text("error")?;
            let (outputs, grads) = (self.tensors("outputs")?, self.list("grads")?);
            let answered = self.fields.contains_key("outputs");
            if !outputs.is_empty() && error.is_some() || error.is_none() && !answered {
                return Err(Error::data("it must have either outputs or error"));
            }
            let inputs = self.tensors("inputs")?;
            if !grads.is_empty() && grads.len() != inputs.len() {
                let lengths = format!("{} grads, {} inputs", grads.len(), inputs.len());
                return Err(Error::data(lengths));
            }
            Ok(Case {
                op: self.text("op")?.ok_or_else(|| Error::data("it has no op"))?,
                attrs: match self.fields.get("attrs") {
                    None | Some(Value::Null) => Map::new(),
                    Some(Value::Object(attrs)) => attrs.clone(),
                    Some(other) => return Err(Error::data(format!("attrs is {other}"))),
                },
                groups: self.groups(&inputs)?,
                inputs,
                upstream: self.tensors("upstream")?,
                grads: grads
                    .iter()
                    .map(|grad| if grad.is_null() { Ok(None) } else { self.tensor(grad).map(Some) })
                    .collect::<Result<_>>()?,
                outputs,
                rtol: self.number("rtol")?,
                atol: self.number("atol")?,
                error,
                name: name.clone(),
            })
        };
        case().map_err(|error| error.context(format_args!("case {name}")))
    }

    fn text(&self, key: &str) -> Result<Option<String>> {
        match self.fields.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(other) => Err(Error::data(format!("{key} is {other}, must be a string"))),
        }
    }

    fn number(&self, key: &str) -> Result<f64> {
        match self.fields.get(key) {
            None | Some(Value::Null) => Ok(0.0),
            Some(value) => value
                .as_f64()
                .ok_or_else(|| Error::data(format!("{key} is {value}, must be a number"))),
        }
    }

    fn list(&self, key: &str) -> Result<&[Value]> {
        match self.fields.get(key) {
            None | Some(Value::Null) => Ok(&[]),
            Some(Value::Array(values)) => Ok(values),
            Some(other) => Err(Error::data(format!("{key} is {other}, must be a list"))),
        }
    }

    fn groups(&self, inputs: &[Tensor]) -> Result<Vec<i64>> {
        let groups: Vec<i64> = if self.fields.contains_key("groups") {
            self.list("groups")?.iter().map(|group| group.as_i64().unwrap_or(i64::MIN)).collect()
        } else {
            vec![-1; inputs.len()]
        };
        let grouped = groups.iter().try_fold(0usize, |sum, &group| {
            let size = if group == -1 { 1 } else { usize::try_from(group).ok()? };
            sum.checked_add(size)
        });
        if grouped != Some(inputs.len()) {
            let message = format!("groups {groups:?} do not cover {} inputs", inputs.len());
            return Err(Error::data(message));
        }
        Ok(groups)
    }

    fn tensors(&self, key: &str) -> Result<Vec<Tensor>> {
        self.list(key)?.iter().map(|name| self.tensor(name)).collect()
    }

    fn tensor(&self, name: &Value) -> Result<Tensor> {
        name.as_str()
            .and_then(|name| self.tensors.get(name))
            .cloned()
            .ok_or_else(|| Error::data(format!("there is no tensor {name}")))
    }
}

/// Are dtype and shape those wanted, and all values within `|got - want| <= atol + rtol * |want|`?
/// NaN equals NaN and infinities must agree. Integers and `bool` are compared exactly where both
/// tolerances are 0.
///
/// # Errors
/// What differs; of the values the one furthest beyond its tolerance and how many there are.
///
/// ```
/// use tapeflow_core::Tensor;
/// use tapeflow_testing::golden::compare;
///
/// let want = Tensor::from([1.0f32, f32::NAN]);
/// assert!(compare(&Tensor::from([1.001f32, f32::NAN]), &want, 1e-2, 0.0).is_ok());
/// assert_eq!(
///     compare(&Tensor::from([1.5f32, f32::NAN]), &want, 1e-2, 0.0).unwrap_err(),
///     "1 of 2 values differ, the worst at [0]: got 1.5, want 1 (off by 5.000e-1, allowed 1.000e-2)"
/// );
/// ```
pub fn compare(got: &Tensor, want: &Tensor, rtol: f64, atol: f64) -> Result<(), String> {
    if got.spec() != want.spec() {
        return Err(format!("got {}, want {}", got.spec(), want.spec()));
    }
    if matches!(got.dtype(), DType::Int64 | DType::UInt64) && rtol == 0.0 && atol == 0.0 {
        return compare_bits(got, want);
    }
    let (got_values, want_values) = (values(got), values(want));
    let mut differing = 0;
    // Index, distance and tolerance of the value furthest beyond its tolerance.
    let mut worst: Option<(usize, f64, f64)> = None;
    for (i, (&got, &want)) in got_values.iter().zip(&want_values).enumerate() {
        if got == want || (got.is_nan() && want.is_nan()) {
            continue;
        }
        let allowed = atol + rtol * want.abs();
        let mut off = (got - want).abs();
        if off <= allowed && got.is_finite() && want.is_finite() {
            continue;
        }
        if !off.is_finite() {
            off = f64::INFINITY;
        }
        differing += 1;
        if worst
            .is_none_or(|(_, worst_off, worst_allowed)| off - allowed > worst_off - worst_allowed)
        {
            worst = Some((i, off, allowed));
        }
    }
    match worst {
        None => Ok(()),
        Some((i, off, allowed)) => Err(format!(
            "{differing} of {} values differ, the worst at {:?}: got {}, want {} (off by {off:.3e}, \
             allowed {allowed:.3e})",
            want_values.len(),
            position(i, got.shape()),
            got_values[i],
            want_values[i]
        )),
    }
}

/// For 64-bit integers, which `f64` would round.
fn compare_bits(got: &Tensor, want: &Tensor) -> Result<(), String> {
    let size = got.dtype().size();
    let pairs = got.as_bytes().chunks(size).zip(want.as_bytes().chunks(size));
    let differing: Vec<usize> =
        pairs.enumerate().filter(|(_, (got, want))| got != want).map(|(i, _)| i).collect();
    let Some(&first) = differing.first() else { return Ok(()) };
    Err(format!(
        "{} of {} values differ, the first at {:?}: got {:?}, want {:?} (approximately)",
        differing.len(),
        got.shape().num_elements(),
        position(first, got.shape()),
        values(got)[first],
        values(want)[first]
    ))
}

fn values(tensor: &Tensor) -> Vec<f64> {
    macro_rules! widen {
        ($Type:ty, $convert:expr) => {
            tensor
                .to_vec::<$Type>()
                .expect("the dtype was matched")
                .into_iter()
                .map($convert)
                .collect()
        };
    }
    match tensor.dtype() {
        DType::Float16 => widen!(f16, f16::to_f64),
        DType::BFloat16 => widen!(bf16, bf16::to_f64),
        DType::Float32 => widen!(f32, f64::from),
        DType::Float64 => widen!(f64, f64::from),
        DType::Int8 => widen!(i8, f64::from),
        DType::Int16 => widen!(i16, f64::from),
        DType::Int32 => widen!(i32, f64::from),
        DType::Int64 => widen!(i64, |x| x as f64),
        DType::UInt8 => widen!(u8, f64::from),
        DType::UInt16 => widen!(u16, f64::from),
        DType::UInt32 => widen!(u32, f64::from),
        DType::UInt64 => widen!(u64, |x| x as f64),
        DType::Bool => widen!(bool, |x| f64::from(u8::from(x))),
    }
}

fn position(mut index: usize, shape: &[usize]) -> Vec<usize> {
    let mut position = vec![0; shape.len()];
    for (place, &extent) in position.iter_mut().zip(shape).rev() {
        *place = index % extent;
        index /= extent;
    }
    position
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write_set(directory: &Path, cases: &str) {
        let tensors = [("x", Tensor::from([1.0f32, 2.0])), ("y", Tensor::from(3i32))];
        io::save_safetensors(directory.join("tensors.safetensors"), &tensors, &BTreeMap::new())
            .unwrap();
        fs::write(directory.join("cases.json"), cases).unwrap();
    }

    #[test]
    fn a_set_is_read() {
        let directory = tempfile::tempdir().unwrap();
        write_set(
            directory.path(),
            r#"[{"name": "op/0", "op": "op", "attrs": {"axis": [0], "padding": null},
                 "inputs": ["x", "x", "y"], "groups": [2, -1], "outputs": ["y"], "upstream": ["y"],
                 "grads": ["x", null, "y"], "rtol": 2e-4, "atol": 1},
                {"name": "op/1", "op": "op", "inputs": ["x"], "error": "no"}]"#,
        );
        let cases = load(directory.path()).unwrap();
        assert_eq!(cases.len(), 2);
        assert_eq!((cases[0].name.as_str(), cases[0].op.as_str()), ("op/0", "op"));
        assert_eq!(cases[0].attrs["axis"], Value::from(vec![0]));
        assert_eq!(cases[0].inputs[1].to_vec::<f32>().unwrap(), [1.0, 2.0]);
        assert_eq!(cases[0].groups, [2, -1]);
        assert_eq!(cases[0].outputs[0].to_scalar::<i32>().unwrap(), 3);
        assert_eq!(cases[0].upstream.len(), 1);
        assert!(cases[0].grads[0].is_some() && cases[0].grads[1].is_none());
        assert_eq!((cases[0].rtol, cases[0].atol), (2e-4, 1.0));
        assert_eq!(cases[0].error, None);
        assert_eq!(cases[1].error.as_deref(), Some("no"));
        assert_eq!(cases[1].groups, [-1]);
        assert!(cases[1].outputs.is_empty() && cases[1].grads.is_empty());
    }

    #[test]
    fn bare_words_are_quoted_outside_of_strings() {
        let text = r#"[{"name": "NaN \"/0", "op": "\\", "attrs": {"a": NaN, "b": [-Infinity, 1]},
                        "inputs": [], "outputs": [], "atol": Infinity}]"#;
        let quoted = quote_bare_numbers(text);
        let cases: Value = serde_json::from_str(&quoted).unwrap();
        assert_eq!(cases[0]["name"], "NaN \"/0");
        assert_eq!(cases[0]["op"], "\\");
        assert_eq!(cases[0]["attrs"]["a"], "NaN");
        assert_eq!(cases[0]["attrs"]["b"], serde_json::json!(["-Infinity", 1]));
        assert_eq!(cases[0]["atol"], "Infinity");
    }

    #[test]
    fn a_set_out_of_format_is_an_error_that_names_the_case() {
        let directory = tempfile::tempdir().unwrap();
        assert!(load(directory.path()).unwrap_err().is_io());
        let bodies = [
            (r#""inputs": ["z"], "outputs": []"#, "there is no tensor \"z\""),
            (r#""inputs": ["x"]"#, "it must have either outputs or error"),
            (r#""inputs": ["x"], "groups": [2], "error": """#, "groups [2] do not cover 1 inputs"),
            (r#""inputs": ["x"], "outputs": ["x"], "grads": []"#, ""),
            (r#""inputs": ["x"], "outputs": ["x"], "grads": [null, null]"#, "2 grads, 1 inputs"),
            (r#""outputs": 3"#, "outputs is 3, must be a list"),
            (r#""outputs": [], "rtol": "a""#, "rtol is \"a\", must be a number"),
        ];
        for (body, problem) in bodies {
            write_set(directory.path(), &format!(r#"[{{"name": "n", "op": "op", {body}}}]"#));
            match load(directory.path()) {
                Ok(_) => assert!(problem.is_empty(), "{body}"),
                Err(error) => {
                    assert!(error.is_data());
                    let text = error.to_string();
                    assert!(text.ends_with(&format!("case n: {problem}")), "{body}: {text}");
                }
            }
        }
    }

    #[test]
    fn comparison_follows_the_format() {
        let compare = |got: &Tensor, want: &Tensor| compare(got, want, 1e-2, 1e-3);
        let want = Tensor::from([[1.0f32, 100.0], [f32::INFINITY, f32::NAN]]);
        assert_eq!(compare(&want, &want), Ok(()));
        assert_eq!(
            compare(&Tensor::from([1i32]), &Tensor::from([1.0f32])).unwrap_err(),
            "got int32 [1], want float32 [1]"
        );
        assert!(compare(&Tensor::from([1i32]), &Tensor::from([[1i32]])).is_err());
        let off = Tensor::from([[1.1f32, 105.0], [f32::INFINITY, f32::NAN]]);
        let message = compare(&off, &want).unwrap_err();
        assert!(
            message.starts_with("2 of 4 values differ, the worst at [0, 1]: got 105, want 100")
        );
        for bad in [f32::NAN, f32::NEG_INFINITY, 1e30] {
            let got = Tensor::from([[1.0f32, 100.0], [bad, f32::NAN]]);
            assert!(compare(&got, &want).unwrap_err().contains("at [1, 0]"));
        }
        let finite = Tensor::from([[1.0f32, 100.0], [f32::INFINITY, 0.0]]);
        assert!(compare(&finite, &want).is_err() && compare(&want, &finite).is_err());
    }

    #[test]
    fn large_integers_are_compared_exactly() {
        let (a, b) = (Tensor::from([i64::MAX]), Tensor::from([i64::MAX - 1]));
        assert_eq!(compare(&a, &a, 0.0, 0.0), Ok(()));
        assert!(compare(&a, &b, 0.0, 0.0).is_err());
        assert!(compare(&Tensor::from([true]), &Tensor::from([false]), 0.0, 0.0).is_err());
    }
}
