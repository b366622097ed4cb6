//! Measures the kernels on the shapes of the lesson's training step (batch 128).
//!
//! `cargo run --release -p tapeflow-kernels --example bench [PART OF A NAME]`

#[path = "measure/peak.rs"]
mod peak;

use std::hint::{self, black_box};
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tapeflow_kernels::batch_norm::{
    Statistics, Upstream, moments, normalize, normalize_grad, normalize_grad_sums,
};
use tapeflow_kernels::buffer::Buffer;
use tapeflow_kernels::conv::fused::{
    BiasRelu, conv2d_backprop_filter_pooled, conv2d_bias, conv2d_bias_max_pool, relu_max_pool_grad,
};
use tapeflow_kernels::conv::{
    Conv2dGeometry, conv2d, conv2d_backprop_filter, conv2d_backprop_input,
};
use tapeflow_kernels::gemm::panels::{
    gemm_panels, gemm_panels_transposed, pack_panels, panels_len, panels_update, unpack_panels,
};
use tapeflow_kernels::gemm::{self, Matrix, Update, gemm};
use tapeflow_kernels::parallel::{for_each_index, threads};
use tapeflow_kernels::pool::{Pool2dGeometry, avg_pool, avg_pool_grad, max_pool, max_pool_grad};
use tapeflow_kernels::simd::Level;

const BATCH: usize = 128;

fn asked_for(name: &str) -> bool {
    std::env::args().nth(1).is_none_or(|wanted| name.contains(&wanted))
}

/// What was measured of a kernel.
struct Measured {
    median: Duration,
    minimum: Duration,
    /// The median of the peaks, in GFLOP/s, measured before each call.
    peak: f64,
}

/// Measures calls of `work`, after a warm-up; none if it was not asked for.
fn measure(name: &str, mut work: impl FnMut()) -> Option<Measured> {
    if !asked_for(name) {
        return None;
    }
    (0..3).for_each(|_| work());
    let started = Instant::now();
    let (mut times, mut peaks) = (Vec::new(), Vec::new());
    while times.len() < 15 || (started.elapsed() < Duration::from_millis(900) && times.len() < 500)
    {
        peaks.push(peak::now());
        let start = Instant::now();
        work();
        times.push(start.elapsed());
    }
    times.sort();
    peaks.sort_by(f64::total_cmp);
    let peak = peaks[peaks.len() / 2];
    Some(Measured { median: times[times.len() / 2], minimum: times[0], peak })
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// Elements in a buffer, the memory that tensors are in.
struct Values(Buffer);

impl Deref for Values {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        self.0.as_slice()
    }
}

impl DerefMut for Values {
    fn deref_mut(&mut self) -> &mut [f32] {
        self.0.as_mut_slice()
    }
}

impl Clone for Values {
    fn clone(&self) -> Self {
        Self(Buffer::from_slice::<f32>(self).expect("memory for a copy"))
    }
}

/// Values in [-1, 1), the same every time.
fn values(len: usize) -> Values {
    let mut state = 1u32;
    let mut values = Values(Buffer::uninit_reused(4 * len).expect("memory for values"));
    values.fill_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    });
    values
}

fn bench_gemm(
    name: &str,
    (m, n, k): (usize, usize, usize),
    transposed: [bool; 2],
    update: Update<f32>,
) {
    let (a, b, mut c) = (values(m * k), values(k * n), values(m * n));
    let a = if transposed[0] {
        Matrix::row_major(&a, m).transposed()
    } else {
        Matrix::row_major(&a, k)
    };
    let b = if transposed[1] {
        Matrix::row_major(&b, k).transposed()
    } else {
        Matrix::row_major(&b, n)
    };
    let work = || gemm(m, n, k, a, b, update, &mut c).expect("memory for packing");
    report_product(name, (m, n, k), work);
}

/// A product of an `m` x `k` matrix with one of `n` columns, or what is as much work.
fn report_product(name: &str, (m, n, k): (usize, usize, usize), work: impl FnMut()) {
    let Some(measured) = measure(name, work) else { return };
    let gflops = |time: Duration| 2e-9 * (m * n * k) as f64 / time.as_secs_f64();
    let report = |time| format!("{:>7.3} ms {:>4.0} GFLOP/s", milliseconds(time), gflops(time));
    let (median, minimum) = (report(measured.median), report(measured.minimum));
    let share = 100.0 * gflops(measured.median) / measured.peak;
    println!(
        "{name:<34}{m:>6} x {n:>5} x {k:>5}  median {median} {share:>3.0} % of {:>4.0}  min {minimum}",
        measured.peak
    );
}

/// The three products of a weight (`k` x `n`) that is kept in panels.
fn bench_panels(name: &str, m: usize, n: usize, k: usize) {
    let (w, x, dy) = (values(k * n), values(m * k), values(m * n));
    let mut panels = values(panels_len(k, n));
    let ok = "memory for packing";
    report(&format!("{name} pack_panels"), || pack_panels(&w, k, n, &mut panels));
    let mut w = w;
    report(&format!("{name} unpack_panels"), || unpack_panels(&panels, k, n, &mut w));
    let (x, dy) = (Matrix::row_major(&x, k), Matrix::row_major(&dy, n));
    let (mut y, mut dx) = (values(m * n), values(m * k));
    report_product(&format!("{name} panels: x w"), (m, n, k), || {
        gemm_panels(m, n, k, x, &panels, gemm::Epilogue::NONE, &mut y).expect(ok);
    });
    report_product(&format!("{name} panels: dy w^T"), (m, k, n), || {
        gemm_panels_transposed(m, n, k, dy, &panels, &mut dx).expect(ok);
    });
    report_product(&format!("{name} panels: update"), (k, n, m), || {
        panels_update(m, n, k, x.transposed(), dy, -1e-3, &mut panels).expect(ok);
    });
}

fn report(name: &str, work: impl FnMut()) {
    let Some(measured) = measure(name, work) else { return };
    let (median, minimum) = (milliseconds(measured.median), milliseconds(measured.minimum));
    println!("{name:<45} median {median:>7.3} ms  min {minimum:>7.3} ms");
}

/// A SAME convolution with 3x3 filters.
fn conv_geometry(batch: usize, size: usize, in_c: usize, out_c: usize) -> Conv2dGeometry {
    Conv2dGeometry {
        batch,
        in_h: size,
        in_w: size,
        in_c,
        k_h: 3,
        k_w: 3,
        out_c,
        out_h: size,
        out_w: size,
        stride_h: 1,
        stride_w: 1,
        dilation_h: 1,
        dilation_w: 1,
        pad_top: 1,
        pad_left: 1,
        groups: 1,
    }
}

/// A 2x2 pooling of what a convolution gives.
fn pool_geometry(conv: &Conv2dGeometry) -> Pool2dGeometry {
    Pool2dGeometry {
        batch: conv.batch,
        in_h: conv.out_h,
        in_w: conv.out_w,
        channels: conv.out_c,
        k_h: 2,
        k_w: 2,
        out_h: conv.out_h / 2,
        out_w: conv.out_w / 2,
        stride_h: 2,
        stride_w: 2,
        pad_top: 0,
        pad_left: 0,
    }
}

fn bench_conv(name: &str, batch: usize, size: usize, in_c: usize, out_c: usize) {
    let g = conv_geometry(batch, size, in_c, out_c);
    let mut x = values(g.batch * g.in_image_len());
    let mut y = values(g.batch * g.out_image_len());
    let mut filters = values(g.filters_len());
    let ok = "memory for scratch";
    let work = (batch * size * size, out_c, 9 * in_c);
    report_product(&format!("{name} forward"), work, || {
        conv2d(&g, &x, &filters, &mut y).expect(ok);
    });
    report_product(&format!("{name} backprop_filter"), work, || {
        conv2d_backprop_filter(&g, &x, &y, &mut filters).expect(ok);
    });
    report_product(&format!("{name} backprop_input"), work, || {
        conv2d_backprop_input(&g, &y, &filters, &mut x).expect(ok);
    });
}

/// A convolution fused with bias, relu and pooling.
fn bench_fused(name: &str, batch: usize, size: usize, in_c: usize, out_c: usize) {
    let g = conv_geometry(batch, size, in_c, out_c);
    let pool = pool_geometry(&g);
    let x = values(g.batch * g.in_image_len());
    let (mut filters, mut bias) = (values(g.filters_len()), values(g.out_c));
    let mut conv = values(g.batch * g.out_image_len());
    let mut y = values(g.batch * pool.out_image_len());
    let mut places = vec![0; y.len()];
    let level = Level::best();
    let ok = "memory for scratch";
    report(&format!("{name} +bias+relu"), || {
        let epilogue = BiasRelu { bias: &bias, relu: true };
        conv2d_bias(level, &g, &x, &filters, epilogue, &mut conv).expect(ok);
    });
    report(&format!("{name} +bias+relu+pool"), || {
        let epilogue = BiasRelu { bias: &bias, relu: true };
        conv2d_bias_max_pool(level, &g, &pool, &x, &filters, epilogue, &mut y, &mut places)
            .expect(ok);
    });
    report(&format!("{name} pool+relu grad"), || {
        relu_max_pool_grad(level, &pool, &y, &places, &mut conv, &mut bias).expect(ok);
    });
    report(&format!("{name} pooled filter grad"), || {
        let gradients = (&mut filters, &mut bias);
        conv2d_backprop_filter_pooled(level, &g, &pool, &x, &y, &places, gradients.0, gradients.1)
            .expect(ok);
    });
}

/// The lesson's 2x2 pooling.
fn bench_pool() {
    let g = pool_geometry(&conv_geometry(BATCH, 28, 1, 32));
    let mut x = values(g.batch * g.in_image_len());
    let mut dx = x.clone();
    let mut y = values(g.batch * g.out_image_len());
    report("max_pool", || max_pool(&g, &x, &mut y));
    report("max_pool_grad", || max_pool_grad(&g, &x, &y, &mut dx));
    report("avg_pool", || avg_pool(&g, &x, &mut y));
    report("avg_pool_grad", || avg_pool_grad(&g, &y, &mut x));
}

/// What handing out work costs: where there is nothing to do, so that no helper is waited for, and
/// until two threads are at work, which the pieces find out by waiting for each other. Both while
/// the helper still looks for work and when it has gone to sleep.
fn bench_hand_off() {
    let empty = || for_each_index(2, |index| _ = black_box(index));
    let meeting = || {
        let here = AtomicUsize::new(0);
        for_each_index(2, |_| {
            here.fetch_add(1, Ordering::AcqRel);
            while here.load(Ordering::Acquire) < 2 {
                hint::spin_loop();
            }
        });
    };
    let (awake, asleep) = (Duration::from_micros(2), Duration::from_millis(1));
    bench_call("hand-off, one piece", awake, || for_each_index(1, |index| _ = black_box(index)));
    bench_call("hand-off, empty pieces", awake, empty);
    bench_call("hand-off, empty, asleep", asleep, empty);
    if threads() > 1 {
        bench_call("hand-off, both at work", awake, meeting);
        bench_call("hand-off, both, asleep", asleep, meeting);
    }
}

/// Measures single calls, each after a pause in which this thread is busy.
fn bench_call(name: &str, pause: Duration, call: impl Fn()) {
    if !asked_for(name) {
        return;
    }
    let mut times = Vec::new();
    let started = Instant::now();
    while started.elapsed() < Duration::from_millis(600) {
        let paused = Instant::now();
        while paused.elapsed() < pause {
            hint::spin_loop();
        }
        let start = Instant::now();
        call();
        times.push(start.elapsed());
    }
    times.sort();
    let [median, tenth] = [2, 10].map(|part| times[times.len() / part].as_nanos());
    println!("{name:<28} median {median:>7} ns  10% {tenth:>7} ns");
}

/// Batch normalisation of the deeper net's images.
fn bench_batch_norm(size: usize, channels: usize) {
    let len = BATCH * size * size * channels;
    let (x, mut y, dy) = (values(len), values(len), values(len));
    let (scale, offset) = (values(channels), values(channels));
    let mut sums = [0, 1, 2, 3].map(|_: usize| values(channels));
    let [mean, inverse_deviation, dscale, doffset] = &mut sums;
    let (level, ok) = (Level::best(), "memory for sums");
    let name = format!("batch_norm {size}x{size}x{channels}");
    report(&format!("{name} forward"), || {
        moments(level, &x, mean, inverse_deviation).expect(ok);
        let statistics = Statistics { mean, inverse_deviation };
        normalize(level, &x, statistics, &scale, &offset, &mut y).expect(ok);
    });
    let statistics = Statistics { mean, inverse_deviation };
    report(&format!("{name} gradient"), || {
        normalize_grad_sums(level, Upstream::Given(&dy), &x, statistics, dscale, doffset)
            .expect(ok);
        let sums = Some([&dscale[..], &doffset[..]]);
        normalize_grad(level, Upstream::Given(&dy), &x, statistics, &scale, sums, &mut y)
            .expect(ok);
    });
}

fn main() {
    println!("level {}, {} threads", Level::best(), threads());
    let assign = Update::Assign;
    bench_gemm("fc1: x w", (128, 1024, 6272), [false, false], assign);
    bench_gemm("fc1: x^T dy", (6272, 1024, 128), [true, false], assign);
    bench_gemm("fc1: w -= lr x^T dy", (6272, 1024, 128), [true, false], Update::AddScaled(-1e-3));
    bench_gemm("fc1: dy w^T", (128, 6272, 1024), [false, true], assign);
    bench_panels("fc1", 128, 1024, 6272);
    bench_panels("dense", 128, 256, 3136);
    bench_gemm("fc2: x w", (128, 10, 1024), [false, false], assign);
    bench_gemm("fc2: x^T dy", (1024, 10, 128), [true, false], assign);
    bench_gemm("fc2: dy w^T", (128, 1024, 10), [false, true], assign);
    bench_gemm("one row", (1, 1024, 6272), [false, false], assign);
    bench_gemm("one row, dense", (1, 256, 3136), [false, false], assign);
    bench_panels("one row", 1, 1024, 6272);
    for size in [256, 1024, 2048] {
        bench_gemm("square", (size, size, size), [false, false], assign);
    }
    for (batch, suffix) in [(BATCH, ""), (1, ", one image")] {
        for (size, in_c, out_c) in [(28, 1, 32), (28, 32, 32), (14, 32, 64), (14, 64, 64)] {
            let name = format!("conv {size}x{size}x{in_c} -> {out_c}{suffix}");
            bench_conv(&name, batch, size, in_c, out_c);
            bench_fused(&name, batch, size, in_c, out_c);
        }
    }
    bench_pool();
    for (size, channels) in [(28, 32), (14, 64)] {
        bench_batch_norm(size, channels);
    }
    bench_hand_off();
}
