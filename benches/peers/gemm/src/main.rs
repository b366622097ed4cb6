//! Matrix products by the crates gemm, faer and matrixmultiply on all cores.
//!
//! Prints rows, `{"what", "peer", "version", "unit", "values": [...]}`.

use std::time::Instant;

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};

const WARM_UP: usize = 10;

/// `c (m x n) += scale * a (m x k) * b (k x n)`, all row-major but where a factor is `transposed`:
/// then it lies in memory the other way round.
struct Product {
    name: &'static str,
    size: [usize; 3],
    transposed: [bool; 2],
    /// Added to what is there, as an update of weights is.
    accumulate: bool,
    scale: f32,
}

impl Product {
    fn new(name: &'static str, size: [usize; 3], transposed: [bool; 2]) -> Product {
        Product { name, size, transposed, accumulate: false, scale: 1.0 }
    }

    /// Row and column stride of a factor.
    fn strides(rows: usize, columns: usize, transposed: bool) -> [usize; 2] {
        if transposed { [1, rows] } else { [columns, 1] }
    }
}

type Multiply = fn(&Product, &[f32], &[f32], &mut [f32], usize);

fn main() {
    let steps = steps_asked_for();
    let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get());
    // SAFETY: no other thread runs yet.
    unsafe { std::env::set_var("MATMUL_NUM_THREADS", threads.to_string()) };
    let mut products = vec![
        Product::new("fc1 forward", [128, 1024, 6272], [false, false]),
        Product {
            accumulate: true,
            scale: -1e-3,
            ..Product::new("fc1 weight gradient", [6272, 1024, 128], [true, false])
        },
        Product::new("fc1 input gradient", [128, 6272, 1024], [false, true]),
    ];
    for (name, n) in [("256^3", 256), ("1024^3", 1024), ("2048^3", 2048)] {
        products.push(Product::new(name, [n, n, n], [false, false]));
    }
    let crates: [(&str, &str, Multiply); 3] = [
        ("gemm", "0.19.0", with_gemm),
        ("faer", "0.24.4", with_faer),
        ("matrixmultiply", "0.3.11", with_matrixmultiply),
    ];
    for product in &products {
        let [m, n, k] = product.size;
        let (a, b, mut c) = (values(m * k), values(k * n), vec![0.0; m * n]);
        for (name, version, multiply) in crates {
            let mut rates = Vec::with_capacity(steps);
            for step in 0..WARM_UP + steps {
                let start = Instant::now();
                multiply(product, &a, &b, &mut c, threads);
                if step >= WARM_UP {
                    rates.push((2 * m * n * k) as f64 / start.elapsed().as_secs_f64() * 1e-9);
                }
            }
            let row = serde_json::json!({
                "what": format!("GEMM {}", product.name),
                "peer": name,
                "version": version,
                "unit": "GFLOP/s",
                "values": rates,
            });
            println!("{row}");
        }
    }
}

fn with_gemm(product: &Product, a: &[f32], b: &[f32], c: &mut [f32], threads: usize) {
    let [m, n, k] = product.size;
    let [a_row, a_column] = Product::strides(m, k, product.transposed[0]);
    let [b_row, b_column] = Product::strides(k, n, product.transposed[1]);
    // SAFETY: the strides stay inside the slices, whose lengths are those of the matrices.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c.as_mut_ptr(),
            1,
            n as isize,
            product.accumulate,
            a.as_ptr(),
            a_column as isize,
            a_row as isize,
            b.as_ptr(),
            b_column as isize,
            b_row as isize,
            1.0,
            product.scale,
            false,
            false,
            false,
            gemm::Parallelism::Rayon(threads),
        );
    }
}

fn with_faer(product: &Product, a: &[f32], b: &[f32], c: &mut [f32], threads: usize) {
    let [m, n, k] = product.size;
    let lay = |data, rows, columns, transposed| match transposed {
        true => MatRef::from_row_major_slice(data, columns, rows).transpose(),
        false => MatRef::from_row_major_slice(data, rows, columns),
    };
    let a = lay(a, m, k, product.transposed[0]);
    let b = lay(b, k, n, product.transposed[1]);
    let c = MatMut::from_row_major_slice_mut(c, m, n);
    let accumulate = if product.accumulate { Accum::Add } else { Accum::Replace };
    matmul(c, accumulate, a, b, product.scale, Par::rayon(threads));
}

/// Takes the number of threads from `MATMUL_NUM_THREADS`, once.
fn with_matrixmultiply(product: &Product, a: &[f32], b: &[f32], c: &mut [f32], _threads: usize) {
    let [m, n, k] = product.size;
    let [a_row, a_column] = Product::strides(m, k, product.transposed[0]);
    let [b_row, b_column] = Product::strides(k, n, product.transposed[1]);
    // SAFETY: the strides stay inside the slices, whose lengths are those of the matrices.
    unsafe {
        matrixmultiply::sgemm(
            m,
            k,
            n,
            product.scale,
            a.as_ptr(),
            a_row as isize,
            a_column as isize,
            b.as_ptr(),
            b_row as isize,
            b_column as isize,
            if product.accumulate { 1.0 } else { 0.0 },
            c.as_mut_ptr(),
            n as isize,
            1,
        );
    }
}

/// Values in [-1, 1), the same every time.
fn values(len: usize) -> Vec<f32> {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

fn steps_asked_for() -> usize {
    let mut args = std::env::args().skip_while(|arg| arg != "--steps").skip(1);
    args.next().and_then(|steps| steps.parse().ok()).unwrap_or(100)
}
