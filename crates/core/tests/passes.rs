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

#[test]
fn each_pass_fires_on_the_lesson_and_the_results_agree() {
    let (traced, notes) = train(Passes::none());
    assert_eq!(notes.matches('\n').count(), 2, "signature and plan alone: {notes}");
    let (all, notes) = train(Passes::all());
    for name in Passes::names() {
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
