//! Products of matrices kept in panels against the oracle, at every level of the machine.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::{Random, assert_close};
use tapeflow_kernels::gemm::panels::{
    gemm_panels, gemm_panels_at, gemm_panels_transposed, gemm_panels_transposed_at, pack_panels,
    panels_len, panels_update, panels_update_at, unpack_panels,
};
use tapeflow_kernels::gemm::{
    Activation, Epilogue, Matrix, Update, gemm_at, gemm_with_epilogue_at,
};
use tapeflow_kernels::naive;
use tapeflow_kernels::parallel::set_threads;
use tapeflow_kernels::simd::Level;

/// The bound per square root of the number of terms, for values in [-1, 1).
const BOUND: f64 = 2e-6;

fn packed(w: &[f32], k: usize, n: usize) -> Vec<f32> {
    let mut panels = vec![f32::NAN; panels_len(k, n)];
    pack_panels(w, k, n, &mut panels);
    panels
}

fn unpacked(panels: &[f32], k: usize, n: usize) -> Vec<f32> {
    let mut w = vec![f32::NAN; k * n];
    unpack_panels(panels, k, n, &mut w);
    w
}

fn random_shapes(random: &mut Random) -> Vec<(usize, usize, usize)> {
    let mut shapes = vec![
        (1, 1, 1),
        (1, 1000, 70),
        (1, 5, 1030),
        (1, 96, 1600),
        (3, 33, 513),
        (128, 10, 1024),
        (130, 1100, 30),
        (300, 65, 700),
        (600, 40, 50),
        (129, 544, 200),
    ];
    for _ in 0..40 {
        shapes.push((random.below(70) + 1, random.below(90) + 1, random.below(90) + 1));
    }
    shapes
}

#[test]
fn unpacking_restores_what_was_packed() {
    let mut random = Random::new(1);
    for (k, n) in [(1, 1), (7, 31), (8, 32), (9, 33), (100, 64), (333, 70), (0, 5), (5, 0)] {
        let w = random.values::<f32>(k * n);
        let panels = packed(&w, k, n);
        assert!(panels.iter().all(|value| !value.is_nan()), "[{k}, {n}] leaves a gap");
        assert_eq!(unpacked(&panels, k, n), w, "[{k}, {n}]");
    }
}

#[test]
fn forward_is_the_same_as_gemm() {
    let mut random = Random::new(2);
    for (m, n, k) in random_shapes(&mut random) {
        let (a, w) = (random.values::<f32>(m * k), random.values::<f32>(k * n));
        let bias = random.values::<f32>(n);
        let panels = packed(&w, k, n);
        // The same matrix, which is packed however small.
        let columns: Vec<f32> = (0..m * k).map(|i| a[i % m * k + i / m]).collect();
        let columns = Matrix::row_major(&columns, m).transposed();
        let (a, w) = (Matrix::row_major(&a, k), Matrix::row_major(&w, n));
        let epilogue = Epilogue { bias: Some(&bias), activation: Some(Activation::Relu) };
        for level in Level::available() {
            for epilogue in [Epilogue::NONE, epilogue] {
                let (mut got, mut expected) = (vec![f32::NAN; m * n], vec![f32::NAN; m * n]);
                gemm_panels_at(level, m, n, k, a, &panels, epilogue, &mut got).unwrap();
                for a in [a, columns] {
                    gemm_with_epilogue_at(level, m, n, k, a, w, epilogue, &mut expected).unwrap();
                    assert_eq!(got, expected, "{level} {m}x{n}x{k}");
                }
            }
        }
    }
}

#[test]
fn transposed_random_shapes() {
    let mut random = Random::new(3);
    for (m, n, k) in random_shapes(&mut random) {
        let (a, w) = (random.values::<f32>(m * n), random.values::<f32>(k * n));
        let panels = packed(&w, k, n);
        let (a, w) = (Matrix::row_major(&a, n), Matrix::row_major(&w, n));
        let mut expected = vec![0.0; m * k];
        naive::gemm(m, k, n, a, w.transposed(), Update::Assign, &mut expected);
        for level in Level::available() {
            let mut got = vec![f32::NAN; m * k];
            gemm_panels_transposed_at(level, m, n, k, a, &panels, &mut got).unwrap();
            let what = format!("{level} {m}x{n}x{k}");
            assert_close(&got, &expected, BOUND * (n as f64).sqrt(), &what);
        }
    }
}

#[test]
fn update_random_shapes() {
    let mut random = Random::new(4);
    for (m, n, k) in random_shapes(&mut random) {
        let (x, dy) = (random.values::<f32>(m * k), random.values::<f32>(m * n));
        let w = random.values::<f32>(k * n);
        let (x, dy) = (Matrix::row_major(&x, k).transposed(), Matrix::row_major(&dy, n));
        let mut expected = w.clone();
        naive::gemm(k, n, m, x, dy, Update::AddScaled(-0.5), &mut expected);
        for level in Level::available() {
            let mut panels = packed(&w, k, n);
            panels_update_at(level, m, n, k, x, dy, -0.5, &mut panels).unwrap();
            let got = unpacked(&panels, k, n);
            let what = format!("{level} {m}x{n}x{k}");
            assert_close(&got, &expected, BOUND * (m as f64).sqrt(), &what);
            assert_eq!(panels, packed(&got, k, n), "{what}: what is between panels stays zero");
        }
    }
}

#[test]
fn nan_reaches_what_it_takes_part_in_and_nothing_else() {
    let (m, n, k) = (3, 40, 35);
    let mut w = vec![1.0f32; k * n];
    (w[2 * n + 33], w[5 * n]) = (f32::NAN, f32::INFINITY);
    let panels = packed(&w, k, n);
    let (x, dy) = (vec![1.0; m * k], vec![1.0; m * n]);
    let (x, dy) = (Matrix::row_major(&x, k), Matrix::row_major(&dy, n));
    for level in Level::available() {
        let mut y = vec![0.0; m * n];
        gemm_panels_at(level, m, n, k, x, &panels, Epilogue::NONE, &mut y).unwrap();
        for (place, &value) in y.iter().enumerate() {
            match place % n {
                33 => assert!(value.is_nan(), "{level}"),
                0 => assert_eq!(value, f32::INFINITY, "{level}"),
                _ => assert_eq!(value, k as f32, "{level}"),
            }
        }
        let mut dx = vec![0.0; m * k];
        gemm_panels_transposed_at(level, m, n, k, dy, &panels, &mut dx).unwrap();
        for (place, &value) in dx.iter().enumerate() {
            match place % k {
                2 => assert!(value.is_nan(), "{level}"),
                5 => assert_eq!(value, f32::INFINITY, "{level}"),
                _ => assert_eq!(value, n as f32, "{level}"),
            }
        }
        let mut updated = panels.clone();
        panels_update_at(level, m, n, k, x.transposed(), dy, 1.0, &mut updated).unwrap();
        for (place, &value) in unpacked(&updated, k, n).iter().enumerate() {
            match w[place] {
                old if old.is_nan() => assert!(value.is_nan(), "{level}"),
                old => assert_eq!(value, old + m as f32, "{level}"),
            }
        }
    }
}

#[test]
fn nothing_to_sum() {
    let empty = Matrix::row_major(&[], 0);
    let epilogue = Epilogue { bias: Some(&[1.0, -1.0]), activation: Some(Activation::Relu) };
    let mut c = [7.0; 4];
    gemm_panels(2, 2, 0, empty, &packed(&[], 0, 2), epilogue, &mut c).unwrap();
    assert_eq!(c, [1.0, 0.0, 1.0, 0.0]);
    gemm_panels_transposed(2, 0, 2, empty, &[], &mut c).unwrap();
    assert_eq!(c, [0.0; 4]);
    let mut panels = packed(&[1.0, 2.0], 1, 2);
    panels_update(0, 2, 1, empty, empty, 1.0, &mut panels).unwrap();
    assert_eq!(unpacked(&panels, 1, 2), [1.0, 2.0]);
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let mut random = Random::new(5);
    for (m, n, k) in [(128, 1024, 700), (300, 96, 1500), (128, 10, 1024)] {
        let (x, dy) = (random.values::<f32>(m * k), random.values::<f32>(m * n));
        let panels = packed(&random.values(k * n), k, n);
        let (x, dy) = (Matrix::row_major(&x, k), Matrix::row_major(&dy, n));
        let results = [1, 2, 3].map(|threads| {
            set_threads(threads);
            let (mut y, mut dx) = (vec![0.0; m * n], vec![0.0; m * k]);
            let mut updated = panels.clone();
            gemm_panels(m, n, k, x, &panels, Epilogue::NONE, &mut y).unwrap();
            gemm_panels_transposed(m, n, k, dy, &panels, &mut dx).unwrap();
            panels_update(m, n, k, x.transposed(), dy, -0.1, &mut updated).unwrap();
            set_threads(0);
            [y, dx, updated].concat().into_iter().map(f32::to_bits).collect::<Vec<_>>()
        });
        assert!(results[0] == results[1] && results[0] == results[2], "{m}x{n}x{k}");
    }
}

#[test]
fn relu_keeps_nan_and_negative_zero() {
    // 1 x 1 products of these values with 1.
    let values = [f32::NAN, -0.0, 0.0, -1.0, 2.0, f32::NEG_INFINITY, f32::INFINITY];
    let expected = [f32::NAN, -0.0, 0.0, 0.0, 2.0, 0.0, f32::INFINITY];
    let zeros = [-0.0; 7];
    let epilogue = Epilogue { bias: Some(&zeros), activation: Some(Activation::Relu) };
    for level in Level::available() {
        let mut plain = [0.0; 7];
        let (a, b) = (Matrix::row_major(&[1.0], 1), Matrix::row_major(&values, 7));
        gemm_at(level, 1, 7, 1, a, b, Update::Assign, &mut plain).unwrap();
        let mut got = [0.0; 7];
        gemm_with_epilogue_at(level, 1, 7, 1, a, b, epilogue, &mut got).unwrap();
        for ((got, plain), expected) in got.into_iter().zip(plain).zip(expected) {
            // The sum starts at +0, so that the product itself may lose the sign of a zero.
            let expected = if plain == 0.0 { plain } else { expected };
            assert_eq!(got.is_nan(), expected.is_nan(), "{level}");
            assert!(got.is_nan() || got.to_bits() == expected.to_bits(), "{level}: {got}");
        }
    }
}
