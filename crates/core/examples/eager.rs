//! Measures what executing an op eagerly costs besides its arithmetic.
//!
//! `cargo run --release -p tapeflow-core --example eager [PART OF A NAME]`

#![forbid(unsafe_code)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use tapeflow_core::{GradientTape, Result, Tensor, Variable, array, math};

const CALLS: u32 = 2000;

fn report(name: &str, call: impl Fn() -> Result<Tensor>) -> Result<()> {
    if std::env::args().nth(1).is_some_and(|wanted| !name.contains(&wanted)) {
        return Ok(());
    }
    let mut times = Vec::new();
    let started = Instant::now();
    while started.elapsed() < Duration::from_millis(600) {
        let start = Instant::now();
        for _ in 0..CALLS {
            black_box(call()?);
        }
        times.push(start.elapsed() / CALLS);
    }
    times.sort();
    let (median, minimum) = (times[times.len() / 2].as_nanos(), times[0].as_nanos());
    println!("{name:<36} median {median:>5} ns  min {minimum:>5} ns");
    Ok(())
}

fn main() -> Result<()> {
    let (x, y) = (Tensor::from(2.0f32), Tensor::from(3.0f32));
    let matrix = Tensor::from([[1.0f32, 2.0], [3.0, 4.0]]);
    report("add, scalars", || math::add(&x, &y))?;
    report("add, scalar and number", || math::add(&x, 3.0f32))?;
    report("add, [2, 2] and scalar", || math::add(&matrix, &y))?;
    report("reshape", || array::reshape(&matrix, [4]))?;
    let variable = Variable::new(Tensor::from(1.0f32));
    report("read a variable", || Ok(variable.value()))?;
    report("add, scalars, taped", || {
        let tape = GradientTape::new();
        tape.watch(&x);
        let mut sum = math::add(&x, &y)?;
        for _ in 1..100 {
            sum = math::add(&sum, &y)?;
        }
        Ok(sum)
    })?;
    Ok(())
}
