//! Our matrix products on all cores, each call after a measurement of the machine's peak of fused
//! multiply-adds.

#[path = "../crates/kernels/examples/measure/peak.rs"]
mod peak;
mod timing;

use tapeflow_kernels::buffer::{AllocError, Buffer};
use tapeflow_kernels::gemm::{Matrix, Update, gemm};
use timing::{Arguments, measure_after, report, report_of};

fn main() -> Result<(), AllocError> {
    let args = Arguments::parse(100);
    let assign = Update::Assign;
    product("fc1 forward", [128, 1024, 6272], [false, false], assign, &args)?;
    // The update of the weights by their gradient, as a training step does it.
    let descend = Update::AddScaled(-1e-3);
    product("fc1 weight gradient", [6272, 1024, 128], [true, false], descend, &args)?;
    product("fc1 input gradient", [128, 6272, 1024], [false, true], assign, &args)?;
    for n in [256, 1024, 2048] {
        product(&format!("{n}^3"), [n, n, n], [false, false], assign, &args)?;
    }
    Ok(())
}

/// `c (m x n) = a (m x k) * b (k x n)`, where a factor that is `transposed` lies in memory the other
/// way round.
fn product(
    name: &str,
    [m, n, k]: [usize; 3],
    transposed: [bool; 2],
    update: Update<f32>,
    args: &Arguments,
) -> Result<(), AllocError> {
    let (a, b) = (values(m * k)?, values(k * n)?);
    let mut c = Buffer::zeroed(m * n * size_of::<f32>())?;
    let lay = |data, rows, columns, transposed| match transposed {
        true => Matrix::row_major(data, rows).transposed(),
        false => Matrix::row_major(data, columns),
    };
    let a = lay(a.as_slice(), m, k, transposed[0]);
    let b = lay(b.as_slice(), k, n, transposed[1]);
    let mut peaks = Vec::new();
    let call = || gemm(m, n, k, a, b, update, c.as_mut_slice());
    let times = measure_after(args, || peaks.push(peak::now()), call)?;
    let what = format!("GEMM {name}");
    report(&what, "GFLOP/s", &rates(2 * m * n * k, &times));
    report_of(peak::NAME, &what, "GFLOP/s", &peaks);
    Ok(())
}

/// Values in [-1, 1), the same every time, in the memory that tensors are in.
fn values(len: usize) -> Result<Buffer, AllocError> {
    let mut state = 1u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    let mut values = Buffer::uninit_reused(len * size_of::<f32>())?;
    values.as_mut_slice().fill_with(next);
    Ok(values)
}

/// GFLOP/s of work of so many operations that took these times, in milliseconds.
fn rates(operations: usize, times: &[f64]) -> Vec<f64> {
    times.iter().map(|time| operations as f64 / time * 1e-6).collect()
}
