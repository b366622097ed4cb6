//! Every pass fires on the lesson's training step, and the results agree with it and without it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use tapeflow_core::optimizers::SGD;
use tapeflow_core::{
    DType, GradientTape, Passes, Result, Shape, Tensor, Variable, array, function, linalg, math,
    nn, random,
};

/// The lesson's network with narrower layers, the first dense one wide enough for panels.
struct Lesson {
    variables: [Variable; 6],
    optimizer: SGD,
    /// What the second constant of a fold is made of.
    scale: Tensor,
}

impl Lesson {
    fn new() -> Lesson {
        let normal = |seed: i64, shape: &[usize]| {
            let shape = Shape::new(shape).unwrap();
            let value = random::stateless_normal(shape, [seed, 0], 0.0, 0.05, DType::Float32);
            Variable::named(format!("v{seed}"), value.unwrap())
        };
        Lesson {
            variables: [
                normal(1, &[3, 3, 1, 8]),
                normal(2, &[8]),
                normal(3, &[14 * 14 * 8, 48]),
                normal(4, &[48]),
                normal(5, &[48, 10]),
                normal(6, &[10]),
            ],
            optimizer: SGD::new(0.01),
            scale: Tensor::from(255.0f32),
        }
    }

    fn step(&self, images: &Tensor, labels: &Tensor) -> Result<Tensor> {
        let [conv_w, conv_b, fc1_w, fc1_b, fc2_w, fc2_b] = &self.variables;
        let tape = GradientTape::new();
        let x = math::divide(array::cast(images, DType::Float32)?, &self.scale)?;
        let x = nn::bias_add(nn::conv2d(x, conv_w, 1, nn::Padding::Same)?, conv_b)?;
        let x = nn::max_pool(nn::relu(x)?, 2, 2, nn::Padding::Same)?;
        let x = array::reshape(x, [-1, 14 * 14 * 8])?;
        let x = nn::relu(math::add(linalg::matmul(x, fc1_w)?, fc1_b)?)?;
        let x = nn::softmax(math::add(linalg::matmul(x, fc2_w)?, fc2_b)?)?;
        let y = array::one_hot(labels, 10)?;
        let again = array::one_hot(labels, 10)?;
        let loss = math::negative(math::reduce_sum(math::multiply(y, math::log(x)?)?, ..)?)?;
        // A loss that counts the batch, written without care: the same op twice, another in vain.
        let batch = math::reduce_sum(again, ..)?;
        math::exp(&batch)?;
        let gradients = tape.gradient(&loss, &self.variables)?;
        self.optimizer.apply_gradients(gradients.iter().zip(&self.variables))?;
        math::divide(loss, batch)
    }
}

fn batch(step: usize) -> (Tensor, Tensor) {
    let images = random::stateless_uniform([6, 28, 28, 1], [step as i64, 0], 0, 256, DType::Int32);
    let images = array::cast(images.unwrap(), DType::UInt8).unwrap();
    let labels: Vec<u8> = (0..6).map(|i| ((i * 7 + step) % 10) as u8).collect();
    (images, Tensor::from(labels))
}

/// Losses and weights of three steps, and what was rewritten.
fn train(passes: Passes) -> (Vec<f32>, String) {
    let lesson = Lesson::new();
    let step = function(|(x, y): (Tensor, Tensor)| lesson.step(&x, &y)).with_passes(passes);
    let mut values: Vec<f32> =
        (0..3).map(|i| step.call(batch(i)).unwrap().to_scalar::<f32>().unwrap()).collect();
    for variable in &lesson.variables {
        values.extend(variable.value().to_vec::<f32>().unwrap());
    }
    (values, step.explain())
}

/// Passes for what the lesson has not.
const BEYOND_THE_LESSON: [&str; 2] = ["batch_norm_relu_pool", "batch_norm_conv"];

#[test]
fn each_pass_fires_on_the_lesson_and_the_results_agree() {
    let (traced, notes) = train(Passes::none());
    assert_eq!(notes.matches('\n').count(), 2, "signature and plan alone: {notes}");
    let (all, notes) = train(Passes::all());
    for name in Passes::names() {
        if BEYOND_THE_LESSON.contains(&name) {
            continue;
        }
        let fired = notes.lines().filter(|line| line.starts_with(&format!("{name}: "))).count();
        assert!(fired > 0, "{name} did not fire:\n{notes}");
        let (without, _) = train(Passes::all().without(name).unwrap());
        let (alone, _) = train(Passes::none().with(name).unwrap());
        for (what, values) in [("all", &all), ("without", &without), ("alone", &alone)] {
            let distance = traced.iter().zip(values).map(|(a, b)| (a - b).abs() / (1.0 + a.abs()));
            let distance = distance.fold(0.0, f32::max);
            assert!(distance < 1e-5, "{what} {name}: {distance}");
        }
    }
}

#[test]
fn fusing_is_seen_in_the_graph() {
    let lesson = Lesson::new();
    let step = function(|(x, y): (Tensor, Tensor)| lesson.step(&x, &y));
    let concrete = step.get_concrete_function(&batch(0)).unwrap();
    let text = concrete.graph().to_string();
    let there = [
        "nn.fused_conv2d(",
        "nn.fused_conv2d_backprop_filter(",
        "fused_matmul(",
        "panel_matmul_transposed(",
        "matmul_update(",
        "nn.log_softmax(",
        "elementwise_chain(",
    ];
    for op in there {
        assert!(text.contains(op), "{op} is missing:\n{text}");
    }
    for op in ["nn.relu(", "nn.max_pool(", "math.log(", "nn.max_pool_grad(", "math.divide("] {
        assert!(!text.contains(op), "{op} is left:\n{text}");
    }
    let before: usize = concrete.traced_graph().to_string().lines().count();
    assert!(text.lines().count() + 15 < before, "{before} lines became\n{text}");
    assert!(concrete.peak_memory() > 0);
}

/// A deeper network of blocks, each of convolution, batch normalisation, relu and, where `pooled` says
/// so, pooling: the losses of two steps and what the variables hold then.
fn train_blocks(pooled: &[bool], passes: Passes) -> (Vec<f32>, String, String) {
    let normal = |seed: i64, shape: [usize; 4]| {
        let value = random::stateless_normal(shape, [seed, 0], 0.0, 0.5, DType::Float32);
        Variable::new(value.unwrap())
    };
    let blocks: Vec<[Variable; 5]> = (0..pooled.len())
        .map(|block| {
            let filters = normal(block as i64 + 1, [3, 3, if block == 0 { 2 } else { 16 }, 16]);
            let [scale, offset, mean, variance] =
                [1.5f32, 0.25, 0.0, 1.0].map(|x| Variable::new([x; 16]));
            [filters, scale, offset, mean, variance]
        })
        .collect();
    let weights: Vec<Variable> = blocks.iter().flat_map(|block| &block[..3]).cloned().collect();
    let step = function(|x: Tensor| {
        let tape = GradientTape::new();
        let mut y = x;
        for ([filters, scale, offset, mean, variance], &pooled) in blocks.iter().zip(pooled) {
            y = nn::conv2d(&y, filters, 1, nn::Padding::Same)?;
            let op = nn::FusedBatchNorm { exponential_avg_factor: 0.1, ..Default::default() };
            let running = (&mean.value(), &variance.value());
            let (normalized, new_mean, new_variance) = op.call(y, scale, offset, Some(running))?;
            mean.assign(new_mean)?;
            variance.assign(new_variance)?;
            y = nn::relu(normalized)?;
            y = if pooled { nn::max_pool(y, 2, 2, nn::Padding::Same)? } else { y };
        }
        let loss = math::reduce_sum(math::square(y)?, ..)?;
        let gradients = tape.gradient(&loss, &weights)?;
        SGD::new(1e-4).apply_gradients(gradients.iter().zip(&weights))?;
        Ok(loss)
    });
    let step = step.with_passes(passes);
    let x = normal(99, [9, 8, 8, 2]).value();
    let mut values: Vec<f32> =
        (0..2).map(|_| step.call(x.clone()).unwrap().to_scalar().unwrap()).collect();
    for variable in blocks.iter().flatten() {
        values.extend(variable.value().to_vec::<f32>().unwrap());
    }
    (values, step.explain(), step.graph())
}

#[test]
fn batch_normalisation_takes_relu_and_pooling_along() {
    for pool in [false, true] {
        let (plain, _, _) = train_blocks(&[pool], Passes::none());
        let (fused, notes, graph) = train_blocks(&[pool], Passes::all());
        let note = if pool { "nn.relu + nn.max_pool, and back" } else { "nn.relu, and back" };
        assert!(notes.contains(&format!("nn.fused_batch_norm + {note}")), "{notes}");
        for op in ["nn.relu(", "nn.relu_grad(", "nn.max_pool(", "nn.max_pool_grad("] {
            assert!(!graph.contains(op), "{op} is left:\n{graph}");
        }
        let (without, notes, _) =
            train_blocks(&[pool], Passes::all().without("batch_norm_relu_pool").unwrap());
        assert!(!notes.contains("nn.fused_batch_norm +"), "{notes}");
        for (i, plain) in plain.iter().enumerate() {
            for values in [&fused, &without] {
                let distance = (values[i] - plain).abs() / (1.0 + plain.abs());
                assert!(distance < 1e-4, "{} {plain}", values[i]);
            }
        }
    }
}

#[test]
fn batch_normalisation_goes_on_into_convolutions() {
    let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect::<Vec<_>>();
    for pooled in [&[false, true][..], &[true, false, false]] {
        let (apart, _, _) = train_blocks(pooled, Passes::all().without("batch_norm_conv").unwrap());
        let (fused, notes, graph) = train_blocks(pooled, Passes::all());
        assert_eq!(bits(fused), bits(apart));
        for note in [
            "nn.fused_batch_norm_relu_grad, and on to the filters\n",
            "nn.fused_batch_norm_relu_grad, and on to the filters and images\n",
            "nn.fused_batch_norm_relu + nn.conv2d, and the gradients of that\n",
        ] {
            assert!(notes.contains(note), "{note} is not in\n{notes}");
        }
        let back = "nn.fused_conv2d_batch_norm_grad(";
        assert_eq!(graph.matches(back).count(), pooled.len(), "{graph}");
        for op in ["nn.conv2d_backprop_filter(", "nn.conv2d_backprop_input(", "relu_grad("] {
            assert!(!graph.contains(op), "{op} is left:\n{graph}");
        }
    }
}

/// Two convolutions, each with normalisation and relu behind: the result of each and what relu makes of
/// it.
fn two_layers(x: &Tensor, filters: [&Tensor; 2], conv: &nn::Conv2D) -> Result<[Tensor; 4]> {
    let layer = |x: &Tensor, filters: &Tensor| {
        let y = conv.clone().call(x, filters)?;
        let op = nn::FusedBatchNorm { data_format: conv.data_format, ..Default::default() };
        let dtype = if x.dtype() == DType::Float64 { x.dtype() } else { DType::Float32 };
        let number = array::ones([16], dtype)?;
        let (normalized, _, _) = op.call(&y, &number, &number, None)?;
        Ok::<_, tapeflow_core::Error>([y, nn::relu(normalized)?])
    };
    let [first, images] = layer(x, filters[0])?;
    let [second, result] = layer(&images, filters[1])?;
    Ok([first, images, second, result])
}

/// Compares a function compiled and eager, and says what `batch_norm_conv` did: whether images are
/// normalised on their way in, and whether gradients go on to filters and images, and to filters alone.
fn normalised_on_the_way(step: impl Fn(Tensor) -> Result<Vec<Tensor>>, x: &Tensor) -> [bool; 3] {
    let floats = |y: &Tensor| array::cast(y, DType::Float32).unwrap().to_vec::<f32>().unwrap();
    let wanted = step(x.clone()).unwrap();
    let compiled = function(step);
    let got = compiled.call(x.clone()).unwrap();
    assert_eq!(got.len(), wanted.len());
    for (got, wanted) in got.iter().zip(&wanted) {
        assert_eq!(got.spec(), wanted.spec());
        let bound = if got.dtype() == DType::BFloat16 { 5e-2 } else { 1e-4 };
        for (got, wanted) in floats(got).into_iter().zip(floats(wanted)) {
            assert!((got - wanted).abs() < bound * (1.0 + wanted.abs()), "{got} {wanted}");
        }
    }
    let notes = compiled.explain();
    ["+ nn.conv2d", "to the filters and images\n", "to the filters\n"]
        .map(|note| notes.contains(note))
}

#[test]
fn what_else_reads_normalised_images_or_gradients_keeps_them() {
    let normal = |seed: i64, shape: [usize; 4]| {
        random::stateless_normal(shape, [seed, 2], 0.0, 0.1, DType::Float32).unwrap()
    };
    let x = normal(1, [8, 4, 4, 16]);
    let filters = [2, 3].map(|seed| Variable::new(normal(seed, [3, 3, 16, 16])));
    let conv = nn::Conv2D::new(1, nn::Padding::Same);
    // What is asked for besides the gradients of the filters, and which filters the layers have.
    type More = fn(&[Tensor; 4]) -> Result<Option<Tensor>>;
    let nothing: More = |_| Ok(None);
    let images: More = |[_, images, ..]| Ok(Some(images.clone()));
    let other_conv: More = |[_, images, ..]| {
        let filters = array::ones([3, 3, 16, 1], DType::Float32)?;
        nn::conv2d(images, filters, 1, nn::Padding::Same).map(Some)
    };
    for (more, gradient_of_second, which, wanted) in [
        (nothing, false, [0, 1], [true; 3]),
        (nothing, false, [0, 0], [true; 3]),
        (images, false, [0, 1], [false, true, true]),
        (other_conv, false, [0, 1], [false, true, true]),
        (nothing, true, [0, 1], [false, false, true]),
    ] {
        let step = |x: Tensor| {
            let tape = GradientTape::new();
            let [first, second] = which.map(|index| filters[index].value());
            [&first, &second].into_iter().for_each(|filters| tape.watch(filters));
            let layers = two_layers(&x, [&first, &second], &conv)?;
            let loss = math::reduce_sum(math::square(&layers[3])?, ..)?;
            let mut sources = vec![&first, &second];
            sources.extend(gradient_of_second.then_some(&layers[2]));
            let gradients = tape.gradient(&loss, &sources)?.into_iter().flatten();
            Ok(gradients.chain(more(&layers)?).collect())
        };
        assert_eq!(normalised_on_the_way(step, &x), wanted, "{which:?}");
    }
}

#[test]
fn what_is_normalised_on_the_way() {
    let same = || nn::Conv2D::new(1, nn::Padding::Same);
    let nchw = || nn::Conv2D { data_format: nn::DataFormat::Nchw, ..same() };
    for (conv, size, images, dtype, wanted) in [
        (same(), 3, 8, DType::Float32, [true; 3]),
        (same(), 3, 8, DType::Float64, [true; 3]),
        // By the filters' rows, not by images, where these are few.
        (same(), 3, 2, DType::Float32, [false; 3]),
        (same(), 3, 8, DType::BFloat16, [false; 3]),
        // A matrix product.
        (same(), 1, 8, DType::Float32, [false; 3]),
        // Strides do not keep the gradient from the filters.
        (nn::Conv2D::new(2, nn::Padding::Same), 3, 8, DType::Float32, [false, false, true]),
        (nchw(), 3, 8, DType::Float32, [false; 3]),
    ] {
        let normal = |seed: i64, shape: [usize; 4]| {
            random::stateless_normal(shape, [seed, 2], 0.0, 0.2, dtype).unwrap()
        };
        let x = normal(1, [images, 16, 16, 16]);
        let filters = [2, 3].map(|seed| Variable::new(normal(seed, [size, size, 16, 16])));
        let step = |x: Tensor| {
            let tape = GradientTape::new();
            let [first, second] = filters.each_ref().map(Variable::value);
            let [.., y] = two_layers(&x, [&first, &second], &conv)?;
            let loss = math::reduce_mean(math::square(y)?, ..)?;
            let gradients = tape.gradient(&loss, &filters)?;
            Ok(gradients.into_iter().flatten().chain([loss]).collect())
        };
        let what = format!("{conv:?} {size} {images} {dtype}");
        assert_eq!(normalised_on_the_way(step, &x), wanted, "{what}");
    }
    // Without gradients, and by given statistics.
    let x = random::stateless_normal([2, 6, 6, 16], [1, 2], 0.0, 0.2, DType::Float32).unwrap();
    let filters = array::ones([3, 3, 16, 4], DType::Float32).unwrap();
    let number = array::ones([16], DType::Float32).unwrap();
    let inference = |x: Tensor| {
        let op = nn::FusedBatchNorm { is_training: false, ..Default::default() };
        let (y, _, _) = op.call(x, &number, &number, Some((&number, &number)))?;
        Ok(vec![same().call(nn::relu(y)?, &filters)?])
    };
    assert_eq!(normalised_on_the_way(inference, &x), [true, false, false]);
}

#[test]
fn what_else_reads_relu_or_its_gradient_keeps_them() {
    let x = random::stateless_normal([2, 4, 4, 3], [1, 2], 0.0, 1.0, DType::Float32).unwrap();
    let ones = Tensor::from([1.0f32; 3]);
    let step = |(): ()| {
        let tape = GradientTape::new();
        tape.watch(&x);
        let (normalized, _, _) = nn::fused_batch_norm(&x, &ones, &ones)?;
        let active = nn::relu(&normalized)?;
        let pooled = nn::max_pool(&active, 2, 2, nn::Padding::Same)?;
        let loss = math::add(
            math::reduce_sum(math::square(&pooled)?, ..)?,
            math::reduce_sum(math::exp(math::negative(&active)?)?, ..)?,
        )?;
        let gradient = tape.gradient(&loss, &x)?.unwrap();
        Ok(vec![pooled, active, gradient, loss])
    };
    let eager = step(()).unwrap();
    for (eager, compiled) in eager.iter().zip(function(step).call(()).unwrap()) {
        let (eager, compiled) = (eager.to_vec::<f32>().unwrap(), compiled.to_vec::<f32>().unwrap());
        for (eager, compiled) in eager.iter().zip(compiled) {
            assert!((eager - compiled).abs() < 1e-4 * (1.0 + eager.abs()), "{eager} {compiled}");
        }
    }
}

#[test]
fn without_dead_code_runs_what_nothing_needs_but_not_what_was_replaced() {
    let f = |x: Tensor| {
        math::log(math::reduce_sum(&x, ..)?)?;
        math::add(nn::relu(math::multiply(&x, 2.0f32)?)?, 1.0f32)
    };
    let x = Tensor::from([1.0f32, 2.0]);
    let kept = function(f).with_passes(Passes::all().without("dead_code").unwrap());
    assert_eq!(kept.call(x.clone()).unwrap().to_vec::<f32>().unwrap(), [3.0, 5.0]);
    let text = kept.graph();
    assert!(text.contains("math.log(") && text.contains("elementwise_chain("), "{text}");
    assert!(!text.contains("nn.relu(") && !text.contains("math.multiply("), "{text}");
    let cleared = function(f);
    cleared.call(x).unwrap();
    assert!(!cleared.graph().contains("math.log("), "{}", cleared.graph());
}

/// `(d - sum(d * s)) * s` with `d = a / s`, the gradient of `a` through a logarithm and a softmax.
fn gradient_of_log_softmax(a: &Tensor, logits: &Tensor, keepdims: bool) -> Result<Tensor> {
    let s = nn::softmax(logits)?;
    let d = math::divide(a, &s)?;
    let axes = tapeflow_core::ops::Axes::from(-1).keepdims(keepdims);
    let sum = math::reduce_sum(math::multiply(&d, &s)?, axes)?;
    math::multiply(math::subtract(&d, sum)?, &s)
}

#[test]
fn the_stable_gradient_is_that_of_the_formula_also_without_a_logarithm() {
    let a = Tensor::from([[1.0f32, -2.0, 0.5], [0.0, 3.0, -1.0], [2.0, 2.0, 2.0]]);
    let logits = Tensor::from([[0.5f32, 1.0, -1.0], [3.0, 0.0, 0.1], [1.0, 1.0, -2.0]]);
    let check = |keepdims: bool| {
        let f = function(|(a, x): (Tensor, Tensor)| gradient_of_log_softmax(&a, &x, keepdims));
        let got = f.call((a.clone(), logits.clone())).unwrap().to_vec::<f32>().unwrap();
        let wanted = gradient_of_log_softmax(&a, &logits, keepdims).unwrap();
        for (got, wanted) in got.iter().zip(wanted.to_vec::<f32>().unwrap()) {
            assert!((got - wanted).abs() < 1e-5, "keepdims {keepdims}: {got} {wanted}");
        }
        f.explain().contains("divides by no probability")
    };
    assert!(check(true));
    // The sums of the rows go along the columns here: another formula, which stays as it is.
    assert!(!check(false));

    // What it does where a probability is zero is what it is there for.
    let logits = Tensor::from([[0.0f32, 200.0, 0.0]]);
    let a = Tensor::from([[1.0f32, 2.0, 0.0]]);
    let f = function(|(a, x): (Tensor, Tensor)| gradient_of_log_softmax(&a, &x, true));
    let got = f.call((a, logits)).unwrap().to_vec::<f32>().unwrap();
    assert_eq!(got, [1.0, -1.0, 0.0]);
}

#[test]
fn the_stable_loss_has_no_infinity() {
    let logits = Variable::named("logits", [[0.0f32, 200.0], [1.0, -1.0]]);
    let loss = || {
        let tape = GradientTape::new();
        let log = math::log(nn::softmax(&logits)?)?;
        let y = Tensor::from([[1.0f32, 0.0], [0.0, 1.0]]);
        let loss = math::negative(math::reduce_sum(math::multiply(y, log)?, ..)?)?;
        let gradient = tape.gradient(&loss, &logits)?.unwrap();
        Ok((loss, gradient))
    };
    let plain = function(|(): ()| loss()).with_passes(Passes::none());
    let (value, gradient) = plain.call(()).unwrap();
    assert!(!value.to_scalar::<f32>().unwrap().is_finite());
    assert!(gradient.to_vec::<f32>().unwrap().iter().any(|g| g.is_nan()));
    let (value, gradient) = function(|(): ()| loss()).call(()).unwrap();
    assert!((value.to_scalar::<f32>().unwrap() - 202.126_93).abs() < 1e-3);
    let gradient = gradient.to_vec::<f32>().unwrap();
    for (got, wanted) in gradient.iter().zip([-1.0, 1.0, 0.880_797, -0.880_797]) {
        assert!((got - wanted).abs() < 1e-5, "{gradient:?}");
    }
}

#[test]
fn a_weight_in_panels_reads_as_plain() {
    let (w, optimizer) =
        (Variable::named("w", array::ones([300, 301], DType::Float32).unwrap()), SGD::new(1.0));
    let step = function(|(x, y): (Tensor, Tensor)| {
        optimizer.apply_gradients([(linalg::matmul(x, y)?, &w)])
    });
    let forward = function(|x: Tensor| linalg::matmul(x, &w));
    let x = random::stateless_uniform([300, 4], [1, 2], 0.0, 1.0, DType::Float32).unwrap();
    let y = random::stateless_uniform([4, 301], [3, 4], 0.0, 1.0, DType::Float32).unwrap();
    let a = random::stateless_uniform([5, 300], [5, 6], 0.0, 1.0, DType::Float32).unwrap();
    let mut expected = w.value();
    for _ in 0..3 {
        step.call((x.clone(), y.clone())).unwrap();
        expected = math::subtract(&expected, linalg::matmul(&x, &y).unwrap()).unwrap();
        // Forward keeps the panels, the eager product takes the plain value.
        let compiled = forward.call(a.clone()).unwrap().to_vec::<f32>().unwrap();
        let held = w.value();
        let eager = linalg::matmul(&a, &held).unwrap().to_vec::<f32>().unwrap();
        for (compiled, eager) in compiled.iter().zip(&eager) {
            assert!((compiled - eager).abs() < 1e-3 * (1.0 + eager.abs()));
        }
        step.call((x.clone(), y.clone())).unwrap();
        let product = linalg::matmul(&x, &y).unwrap();
        for (held, expected) in
            held.to_vec::<f32>().unwrap().iter().zip(expected.to_vec::<f32>().unwrap())
        {
            assert!((held - expected).abs() < 1e-4);
        }
        expected = math::subtract(&expected, product).unwrap();
    }
    assert!(step.explain().contains("goes straight into it"), "{}", step.explain());
    assert!(step.explain().contains("weight_panels"), "{}", step.explain());
}
