//! Matrix products at every level of the machine against the oracle.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::{Random, assert_close};
use tapeflow_kernels::element::Number;
use tapeflow_kernels::gemm::{Matrix, Update, gemm, gemm_at};
use tapeflow_kernels::parallel::set_threads;
use tapeflow_kernels::simd::Level;
use tapeflow_kernels::{bf16, f16, naive};

/// A matrix stored in one of the ways a caller may have it.
fn stored<T: Number>(data: &[T], rows: usize, cols: usize, transposed: bool) -> Matrix<'_, T> {
    if transposed {
        Matrix::row_major(data, rows).transposed()
    } else {
        Matrix::row_major(data, cols)
    }
}

fn compare<T: Number>(random: &mut Random, (m, n, k): (usize, usize, usize), bound: f64) {
    let a = random.values::<T>(m * k);
    let b = random.values::<T>(k * n);
    let c = random.values::<T>(m * n);
    for (transpose_a, transpose_b) in [(false, false), (true, false), (false, true), (true, true)] {
        let a = stored(&a, m, k, transpose_a);
        let b = stored(&b, k, n, transpose_b);
        compare_matrices((m, n, k), a, b, &c, bound);
    }
}

fn compare_matrices<T: Number>(
    (m, n, k): (usize, usize, usize),
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
    c: &[T],
    bound: f64,
) {
    for update in [Update::Assign, Update::AddScaled(T::from_f64(-2.0))] {
        let mut expected = c.to_vec();
        naive::gemm(m, n, k, a, b, update, &mut expected);
        for level in Level::available() {
            let mut got = c.to_vec();
            gemm_at(level, m, n, k, a, b, update, &mut got).unwrap();
            let columns = [a.col_stride, b.col_stride];
            let what = format!("{level} {m}x{n}x{k} {columns:?} {update:?}");
            assert_close(&got, &expected, bound * (k as f64).sqrt(), &what);
        }
    }
}

/// Bounds per square root of k, for values in [-1, 1): a few units in the last place.
const F32_BOUND: f64 = 2e-6;
const F64_BOUND: f64 = 2e-15;
/// The 16-bit floats are rounded once: half a unit of 2^-11 and 2^-8 of values up to 4 sqrt k.
const F16_BOUND: f64 = 2e-3;
const BF16_BOUND: f64 = 1.6e-2;

#[test]
fn f32_random_shapes() {
    let mut random = Random::new(1);
    for _ in 0..60 {
        let shape = (random.below(70) + 1, random.below(80) + 1, random.below(90) + 1);
        compare::<f32>(&mut random, shape, F32_BOUND);
    }
}

#[test]
fn f32_shapes_at_the_edges_of_blocks() {
    let mut random = Random::new(2);
    for shape in [
        (1, 1, 1),
        (14, 32, 512),
        (15, 33, 513),
        (28, 64, 1024),
        (1, 1000, 1000),
        (1000, 1, 700),
        (128, 10, 1024),
        (1024, 10, 128),
        (5, 80, 40),
        (14, 70, 600),
        (700, 500, 13),
        (129, 417, 333),
        (200, 96, 1030),
        (61, 250, 1600),
        // Pieces of several panels, which tiles pack for the blocks after the first.
        (45, 600, 1200),
    ] {
        compare::<f32>(&mut random, shape, F32_BOUND);
    }
}

/// A window of a wider matrix: its rows lie farther apart than they are long.
#[test]
fn rows_of_a_at_a_distance() {
    let mut random = Random::new(6);
    let (m, n, k, stride) = (30, 70, 600, 680);
    let (a, b) = (random.values::<f32>(m * stride), random.values::<f32>(k * n));
    let a = Matrix { data: &a, row_stride: stride, col_stride: 1 };
    let b = Matrix::row_major(&b, n);
    compare_matrices((m, n, k), a, b, &random.values::<f32>(m * n), F32_BOUND);
}

#[test]
fn many_rows_are_taken_in_passes() {
    let mut random = Random::new(3);
    let (m, n, k) = (2100, 3, 5000);
    let (a, b) = (random.values::<f32>(m * k), random.values::<f32>(k * n));
    let (a, b) = (Matrix::row_major(&a, k), Matrix::row_major(&b, n));
    let (mut got, mut expected) = (vec![0.0; m * n], vec![0.0; m * n]);
    gemm(m, n, k, a, b, Update::Assign, &mut got).unwrap();
    naive::gemm(m, n, k, a, b, Update::Assign, &mut expected);
    assert_close(&got, &expected, F32_BOUND * (k as f64).sqrt(), "2100x3x5000");
}

#[test]
fn other_types() {
    let mut random = Random::new(4);
    // Rows of A so long that it is read in place.
    let mut shapes = vec![(5, 40, 600)];
    for _ in 0..8 {
        shapes.push((random.below(40) + 1, random.below(40) + 1, random.below(60) + 1));
    }
    for shape in shapes {
        compare::<f64>(&mut random, shape, F64_BOUND);
        compare::<f16>(&mut random, shape, F16_BOUND);
        compare::<bf16>(&mut random, shape, BF16_BOUND);
        compare::<i32>(&mut random, shape, 0.0);
        compare::<i64>(&mut random, shape, 0.0);
        compare::<u8>(&mut random, shape, 0.0);
    }
}

#[test]
fn empty_matrices() {
    let empty = Matrix::row_major(&[], 0);
    for level in Level::available() {
        let mut c = [7.0f32; 6];
        gemm_at(level, 2, 3, 0, empty, empty, Update::AddScaled(1.0), &mut c).unwrap();
        assert_eq!(c, [7.0; 6]);
        gemm_at(level, 2, 3, 0, empty, empty, Update::Assign, &mut c).unwrap();
        assert_eq!(c, [0.0; 6]);
        gemm_at::<f32>(level, 0, 3, 2, empty, empty, Update::Assign, &mut []).unwrap();
        gemm_at::<f32>(level, 3, 0, 2, empty, empty, Update::Assign, &mut []).unwrap();
    }
}

#[test]
fn nan_and_infinity_pass_through() {
    let a = [f32::INFINITY, 1.0, f32::NAN, 0.0];
    let b = [1.0, 0.0, 0.0, 1.0];
    for level in Level::available() {
        let mut c = [0.0f32; 4];
        let (a, b) = (Matrix::row_major(&a, 2), Matrix::row_major(&b, 2));
        gemm_at(level, 2, 2, 2, a, b, Update::Assign, &mut c).unwrap();
        assert_eq!(c[0], f32::INFINITY, "{level}");
        assert!(c[1].is_nan() && c[2].is_nan() && c[3].is_nan(), "{level}: {c:?}");
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let mut random = Random::new(5);
    for (m, n, k) in [(128, 1024, 700), (1500, 300, 128), (128, 10, 1024)] {
        let (a, b) = (random.values::<f32>(m * k), random.values::<f32>(k * n));
        let (a, b) = (Matrix::row_major(&a, k), Matrix::row_major(&b, n));
        let results = [1, 2, 3].map(|threads| {
            set_threads(threads);
            let mut c = vec![0.0f32; m * n];
            gemm(m, n, k, a, b, Update::Assign, &mut c).unwrap();
            set_threads(0);
            c.into_iter().map(f32::to_bits).collect::<Vec<_>>()
        });
        assert!(results[0] == results[1] && results[0] == results[2], "{m}x{n}x{k}");
    }
}
