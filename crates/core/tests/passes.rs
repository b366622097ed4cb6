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
const BEYOND_THE_LESSON: [&str; 1] = ["batch_norm_relu_pool"];

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

/// A block of a deeper network: convolution, batch normalisation, relu and, if asked for, pooling;
/// the loss and all gradients of two steps.
fn train_block(pool: bool, passes: Passes) -> (Vec<f32>, String, String) {
    let normal = |seed: i64, shape: [usize; 4]| {
        let value = random::stateless_normal(shape, [seed, 0], 0.0, 0.5, DType::Float32);
        Variable::new(value.unwrap())
    };
    let filters = normal(1, [3, 3, 2, 9]);
    let [scale, offset, mean, variance] = [1.5f32, 0.25, 0.0, 1.0].map(|x| Variable::new([x; 9]));
    let weights = [filters.clone(), scale.clone(), offset.clone()];
    let step = function(|x: Tensor| {
        let tape = GradientTape::new();
        tape.watch(&x);
        let y = nn::conv2d(&x, &filters, 1, nn::Padding::Same)?;
        let op = nn::FusedBatchNorm { exponential_avg_factor: 0.1, ..Default::default() };
        let running = (&mean.value(), &variance.value());
        let (y, new_mean, new_variance) = op.call(y, &scale, &offset, Some(running))?;
        mean.assign(new_mean)?;
        variance.assign(new_variance)?;
        let y = nn::relu(y)?;
        let y = if pool { nn::max_pool(y, 2, 2, nn::Padding::Same)? } else { y };
        let loss = math::reduce_sum(math::square(y)?, ..)?;
        let gradients = tape.gradient(&loss, &weights)?;
        SGD::new(1e-3).apply_gradients(gradients.iter().zip(&weights))?;
        Ok(loss)
    });
    let step = step.with_passes(passes);
    let x = normal(2, [3, 8, 8, 2]).value();
    let mut values: Vec<f32> =
        (0..2).map(|_| step.call(x.clone()).unwrap().to_scalar().unwrap()).collect();
    for variable in weights.iter().chain([&mean, &variance]) {
        values.extend(variable.value().to_vec::<f32>().unwrap());
    }
    (values, step.explain(), step.graph())
}

#[test]
fn batch_normalisation_takes_relu_and_pooling_along() {
    for pool in [false, true] {
        let (plain, _, _) = train_block(pool, Passes::none());
        let (fused, notes, graph) = train_block(pool, Passes::all());
        let note = if pool { "nn.relu + nn.max_pool, and back" } else { "nn.relu, and back" };
        assert!(notes.contains(&format!("nn.fused_batch_norm + {note}")), "{notes}");
        for op in ["nn.relu(", "nn.relu_grad(", "nn.max_pool(", "nn.max_pool_grad("] {
            assert!(!graph.contains(op), "{op} is left:\n{graph}");
        }
        let (without, notes, _) =
            train_block(pool, Passes::all().without("batch_norm_relu_pool").unwrap());
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
