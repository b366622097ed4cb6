//! The first layer of a net that looks at grey images: 3x3 filters over a single channel, then bias,
//! relu and 2x2 max pooling.
//!
//! Nine products per output are too few for the tiles of a matrix product: most of the time would go
//! into reading the sums again to pool them. Here a filter stays in registers, and a window of four
//! pixels leaves them only as its maximum and the place of that. On the way back a window's gradient
//! belongs to one of its pixels, so the products of the other three, all zero, are left out.
//!
//! Both ways take numbers for granted: they say so where they met a NaN, or on the way back an
//! infinity, since 0 times that is not 0. The caller then computes all in the general way. Only
//! AVX-512 has registers enough.

mod filter_gradient;
mod forward;

pub(super) use filter_gradient::backprop_filter;
pub(super) use forward::conv2d_bias_relu_max_pool;

use super::Conv2dGeometry;
use super::window::{ImageSize, Window};
use crate::pool::Pool2dGeometry;

/// Rows and columns of a filter.
const SIDE: usize = 3;
/// Products in a sum.
const TAPS: usize = SIDE * SIDE;
/// Channels of a vector.
const LANES: usize = 16;
/// Images of a block whose gradients are summed by itself, and rows of a piece of a small batch, are
/// chosen for about this many pieces.
const PIECES: usize = 8;

/// Whether convolution and pooling are those of this module.
fn fits(g: &Conv2dGeometry, pool: &Pool2dGeometry) -> bool {
    (g.in_c, g.groups, g.k_h, g.k_w) == (1, 1, SIDE, SIDE)
        && [g.stride_h, g.stride_w, g.dilation_h, g.dilation_w] == [1; 4]
        && g.out_c.is_multiple_of(LANES)
        && pool.is_whole_2x2()
}

/// What rows of windows see of an image.
fn window(g: &Conv2dGeometry, pool: &Pool2dGeometry, first_row: usize, rows: usize) -> Window {
    Window {
        top: (2 * first_row) as isize - g.pad_top as isize,
        left: -(g.pad_left as isize),
        rows: 2 * rows + SIDE - 1,
        cols: 2 * pool.out_w + SIDE - 1,
    }
}

fn image_size(g: &Conv2dGeometry) -> ImageSize {
    ImageSize { h: g.in_h, w: g.in_w, c: 1 }
}
