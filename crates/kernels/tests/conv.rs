//! Convolutions at every level of the machine against the oracle.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::{Random, assert_close};
use tapeflow_kernels::conv::{
    Conv2dGeometry, conv2d, conv2d_at, conv2d_backprop_filter, conv2d_backprop_filter_at,
    conv2d_backprop_input, conv2d_backprop_input_at,
};
use tapeflow_kernels::element::Number;
use tapeflow_kernels::parallel::set_threads;
use tapeflow_kernels::simd::Level;
use tapeflow_kernels::{bf16, f16, naive};

/// Bounds for sums of up to a few thousand products of values in [-1, 1); those of `f32` are
/// compared with sums in `f64`.
const F32_BOUND: f64 = 1e-4;
const F64_BOUND: f64 = 1e-13;
/// The 16-bit floats are rounded once, from `f32` sums: relative to the result.
const F16_BOUND: f64 = 1e-3;
const BF16_BOUND: f64 = 8e-3;

fn convert<T: Number, O: Number>(values: &[T]) -> Vec<O> {
    values.iter().map(|value| O::from_f64(value.to_f64())).collect()
}

/// The kernels in `T` against the oracle in `O`.
fn compare<T: Number, O: Number>(random: &mut Random, g: &Conv2dGeometry, bound: f64) {
    let x = random.values::<T>(g.batch * g.in_image_len());
    let filters = random.values::<T>(g.filters_len());
    let dy = random.values::<T>(g.batch * g.out_image_len());
    let [mut y, mut dx, mut dfilters] = [&dy, &x, &filters].map(|values| convert::<T, O>(values));
    let (exact_x, exact_filters, exact_dy) = (dx.clone(), dfilters.clone(), y.clone());
    naive::conv2d(g, &exact_x, &exact_filters, &mut y);
    naive::conv2d_backprop_input(g, &exact_dy, &exact_filters, &mut dx);
    naive::conv2d_backprop_filter(g, &exact_x, &exact_dy, &mut dfilters);
    for level in Level::available() {
        // What was in the output before must not matter.
        let mut got = dy.clone();
        conv2d_at(level, g, &x, &filters, &mut got).unwrap();
        assert_close(&got, &y, bound, &format!("conv2d {level} {g:?}"));
        let mut got = x.clone();
        conv2d_backprop_input_at(level, g, &dy, &filters, &mut got).unwrap();
        assert_close(&got, &dx, bound, &format!("backprop_input {level} {g:?}"));
        let mut got = filters.clone();
        conv2d_backprop_filter_at(level, g, &x, &dy, &mut got).unwrap();
        assert_close(&got, &dfilters, bound, &format!("backprop_filter {level} {g:?}"));
    }
}

/// SAME padding as TensorFlow's: output size and zeros before.
fn same(input: usize, k: usize, stride: usize, dilation: usize) -> (usize, usize) {
    let output = input.div_ceil(stride);
    let padding = ((output - 1) * stride + (k - 1) * dilation + 1).saturating_sub(input);
    (output, padding / 2)
}

/// The output size for explicit padding, if there is one.
fn explicit(
    input: usize,
    k: usize,
    stride: usize,
    dilation: usize,
    pads: (usize, usize),
) -> Option<usize> {
    let room = (input + pads.0 + pads.1).checked_sub((k - 1) * dilation + 1)?;
    Some(room / stride + 1)
}

fn random_geometry(random: &mut Random) -> Conv2dGeometry {
    loop {
        let mut g = Conv2dGeometry {
            batch: random.below(4) + 1,
            in_h: random.below(12) + 1,
            in_w: random.below(12) + 1,
            in_c: random.below(6) + 1,
            k_h: random.below(5) + 1,
            k_w: random.below(5) + 1,
            out_c: random.below(40) + 1,
            out_h: 0,
            out_w: 0,
            stride_h: random.below(3) + 1,
            stride_w: random.below(3) + 1,
            dilation_h: random.below(3) + 1,
            dilation_w: random.below(3) + 1,
            pad_top: 0,
            pad_left: 0,
            groups: 1,
        };
        if random.below(8) == 0 {
            g.groups = 2;
            g.in_c *= 2;
            g.out_c *= 2;
        }
        if random.below(2) == 0 {
            (g.out_h, g.pad_top) = same(g.in_h, g.k_h, g.stride_h, g.dilation_h);
            (g.out_w, g.pad_left) = same(g.in_w, g.k_w, g.stride_w, g.dilation_w);
            return g;
        }
        let pads: [usize; 4] = std::array::from_fn(|_| random.below(4));
        (g.pad_top, g.pad_left) = (pads[0], pads[2]);
        let h = explicit(g.in_h, g.k_h, g.stride_h, g.dilation_h, (pads[0], pads[1]));
        let w = explicit(g.in_w, g.k_w, g.stride_w, g.dilation_w, (pads[2], pads[3]));
        if let (Some(h), Some(w)) = (h, w) {
            (g.out_h, g.out_w) = (h, w);
            return g;
        }
    }
}

/// A square SAME convolution.
fn square([batch, size, in_c, k, out_c, stride, dilation]: [usize; 7]) -> Conv2dGeometry {
    let (out, pad) = same(size, k, stride, dilation);
    Conv2dGeometry {
        batch,
        in_h: size,
        in_w: size,
        in_c,
        k_h: k,
        k_w: k,
        out_c,
        out_h: out,
        out_w: out,
        stride_h: stride,
        stride_w: stride,
        dilation_h: dilation,
        dilation_w: dilation,
        pad_top: pad,
        pad_left: pad,
        groups: 1,
    }
}

#[test]
fn f32_random_geometries() {
    let mut random = Random::new(11);
    for _ in 0..150 {
        let geometry = random_geometry(&mut random);
        compare::<f32, f64>(&mut random, &geometry, F32_BOUND);
    }
}

#[test]
fn f32_geometries_of_networks() {
    let mut random = Random::new(12);
    for numbers in [
        [9, 28, 1, 3, 32, 1, 1],
        [3, 14, 32, 3, 64, 1, 1],
        [2, 7, 64, 1, 48, 1, 1],
        [2, 7, 64, 1, 48, 2, 1],
        [1, 40, 3, 7, 64, 2, 1],
        [2, 9, 130, 3, 20, 1, 2],
        [3, 2, 4, 5, 16, 1, 1],
        [2, 1, 300, 3, 33, 1, 1],
        [1, 6, 2, 1, 2, 4, 1],
    ] {
        compare::<f32, f64>(&mut random, &square(numbers), F32_BOUND);
    }
}

/// Lines of pixels that are half a tile, one and more than one, for the numbers of channels that have
/// code of their own and for one that has not.
#[test]
fn lines_of_every_length() {
    let mut random = Random::new(17);
    for channels in [31, 32, 64, 128] {
        for width in [1, 2, 3, 4, 5, 7, 8, 13, 14, 15, 27, 29] {
            // With fewer images each row would be a piece of work by itself.
            let mut geometry = square([8, width, channels, 3, channels.min(40), 1, 1]);
            (geometry.in_h, geometry.out_h) = (3, 3);
            compare::<f32, f64>(&mut random, &geometry, F32_BOUND);
        }
    }
}

#[test]
fn filters_as_large_as_the_image() {
    let mut random = Random::new(13);
    let mut geometry = square([5, 6, 3, 6, 10, 1, 1]);
    (geometry.pad_top, geometry.pad_left, geometry.out_h, geometry.out_w) = (0, 0, 1, 1);
    compare::<f32, f64>(&mut random, &geometry, F32_BOUND);
}

#[test]
fn paddings_beyond_measure() {
    let mut random = Random::new(14);
    let mut geometry = square([1, 2, 1, 2, 1, 1, 400]);
    compare::<f32, f64>(&mut random, &geometry, F32_BOUND);
    geometry.dilation_h = 1;
    compare::<f32, f64>(&mut random, &geometry, F32_BOUND);
}

/// Of the images' pixels, or lines of pixels, that a stride steps over no gradient comes.
#[test]
fn pixels_that_no_filter_touches() {
    let mut random = Random::new(18);
    let one = square([1, 3, 2, 1, 3, 1, 1]);
    let padded = Conv2dGeometry { pad_top: 1, pad_left: 1, ..one };
    for geometry in [
        Conv2dGeometry { stride_h: 2, out_h: 2, out_w: 4, ..padded },
        Conv2dGeometry { in_w: 1, k_h: 3, stride_w: 3, out_h: 3, out_w: 2, ..padded },
    ] {
        compare::<f32, f64>(&mut random, &geometry, F32_BOUND);
    }
}

#[test]
fn other_types() {
    let mut random = Random::new(15);
    for _ in 0..12 {
        let geometry = random_geometry(&mut random);
        compare::<f64, f64>(&mut random, &geometry, F64_BOUND);
        compare::<f16, f16>(&mut random, &geometry, F16_BOUND);
        compare::<bf16, bf16>(&mut random, &geometry, BF16_BOUND);
        compare::<i32, i32>(&mut random, &geometry, 0.0);
        compare::<i64, i64>(&mut random, &geometry, 0.0);
    }
}

#[test]
fn empty_sums_are_zero() {
    let mut geometry = square([2, 3, 1, 3, 4, 1, 1]);
    geometry.in_c = 0;
    let mut y = vec![7.0f32; 2 * geometry.out_image_len()];
    conv2d(&geometry, &[], &[], &mut y).unwrap();
    assert!(y.iter().all(|&y| y == 0.0));
    conv2d_backprop_input(&geometry, &y, &[], &mut []).unwrap();

    let geometry = Conv2dGeometry { batch: 0, ..square([1, 3, 1, 3, 4, 1, 1]) };
    let mut dfilters = [7.0f32; 36];
    conv2d_backprop_filter(&geometry, &[], &[], &mut dfilters).unwrap();
    assert_eq!(dfilters, [0.0; 36]);
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let mut random = Random::new(16);
    for numbers in [[40, 28, 1, 3, 32, 1, 1], [5, 14, 32, 3, 40, 2, 1]] {
        let g = square(numbers);
        let x = random.values::<f32>(g.batch * g.in_image_len());
        let filters = random.values::<f32>(g.filters_len());
        let dy = random.values::<f32>(g.batch * g.out_image_len());
        let results = [1, 2, 3].map(|threads| {
            set_threads(threads);
            let (mut y, mut dx, mut dfilters) = (dy.clone(), x.clone(), filters.clone());
            conv2d(&g, &x, &filters, &mut y).unwrap();
            conv2d_backprop_input(&g, &dy, &filters, &mut dx).unwrap();
            conv2d_backprop_filter(&g, &x, &dy, &mut dfilters).unwrap();
            set_threads(0);
            [y, dx, dfilters].concat().into_iter().map(f32::to_bits).collect::<Vec<_>>()
        });
        assert!(results[0] == results[1] && results[0] == results[2], "{g:?}");
    }
}
