//! Batch normalisation at every level of the machine against the obvious loops in `f64`.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::{Random, assert_close};
use tapeflow_kernels::batch_norm::{
    Statistics, Upstream, moments, normalize, normalize_grad, normalize_grad_sums,
    normalize_max_pool, normalize_relu,
};
use tapeflow_kernels::conv::fused::relu_max_pool_grad;
use tapeflow_kernels::element::{Float, Number};
use tapeflow_kernels::parallel::set_threads;
use tapeflow_kernels::pool::{Pool2dGeometry, max_pool};
use tapeflow_kernels::simd::Level;
use tapeflow_kernels::{bf16, f16};

fn to_f64<T: Number>(values: &[T]) -> Vec<f64> {
    values.iter().map(|value| value.to_f64()).collect()
}

/// The values of one channel.
fn channel(values: &[f64], channels: usize, index: usize) -> Vec<f64> {
    values.iter().skip(index).step_by(channels).copied().collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// All kernels for `rows` values of each channel, within `bound`.
fn compare<T: Float>(random: &mut Random, rows: usize, channels: usize, bound: f64) {
    let len = rows * channels;
    let x: Vec<T> = random.values(len);
    let dy: Vec<T> = random.values(len);
    let [scale, offset] = [0, 1].map(|_| random.values::<T::Accumulator>(channels));
    let (exact_x, exact_dy) = (to_f64(&x), to_f64(&dy));
    let mut exact = [0, 1, 2, 3, 4, 5].map(|_: usize| vec![0.0; channels]);
    let [mut exact_y, mut exact_dx, mut exact_plain] = [0, 1, 2].map(|_: usize| vec![0.0; len]);
    for c in 0..channels {
        let (x, dy) = (channel(&exact_x, channels, c), channel(&exact_dy, channels, c));
        let center = mean(&x);
        let variance = mean(&x.iter().map(|x| (x - center).powi(2)).collect::<Vec<_>>());
        let inverse = 1.0 / (variance + 1e-3).sqrt();
        let hat: Vec<f64> = x.iter().map(|x| (x - center) * inverse).collect();
        let dscale: f64 = dy.iter().zip(&hat).map(|(dy, hat)| dy * hat).sum();
        let doffset: f64 = dy.iter().sum();
        for (row, (hat, dy)) in hat.iter().zip(&dy).enumerate() {
            let (index, scale) = (row * channels + c, scale[c].to_f64());
            exact_y[index] = hat * scale + offset[c].to_f64();
            exact_plain[index] = scale * inverse * dy;
            exact_dx[index] =
                scale * inverse * (dy - doffset / rows as f64 - hat * dscale / rows as f64);
        }
        for (to, from) in exact.iter_mut().zip([center, variance, inverse, dscale, doffset, 0.0]) {
            to[c] = from;
        }
    }
    let [exact_mean, exact_variance, exact_inverse, exact_dscale, exact_doffset, _] = exact;
    for level in Level::available() {
        let what = |name: &str| {
            format!("{name} {level} [{rows}, {channels}] {}", std::any::type_name::<T>())
        };
        let (mut mean, mut variance) = (scale.clone(), scale.clone());
        moments(level, &x, &mut mean, &mut variance).unwrap();
        assert_close(&mean, &exact_mean, bound, &what("mean"));
        assert_close(&variance, &exact_variance, bound, &what("variance"));
        let inverse: Vec<T::Accumulator> =
            exact_inverse.iter().map(|&inverse| T::Accumulator::from_f64(inverse)).collect();
        let statistics = Statistics { mean: &mean, inverse_deviation: &inverse };
        let mut y = dy.clone();
        normalize(level, &x, statistics, &scale, &offset, &mut y).unwrap();
        assert_close(&y, &exact_y, bound * 100.0, &what("y"));
        let (mut dscale, mut doffset) = (scale.clone(), scale.clone());
        normalize_grad_sums(level, Upstream::Given(&dy), &x, statistics, &mut dscale, &mut doffset)
            .unwrap();
        assert_close(&dscale, &exact_dscale, bound * 100.0, &what("dscale"));
        assert_close(&doffset, &exact_doffset, bound * 100.0, &what("doffset"));
        let mut dx = dy.clone();
        let sums = Some([&dscale[..], &doffset[..]]);
        normalize_grad(level, Upstream::Given(&dy), &x, statistics, &scale, sums, &mut dx).unwrap();
        assert_close(&dx, &exact_dx, bound * 200.0, &what("dx"));
        normalize_grad(level, Upstream::Given(&dy), &x, statistics, &scale, None, &mut dx).unwrap();
        assert_close(&dx, &exact_plain, bound * 100.0, &what("dx of given statistics"));
    }
}

#[test]
fn random_shapes() {
    let mut random = Random::new(41);
    for _ in 0..40 {
        let (rows, channels) = (random.below(3000) + 2, random.below(70) + 1);
        compare::<f32>(&mut random, rows, channels, 1e-6);
        compare::<f64>(&mut random, rows, channels, 1e-13);
    }
    compare::<f32>(&mut random, 1, 5, 1e-6);
    compare::<f32>(&mut random, 3, 40_000, 1e-6);
    // The statistics are f32, what is stored is rounded once.
    compare::<f16>(&mut random, 600, 20, 2e-5);
    compare::<bf16>(&mut random, 600, 20, 2e-4);
}

/// Relu and pooling in the sweeps of normalisation against one kernel after the other: the same
/// bits, but for sums over other blocks.
fn compare_fused<T: Float + PartialEq>(random: &mut Random, pool: Pool2dGeometry, bound: f64) {
    let channels = pool.channels;
    let len = pool.batch * pool.in_image_len();
    let out_len = pool.batch * pool.out_image_len();
    let mut x: Vec<T> = random.values(len);
    // A zero below zero, to be kept as it is.
    x[0] = T::ZERO.neg();
    let [scale, mut offset, mut mean, inverse] =
        [0, 1, 2, 3].map(|_| random.values::<T::Accumulator>(channels));
    (mean[0], offset[0]) = (T::Accumulator::ZERO, T::Accumulator::ZERO.neg());
    let statistics = Statistics { mean: &mean, inverse_deviation: &inverse };
    for level in Level::available() {
        let mut plain = x.clone();
        normalize(level, &x, statistics, &scale, &offset, &mut plain).unwrap();
        let expected: Vec<T> =
            plain.iter().map(|&y| if y < T::ZERO { T::ZERO } else { y }).collect();
        let mut y = x.clone();
        normalize_relu(level, &x, statistics, &scale, &offset, &mut y).unwrap();
        let bits = |values: &[T]| bytemuck::cast_slice::<T, u8>(values).to_vec();
        assert_eq!(bits(&y), bits(&expected), "{level}");

        let (mut pooled, mut places) = (vec![T::ZERO; out_len], vec![0; out_len]);
        normalize_max_pool(level, &pool, &x, statistics, &scale, &offset, &mut pooled, &mut places)
            .unwrap();
        let mut expected_pooled = pooled.clone();
        max_pool(&pool, &y, &mut expected_pooled);
        assert_eq!(bits(&pooled), bits(&expected_pooled), "{level} {pool:?}");

        let dy: Vec<T> = random.values(len);
        let masked: Vec<T> =
            dy.iter().zip(&y).map(|(&dy, &y)| if y > T::ZERO { dy } else { T::ZERO }).collect();
        let relu = Upstream::Relu { dy: &dy, scale: &scale, offset: &offset };
        let compare = |upstream: Upstream<'_, T>, given: &[T]| {
            let given = Upstream::Given(given);
            let [got, expected] = [upstream, given].map(|upstream| {
                let (mut dscale, mut doffset) = (scale.clone(), scale.clone());
                normalize_grad_sums(level, upstream, &x, statistics, &mut dscale, &mut doffset)
                    .unwrap();
                let mut gradients = [x.clone(), x.clone()];
                let sums = Some([&dscale[..], &doffset[..]]);
                for (sums, dx) in [sums, None].into_iter().zip(&mut gradients) {
                    normalize_grad(level, upstream, &x, statistics, &scale, sums, dx).unwrap();
                }
                let [dx, plain] = gradients.map(|gradient| to_f64(&gradient));
                [to_f64(&dscale), to_f64(&doffset), dx, plain]
            });
            for (got, expected) in got.iter().zip(&expected) {
                let worst = got.iter().zip(expected).map(|(a, b)| (a - b).abs() / (1.0 + b.abs()));
                assert!(worst.fold(0.0, f64::max) <= bound, "{level} {pool:?}");
            }
        };
        compare(relu, &masked);
        let dy = &dy[..out_len];
        let (mut spread, mut dbias) = (x.clone(), vec![T::ZERO; channels]);
        relu_max_pool_grad(level, &pool, dy, &places, &mut spread, &mut dbias).unwrap();
        compare(Upstream::ReluMaxPool { dy, places: &places, pool: &pool }, &spread);
    }
}

#[test]
fn relu_and_pooling_in_the_same_sweep() {
    let mut random = Random::new(44);
    let whole = Pool2dGeometry {
        batch: 5,
        in_h: 6,
        in_w: 8,
        channels: 24,
        k_h: 2,
        k_w: 2,
        out_h: 3,
        out_w: 4,
        stride_h: 2,
        stride_w: 2,
        pad_top: 0,
        pad_left: 0,
    };
    let odd = Pool2dGeometry { in_h: 7, in_w: 9, channels: 9, ..whole };
    let overlapping = Pool2dGeometry { k_h: 3, k_w: 3, pad_top: 1, pad_left: 1, ..whole };
    let large = Pool2dGeometry { batch: 40, channels: 5, ..whole };
    for pool in [whole, odd, overlapping, large] {
        compare_fused::<f32>(&mut random, pool, 1e-5);
        compare_fused::<f64>(&mut random, pool, 1e-12);
        compare_fused::<bf16>(&mut random, pool, 1e-1);
        compare_fused::<f16>(&mut random, pool, 1e-2);
    }
}

#[test]
fn a_mean_far_from_zero_costs_no_digits() {
    let mut random = Random::new(42);
    let shifted: Vec<f32> = random.values::<f32>(20_000).iter().map(|x| x + 1000.0).collect();
    let exact_mean = mean(&to_f64(&shifted));
    let exact_variance =
        mean(&shifted.iter().map(|x| (f64::from(*x) - exact_mean).powi(2)).collect::<Vec<_>>());
    for level in Level::available() {
        let (mut mean, mut variance) = ([0.0], [0.0]);
        moments(level, &shifted, &mut mean, &mut variance).unwrap();
        assert_close(&mean, &[exact_mean], 1e-7, "mean");
        assert_close(&variance, &[exact_variance], 1e-7, "variance");
    }
}

#[test]
fn nan_and_infinity_stay_in_their_channel() {
    let x = [f32::NAN, 1.0, f32::INFINITY, 0.0, 3.0, 1.0];
    let (mut mean, mut variance) = ([0.0; 3], [0.0; 3]);
    moments(Level::best(), &x, &mut mean, &mut variance).unwrap();
    assert!(mean[0].is_nan() && variance[0].is_nan());
    assert_eq!((mean[1], variance[1]), (2.0, 1.0));
    assert!(mean[2] == f32::INFINITY && variance[2].is_nan());
}

#[test]
fn no_rows_have_no_mean() {
    let (mut mean, mut variance) = ([0.0f32; 3], [0.0; 3]);
    moments::<f32>(Level::best(), &[], &mut mean, &mut variance).unwrap();
    assert!(mean.iter().chain(&variance).all(|value| value.is_nan()));
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let mut random = Random::new(43);
    let (rows, channels) = (5000, 24);
    let (x, dy) = (random.values::<f32>(rows * channels), random.values::<f32>(rows * channels));
    let level = Level::best();
    let results = [1, 2, 3].map(|threads| {
        set_threads(threads);
        let mut sums = [0, 1, 2, 3].map(|_: usize| vec![0.0; channels]);
        let [mean, variance, dscale, doffset] = &mut sums;
        moments(level, &x, mean, variance).unwrap();
        let statistics = Statistics { mean, inverse_deviation: variance };
        normalize_grad_sums(level, Upstream::Given(&dy), &x, statistics, dscale, doffset).unwrap();
        set_threads(0);
        sums.concat().into_iter().map(f32::to_bits).collect::<Vec<_>>()
    });
    assert!(results[0] == results[1] && results[0] == results[2]);
}
