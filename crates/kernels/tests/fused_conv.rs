//! Fused convolutions at every level of the machine against the functions one after the other.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;
#[path = "common/geometry.rs"]
mod geometry;

use common::{Random, assert_close};
use geometry::{random_conv, random_pool, same_conv};
use tapeflow_kernels::conv::fused::{
    BiasRelu, NO_PLACE, conv2d_backprop_filter_pooled, conv2d_bias, conv2d_bias_max_pool,
    relu_max_pool_grad,
};
use tapeflow_kernels::conv::{Conv2dGeometry, conv2d_backprop_filter, conv2d_backprop_filter_at};
use tapeflow_kernels::element::Float;
use tapeflow_kernels::parallel::set_threads;
use tapeflow_kernels::pool::Pool2dGeometry;
use tapeflow_kernels::simd::Level;
use tapeflow_kernels::{bf16, f16, naive};

/// Small whole numbers, whose sums are exact in any order and often equal, and now and then what
/// is no number.
fn whole<T: Float>(random: &mut Random, len: usize, odd_ones: bool) -> Vec<T> {
    let odd = [T::NAN, T::INFINITY, T::MIN, T::ZERO.neg()];
    let value = |random: &mut Random| match random.below(60) {
        index if odd_ones && index < odd.len() => odd[index],
        other => T::from_f64((other % 5) as f64 - 2.0),
    };
    (0..len).map(|_| value(random)).collect()
}

fn assert_same<T: Float>(got: &[T], expected: &[T], what: &str) {
    assert_eq!(got.len(), expected.len(), "{what}");
    for (index, (got, expected)) in got.iter().zip(expected).enumerate() {
        let same = got == expected || (got.is_nan() && expected.is_nan());
        assert!(same, "{what}: at {index} got {got:?}, expected {expected:?}");
    }
}

/// What the fused kernels compute, with the oracles one after the other.
struct Unfused<T> {
    relu: Vec<T>,
    y: Vec<T>,
    d_conv: Vec<T>,
    d_bias: Vec<T>,
}

fn unfused<T: Float>(
    g: &Conv2dGeometry,
    pool: &Pool2dGeometry,
    [x, filters, bias, dy]: [&[T]; 4],
    relu: bool,
) -> Unfused<T> {
    let mut conv = vec![T::ZERO; g.batch * g.out_image_len()];
    naive::conv2d(g, x, filters, &mut conv);
    for (index, value) in conv.iter_mut().enumerate() {
        *value = value.add(bias[index % bias.len()]);
        if relu && *value < T::ZERO {
            *value = T::ZERO;
        }
    }
    let mut y = dy.to_vec();
    naive::max_pool(pool, &conv, &mut y);
    let mut d_conv = conv.clone();
    naive::max_pool_grad(pool, &conv, dy, &mut d_conv);
    for (gradient, value) in d_conv.iter_mut().zip(&conv) {
        let passes = !relu || *value > T::ZERO;
        if !passes {
            *gradient = T::ZERO;
        }
    }
    let mut d_bias = vec![T::ZERO; bias.len()];
    for (index, gradient) in d_conv.iter().enumerate() {
        d_bias[index % bias.len()] = d_bias[index % bias.len()].add(*gradient);
    }
    Unfused { relu: conv, y, d_conv, d_bias }
}

/// All kernels against the oracles, bit for bit but for zeros' signs and NaNs' payloads.
fn compare<T: Float>(
    random: &mut Random,
    g: &Conv2dGeometry,
    pool: &Pool2dGeometry,
    relu: bool,
    odd_ones: bool,
) {
    let x = whole::<T>(random, g.batch * g.in_image_len(), odd_ones);
    let filters = whole::<T>(random, g.filters_len(), false);
    let bias = whole::<T>(random, g.out_c, false);
    let dy = whole::<T>(random, g.batch * pool.out_image_len(), odd_ones);
    let expected = unfused(g, pool, [&x, &filters, &bias, &dy], relu);
    let epilogue = BiasRelu { bias: &bias, relu };
    for level in Level::available() {
        let what = |name: &str| format!("{name} {level} relu {relu} {g:?} {pool:?}");
        // What was in the outputs before must not matter.
        let mut y = expected.d_conv.clone();
        conv2d_bias(level, g, &x, &filters, epilogue, &mut y).unwrap();
        assert_same(&y, &expected.relu, &what("conv2d_bias"));

        let (mut y, mut places) = (dy.clone(), vec![7; dy.len()]);
        conv2d_bias_max_pool(level, g, pool, &x, &filters, epilogue, &mut y, &mut places).unwrap();
        assert_same(&y, &expected.y, &what("conv2d_bias_max_pool"));

        let (mut d_conv, mut d_bias) = (expected.relu.clone(), bias.clone());
        relu_max_pool_grad(level, pool, &dy, &places, &mut d_conv, &mut d_bias).unwrap();
        assert_same(&d_conv, &expected.d_conv, &what("relu_max_pool_grad"));
        assert_same(&d_bias, &expected.d_bias, &what("bias of relu_max_pool_grad"));

        let mut d_filters = filters.clone();
        let d_bias = &mut d_bias;
        d_bias.fill(T::ONE);
        conv2d_backprop_filter_pooled(level, g, pool, &x, &dy, &places, &mut d_filters, d_bias)
            .unwrap();
        // Not the oracle: padding times NaN is NaN here as in the kernel, which has a test.
        let mut expected_filters = filters.clone();
        conv2d_backprop_filter_at(level, g, &x, &expected.d_conv, &mut expected_filters).unwrap();
        assert_same(&d_filters, &expected_filters, &what("conv2d_backprop_filter_pooled"));
        assert_same(d_bias, &expected.d_bias, &what("bias of conv2d_backprop_filter_pooled"));
    }
}

fn pool_2x2(conv: &Conv2dGeometry) -> Pool2dGeometry {
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

#[test]
fn random_geometries() {
    let mut random = Random::new(31);
    for index in 0..120 {
        let conv = random_conv(&mut random);
        let pool = random_pool(&mut random, &conv);
        compare::<f32>(&mut random, &conv, &pool, index % 3 > 0, index % 2 == 0);
        if index % 8 == 0 {
            compare::<f64>(&mut random, &conv, &pool, true, true);
        }
    }
}

#[test]
fn layers_of_networks() {
    let mut random = Random::new(32);
    for numbers in
        [[9, 28, 1, 32], [2, 28, 32, 32], [3, 14, 32, 64], [1, 14, 64, 64], [2, 7, 3, 20]]
    {
        let conv = same_conv(numbers);
        compare::<f32>(&mut random, &conv, &pool_2x2(&conv), true, false);
        compare::<f32>(&mut random, &conv, &pool_2x2(&conv), true, true);
    }
}

/// Convolutions of a single channel, the first layers of networks, and their pooling.
fn single_channels(random: &mut Random) -> (Conv2dGeometry, Pool2dGeometry) {
    let (h, w, pad) = (random.below(14) + 4, random.below(14) + 4, random.below(3));
    let conv = Conv2dGeometry {
        in_h: h,
        in_w: w,
        out_h: h + 2 * pad - 2,
        out_w: w + 2 * pad - 2,
        pad_top: pad,
        pad_left: pad,
        ..same_conv([random.below(20) + 1, 0, 1, 8 * (random.below(8) + 1)])
    };
    (conv, pool_2x2(&conv))
}

#[test]
fn a_single_channel() {
    let mut random = Random::new(35);
    for index in 0..20 {
        let (conv, pool) = single_channels(&mut random);
        compare::<f32>(&mut random, &conv, &pool, index % 4 > 0, index % 2 == 0);
    }
}

#[test]
fn a_single_channel_is_pooled_to_the_bit() {
    let mut random = Random::new(36);
    for index in 0..20 {
        let (conv, pool) = single_channels(&mut random);
        let mut x = random.values::<f32>(conv.batch * conv.in_image_len());
        for odd in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let place = random.below(x.len());
            x[place] = if index % 2 == 0 { odd } else { -0.0 };
        }
        let filters = random.values::<f32>(conv.filters_len());
        let mut bias = random.values::<f32>(conv.out_c);
        bias[0] = -0.0;
        let epilogue = BiasRelu { bias: &bias, relu: true };
        for level in Level::available() {
            let mut unpooled = vec![0.0; conv.batch * conv.out_image_len()];
            conv2d_bias(level, &conv, &x, &filters, epilogue, &mut unpooled).unwrap();
            let mut expected = vec![0.0; conv.batch * pool.out_image_len()];
            naive::max_pool(&pool, &unpooled, &mut expected);
            let (mut y, mut places) = (expected.clone(), vec![7; expected.len()]);
            y.fill(f32::NAN);
            conv2d_bias_max_pool(level, &conv, &pool, &x, &filters, epilogue, &mut y, &mut places)
                .unwrap();
            let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&y), bits(&expected), "{level} {conv:?}");
        }
    }
}

#[test]
fn a_gradient_that_is_no_number_meets_a_single_channel() {
    let mut random = Random::new(37);
    for odd in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let (conv, pool) = single_channels(&mut random);
        let x = whole::<f32>(&mut random, conv.batch * conv.in_image_len(), false);
        let len = conv.batch * pool.out_image_len();
        let mut dy = whole::<f32>(&mut random, len, false);
        dy[random.below(len)] = odd;
        let places: Vec<u8> = (0..len).map(|_| [0, 1, 2, 3, NO_PLACE][random.below(5)]).collect();
        for level in Level::available() {
            let mut d_conv = vec![0.0; conv.batch * conv.out_image_len()];
            let (mut d_bias, mut d_bias_again) = (vec![0.0; conv.out_c], vec![0.0; conv.out_c]);
            relu_max_pool_grad(level, &pool, &dy, &places, &mut d_conv, &mut d_bias).unwrap();
            let mut expected = vec![0.0; conv.filters_len()];
            conv2d_backprop_filter_at(level, &conv, &x, &d_conv, &mut expected).unwrap();
            let mut got = expected.clone();
            got.fill(7.0);
            let out = (&mut got, &mut d_bias_again);
            conv2d_backprop_filter_pooled(level, &conv, &pool, &x, &dy, &places, out.0, out.1)
                .unwrap();
            assert_same(&got, &expected, &format!("{level} {odd} {conv:?}"));
            assert_same(&d_bias_again, &d_bias, &format!("bias {level} {odd} {conv:?}"));
        }
    }
}

#[test]
fn half_types_round_as_one_after_the_other() {
    let mut random = Random::new(33);
    for _ in 0..6 {
        let conv = random_conv(&mut random);
        // Gradients of windows that overlap are rounded once here, several times there.
        let pool = pool_2x2(&conv);
        compare::<f16>(&mut random, &conv, &pool, true, false);
        compare::<bf16>(&mut random, &conv, &pool, true, false);
    }
}

#[test]
fn gradients_of_values_that_are_not_whole() {
    let mut random = Random::new(34);
    let conv = same_conv([20, 28, 1, 32]);
    let pool = pool_2x2(&conv);
    let x = random.values::<f32>(conv.batch * conv.in_image_len());
    let filters = random.values::<f32>(conv.filters_len());
    let bias = random.values::<f32>(conv.out_c);
    let dy = random.values::<f32>(pool.batch * pool.out_image_len());
    let epilogue = BiasRelu { bias: &bias, relu: true };
    let results = [1, 2, 3].map(|threads| {
        set_threads(threads);
        let level = Level::best();
        let (mut y, mut places) = (dy.clone(), vec![0; dy.len()]);
        conv2d_bias_max_pool(level, &conv, &pool, &x, &filters, epilogue, &mut y, &mut places)
            .unwrap();
        let mut d_conv = vec![0.0; conv.batch * conv.out_image_len()];
        let (mut d_bias, mut d_filters) = (bias.clone(), filters.clone());
        relu_max_pool_grad(level, &pool, &dy, &places, &mut d_conv, &mut d_bias).unwrap();
        let mut exact = filters.clone();
        conv2d_backprop_filter(&conv, &x, &d_conv, &mut exact).unwrap();
        let mut d_bias_again = bias.clone();
        let out = (&mut d_filters, &mut d_bias_again);
        conv2d_backprop_filter_pooled(level, &conv, &pool, &x, &dy, &places, out.0, out.1).unwrap();
        assert_close(&d_filters, &exact, 1e-4, "d_filters");
        assert_close(&d_bias_again, &d_bias, 1e-4, "d_bias");
        set_threads(0);
        let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits);
        let numbers = bits([y, d_conv, d_filters, d_bias].concat());
        numbers.chain(places.into_iter().map(u32::from)).collect::<Vec<_>>()
    });
    assert!(results[0] == results[1] && results[0] == results[2]);
}

#[test]
fn places_made_up_spread_nothing() {
    let conv = same_conv([1, 2, 1, 1]);
    for pool in [pool_2x2(&conv), Pool2dGeometry { pad_top: 1, k_h: 3, ..pool_2x2(&conv) }] {
        for place in [0, 9, 100, 254, NO_PLACE] {
            let (mut dx, mut dbias) = ([7.0f32; 4], [0.0]);
            relu_max_pool_grad(Level::best(), &pool, &[1.0], &[place], &mut dx, &mut dbias)
                .unwrap();
            let first = if place == 0 && pool.pad_top == 0 { 1.0 } else { 0.0 };
            assert_eq!(dx, [first, 0.0, 0.0, 0.0]);
        }
    }
}

#[test]
fn empty_batches() {
    let conv = same_conv([0, 4, 1, 3]);
    let pool = pool_2x2(&conv);
    let epilogue = BiasRelu { bias: &[1.0f32; 3], relu: true };
    let level = Level::best();
    conv2d_bias(level, &conv, &[], &[0.0; 27], epilogue, &mut []).unwrap();
    conv2d_bias_max_pool(level, &conv, &pool, &[], &[0.0; 27], epilogue, &mut [], &mut []).unwrap();
    let (mut d_filters, mut d_bias) = ([7.0f32; 27], [7.0; 3]);
    conv2d_backprop_filter_pooled(level, &conv, &pool, &[], &[], &[], &mut d_filters, &mut d_bias)
        .unwrap();
    assert_eq!((d_filters, d_bias), ([0.0; 27], [0.0; 3]));
    d_bias = [7.0; 3];
    relu_max_pool_grad(level, &pool, &[], &[], &mut [], &mut d_bias).unwrap();
    assert_eq!(d_bias, [0.0; 3]);
}
