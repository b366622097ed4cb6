//! From TensorFlow's name and keyword arguments to the call.

use serde_json::Value;
use tapeflow as tf;
use tapeflow_testing::golden::Case;
use tf::nn::{self, DataFormat, Padding, PerAxis};
use tf::{Axes, DType, Error, Result, Shape, Tensor, linalg, math, random};

use crate::attrs::{Attrs, pairs};

/// Makes the call that a case describes.
///
/// An op or attribute that the runner does not know panics: the runner must learn it, since an
/// error could pass for the refusal that the case expects.
pub fn call(case: &Case) -> Result<Tensor> {
    let attrs = Attrs::new(&case.attrs);
    let output = dispatch(case, &attrs);
    let unread = attrs.unread();
    assert!(unread.is_empty() || output.is_err(), "attributes unknown to the runner: {unread:?}");
    output
}

fn dispatch(case: &Case, attrs: &Attrs<'_>) -> Result<Tensor> {
    let x = |index: usize| &case.inputs[index];
    // The second operand, which may be a Python number.
    let y = || match case.inputs.get(1) {
        Some(y) => Ok(y.clone()),
        None => attrs.scalar_as("y", x(0).dtype())?.ok_or_else(|| Error::invalid_argument("no y")),
    };
    // The root of `tf.` has aliases of much of `tf.math` and `tf.linalg`.
    let name =
        case.op.strip_prefix("math.").or(case.op.strip_prefix("linalg.")).unwrap_or(&case.op);
    match name {
        "abs" => math::abs(x(0)),
        "add" => math::add(x(0), y()?),
        "argmax" => argmax(x(0), attrs),
        "divide" | "truediv" => math::divide(x(0), y()?),
        "equal" => math::equal(x(0), y()?),
        "erf" => math::erf(x(0)),
        "exp" => math::exp(x(0)),
        "greater" => math::greater(x(0), y()?),
        "greater_equal" => math::greater_equal(x(0), y()?),
        "less" => math::less(x(0), y()?),
        "less_equal" => math::less_equal(x(0), y()?),
        "log" => math::log(x(0)),
        "maximum" => math::maximum(x(0), y()?),
        "minimum" => math::minimum(x(0), y()?),
        "multiply" => math::multiply(x(0), y()?),
        "negative" => math::negative(x(0)),
        "not_equal" => math::not_equal(x(0), y()?),
        "pow" => math::pow(x(0), y()?),
        "reduce_max" => math::reduce_max(x(0), axes(attrs)?),
        "reduce_mean" => math::reduce_mean(x(0), axes(attrs)?),
        "reduce_min" => math::reduce_min(x(0), axes(attrs)?),
        "reduce_sum" => math::reduce_sum(x(0), axes(attrs)?),
        "sign" => math::sign(x(0)),
        "sqrt" => math::sqrt(x(0)),
        "square" => math::square(x(0)),
        "subtract" => math::subtract(x(0), y()?),
        "nn.sigmoid" | "sigmoid" => math::sigmoid(x(0)),
        "nn.tanh" | "tanh" => math::tanh(x(0)),

        "nn.relu" => nn::relu(x(0)),
        "nn.softmax" | "softmax" => nn::Softmax { axis: attrs.int("axis", -1)? }.call(x(0)),
        "nn.log_softmax" | "log_softmax" => {
            nn::LogSoftmax { axis: attrs.int("axis", -1)? }.call(x(0))
        }
        "nn.softmax_cross_entropy_with_logits" => {
            let op = nn::SoftmaxCrossEntropyWithLogits { axis: attrs.int("axis", -1)? };
            op.call(x(0), x(1))
        }
        "nn.sparse_softmax_cross_entropy_with_logits" => {
            nn::sparse_softmax_cross_entropy_with_logits(x(0), x(1))
        }
        "nn.bias_add" => nn::BiasAdd { data_format: data_format(attrs)? }.call(x(0), x(1)),
        "nn.batch_normalization" => {
            let epsilon = attrs.float("variance_epsilon", 0.0)?;
            nn::batch_normalization(x(0), x(1), x(2), Some(x(3)), Some(x(4)), epsilon)
        }
        "nn.moments" => moments(x(0), attrs),
        "compat.v1.nn.fused_batch_norm" => fused_batch_norm(&case.inputs, attrs),
        "nn.conv2d" => conv2d(x(0), x(1), attrs),
        "nn.max_pool" | "nn.max_pool2d" => pool(attrs)?.max_pool(x(0)),
        "nn.avg_pool" | "nn.avg_pool2d" => pool(attrs)?.avg_pool(x(0)),
        "nn.dropout" => nn::dropout(x(0), attrs.float("rate", 0.5)?, None),

        "matmul" => {
            let transpose_a = attrs.bool("transpose_a")?;
            let transpose_b = attrs.bool("transpose_b")?;
            linalg::MatMul { transpose_a, transpose_b }.call(x(0), x(1))
        }

        "reshape" => tf::reshape(x(0), attrs.ints("shape")?),
        "transpose" => match attrs.get("perm") {
            None => tf::transpose(x(0), ..),
            Some(_) => tf::transpose(x(0), attrs.ints("perm")?),
        },
        "concat" => tf::concat(list(case)?, attrs.int("axis", 0)?),
        "stack" => tf::stack(list(case)?, attrs.int("axis", 0)?),
        "slice" => tf::slice(x(0), attrs.ints("begin")?, attrs.ints("size")?),
        "expand_dims" => tf::expand_dims(x(0), attrs.int("axis", 0)?),
        "squeeze" => tf::squeeze(x(0), axes(attrs)?),
        "stop_gradient" => tf::stop_gradient(x(0)),
        "one_hot" => one_hot(x(0), attrs),
        "cast" => match attrs.dtype("dtype")? {
            Some(dtype) => tf::cast(x(0), dtype),
            None => Err(Error::invalid_argument("cast: dtype is missing")),
        },
        "pad" => pad(x(0), attrs),
        "broadcast_to" => tf::broadcast_to(x(0), attrs.shape("shape")?),
        "zeros" => tf::zeros(attrs.shape("shape")?, dtype_or_float(attrs)?),
        "ones" => tf::ones(attrs.shape("shape")?, dtype_or_float(attrs)?),
        "zeros_like" => tf::zeros_like(x(0)),
        "ones_like" => tf::ones_like(x(0)),
        "fill" => match attrs.scalar("value")? {
            Some(value) => tf::fill(attrs.shape("dims")?, value),
            None => tf::fill(attrs.shape("dims")?, x(0)),
        },
        "range" => range(case, attrs),
        "where" => tf::select(x(0), x(1), x(2)),

        "random.stateless_uniform" => stateless_uniform(attrs),
        "random.stateless_normal" => normal(attrs, random::stateless_normal),
        "random.stateless_truncated_normal" => normal(attrs, random::stateless_truncated_normal),
        _ => panic!("the runner does not know the op {}", case.op),
    }
}

/// The one argument that is a list of tensors.
fn list(case: &Case) -> Result<&[Tensor]> {
    match case.groups.as_slice() {
        [count] if *count == case.inputs.len() as i64 => Ok(&case.inputs),
        groups => panic!("{}: groups {groups:?} are not one list", case.name),
    }
}

fn axes(attrs: &Attrs<'_>) -> Result<Axes> {
    let axes = match attrs.get("axis") {
        None => Axes::all(),
        Some(_) => Axes::list(attrs.ints("axis")?),
    };
    Ok(axes.keepdims(attrs.bool("keepdims")?))
}

/// The result that the attribute `output` names.
fn chosen<const N: usize>(outputs: [Tensor; N], attrs: &Attrs<'_>) -> Result<Tensor> {
    let index = attrs.int("output", 0)? as usize;
    outputs.into_iter().nth(index).ok_or_else(|| Error::invalid_argument("no such output"))
}

fn moments(x: &Tensor, attrs: &Attrs<'_>) -> Result<Tensor> {
    let axes = Axes::list(attrs.ints("axes")?).keepdims(attrs.bool("keepdims")?);
    let (mean, variance) = nn::moments(x, axes)?;
    chosen([mean, variance], attrs)
}

fn fused_batch_norm(inputs: &[Tensor], attrs: &Attrs<'_>) -> Result<Tensor> {
    let is_training = attrs.get("is_training").is_none() || attrs.bool("is_training")?;
    let op = nn::FusedBatchNorm {
        epsilon: attrs.float("epsilon", 1e-3)?,
        is_training,
        ..Default::default()
    };
    let running = inputs.get(3).zip(inputs.get(4));
    let (y, mean, variance) = op.call(&inputs[0], &inputs[1], &inputs[2], running)?;
    chosen([y, mean, variance], attrs)
}

fn argmax(x: &Tensor, attrs: &Attrs<'_>) -> Result<Tensor> {
    let output_type = attrs.dtype("output_type")?.unwrap_or(DType::Int64);
    math::Argmax { axis: attrs.int("axis", 0)?, output_type }.call(x)
}

fn dtype_or_float(attrs: &Attrs<'_>) -> Result<DType> {
    Ok(attrs.dtype("dtype")?.unwrap_or(DType::Float32))
}

fn data_format(attrs: &Attrs<'_>) -> Result<DataFormat> {
    attrs.str("data_format", "NHWC")?.parse()
}

fn per_axis(attrs: &Attrs<'_>, name: &str) -> Result<PerAxis> {
    Ok(match attrs.get(name) {
        None => PerAxis::from(1),
        Some(_) => PerAxis::from(attrs.ints(name)?),
    })
}

fn padding(attrs: &Attrs<'_>) -> Result<Padding> {
    match attrs.get("padding") {
        Some(Value::String(name)) => name.parse(),
        Some(value) => {
            let pads = pairs(value).and_then(|pads| <[[i64; 2]; 4]>::try_from(pads).ok());
            let wrong = || Error::invalid_argument(format!("padding: {value} are not four pairs"));
            pads.map(Padding::Explicit).ok_or_else(wrong)
        }
        None => Err(Error::invalid_argument("padding is missing")),
    }
}

fn conv2d(input: &Tensor, filters: &Tensor, attrs: &Attrs<'_>) -> Result<Tensor> {
    let op = nn::Conv2D {
        strides: per_axis(attrs, "strides")?,
        padding: padding(attrs)?,
        data_format: data_format(attrs)?,
        dilations: per_axis(attrs, "dilations")?,
    };
    op.call(input, filters)
}

fn pool(attrs: &Attrs<'_>) -> Result<nn::Pool2D> {
    Ok(nn::Pool2D {
        ksize: per_axis(attrs, "ksize")?,
        strides: per_axis(attrs, "strides")?,
        padding: padding(attrs)?,
        data_format: data_format(attrs)?,
    })
}

fn one_hot(indices: &Tensor, attrs: &Attrs<'_>) -> Result<Tensor> {
    let dtype = attrs.dtype("dtype")?;
    // Python numbers become tensors of the dtype asked for, else of their own.
    let value = |name: &str| match dtype {
        Some(dtype) => attrs.scalar_as(name, dtype),
        None => attrs.scalar(name),
    };
    let op = tf::OneHot {
        depth: attrs.int("depth", 0)?,
        axis: attrs.int("axis", -1)?,
        on_value: value("on_value")?,
        off_value: value("off_value")?,
        dtype,
    };
    op.call(indices)
}

fn pad(x: &Tensor, attrs: &Attrs<'_>) -> Result<Tensor> {
    let op = tf::Pad {
        paddings: attrs.pairs("paddings")?,
        mode: attrs.str("mode", "CONSTANT")?.parse()?,
        constant_values: attrs.scalar_as("constant_values", x.dtype())?,
    };
    op.call(x)
}

/// `range(limit)` or `range(start, limit, delta)`, of tensors or Python numbers.
fn range(case: &Case, attrs: &Attrs<'_>) -> Result<Tensor> {
    match case.inputs.as_slice() {
        [] => {}
        [limit] => return tf::range(tf::zeros_like(limit)?, limit, tf::ones_like(limit)?),
        [start, limit] => return tf::range(start, limit, tf::ones_like(start)?),
        [start, limit, delta, ..] => return tf::range(start, limit, delta),
    }
    let given = attrs.dtype("dtype")?;
    let value = |name: &str| match given {
        Some(dtype) => attrs.scalar_as(name, dtype),
        None => attrs.scalar(name),
    };
    let (start, limit) = (value("start")?, value("limit")?);
    let (start, limit) = match (start, limit) {
        (Some(start), Some(limit)) => (start, limit),
        (Some(limit), None) | (None, Some(limit)) => (tf::zeros_like(&limit)?, limit),
        (None, None) => return Err(Error::invalid_argument("range: limit is missing")),
    };
    let delta = match value("delta")? {
        Some(delta) => delta,
        None => tf::ones_like(&start)?,
    };
    tf::range(start, limit, delta)
}

fn seed(attrs: &Attrs<'_>) -> Result<[i64; 2]> {
    let seed = attrs.ints("seed")?;
    let wrong = |seed: Vec<i64>| Error::shape(format!("seed {seed:?} is not two numbers"));
    seed.try_into().map_err(wrong)
}

fn normal(
    attrs: &Attrs<'_>,
    draw: fn(Shape, [i64; 2], f64, f64, DType) -> Result<Tensor>,
) -> Result<Tensor> {
    let (mean, stddev) = (attrs.float("mean", 0.0)?, attrs.float("stddev", 1.0)?);
    draw(attrs.shape("shape")?, seed(attrs)?, mean, stddev, dtype_or_float(attrs)?)
}

fn stateless_uniform(attrs: &Attrs<'_>) -> Result<Tensor> {
    let (shape, seed, dtype) = (attrs.shape("shape")?, seed(attrs)?, dtype_or_float(attrs)?);
    let minval = attrs.limit("minval", Some(0))?;
    // TensorFlow's default is 1 for floats, none for integers.
    let maxval = attrs.limit("maxval", dtype.is_floating().then_some(1))?;
    random::stateless_uniform(shape, seed, minval, maxval, dtype)
}
