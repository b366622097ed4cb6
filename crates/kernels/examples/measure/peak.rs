//! The most multiply-adds of `f32` that the cores do: what a matrix product is measured against.

use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use tapeflow_kernels::parallel::{self, for_each_index};
use tapeflow_kernels::simd::Level;

/// How rows of it are named.
#[allow(dead_code, reason = "one of the programs that share this file prints no rows")]
pub const NAME: &str = "FMA peak";

/// Repetitions of a loop of [`SUMS`] independent multiply-adds: some milliseconds.
const REPETITIONS: usize = 1 << 20;
/// Enough to hide the latency of a multiply-add.
const SUMS: usize = 12;

/// How fast all cores together multiply and add at this moment, in GFLOP/s.
pub fn now() -> f64 {
    let operations = AtomicUsize::new(0);
    let start = Instant::now();
    for_each_index(parallel::threads(), |_| {
        operations.fetch_add(multiply_adds(Level::best()), Ordering::Relaxed);
    });
    1e-9 * operations.into_inner() as f64 / start.elapsed().as_secs_f64()
}

/// Keeps one core's units busy with the vectors of a level; the operations done.
pub fn multiply_adds(level: Level) -> usize {
    match level {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512(_) | Level::Avx2(_) => {
            vector_multiply_adds(level);
            let lanes = if matches!(level, Level::Avx512(_)) { 16 } else { 8 };
            2 * lanes * SUMS * REPETITIONS
        }
        Level::Portable => scalar_multiply_adds(),
    }
}

/// What the compiler makes of plain numbers.
fn scalar_multiply_adds() -> usize {
    let (factor, summand) = (black_box(0.999f32), black_box(0.001f32));
    let mut sums = [1.0f32; 4 * SUMS];
    for _ in 0..REPETITIONS {
        for sum in &mut sums {
            *sum = *sum * factor + summand;
        }
    }
    black_box(sums);
    2 * 4 * SUMS * REPETITIONS
}

/// A loop over registers alone. It is written in assembly because the compiler would fold it.
#[cfg(target_arch = "x86_64")]
fn vector_multiply_adds(level: Level) {
    macro_rules! repeat {
        ($multiply_add:literal) => {
            // SAFETY: the level is the proof that the CPU has the instructions; the registers that
            // change are declared.
            unsafe {
                std::arch::asm!(
                    "vxorps xmm14, xmm14, xmm14",
                    "vxorps xmm15, xmm15, xmm15",
                    "2:",
                    ".irp i, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11",
                    $multiply_add,
                    ".endr",
                    "dec {left}",
                    "jnz 2b",
                    left = inout(reg) REPETITIONS => _,
                    out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _, out("xmm4") _,
                    out("xmm5") _, out("xmm6") _, out("xmm7") _, out("xmm8") _, out("xmm9") _,
                    out("xmm10") _, out("xmm11") _, out("xmm14") _, out("xmm15") _,
                    options(nomem, nostack),
                );
            }
        };
    }
    match level {
        Level::Avx512(_) => repeat!("vfmadd231ps zmm\\i, zmm14, zmm15"),
        Level::Avx2(_) => repeat!("vfmadd231ps ymm\\i, ymm14, ymm15"),
        Level::Portable => {}
    }
}
