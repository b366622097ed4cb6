//! The obvious loops: what the fast kernels are tested against.
//!
//! Sums are kept in [`Number::Accumulator`], in the order of the loops.

use crate::conv::Conv2dGeometry;
use crate::element::{Float, Number};
use crate::gemm::{Matrix, Update};
use crate::pool::Pool2dGeometry;

/// As [`gemm`](crate::gemm::gemm).
pub fn gemm<T: Number>(
    m: usize,
    n: usize,
    k: usize,
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
    update: Update<T>,
    c: &mut [T],
) {
    for i in 0..m {
        for j in 0..n {
            let mut sum = T::Accumulator::ZERO;
            for l in 0..k {
                let a = a.data[i * a.row_stride + l * a.col_stride].to_accumulator();
                let b = b.data[l * b.row_stride + j * b.col_stride].to_accumulator();
                sum = sum.add(a.mul(b));
            }
            let c = &mut c[i * n + j];
            *c = T::from_accumulator(match update {
                Update::Assign => sum,
                Update::AddScaled(alpha) => c.to_accumulator().add(alpha.to_accumulator().mul(sum)),
            });
        }
    }
}

/// Calls `visit` for every product that a convolution sums, with the offsets of input, filter and
/// output.
fn for_each_tap(g: &Conv2dGeometry, mut visit: impl FnMut(usize, usize, usize)) {
    let (group_in, group_out) = (g.in_c / g.groups, g.out_c / g.groups);
    for image in 0..g.batch {
        for (out_y, out_x) in (0..g.out_h).flat_map(|y| (0..g.out_w).map(move |x| (y, x))) {
            for (k_y, k_x) in (0..g.k_h).flat_map(|y| (0..g.k_w).map(move |x| (y, x))) {
                let in_y = (out_y * g.stride_h + k_y * g.dilation_h).checked_sub(g.pad_top);
                let in_x = (out_x * g.stride_w + k_x * g.dilation_w).checked_sub(g.pad_left);
                let (Some(in_y), Some(in_x)) = (in_y, in_x) else { continue };
                if in_y >= g.in_h || in_x >= g.in_w {
                    continue;
                }
                let x = ((image * g.in_h + in_y) * g.in_w + in_x) * g.in_c;
                let filter = (k_y * g.k_w + k_x) * group_in * g.out_c;
                let y = ((image * g.out_h + out_y) * g.out_w + out_x) * g.out_c;
                for out_c in 0..g.out_c {
                    for c in 0..group_in {
                        let in_c = out_c / group_out * group_in + c;
                        visit(x + in_c, filter + c * g.out_c + out_c, y + out_c);
                    }
                }
            }
        }
    }
}

/// Sums what `visit` adds to accumulators of zero into `out`.
fn accumulate<T: Number>(out: &mut [T], visit: impl FnOnce(&mut [T::Accumulator])) {
    let mut sums = vec![T::Accumulator::ZERO; out.len()];
    visit(&mut sums);
    for (out, sum) in out.iter_mut().zip(sums) {
        *out = T::from_accumulator(sum);
    }
}

/// As [`conv2d`](crate::conv::conv2d).
pub fn conv2d<T: Number>(geometry: &Conv2dGeometry, x: &[T], filters: &[T], y: &mut [T]) {
    accumulate(y, |sums| {
        for_each_tap(geometry, |in_, tap, out| {
            let product = x[in_].to_accumulator().mul(filters[tap].to_accumulator());
            sums[out] = sums[out].add(product);
        });
    });
}

/// As [`conv2d_backprop_input`](crate::conv::conv2d_backprop_input).
pub fn conv2d_backprop_input<T: Number>(
    geometry: &Conv2dGeometry,
    dy: &[T],
    filters: &[T],
    dx: &mut [T],
) {
    accumulate(dx, |sums| {
        for_each_tap(geometry, |in_, tap, out| {
            let product = dy[out].to_accumulator().mul(filters[tap].to_accumulator());
            sums[in_] = sums[in_].add(product);
        });
    });
}

/// As [`conv2d_backprop_filter`](crate::conv::conv2d_backprop_filter).
pub fn conv2d_backprop_filter<T: Number>(
    geometry: &Conv2dGeometry,
    x: &[T],
    dy: &[T],
    dfilters: &mut [T],
) {
    accumulate(dfilters, |sums| {
        for_each_tap(geometry, |in_, tap, out| {
            let product = x[in_].to_accumulator().mul(dy[out].to_accumulator());
            sums[tap] = sums[tap].add(product);
        });
    });
}

/// Calls `visit` with the offset of every output of a pooling and those of its window, in order.
fn for_each_window(g: &Pool2dGeometry, mut visit: impl FnMut(usize, &[usize])) {
    let mut y = 0;
    for image in 0..g.batch {
        for (out_y, out_x) in (0..g.out_h).flat_map(|y| (0..g.out_w).map(move |x| (y, x))) {
            for channel in 0..g.channels {
                let mut window = Vec::new();
                for (k_y, k_x) in (0..g.k_h).flat_map(|y| (0..g.k_w).map(move |x| (y, x))) {
                    let in_y = (out_y * g.stride_h + k_y).checked_sub(g.pad_top);
                    let in_x = (out_x * g.stride_w + k_x).checked_sub(g.pad_left);
                    let (Some(in_y), Some(in_x)) = (in_y, in_x) else { continue };
                    if in_y < g.in_h && in_x < g.in_w {
                        let pixel = (image * g.in_h + in_y) * g.in_w + in_x;
                        window.push(pixel * g.channels + channel);
                    }
                }
                visit(y, &window);
                y += 1;
            }
        }
    }
}

/// The offset in the window that no later value is greater than.
fn first_maximum<T: Number>(x: &[T], window: &[usize]) -> Option<usize> {
    window.iter().copied().reduce(|best, place| if x[place] > x[best] { place } else { best })
}

/// As [`max_pool`](crate::pool::max_pool).
pub fn max_pool<T: Number>(geometry: &Pool2dGeometry, x: &[T], y: &mut [T]) {
    for_each_window(geometry, |out, window| {
        y[out] = window
            .iter()
            .map(|&place| x[place])
            .fold(T::LOWEST, |best, value| if value > best { value } else { best });
    });
}

/// As [`max_pool_grad`](crate::pool::max_pool_grad).
pub fn max_pool_grad<T: Number>(geometry: &Pool2dGeometry, x: &[T], dy: &[T], dx: &mut [T]) {
    dx.fill(T::ZERO);
    for_each_window(geometry, |out, window| {
        if let Some(place) = first_maximum(x, window) {
            dx[place] = dx[place].add(dy[out]);
        }
    });
}

/// As [`max_pool_grad_grad`](crate::pool::max_pool_grad_grad).
pub fn max_pool_grad_grad<T: Number>(geometry: &Pool2dGeometry, x: &[T], ddx: &[T], ddy: &mut [T]) {
    for_each_window(geometry, |out, window| {
        ddy[out] = first_maximum(x, window).map_or(T::ZERO, |place| ddx[place]);
    });
}

/// As [`avg_pool`](crate::pool::avg_pool), in `f64`.
pub fn avg_pool<T: Float>(geometry: &Pool2dGeometry, x: &[T], y: &mut [T]) {
    for_each_window(geometry, |out, window| {
        let sum: f64 = window.iter().map(|&place| x[place].to_f64()).sum();
        y[out] = T::from_f64(sum / window.len().max(1) as f64);
    });
}

/// As [`avg_pool_grad`](crate::pool::avg_pool_grad), in `f64`.
pub fn avg_pool_grad<T: Float>(geometry: &Pool2dGeometry, dy: &[T], dx: &mut [T]) {
    let mut sums = vec![0.0; dx.len()];
    for_each_window(geometry, |out, window| {
        for &place in window {
            sums[place] += dy[out].to_f64() / window.len() as f64;
        }
    });
    for (dx, sum) in dx.iter_mut().zip(sums) {
        *dx = T::from_f64(sum);
    }
}
