//! Predict requests: what the body asks for, as tensors, by TensorFlow Serving's rules.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::error::ApiError;
use super::json::{Document, Value};

/// The input of a signature.
#[derive(Debug)]
pub struct Input {
    pub name: &'static str,
    pub dtype: Dtype,
    /// The shape of one instance.
    pub shape: &'static [usize],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dtype {
    Float,
    Text,
}

impl Dtype {
    fn name(self) -> &'static str {
        match self {
            Dtype::Float => "float",
            Dtype::Text => "string",
        }
    }
}

/// The values of a batch, one instance after the other.
#[derive(Debug, PartialEq)]
pub enum Values {
    Float(Vec<f32>),
    Text(Vec<Vec<u8>>),
}

impl Values {
    fn new(dtype: Dtype) -> Values {
        match dtype {
            Dtype::Float => Values::Float(Vec::new()),
            Dtype::Text => Values::Text(Vec::new()),
        }
    }
}

/// In which of the two forms the answer goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Row,
    Column,
}

/// A batch, as it was asked for.
#[derive(Debug, PartialEq)]
pub struct Batch {
    pub form: Form,
    pub count: usize,
    pub values: Values,
}

/// The signature that a request names.
pub fn signature_name(document: &Document) -> Result<String, ApiError> {
    let root = object(document)?;
    match root.member("signature_name") {
        None => Ok(String::new()),
        Some(name) => name.text().map(|name| name.into_owned()).ok_or_else(|| {
            ApiError::invalid(format!(
                "JSON Value: {} not formatted correctly. 'signature_name' key must be a string value.",
                root.quoted()
            ))
        }),
    }
}

fn object<'a>(document: &'a Document<'a>) -> Result<Value<'a>, ApiError> {
    let root = document.root();
    match root.members() {
        Some(_) => Ok(root),
        None => Err(ApiError::invalid(format!("JSON Value: {} Is not object", root.quoted()))),
    }
}

/// Reads the batch that a request holds, at most `most` instances.
pub fn batch(document: &Document, input: &Input, most: usize) -> Result<Batch, ApiError> {
    let root = object(document)?;
    let wrong = |why: &str| ApiError::invalid(format!("JSON Value: {} {why}", root.quoted()));
    match (root.member("instances"), root.member("inputs")) {
        (Some(_), Some(_)) => Err(wrong(
            "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist ",
        )),
        (None, None) => Err(ApiError::invalid("Missing 'inputs' or 'instances' key")),
        (Some(instances), None) => match instances.elements() {
            None => Err(wrong("Excepting 'instances' to be an list/array")),
            Some(elements) if elements.len() == 0 => Err(wrong("No values in 'instances' array")),
            Some(elements) if elements.len() > most => Err(too_many(elements.len(), most)),
            Some(_) => rows(instances, input),
        },
        (None, Some(inputs)) => columns(inputs, input, most),
    }
}

fn too_many(count: usize, most: usize) -> ApiError {
    ApiError::invalid(format!("{count} instances in one request; the most is {most}"))
}

/// `instances`: a value, or an object with one value, for each.
fn rows(instances: Value, input: &Input) -> Result<Batch, ApiError> {
    let is_object = |value: Value| value.members().is_some() && !is_base64(value);
    let mut values = Values::new(input.dtype);
    let mut objects = false;
    let mut count = 0;
    for element in instances.elements().into_iter().flatten() {
        let described = |key: String, why: String| {
            ApiError::invalid(format!(
                "Failed to process element: {count}{key} of 'instances' list. {why}"
            ))
        };
        if count == 0 {
            objects = is_object(element);
        } else if objects != is_object(element) {
            let (expected, got) =
                if objects { ("object", "list") } else { ("value/list", "object") };
            let message =
                format!("Expecting {expected} but got {got} at item {count} of input list");
            return Err(ApiError::invalid(message));
        }
        let (key, item) = if objects {
            let keys = || {
                format!("JSON object: {} keys must be equal to: {}", element.quoted(), input.name)
            };
            for (name, _) in element.members().into_iter().flatten() {
                if name != input.name {
                    let why = format!(
                        "Error: INVALID_ARGUMENT: JSON object: does not have named input: {name}"
                    );
                    return Err(described(format!(" key: {name}"), why));
                }
            }
            let Some(item) = element.member(input.name) else {
                return Err(described(String::new(), keys()));
            };
            (format!(" key: {}", input.name), item)
        } else {
            (String::new(), element)
        };
        let failed =
            |why: String| described(key.clone(), format!("Error: INVALID_ARGUMENT: {why}"));
        // The shape comes first: whatever else is wrong, no more values are made than it has.
        let shape = shape_of(item);
        if shape != input.shape {
            return Err(failed(match (size(input.shape), size(&shape)) {
                _ if count == 0 => mismatch(&shape, input),
                (expected, got) if expected != got => {
                    format!("Expecting tensor size: {expected} but got: {got}")
                }
                _ => {
                    let (expected, got) = (bracketed(input.shape), bracketed(&shape));
                    format!("Expecting shape {expected} but got: {got}")
                }
            }));
        }
        fill(item, 0, &shape, &mut values).map_err(failed)?;
        count += 1;
    }
    Ok(Batch { form: Form::Row, count, values })
}

/// `inputs`: the whole tensor, or an object that names it.
fn columns(inputs: Value, input: &Input, most: usize) -> Result<Batch, ApiError> {
    let tensor = if inputs.members().is_some() && !is_base64(inputs) {
        inputs.member(input.name).ok_or_else(|| {
            let message = format!("Missing named input: {} in 'inputs' object.", input.name);
            ApiError::invalid(message)
        })?
    } else {
        inputs
    };
    let shape = shape_of(tensor);
    let Some((&count, instance)) = shape.split_first() else {
        let message = format!("{} is a single value; it takes a batch of them", input.name);
        return Err(ApiError::invalid(message));
    };
    if count > most {
        return Err(too_many(count, most));
    }
    // A batch of nothing does not say what it is nothing of.
    if count > 0 && instance != input.shape {
        return Err(ApiError::invalid(mismatch(instance, input)));
    }
    let mut values = Values::new(input.dtype);
    fill(tensor, 0, &shape, &mut values).map_err(ApiError::invalid)?;
    Ok(Batch { form: Form::Column, count, values })
}

fn mismatch(shape: &[usize], input: &Input) -> String {
    let (got, expected) = (bracketed(shape), bracketed(input.shape));
    format!("an instance of input {} has shape {got}; the model takes {expected}", input.name)
}

fn size(shape: &[usize]) -> usize {
    shape.iter().fold(1, |size, &length| size.saturating_mul(length))
}

/// `[28,28,1]`
fn bracketed(shape: &[usize]) -> String {
    let sizes: Vec<String> = shape.iter().map(usize::to_string).collect();
    format!("[{}]", sizes.join(","))
}

/// The shape that the first element of each level tells.
fn shape_of(value: Value) -> Vec<usize> {
    let mut shape = Vec::new();
    let mut next = Some(value);
    while let Some(mut elements) = next.and_then(Value::elements) {
        shape.push(elements.len());
        next = elements.next();
    }
    shape
}

/// Appends the values of a tensor of that shape.
fn fill(value: Value, level: usize, shape: &[usize], out: &mut Values) -> Result<(), String> {
    let rank = shape.len();
    let Some(elements) = value.elements() else {
        if level != rank {
            return Err(format!(
                "JSON Value: {} found at incorrect level: {} in the JSON DOM. Expected at level: {rank}",
                value.quoted(),
                level + 1
            ));
        }
        return leaf(value, out);
    };
    if level >= rank {
        return Err(format!("Encountered list at unexpected level: {level} expected < {rank}"));
    }
    if elements.len() != shape[level] {
        return Err(format!(
            "Encountered list at unexpected size: {} at level: {level} expected size: {}",
            elements.len(),
            shape[level]
        ));
    }
    for element in elements {
        fill(element, level + 1, shape, out)?;
    }
    Ok(())
}

fn leaf(value: Value, out: &mut Values) -> Result<(), String> {
    let mistyped = |dtype: Dtype| {
        let (quoted, kind) = (value.quoted(), value.type_name());
        Err(format!("JSON Value: {quoted} Type: {kind} is not of expected type: {}", dtype.name()))
    };
    match out {
        Values::Float(values) => {
            let Some((number, integer)) = value.number() else { return mistyped(Dtype::Float) };
            if !fits(number, integer) {
                return Err(format!(
                    "Cannot convert JSON value: {} to float without loss of precision.",
                    value.quoted()
                ));
            }
            values.push(number as f32);
        }
        Values::Text(values) => {
            if value.members().is_some() {
                values.push(base64(value)?);
            } else {
                let Some(text) = value.text() else { return mistyped(Dtype::Text) };
                values.push(text.into_owned().into_bytes());
            }
        }
    }
    Ok(())
}

/// Whether a number may become a `float`: a whole one if it is exact, another if it is in range.
fn fits(number: f64, integer: bool) -> bool {
    const LARGEST_INTEGER: f64 = ((1 << f32::MANTISSA_DIGITS) - 1) as f64;
    if !number.is_finite() {
        return true;
    }
    number.abs() <= if integer { LARGEST_INTEGER } else { f32::MAX.into() }
}

/// Whether this is `{"b64": "..."}`.
fn is_base64(value: Value) -> bool {
    let Some(members) = value.members() else { return false };
    members.len() == 1 && value.member("b64").is_some_and(|data| data.text().is_some())
}

fn base64(value: Value) -> Result<Vec<u8>, String> {
    const ENGINE: GeneralPurpose = GeneralPurpose::new(
        &STANDARD,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    if !is_base64(value) {
        let quoted = value.quoted();
        return Err(format!("JSON Value: {quoted} not formatted correctly for base64 data"));
    }
    let data = value.member("b64").and_then(Value::text).unwrap_or_default();
    ENGINE.decode(data.as_bytes()).map_err(|_| "Unable to base64 decode".into())
}

#[cfg(test)]
mod tests {
    use tapeflow_testing::mutation;

    use super::*;

    const PAIRS: Input = Input { name: "x", dtype: Dtype::Float, shape: &[2] };
    const BYTES: Input = Input { name: "image_bytes", dtype: Dtype::Text, shape: &[] };

    fn read(body: &str, input: &Input) -> Result<Batch, String> {
        let document = Document::parse(body.as_bytes())?;
        batch(&document, input, 4).map_err(|error| error.message)
    }

    fn floats(form: Form, count: usize, values: &[f32]) -> Result<Batch, String> {
        Ok(Batch { form, count, values: Values::Float(values.to_vec()) })
    }

    #[test]
    fn both_forms_plain_and_named() {
        let values = [1.0, 2.5, -3.0, 1e-3];
        let row = floats(Form::Row, 2, &values);
        assert_eq!(read(r#"{"instances": [[1, 2.5], [-3.0, 1e-3]]}"#, &PAIRS), row);
        let named = r#"{"instances": [{"x": [1, 2.5]}, {"x": [-3.0, 1e-3]}]}"#;
        assert_eq!(read(named, &PAIRS), row);
        let column = floats(Form::Column, 2, &values);
        assert_eq!(read(r#"{"inputs": [[1, 2.5], [-3.0, 1e-3]]}"#, &PAIRS), column);
        assert_eq!(read(r#"{"inputs": {"x": [[1, 2.5], [-3, 0.001]]}}"#, &PAIRS), column);
        assert_eq!(read(r#"{"inputs": []}"#, &PAIRS), floats(Form::Column, 0, &[]));
    }

    #[test]
    fn what_is_not_finite_is_a_number() {
        let Ok(Batch { values: Values::Float(values), .. }) =
            read(r#"{"instances": [[NaN, -Infinity]]}"#, &PAIRS)
        else {
            panic!("it is refused")
        };
        assert!(values[0].is_nan() && values[1] == f32::NEG_INFINITY);
    }

    #[test]
    fn bytes_come_as_base64_or_text() {
        let expected = Values::Text(vec![b"hi".to_vec(), b"\xff\x00".to_vec(), "é".into()]);
        let body = r#"{"instances": [{"b64": "aGk="}, {"b64": "/wA"}, "é"]}"#;
        assert_eq!(read(body, &BYTES).unwrap().values, expected);
        let body = r#"{"instances": [{"image_bytes": {"b64": "aGk="}}, {"image_bytes": "x"}]}"#;
        assert_eq!(read(body, &BYTES).unwrap().count, 2);
        let body = r#"{"inputs": {"image_bytes": [{"b64": "aGk="}]}}"#;
        assert_eq!(read(body, &BYTES).unwrap().form, Form::Column);
        for (body, message) in [
            (r#"{"instances": [{"b64": "%"}]}"#, "Unable to base64 decode"),
            (r#"{"instances": [1]}"#, "JSON Value: 1 Type: Number is not of expected type: string"),
            (
                r#"{"inputs": [{"b64": "aGk=", "c": 1}]}"#,
                "JSON Value: {\"b64\": \"aGk=\", \"c\": 1} not formatted correctly for base64 data",
            ),
        ] {
            let error = read(body, &BYTES).unwrap_err();
            assert!(error.ends_with(message), "{error}");
        }
    }

    #[test]
    fn refusals_name_the_place() {
        for (body, message) in [
            ("[1]", "JSON Value: [1] Is not object"),
            ("{}", "Missing 'inputs' or 'instances' key"),
            (r#"{"instances": 1}"#, "Excepting 'instances' to be an list/array"),
            (r#"{"instances": []}"#, "No values in 'instances' array"),
            (r#"{"instances": [[1,2]], "inputs": 1}"#, "only one of 'inputs' or 'instances' keys"),
            (
                r#"{"instances": [[1, "a"]]}"#,
                "Failed to process element: 0 of 'instances' list. Error: INVALID_ARGUMENT: JSON Value: \
                 \"a\" Type: String is not of expected type: float",
            ),
            (
                r#"{"instances": [[1, {"b64": "aGk="}]]}"#,
                "Type: Object is not of expected type: float",
            ),
            (r#"{"instances": [[1, null]]}"#, "Type: Null is not of expected type: float"),
            (
                r#"{"instances": [[16777216, 1]]}"#,
                "Cannot convert JSON value: 16777216 to float without loss of precision.",
            ),
            (r#"{"instances": [[1e39, 1]]}"#, "without loss of precision."),
            (
                r#"{"instances": [[1, [2]]]}"#,
                "Encountered list at unexpected level: 1 expected < 1",
            ),
            (r#"{"instances": [[[1], 2]]}"#, "has shape [2,1]; the model takes [2]"),
            (r#"{"inputs": [[1, 2], 3]}"#, "found at incorrect level: 2 in the JSON DOM."),
            (
                r#"{"instances": [[1, 2], [3]]}"#,
                "Failed to process element: 1 of 'instances' list. Error: INVALID_ARGUMENT: Expecting \
                 tensor size: 2 but got: 1",
            ),
            (r#"{"instances": [[1, 2], [[3, 4]]]}"#, "Expecting shape [2] but got: [1,2]"),
            (
                r#"{"instances": [[1, 2, 3]]}"#,
                "an instance of input x has shape [3]; the model takes [2]",
            ),
            (r#"{"instances": [[1,2],{"x":1}]}"#, "Expecting value/list but got object at item 1"),
            (r#"{"instances": [{"x":[1,2]},[1,2]]}"#, "Expecting object but got list at item 1"),
            (
                r#"{"instances": [{"y": [1,2]}]}"#,
                "key: y of 'instances' list. Error: INVALID_ARGUMENT: JSON object: does not have named \
                 input: y",
            ),
            (r#"{"instances": [{}]}"#, "JSON object: {} keys must be equal to: x"),
            (r#"{"instances": [[1,2],[1,2],[1,2],[1,2],[1,2]]}"#, "the most is 4"),
            (r#"{"inputs": 1}"#, "x is a single value"),
            (r#"{"inputs": {"y": 1}}"#, "Missing named input: x in 'inputs' object."),
            (r#"{"inputs": [[1, 2], [3]]}"#, "at level: 1 expected size: 2"),
            (r#"{"inputs": [1, 2]}"#, "has shape []; the model takes [2]"),
        ] {
            let error = read(body, &PAIRS).unwrap_err();
            assert!(error.contains(message), "{body}\n{error}\n{message}");
        }
    }

    #[test]
    fn signature_names() {
        let name = |body: &str| {
            let document = Document::parse(body.as_bytes()).unwrap();
            signature_name(&document).map_err(|error| error.message)
        };
        assert_eq!(name("{}").unwrap(), "");
        assert_eq!(name(r#"{"signature_name": "a"}"#).unwrap(), "a");
        let error = name(r#"{"signature_name": 100}"#).unwrap_err();
        assert!(error.ends_with("'signature_name' key must be a string value."), "{error}");
    }

    #[test]
    fn damaged_bodies_are_read_or_refused() {
        let valid =
            br#"{"signature_name": "", "instances": [{"x": [1, 2.5e-3]}, {"x": [NaN, 0]}]}"#;
        mutation::for_each(valid, 20_000, |bytes| {
            if let Ok(document) = Document::parse(bytes) {
                let _ = signature_name(&document);
                for input in [&PAIRS, &BYTES] {
                    if let Ok(batch) = batch(&document, input, 4) {
                        let values = match batch.values {
                            Values::Float(values) => values.len(),
                            Values::Text(values) => values.len(),
                        };
                        assert_eq!(values, batch.count * size(input.shape));
                    }
                }
            }
        });
    }
}
