//! The most multiply-adds of `f32` that the cores do: what a matrix product is measured against.

use std::thread;
use std::time::Instant;

use tapeflow_kernels::simd::Level;

/// Repetitions of a loop of [`SUMS`] independent multiply-adds: some milliseconds.
const REPETITIONS: usize = 1 << 20;
/// Enough to hide the latency of a multiply-add.
const SUMS: usize = 12;

/// The peak with a number of threads, in GFLOP/s, best of many runs; none where the level has no
/// vector instructions of its own.
pub fn gflops(level: Level, threads: usize) -> Option<f64> {
    let lanes = match level {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512(_) => 16,
        #[cfg(target_arch = "x86_64")]
        Level::Avx2(_) => 8,
        _ => return None,
    };
    let flops = (2 * lanes * SUMS * REPETITIONS * threads) as f64;
    let run = || {
        let start = Instant::now();
        thread::scope(|scope| {
            (1..threads).for_each(|_| {
                scope.spawn(|| multiply_adds(level));
            });
            multiply_adds(level);
        });
        1e-9 * flops / start.elapsed().as_secs_f64()
    };
    (0..20).map(|_| run()).reduce(f64::max)
}

/// A loop over registers alone. It is written in assembly because the compiler would fold it.
#[cfg(target_arch = "x86_64")]
fn multiply_adds(level: Level) {
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

#[cfg(not(target_arch = "x86_64"))]
fn multiply_adds(_: Level) {}
