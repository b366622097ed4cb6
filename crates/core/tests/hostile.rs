//! Random calls of every op with arguments that nobody means: shapes of any rank, empty and huge
//! extents, wrong dtypes, numbers out of every range. Each call returns a value or an error, and so
//! does its gradient; none panics.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::panic::{AssertUnwindSafe, catch_unwind};

use tapeflow_core::nn::{
    self, BiasAdd, Conv2D, DataFormat, LogSoftmax, Padding, PerAxis, Pool2D, Softmax,
    SoftmaxCrossEntropyWithLogits,
};
use tapeflow_core::{DType, GradientTape, Result, Shape, Tensor};
use tapeflow_core::{array, linalg, math, ops::Axes, random};
use tapeflow_testing::SplitMix;

/// How many calls are made.
const CALLS: u64 = 30_000;

/// More of anything than an address space holds, so that no machine tries to allocate it.
const HUGE: i64 = 1 << 50;

/// Draws arguments, the same ones for a seed.
struct Draw {
    random: SplitMix,
    tape: GradientTape,
    tensors: Vec<Tensor>,
}

impl Draw {
    fn new(seed: u64) -> Draw {
        let random = SplitMix::new(seed.wrapping_mul(0xd134_2543_de82_ef95));
        Draw { random, tape: GradientTape::new(), tensors: Vec::new() }
    }

    fn below(&mut self, bound: usize) -> usize {
        self.random.below(bound)
    }

    fn of<T: Clone>(&mut self, values: &[T]) -> T {
        values[self.below(values.len())].clone()
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    /// Often sensible, sometimes as far out as it gets.
    fn int(&mut self) -> i64 {
        match self.one_in(3) {
            true => self.of(&[i64::MIN, i64::MIN + 1, -HUGE, HUGE, i64::MAX / 2, i64::MAX]),
            false => self.below(8) as i64 - 3,
        }
    }

    fn ints(&mut self, len: usize) -> Vec<i64> {
        (0..len).map(|_| self.int()).collect()
    }

    /// A list of some length, often the one that fits.
    fn list(&mut self, fitting: usize) -> Vec<i64> {
        let len = if self.one_in(4) { self.below(10) } else { fitting };
        self.ints(len)
    }

    fn float(&mut self) -> f64 {
        self.of(&[0.0, 0.5, 1.0, -1.0, 3.0, 1e300, f64::NAN, f64::INFINITY, f64::NEG_INFINITY])
    }

    fn dtype(&mut self) -> DType {
        if self.one_in(2) { DType::Float32 } else { self.of(&DType::ALL) }
    }

    fn rank(&mut self) -> usize {
        if self.one_in(2) { 4 } else { self.below(9) }
    }

    /// A shape of few elements; where it has none, another extent can be huge.
    fn shape(&mut self) -> Shape {
        let rank = self.rank();
        let mut dims: Vec<usize> = (0..rank).map(|_| self.of(&[1, 1, 2, 3])).collect();
        if rank > 0 && self.one_in(4) {
            dims[self.below(rank)] = self.of(&[2, 1 << 40]);
            dims[self.below(rank)] = 0;
        }
        Shape::new(&dims).unwrap()
    }

    /// A shape of any extents.
    fn any_shape(&mut self) -> Shape {
        let rank = self.rank();
        let dims: Vec<usize> = (0..rank).map(|_| self.int() as usize).collect();
        Shape::new(&dims).unwrap()
    }

    fn tensor(&mut self) -> Tensor {
        let shape = self.shape();
        self.tensor_of(shape)
    }

    fn tensor_of(&mut self, shape: Shape) -> Tensor {
        let dtype = self.dtype();
        let values: Vec<f64> = (0..shape.num_elements()).map(|_| self.float()).collect();
        let tensor = array::cast(Tensor::from_slice(&values, shape).unwrap(), dtype).unwrap();
        self.watched(tensor)
    }

    fn watched(&mut self, tensor: Tensor) -> Tensor {
        self.tape.watch(&tensor);
        self.tensors.push(tensor.clone());
        tensor
    }

    /// A tensor, often of the dtype and shape of `other`.
    fn beside(&mut self, other: &Tensor) -> Tensor {
        if self.one_in(3) {
            return self.tensor();
        }
        let shape = *other.shape();
        let tensor = array::cast(self.tensor_of(shape), other.dtype()).unwrap();
        self.watched(tensor)
    }

    fn per_axis(&mut self) -> PerAxis {
        match self.below(4) {
            0 => PerAxis::from(1),
            1 => PerAxis::from([1, self.int(), self.int(), 1]),
            2 => PerAxis::from(self.list(2)),
            _ => PerAxis::from(self.int()),
        }
    }

    fn padding(&mut self) -> Padding {
        let spatial = [self.int(), self.int()];
        match self.below(4) {
            0 => Padding::Valid,
            1 => Padding::Explicit([[0, 0], spatial, [0, 1], [0, 0]]),
            2 => Padding::Explicit([[0, 0], [0, 0], spatial, [self.int(), 1]]),
            _ => Padding::Same,
        }
    }

    fn data_format(&mut self) -> DataFormat {
        self.of(&[DataFormat::Nhwc, DataFormat::Nhwc, DataFormat::Nchw])
    }

    fn axes(&mut self) -> Axes {
        let len = self.below(3);
        let axes = if self.one_in(3) { Axes::all() } else { Axes::list(self.ints(len)) };
        axes.keepdims(self.one_in(2))
    }

    fn pool(&mut self) -> Pool2D {
        Pool2D {
            ksize: self.per_axis(),
            strides: self.per_axis(),
            padding: self.padding(),
            data_format: self.data_format(),
        }
    }
}

fn unary(d: &mut Draw) -> Result<Tensor> {
    let x = d.tensor();
    match d.below(15) {
        0 => math::abs(x),
        1 => math::exp(x),
        2 => math::log(x),
        3 => math::negative(x),
        4 => math::sigmoid(x),
        5 => math::sign(x),
        6 => math::sqrt(x),
        7 => math::square(x),
        8 => math::tanh(x),
        9 => nn::relu(x),
        10 => nn::dropout(x, d.float(), Some([1, 2])),
        11 => array::cast(x, d.dtype()),
        12 => array::zeros_like(x),
        13 => array::ones_like(x),
        _ => array::stop_gradient(x),
    }
}

fn binary(d: &mut Draw) -> Result<Tensor> {
    let x = d.tensor();
    let y = d.beside(&x);
    match d.below(16) {
        0 => math::add(x, y),
        1 => math::subtract(x, y),
        2 => math::multiply(x, y),
        3 => math::divide(x, y),
        4 => math::maximum(x, y),
        5 => math::minimum(x, y),
        6 => math::pow(x, y),
        7 => math::equal(x, y),
        8 => math::not_equal(x, y),
        9 => math::greater(x, y),
        10 => math::greater_equal(x, y),
        11 => math::less(x, y),
        12 => math::less_equal(x, y),
        13 => array::select(d.tensor(), x, y),
        14 => array::range(x, y, d.tensor()),
        _ => {
            let (transpose_a, transpose_b) = (d.one_in(2), d.one_in(2));
            linalg::MatMul { transpose_a, transpose_b }.call(x, y)
        }
    }
}

fn along_axes(d: &mut Draw) -> Result<Tensor> {
    let x = d.tensor();
    match d.below(10) {
        0 => math::reduce_sum(x, d.axes()),
        1 => math::reduce_mean(x, d.axes()),
        2 => math::reduce_max(x, d.axes()),
        3 => math::reduce_min(x, d.axes()),
        4 => math::Argmax { axis: d.int(), output_type: d.dtype() }.call(x),
        5 => math::argmax(x, d.int()),
        6 => Softmax { axis: d.int() }.call(x),
        7 => LogSoftmax { axis: d.int() }.call(x),
        8 => array::squeeze(x, d.axes()),
        _ => array::expand_dims(x, d.int()),
    }
}

fn shaping(d: &mut Draw) -> Result<Tensor> {
    let x = d.tensor();
    let rank = x.shape().rank();
    match d.below(12) {
        0 => array::reshape(x, d.list(rank)),
        1 => array::transpose(x, d.list(rank)),
        2 => array::transpose(x, ..),
        3 => array::concat([d.beside(&x), x], d.int()),
        4 => array::stack([d.beside(&x), x], d.int()),
        5 => array::slice(x, d.list(rank), d.list(rank)),
        6 => array::broadcast_to(x, d.any_shape()),
        7 => array::fill(d.any_shape(), d.tensor()),
        8 => array::zeros(d.any_shape(), d.dtype()),
        9 => random::stateless_normal(d.any_shape(), [1, 2], d.float(), d.float(), d.dtype()),
        10 => one_hot(d, x),
        _ => {
            let (before, after) = (d.list(rank), d.ints(9));
            let paddings: Vec<_> = before.into_iter().zip(after).map(<[i64; 2]>::from).collect();
            let mode = d.of(&["CONSTANT", "REFLECT", "SYMMETRIC"]).parse()?;
            let constant_values = d.one_in(2).then(|| d.tensor());
            array::Pad { paddings, mode, constant_values }.call(x)
        }
    }
}

fn one_hot(d: &mut Draw, indices: Tensor) -> Result<Tensor> {
    let indices = if d.one_in(2) { array::cast(indices, DType::Int32)? } else { indices };
    let mut value = || d.one_in(2).then(|| d.tensor());
    let (on_value, off_value) = (value(), value());
    let dtype = d.one_in(2).then(|| d.dtype());
    array::OneHot { depth: d.int(), axis: d.int(), on_value, off_value, dtype }.call(indices)
}

fn layers(d: &mut Draw) -> Result<Tensor> {
    let x = d.tensor();
    match d.below(7) {
        0 => nn::max_pool(x, d.per_axis(), d.per_axis(), d.padding()),
        1 => d.pool().max_pool(x),
        2 => d.pool().avg_pool(x),
        3 => BiasAdd { data_format: d.data_format() }.call(&x, d.beside(&x)),
        4 => SoftmaxCrossEntropyWithLogits { axis: d.int() }.call(d.beside(&x), x),
        5 => {
            let labels = array::cast(d.beside(&x), DType::Int64)?;
            nn::sparse_softmax_cross_entropy_with_logits(labels, x)
        }
        _ => {
            let op = Conv2D {
                strides: d.per_axis(),
                padding: d.padding(),
                data_format: d.data_format(),
                dilations: d.per_axis(),
            };
            op.call(&x, d.beside(&x))
        }
    }
}

/// The gradients of convolution, which take shapes.
fn backprops(d: &mut Draw) -> Result<Tensor> {
    let (x, y) = (d.tensor(), d.tensor());
    match d.one_in(2) {
        true => nn::conv2d_backprop_input(d.any_shape(), x, y, d.per_axis(), d.padding()),
        false => nn::conv2d_backprop_filter(x, d.any_shape(), y, d.per_axis(), d.padding()),
    }
}

fn call(d: &mut Draw) -> Result<()> {
    let families: [fn(&mut Draw) -> Result<Tensor>; 8] =
        [unary, binary, along_axes, shaping, shaping, layers, layers, backprops];
    let op = d.of(&families);
    let output = op(d)?;
    assert!(output.shape().num_elements() < 1 << 24, "{}", output.spec());
    assert!(format!("{output:?}").starts_with("<tf.Tensor"));
    d.tape.gradient(&output, &d.tensors)?;
    Ok(())
}

#[test]
fn no_call_panics() {
    let mut failures = Vec::new();
    let mut succeeded = 0;
    for seed in 0..CALLS {
        match catch_unwind(AssertUnwindSafe(|| call(&mut Draw::new(seed)))) {
            Ok(result) => succeeded += u64::from(result.is_ok()),
            Err(_) => failures.push(seed),
        }
    }
    assert!(failures.is_empty(), "calls {failures:?} panic");
    assert!(succeeded > CALLS / 5, "only {succeeded} of {CALLS} calls did anything");
}
