//! Tiles at every level of the machine against sums written out, over A in all the ways it may lie.

use super::*;
use crate::philox::{Philox, uniform};

/// C beyond what a tile may write.
const UNTOUCHED: f32 = 77.0;
const B_STRIDE: usize = 48;
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

/// How a tile is summed: the segments of k and the steps in them, by what the sum is multiplied if it is
/// added to C, and how many rows the tile asks for meanwhile.
struct Sum {
    segments: &'static [usize],
    segment_len: usize,
    step: usize,
    add_scaled: Option<f32>,
    asked: usize,
}

const SUMS: [Sum; 5] = [
    Sum { segments: &[0, 300], segment_len: 5, step: 1, add_scaled: None, asked: 0 },
    Sum { segments: &[2], segment_len: 8, step: 1, add_scaled: Some(0.5), asked: 3 },
    Sum { segments: &[9, 400, 1], segment_len: 2, step: 3, add_scaled: None, asked: 6 },
    Sum { segments: &[0], segment_len: 1, step: 64, add_scaled: Some(-1.0), asked: 1 },
    Sum { segments: &[1, 2], segment_len: 0, step: 1, add_scaled: None, asked: 0 },
];

#[test]
fn tiles_are_sums_wherever_a_lies() {
    let [mut a, mut b] = [[0.0f32; 4096]; 2];
    uniform(Philox::new([1, 0], [0; 4]), &mut a, -1.0, 1.0);
    uniform(Philox::new([2, 0], [0; 4]), &mut b, -1.0, 1.0);
    for level in Level::available() {
        let kernel = Kernel::<f32>::new(level);
        for rows in 1..=kernel.max_rows() {
            for layout in layouts(rows) {
                for sum in &SUMS {
                    for cols in
                        [1, 8, 9, 16, 17, 32].into_iter().filter(|&c| c <= kernel.max_cols())
                    {
                        let what = format!("{level} {rows}x{cols} {layout:?} {:?}", sum.segments);
                        compare(kernel, (rows, cols), (&a, layout.as_deref()), &b, sum, &what);
                    }
                }
            }
        }
    }
}

fn compare(
    kernel: Kernel<f32>,
    (rows, cols): (usize, usize),
    (a, a_rows): (&[f32], Option<&[usize]>),
    b: &[f32],
    sum: &Sum,
    what: &str,
) {
    let &Sum { segments, segment_len, step, add_scaled, asked } = sum;
    let step = if a_rows.is_none() { rows } else { step };
    let c_rows: [usize; 16] = std::array::from_fn(|i| i * C_STRIDE);
    let mut c = [UNTOUCHED; 16 * C_STRIDE];
    let tile = Tile {
        rows,
        cols,
        a: a.as_ptr(),
        a_rows,
        segments,
        segment_len,
        step,
        b: b.as_ptr(),
        b_stride: B_STRIDE,
        c: c.as_mut_ptr(),
        c_rows: &c_rows,
        add_scaled,
        finish: Finish::NOTHING,
        ahead: Ahead::ask(b.as_ptr(), asked, B_STRIDE),
    };
    // SAFETY: the offsets are within A, 10 steps within B and 16 rows within C.
    unsafe { kernel.run(&tile) };
    for (at, &c) in c.iter().enumerate() {
        let (i, j) = (at / C_STRIDE, at % C_STRIDE);
        let expected = if i < rows && j < cols {
            let row = a_rows.map_or(i, |rows| rows[i]);
            let elements = segments
                .iter()
                .flat_map(|&segment| (0..segment_len).map(move |k| row + segment + k * step));
            let sum: f64 = elements
                .enumerate()
                .map(|(k, at)| f64::from(a[at]) * f64::from(b[k * B_STRIDE + j]))
                .sum();
            add_scaled.map_or(sum, |alpha| f64::from(UNTOUCHED) + f64::from(alpha) * sum)
        } else {
            f64::from(UNTOUCHED)
        };
        assert!((f64::from(c) - expected).abs() < 2e-5, "{what}: [{i}, {j}] {c} {expected}");
    }
}
