//! Writes summaries of every kind, to look at with `tensorboard --logdir DIR`.
//!
//! ```text
//! cargo run --release --example summaries -- DIR
//! ```
//!
//! The interop tests compare them with what TensorFlow writes.

use std::path::Path;
use std::process::ExitCode;

use tapeflow as tf;
use tf::summary::{Experiment, HParam, Status, Summary};
use tf::{Tensor, Variable};

fn main() -> ExitCode {
    let Some(dir) = std::env::args().nth(1) else {
        eprintln!("usage: summaries DIR");
        return ExitCode::from(2);
    };
    match kinds(&Path::new(&dir).join("kinds")).and_then(|()| trials(Path::new(&dir))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("summaries: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A run with one of each.
fn kinds(dir: &Path) -> tf::Result<()> {
    let writer = tf::summary::create_file_writer(dir)?;
    for step in 0..100 {
        writer.scalar("curve/loss", 1.0 / (1.0 + step as f64), step)?;
        writer.histogram("values", values(step, 1000), step)?;
    }
    let integer = Summary::scalar("curve/integer", 7i64)?;
    writer.write(integer.with_description("A number, *described*."), 3)?;

    for (name, data) in [
        ("one_value", vec![0.5; 5]),
        ("none", vec![]),
        ("not_a_number", vec![1.0, f32::NAN, 2.0]),
        ("infinite", vec![1.0, f32::INFINITY, 2.0]),
    ] {
        writer.write(Summary::histogram(format!("edges/{name}"), data, 4)?, 0)?;
    }

    for channels in 1..=4 {
        let shape = [5, 12, 16, channels];
        let floats = values(channels as i64, 5 * 12 * 16 * channels);
        writer.image(
            &format!("float/{channels}"),
            tf::reshape(&floats, shape.map(|n| n as i64))?,
            1,
        )?;
        let bytes: Vec<u8> = floats.as_slice::<f32>()?.iter().map(|x| (x * 255.0) as u8).collect();
        let bytes =
            Summary::image(format!("uint8/{channels}"), Tensor::from_slice(&bytes, shape)?, 9)?;
        writer.write(bytes, 1)?;
    }

    writer.text("words", "Text is **Markdown**: | `a` | ä 中 |", 2)?;

    let w = Variable::named("dense/w", values(0, 6).as_slice::<f32>()?.to_vec());
    let step = tf::function(move |x: Tensor| {
        let tape = tf::GradientTape::new();
        let loss = tf::reduce_sum(tf::square(tf::subtract(&w, &x)?)?, ..)?;
        let gradient = tape.gradient(&loss, &w)?;
        tf::optimizers::SGD::new(0.1).apply_gradients([(gradient, &w)])?;
        Ok(loss)
    });
    writer.graph(step.get_concrete_function(&values(1, 6))?.traced_graph())?;
    writer.flush()
}

/// Two runs that differ in a hyperparameter.
fn trials(dir: &Path) -> tf::Result<()> {
    let experiment = Experiment::new()
        .interval("learning_rate", 0.0, 1.0)
        .one_of("optimizer", &["sgd".into(), "adam".into()])
        .hparam("nesterov", &true.into())
        .metric("accuracy", "Test accuracy");
    let writer = tf::summary::create_file_writer(dir)?;
    writer.hparams_config(&experiment)?;
    for (name, rate, optimizer) in [("sgd", 0.5, "sgd"), ("adam", 0.25, "adam")] {
        let writer = tf::summary::create_file_writer(dir.join(name))?;
        let hparams = [
            ("learning_rate", HParam::from(rate)),
            ("optimizer", optimizer.into()),
            ("nesterov", false.into()),
        ];
        writer.hparams(&hparams)?;
        writer.scalar("accuracy", 1.0 - rate, 0)?;
        writer.session_end(Status::Success)?;
        writer.flush()?;
    }
    writer.flush()
}

/// Numbers from 0 to 1 that every language computes alike.
fn values(seed: i64, count: usize) -> Tensor {
    let value = |i: i64| ((i * i + 37 * i + 11 * seed) % 101) as f32 / 101.0;
    Tensor::from((0..count as i64).map(value).collect::<Vec<f32>>())
}
