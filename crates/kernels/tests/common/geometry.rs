//! Random shapes of convolutions and poolings.

use tapeflow_kernels::conv::Conv2dGeometry;
use tapeflow_kernels::pool::Pool2dGeometry;

use crate::common::Random;

/// Output size and padding before, for SAME, VALID or more padding than SAME's.
pub fn axis(random: &mut Random, input: usize, k: usize, stride: usize) -> (usize, usize) {
    match random.below(3) {
        0 if k <= input => ((input - k) / stride + 1, 0),
        1 => ((input + k).saturating_sub(1) / stride, k - 1),
        _ => {
            let output = input.div_ceil(stride);
            (output, ((output - 1) * stride + k).saturating_sub(input) / 2)
        }
    }
}

/// A small convolution.
pub fn random_conv(random: &mut Random) -> Conv2dGeometry {
    let groups = if random.below(8) == 0 { 2 } else { 1 };
    let mut g = Conv2dGeometry {
        batch: random.below(4) + 1,
        in_h: random.below(12) + 1,
        in_w: random.below(12) + 1,
        in_c: (random.below(4) + 1) * groups,
        k_h: random.below(4) + 1,
        k_w: random.below(4) + 1,
        out_c: (random.below(40) + 1) * groups,
        out_h: 0,
        out_w: 0,
        stride_h: random.below(2) + 1,
        stride_w: random.below(2) + 1,
        dilation_h: 1,
        dilation_w: 1,
        pad_top: 0,
        pad_left: 0,
        groups,
    };
    (g.out_h, g.pad_top) = axis(random, g.in_h, g.k_h, g.stride_h);
    (g.out_w, g.pad_left) = axis(random, g.in_w, g.k_w, g.stride_w);
    if g.out_h == 0 || g.out_w == 0 { random_conv(random) } else { g }
}

/// A pooling of what a convolution results in.
pub fn random_pool(random: &mut Random, conv: &Conv2dGeometry) -> Pool2dGeometry {
    let mut k = [0; 4].map(|_: usize| random.below(4) + 1);
    if random.below(2) == 0 {
        k = [2; 4];
    }
    let (out_h, pad_top) = axis(random, conv.out_h, k[0], k[2]);
    let (out_w, pad_left) = axis(random, conv.out_w, k[1], k[3]);
    Pool2dGeometry {
        batch: conv.batch,
        in_h: conv.out_h,
        in_w: conv.out_w,
        channels: conv.out_c,
        k_h: k[0],
        k_w: k[1],
        out_h,
        out_w,
        stride_h: k[2],
        stride_w: k[3],
        pad_top,
        pad_left,
    }
}

/// A 3x3 convolution that keeps the size of the images.
pub fn same_conv([batch, size, in_c, out_c]: [usize; 4]) -> Conv2dGeometry {
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
