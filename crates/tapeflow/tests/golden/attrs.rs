//! A case's attributes: TensorFlow's keyword arguments, as JSON.

use std::cell::RefCell;
use std::collections::BTreeSet;

use serde_json::{Map, Value};
use tapeflow as tf;
use tf::random::Limit;
use tf::{DType, Error, Result, Shape, Tensor};

/// The keyword arguments of one call; remembers which were read, so that none is ignored.
pub struct Attrs<'a> {
    map: &'a Map<String, Value>,
    read: RefCell<BTreeSet<String>>,
}

impl<'a> Attrs<'a> {
    pub fn new(map: &'a Map<String, Value>) -> Attrs<'a> {
        Attrs { map, read: RefCell::default() }
    }

    /// The names that nothing has read, but for those whose value asks for nothing.
    pub fn unread(&self) -> Vec<&str> {
        let read = self.read.borrow();
        let asks = |value: &Value| !value.is_null() && *value != Value::Bool(false);
        let unread = self.map.iter().filter(|(key, value)| !read.contains(*key) && asks(value));
        unread.map(|(key, _)| key.as_str()).filter(|key| *key != "name").collect()
    }

    /// An argument that is given and not `None`.
    pub fn get(&self, name: &str) -> Option<&'a Value> {
        self.read.borrow_mut().insert(name.to_owned());
        self.map.get(name).filter(|value| !value.is_null())
    }

    fn required(&self, name: &str) -> Result<&'a Value> {
        self.get(name).ok_or_else(|| Error::invalid_argument(format!("{name} is missing")))
    }

    pub fn bool(&self, name: &str) -> Result<bool> {
        match self.get(name) {
            None => Ok(false),
            Some(value) => value.as_bool().ok_or_else(|| wrong(name, value)),
        }
    }

    pub fn str(&self, name: &str, default: &'a str) -> Result<&'a str> {
        match self.get(name) {
            None => Ok(default),
            Some(value) => value.as_str().ok_or_else(|| wrong(name, value)),
        }
    }

    pub fn int(&self, name: &str, default: i64) -> Result<i64> {
        match self.get(name) {
            None => Ok(default),
            Some(value) => int(value).ok_or_else(|| wrong(name, value)),
        }
    }

    pub fn float(&self, name: &str, default: f64) -> Result<f64> {
        match self.get(name) {
            None => Ok(default),
            Some(value) => float(value).ok_or_else(|| wrong(name, value)),
        }
    }

    pub fn ints(&self, name: &str) -> Result<Vec<i64>> {
        let value = self.required(name)?;
        ints(value).ok_or_else(|| wrong(name, value))
    }

    /// A list of pairs, such as explicit paddings.
    pub fn pairs(&self, name: &str) -> Result<Vec<[i64; 2]>> {
        let value = self.required(name)?;
        pairs(value).ok_or_else(|| wrong(name, value))
    }

    pub fn shape(&self, name: &str) -> Result<Shape> {
        let dims = self.ints(name)?;
        let dims: Option<Vec<usize>> = dims.iter().map(|&dim| dim.try_into().ok()).collect();
        Shape::new(&dims.ok_or_else(|| Error::shape(format!("{name} has a negative extent")))?)
    }

    pub fn dtype(&self, name: &str) -> Result<Option<DType>> {
        match self.get(name) {
            None => Ok(None),
            Some(value) => value.as_str().ok_or_else(|| wrong(name, value))?.parse().map(Some),
        }
    }

    /// A number or truth value as TensorFlow makes a tensor of it: `int32`, `float32`, `bool`.
    pub fn scalar(&self, name: &str) -> Result<Option<Tensor>> {
        self.get(name).map(|value| scalar(name, value)).transpose()
    }

    /// A bound of random numbers: `None` where it is given as such, `default` where it is not.
    pub fn limit(&self, name: &str, default: Option<i64>) -> Result<Limit> {
        match (self.map.contains_key(name), self.get(name)) {
            (false, _) => Ok(Limit::from(default)),
            (true, None) => Ok(Limit::None),
            (true, Some(value)) => match (value.as_i64(), float(value)) {
                (Some(whole), _) => Ok(Limit::Integer(whole)),
                (None, Some(number)) => Ok(Limit::Float(number)),
                (None, None) => Err(wrong(name, value)),
            },
        }
    }

    /// The same in a dtype of one's own.
    pub fn scalar_as(&self, name: &str, dtype: DType) -> Result<Option<Tensor>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        match (value.as_bool(), float(value)) {
            (Some(truth), _) => tf::cast(Tensor::from(truth), dtype).map(Some),
            (_, Some(number)) => Tensor::scalar(number, dtype).map(Some),
            _ => Err(wrong(name, value)),
        }
    }
}

/// A whole number, also written as `1.0` or as a list of one.
fn int(value: &Value) -> Option<i64> {
    match value {
        Value::Array(values) if values.len() == 1 => int(&values[0]),
        _ => {
            let float = || value.as_f64().filter(|number| number.fract() == 0.0);
            value.as_i64().or_else(|| Some(float()? as i64))
        }
    }
}

/// A number; NaN and infinities are strings (see [`golden::load`](tapeflow_testing::golden::load)).
fn float(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.parse().ok())
}

/// A list of whole numbers, or one.
fn ints(value: &Value) -> Option<Vec<i64>> {
    match value {
        Value::Array(values) => values.iter().map(int).collect(),
        _ => Some(vec![int(value)?]),
    }
}

pub fn pairs(value: &Value) -> Option<Vec<[i64; 2]>> {
    value.as_array()?.iter().map(|pair| ints(pair)?.try_into().ok()).collect()
}

fn scalar(name: &str, value: &Value) -> Result<Tensor> {
    if let Some(truth) = value.as_bool() {
        return Ok(Tensor::from(truth));
    }
    if let Some(whole) = value.as_i64() {
        return Ok(i32::try_from(whole).map_or_else(|_| Tensor::from(whole), Tensor::from));
    }
    match float(value) {
        Some(number) => Ok(Tensor::from(number as f32)),
        None => Err(wrong(name, value)),
    }
}

fn wrong(name: &str, value: &Value) -> Error {
    Error::invalid_argument(format!("{name}: {value} is not a value of it"))
}
