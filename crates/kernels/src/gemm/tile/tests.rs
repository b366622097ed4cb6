//! Tiles at every level of the machine against sums written out, over A in all the ways it may lie.

use super::*;

/// C beyond what a tile may write.
const UNTOUCHED: f32 = 77.0;
const C_STRIDE: usize = 40;

/// The offsets of `rows` rows of A; none where it is packed.
fn layouts(rows: usize) -> Vec<Option<Vec<usize>>> {
    let offsets = |offset: &dyn Fn(usize) -> usize| Some((0..rows).map(offset).collect());
    let half = rows.div_ceil(2);
    vec![
        None,
        offsets(&|i| 3 + i),
        offsets(&|i| 5 + 32 * i),
        offsets(&|i| 64 * i),
        offsets(&|i| 128 * i),
        offsets(&|i| 7 * i),
        offsets(&|i| if i < half { 32 * i } else { 900 + 32 * (i - half) }),
        offsets(&|i| if i < half { i * i } else { 900 + (i - half) * (i - half) }),
        offsets(&|i| 40 * (rows - 1 - i)),
        offsets(&|i| i * i * 3 % 50),
        offsets(&|_| 11),
    ]
}

#[test]
fn tiles_are_sums_wherever_a_lies() {
    let mut state = 1u32;
    let mut random = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    let a: Vec<f32> = (0..4096).map(|_| random()).collect();
    let b: Vec<f32> = (0..4096).map(|_| random()).collect();
    let c_rows: Vec<usize> = (0..16).map(|i| i * C_STRIDE).collect();
    for level in Level::available() {
        let kernel = Kernel::<f32>::new(level);
        for rows in 1..=kernel.max_rows() {
            for layout in layouts(rows) {
                for (step, segments, segment_len, alpha, asked) in [
                    (1, &[0, 300][..], 5, None, 0),
                    (1, &[2][..], 8, Some(0.5), 3),
                    (3, &[9, 400, 1][..], 2, None, 6),
                    (64, &[0][..], 1, Some(-1.0), 1),
                    (1, &[1, 2][..], 0, None, 0),
                ] {
                    let step = if layout.is_none() { rows } else { step };
                    for cols in [1, 8, 9, 16, 17, 32] {
                        if cols > kernel.max_cols() {
                            continue;
                        }
                        let mut c = vec![UNTOUCHED; 16 * C_STRIDE];
                        let tile = Tile {
                            rows,
                            cols,
                            a: a.as_ptr(),
                            a_rows: layout.as_deref(),
                            segments,
                            segment_len,
                            step,
                            b: b.as_ptr(),
                            b_stride: 48,
                            c: c.as_mut_ptr(),
                            c_rows: &c_rows,
                            add_scaled: alpha,
                            finish: Finish::NOTHING,
                            ahead: Ahead::ask(b.as_ptr(), asked, 48),
                        };
                        // SAFETY: the offsets are within A, 10 steps within B and 16 rows within C.
                        unsafe { kernel.run(&tile) };
                        for (i, c) in c.chunks_exact(C_STRIDE).enumerate() {
                            for (j, &c) in c.iter().enumerate() {
                                let row =
                                    layout.as_ref().map_or(i, |rows| rows[i.min(rows.len() - 1)]);
                                let steps = segments.iter().flat_map(|&segment| {
                                    (0..segment_len).map(move |k| segment + k * step)
                                });
                                let products = steps.enumerate().map(|(k, at)| {
                                    f64::from(a[row + at]) * f64::from(b[k * 48 + j])
                                });
                                let sum: f64 = products.sum();
                                let expected = match alpha {
                                    _ if i >= rows || j >= cols => f64::from(UNTOUCHED),
                                    None => sum,
                                    Some(alpha) => f64::from(UNTOUCHED) + f64::from(alpha) * sum,
                                };
                                assert!(
                                    (f64::from(c) - expected).abs() < 2e-5,
                                    "{level} {rows}x{cols} {layout:?} {step} {segments:?} \
                                     {segment_len} {alpha:?}: [{i}, {j}] {c} {expected}"
                                );
                            }
                        }
                    }
                }
            }
        }
    }
}
