//! NaN, infinities and zeros below zero through everything that passes fuse: they come out as they do
//! without the passes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use tapeflow_core::optimizers::{Adam, SGD};
use tapeflow_core::{
    DType, GradientTape, Passes, Result, Tensor, Variable, array, function, linalg, math, nn,
    random,
};

const SPECIAL: [f32; 5] = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0, 0.0];

/// Small whole numbers, whose sums are exact, with `special` in one place.
fn values(shape: &[usize], seed: usize, special: f32) -> Tensor {
    let len: usize = shape.iter().product();
    let mut values: Vec<f32> = (0..len).map(|i| ((i * 7 + seed) * 5 % 11) as f32 - 5.0).collect();
    values[seed * 3 % len] = special;
    Tensor::from_slice(&values, tapeflow_core::Shape::new(shape).unwrap()).unwrap()
}

/// Runs `work` with all passes and with none, and compares; `fused` is in the notes of the first.
fn agree(fused: &str, work: impl Fn() -> Result<Vec<Tensor>>) {
    // The inputs are constants, and are not to be computed with beforehand.
    let passes = Passes::all().without("constants").unwrap();
    let compiled = function(|(): ()| work()).with_passes(passes);
    let got = compiled.call(()).unwrap();
    let notes = compiled.explain();
    assert!(notes.contains(fused), "{fused} was not fused:\n{notes}");
    let wanted = function(|(): ()| work()).with_passes(Passes::none()).call(()).unwrap();
    for (index, (got, wanted)) in got.iter().zip(&wanted).enumerate() {
        assert_eq!(got.spec(), wanted.spec());
        let (got, wanted) = (got.to_vec::<f32>().unwrap(), wanted.to_vec::<f32>().unwrap());
        for (place, (&got, &wanted)) in got.iter().zip(&wanted).enumerate() {
            let close = (got - wanted).abs() <= 1e-4 * (1.0 + wanted.abs());
            let same = got.is_nan() && wanted.is_nan()
                || got == wanted
                    && (got != 0.0 || got.is_sign_negative() == wanted.is_sign_negative())
                || close && got != 0.0 && wanted != 0.0;
            assert!(same, "{fused}: element {place} of result {index} is {got}, not {wanted}");
        }
    }
}

/// Calls `work` with each special value in each of `places` inputs, and 1 in the others.
fn everywhere<const N: usize>(work: impl Fn([f32; N])) {
    for place in 0..N {
        for special in SPECIAL {
            let mut inputs = [1.0; N];
            inputs[place] = special;
            work(inputs);
        }
    }
}

#[test]
fn chains() {
    let x: Vec<f32> =
        SPECIAL.into_iter().chain([1.0, -1.0, 0.5, 100.0, -100.0, 1e-40, f32::MAX]).collect();
    let columns = x.len();
    let y: Vec<f32> = x.iter().flat_map(|&y| [y].repeat(columns)).collect();
    let (x, y) = (Tensor::from(x), Tensor::from_slice(&y, [columns, columns]).unwrap());
    // Every function of one element, each behind a sum that makes it part of a chain.
    let unary: [fn(Tensor) -> Result<Tensor>; 11] = [
        |x| math::negative(x),
        |x| math::abs(x),
        |x| math::sign(x),
        |x| math::square(x),
        |x| math::sqrt(x),
        |x| math::exp(x),
        |x| math::log(x),
        |x| math::tanh(x),
        |x| math::sigmoid(x),
        |x| math::erf(x),
        |x| nn::relu(x),
    ];
    for f in unary {
        agree("in one sweep", || {
            let inner = math::multiply(&y, &x)?;
            Ok(vec![f(inner.clone())?, math::negative(f(math::add(inner, &x)?)?)?])
        });
    }
    let binary: [fn(&Tensor, &Tensor) -> Result<Tensor>; 7] = [
        |x, y| math::add(x, y),
        |x, y| math::subtract(x, y),
        |x, y| math::multiply(x, y),
        |x, y| math::divide(x, y),
        |x, y| math::maximum(x, y),
        |x, y| math::minimum(x, y),
        |x, y| math::pow(x, y),
    ];
    for f in binary {
        agree("in one sweep", || {
            let first = f(&y, &x)?;
            Ok(vec![math::negative(&first)?, f(&math::negative(&y)?, &x)?])
        });
    }
    agree("in one sweep", || {
        let less = math::less(&y, &x)?;
        let chosen = array::select(&less, math::negative(&y)?, &y)?;
        let kept = nn::dropout(math::add(&chosen, &x)?, 0.5, [1, 2])?;
        Ok(vec![chosen, kept])
    });
    // The gradients of the activations.
    agree("in one sweep", || {
        let tape = GradientTape::new();
        tape.watch(&y);
        let z = math::add(nn::relu(math::multiply(&y, &x)?)?, math::tanh(math::sigmoid(&y)?)?)?;
        let z = math::reduce_sum(math::multiply(z, &x)?, ..)?;
        Ok(vec![tape.gradient(&z, &y)?.unwrap()])
    });
}

#[test]
fn products() {
    everywhere(|[a, b, bias]| {
        let (a, b) = (values(&[4, 6], 1, a), values(&[6, 20], 2, b));
        let bias = values(&[20], 3, bias);
        for relu in [false, true] {
            agree("linalg.matmul + bias", || {
                let y = math::add(linalg::matmul(&a, &b)?, &bias)?;
                Ok(vec![if relu { nn::relu(y)? } else { y }])
            });
        }
    });
}

#[test]
fn weights_in_panels_and_their_updates() {
    everywhere(|[a, w, dy, rate]| {
        let (a, dy) = (values(&[3, 256], 1, a), values(&[3, 260], 2, dy));
        let initial = values(&[256, 260], 3, w);
        let (w, optimizer) = (Variable::new(&initial), SGD::new(f64::from(rate)));
        agree("is kept as its products read it", || {
            let y = linalg::matmul(&a, &w)?;
            let back = linalg::MatMul { transpose_b: true, ..Default::default() };
            Ok(vec![y, back.call(&dy, &w)?])
        });
        let step = |passes: Passes| {
            w.assign(&initial).unwrap();
            let update = function(|(): ()| {
                let product = linalg::MatMul { transpose_a: true, ..Default::default() };
                optimizer.apply_gradients([(product.call(&a, &dy)?, &w)])
            });
            let update = update.with_passes(passes.without("constants").unwrap());
            update.call(()).unwrap();
            w.value()
        };
        let (got, wanted) = (step(Passes::all()), step(Passes::none()));
        for (&got, &wanted) in
            got.as_slice::<f32>().unwrap().iter().zip(wanted.as_slice::<f32>().unwrap())
        {
            let same = got == wanted || got.is_nan() && wanted.is_nan();
            assert!(same, "{got}, not {wanted}, with {a:?} {rate}");
        }
    });
}

#[test]
fn convolutions_with_pooling_and_their_gradients() {
    everywhere(|[x, filters, bias, dy]| {
        let (x, filters) = (values(&[2, 6, 6, 3], 1, x), values(&[3, 3, 3, 9], 2, filters));
        let (bias, dy) = (values(&[9], 3, bias), values(&[2, 3, 3, 9], 4, dy));
        for input_gradient in [false, true] {
            agree("nn.conv2d + nn.bias_add + nn.relu + nn.max_pool", || {
                let tape = GradientTape::new();
                let mut sources = vec![filters.clone(), bias.clone()];
                sources.extend(input_gradient.then(|| x.clone()));
                sources.iter().for_each(|source| tape.watch(source));
                let y = nn::bias_add(nn::conv2d(&x, &filters, 1, nn::Padding::Same)?, &bias)?;
                let y = nn::max_pool(nn::relu(y)?, 2, 2, nn::Padding::Same)?;
                let loss = math::reduce_sum(math::multiply(&y, &dy)?, ..)?;
                let gradients = tape.gradient(&loss, &sources)?;
                Ok([vec![y], gradients.into_iter().flatten().collect()].concat())
            });
        }
        agree("nn.conv2d + nn.bias_add + nn.relu", || {
            let y = nn::bias_add(nn::conv2d(&x, &filters, 1, nn::Padding::Same)?, &bias)?;
            Ok(vec![nn::relu(y)?])
        });
    });
}

#[test]
fn batch_normalisation_with_pooling_and_its_gradients() {
    everywhere(|[x, scale, offset, dy]| {
        let (scale, offset) = (values(&[5], 2, scale), values(&[5], 3, offset));
        let x = values(&[2, 6, 6, 5], 1, x);
        for pooled in [false, true] {
            let dy = values(if pooled { &[2, 3, 3, 5] } else { &[2, 6, 6, 5] }, 4, dy);
            agree("nn.fused_batch_norm + nn.relu", || {
                let tape = GradientTape::new();
                let sources = [x.clone(), scale.clone(), offset.clone()];
                sources.iter().for_each(|source| tape.watch(source));
                let (y, mean, variance) = nn::fused_batch_norm(&x, &scale, &offset)?;
                let y = nn::relu(y)?;
                let y = if pooled { nn::max_pool(y, 2, 2, nn::Padding::Same)? } else { y };
                let loss = math::reduce_sum(math::multiply(&y, &dy)?, ..)?;
                let gradients = tape.gradient(&loss, &sources)?;
                let gradients = gradients.into_iter().flatten().collect();
                Ok([vec![y, mean, variance], gradients].concat())
            });
        }
    });
}

#[test]
fn normalisation_between_convolutions_and_its_gradients() {
    everywhere(|[x, filters, numbers, dy]| {
        let (x, dy) = (values(&[8, 4, 4, 2], 1, x), values(&[8, 4, 4, 16], 4, dy));
        let first = values(&[3, 3, 2, 16], 2, filters);
        let second = values(&[3, 3, 16, 16], 3, 1.0);
        let number = values(&[16], 5, numbers);
        agree("nn.conv2d, and the gradients of that", || {
            let tape = GradientTape::new();
            let sources = [first.clone(), second.clone(), number.clone()];
            sources.iter().for_each(|source| tape.watch(source));
            let mut y = x.clone();
            for filters in [&first, &second] {
                y = nn::conv2d(&y, filters, 1, nn::Padding::Same)?;
                y = nn::relu(nn::fused_batch_norm(y, &number, &number)?.0)?;
            }
            let loss = math::reduce_sum(math::multiply(&y, &dy)?, ..)?;
            let gradients = tape.gradient(&loss, &sources)?;
            Ok([vec![y], gradients.into_iter().flatten().collect()].concat())
        });
    });
}

#[test]
fn updates_of_variables() {
    everywhere(|[w, g]| {
        let gradient = values(&[40], 5, g);
        let run = |passes: Passes| {
            let weights = [1, 2, 3, 4].map(|seed| Variable::new(values(&[40], seed, w)));
            let (sgd, adam) = (SGD::new(0.5).momentum(0.5), Adam::new(0.5));
            let update = function(|(): ()| {
                let [a, b, c, d] = &weights;
                a.assign_add(&gradient)?;
                b.assign(math::subtract(b, &gradient)?)?;
                sgd.apply_gradients([(&gradient, c)])?;
                adam.apply_gradients([(&gradient, d)])
            });
            let update = update.with_passes(passes);
            (0..3).for_each(|_| update.call(()).unwrap());
            weights.map(|w| w.value().to_vec::<f32>().unwrap()).concat()
        };
        for (got, wanted) in run(Passes::all()).iter().zip(run(Passes::none())) {
            let same = got.to_bits() == wanted.to_bits() || got.is_nan() && wanted.is_nan();
            assert!(same, "{got}, not {wanted}, with {w} and {g}");
        }
    });
}

#[test]
fn scores_without_measure_through_the_stable_loss() {
    for special in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let logits = Tensor::from([[special, 1.0, 2.0], [0.5, -0.0, 3.0]]);
        let labels = Tensor::from([1i64, 2]);
        let loss = || {
            let tape = GradientTape::new();
            tape.watch(&logits);
            let losses = nn::sparse_softmax_cross_entropy_with_logits(&labels, &logits)?;
            let scaled = math::multiply(&losses, 2.0f32)?;
            let total = math::reduce_sum(&scaled, ..)?;
            let gradient = tape.gradient(&total, &logits)?.unwrap();
            Ok::<_, tapeflow_core::Error>(vec![losses, math::negative(scaled)?, gradient])
        };
        agree("plan", loss);
    }
    let noise = random::stateless_uniform([4], [1, 2], 0.0, 1.0, DType::Float32).unwrap();
    agree("plan", || Ok(vec![math::add(&noise, f32::NAN)?]));
}
