//! Pooling against the oracle.

mod common;

use common::{Random, assert_close};
use tapeflow_kernels::element::{Float, Number};
use tapeflow_kernels::parallel::set_threads;
use tapeflow_kernels::pool::{
    Pool2dGeometry, avg_pool, avg_pool_grad, max_pool, max_pool_grad, max_pool_grad_grad,
};
use tapeflow_kernels::{bf16, f16, naive};

/// Averages of at most 25 values in [-1, 1), and their gradients.
const F32_BOUND: f64 = 2e-6;
const F64_BOUND: f64 = 2e-15;
/// Rounded once, from `f32` sums.
const F16_BOUND: f64 = 1e-3;
const BF16_BOUND: f64 = 8e-3;

/// Sums of up to 25 gradients in the 16-bit floats, rounded each time in the same order.
fn compare_max<T: Number>(random: &mut Random, g: &Pool2dGeometry) {
    let (in_len, out_len) = (g.batch * g.in_image_len(), g.batch * g.out_image_len());
    let mut x = random.values::<T>(in_len);
    // Equal values, so that it matters which one comes first.
    for index in 1..in_len {
        if random.below(3) == 0 {
            x[index] = x[random.below(index)];
        }
    }
    let (dy, ddx) = (random.values::<T>(out_len), random.values::<T>(in_len));
    let (mut got, mut expected) = (dy.clone(), dy.clone());
    max_pool(g, &x, &mut got);
    naive::max_pool(g, &x, &mut expected);
    assert_eq!(got, expected, "max_pool {g:?}");
    max_pool_grad_grad(g, &x, &ddx, &mut got);
    naive::max_pool_grad_grad(g, &x, &ddx, &mut expected);
    assert_eq!(got, expected, "max_pool_grad_grad {g:?}");
    let (mut got, mut expected) = (x.clone(), x.clone());
    max_pool_grad(g, &x, &dy, &mut got);
    naive::max_pool_grad(g, &x, &dy, &mut expected);
    assert_eq!(got, expected, "max_pool_grad {g:?}");
}

fn compare_avg<T: Float>(random: &mut Random, g: &Pool2dGeometry, bound: f64)
where
    T::Accumulator: Float,
{
    let x = random.values::<T>(g.batch * g.in_image_len());
    let dy = random.values::<T>(g.batch * g.out_image_len());
    let (mut got, mut expected) = (dy.clone(), dy.clone());
    avg_pool(g, &x, &mut got);
    naive::avg_pool(g, &x, &mut expected);
    assert_close(&got, &expected, bound, &format!("avg_pool {g:?}"));
    let (mut got, mut expected) = (x.clone(), x.clone());
    avg_pool_grad(g, &dy, &mut got);
    naive::avg_pool_grad(g, &dy, &mut expected);
    assert_close(&got, &expected, bound, &format!("avg_pool_grad {g:?}"));
}

fn random_geometry(random: &mut Random) -> Pool2dGeometry {
    let mut g = Pool2dGeometry {
        batch: random.below(4) + 1,
        in_h: random.below(12) + 1,
        in_w: random.below(12) + 1,
        channels: random.below(40) + 1,
        k_h: random.below(5) + 1,
        k_w: random.below(5) + 1,
        out_h: 0,
        out_w: 0,
        stride_h: random.below(3) + 1,
        stride_w: random.below(3) + 1,
        pad_top: 0,
        pad_left: 0,
    };
    if random.below(3) == 0 {
        (g.k_h, g.k_w, g.stride_h, g.stride_w) = (2, 2, 2, 2);
    }
    // Both SAME and VALID, and sometimes padding beyond SAME's.
    let axis = |random: &mut Random, input: usize, k: usize, stride: usize| match random.below(3) {
        0 if k <= input => ((input - k) / stride + 1, 0),
        2 => ((input + k).saturating_sub(1) / stride, k - 1),
        _ => {
            let output = input.div_ceil(stride);
            (output, ((output - 1) * stride + k).saturating_sub(input) / 2)
        }
    };
    (g.out_h, g.pad_top) = axis(random, g.in_h, g.k_h, g.stride_h);
    (g.out_w, g.pad_left) = axis(random, g.in_w, g.k_w, g.stride_w);
    g
}

#[test]
fn random_geometries() {
    let mut random = Random::new(21);
    for _ in 0..200 {
        let g = random_geometry(&mut random);
        compare_max::<f32>(&mut random, &g);
        compare_max::<i32>(&mut random, &g);
        compare_max::<u8>(&mut random, &g);
        compare_max::<bf16>(&mut random, &g);
        compare_avg::<f32>(&mut random, &g, F32_BOUND);
        compare_avg::<f64>(&mut random, &g, F64_BOUND);
        compare_avg::<f16>(&mut random, &g, F16_BOUND);
        compare_avg::<bf16>(&mut random, &g, BF16_BOUND);
    }
}

fn lesson(batch: usize) -> Pool2dGeometry {
    Pool2dGeometry {
        batch,
        in_h: 28,
        in_w: 28,
        channels: 32,
        k_h: 2,
        k_w: 2,
        out_h: 14,
        out_w: 14,
        stride_h: 2,
        stride_w: 2,
        pad_top: 0,
        pad_left: 0,
    }
}

/// What TensorFlow 2.21 gives on the CPU.
#[test]
fn nan_and_infinity_are_as_in_tensorflow() {
    let (nan, inf) = (f32::NAN, f32::INFINITY);
    let windows = [
        ([nan, 1.0, 2.0, 3.0], 3.0, 0),
        ([1.0, nan, 2.0, 3.0], 3.0, 3),
        ([1.0, 2.0, 3.0, nan], 3.0, 2),
        ([nan, nan, 1.0, 1.0], 1.0, 0),
        ([-inf, nan, nan, inf], inf, 3),
        ([nan; 4], f32::MIN, 0),
        ([-inf; 4], f32::MIN, 0),
    ];
    for (x, maximum, place) in windows {
        for k in [2, 3] {
            // A window of 3 is cut off at the image and takes the general path.
            let g =
                Pool2dGeometry { in_h: 2, in_w: 2, channels: 1, out_h: 1, out_w: 1, ..lesson(1) };
            let g = Pool2dGeometry { k_h: k, k_w: k, ..g };
            let (mut y, mut dx, mut expected) = ([0.0], [9.0; 4], [0.0; 4]);
            max_pool(&g, &x, &mut y);
            assert_eq!(y[0], maximum, "{x:?}");
            max_pool_grad(&g, &x, &[5.0], &mut dx);
            expected[place] = 5.0;
            assert_eq!(dx, expected, "{x:?}");
        }
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let mut random = Random::new(22);
    let g = Pool2dGeometry { k_h: 3, k_w: 3, ..lesson(20) };
    let x = random.values::<f32>(g.batch * g.in_image_len());
    let dy = random.values::<f32>(g.batch * g.out_image_len());
    let results = [1, 2, 3].map(|threads| {
        set_threads(threads);
        let (mut y, mut dx, mut avg_dx) = (dy.clone(), x.clone(), x.clone());
        max_pool(&g, &x, &mut y);
        max_pool_grad(&g, &x, &dy, &mut dx);
        avg_pool_grad(&g, &dy, &mut avg_dx);
        set_threads(0);
        [y, dx, avg_dx].concat().into_iter().map(f32::to_bits).collect::<Vec<_>>()
    });
    assert!(results[0] == results[1] && results[0] == results[2]);
}
