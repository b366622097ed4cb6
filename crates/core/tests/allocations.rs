//! A compiled step allocates nothing after the first.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use tapeflow_core::optimizers::{Adam, Optimizer, SGD};
use tapeflow_core::{
    DType, GradientTape, Shape, Tensor, Variable, array, function, linalg, math, nn, random,
};

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is left to the system's allocator; the count changes no memory of it.
#[allow(unsafe_code, reason = "an allocator cannot be written without")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as promised by the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as promised by the caller.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as promised by the caller.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// The lesson's network.
fn variables() -> Vec<Variable> {
    let normal = |seed: i64, shape: &[usize]| {
        let shape = Shape::new(shape).unwrap();
        let value = random::stateless_normal(shape, [seed, 0], 0.0, 0.05, DType::Float32);
        Variable::named(format!("v{seed}"), value.unwrap())
    };
    let shapes: [&[usize]; 6] = [&[3, 3, 1, 32], &[32], &[6272, 128], &[128], &[128, 10], &[10]];
    (1..).zip(shapes).map(|(seed, shape)| normal(seed, shape)).collect()
}

#[test]
fn a_compiled_step_allocates_nothing_after_the_first() {
    let optimizers: [Box<dyn Optimizer>; 2] = [Box::new(SGD::new(0.01)), Box::new(Adam::new(0.01))];
    for optimizer in optimizers {
        let variables = variables();
        let step = function(|(images, labels): (Tensor, Tensor)| {
            let tape = GradientTape::new();
            let x = math::divide(array::cast(&images, DType::Float32)?, 255.0f32)?;
            let x =
                nn::bias_add(nn::conv2d(x, &variables[0], 1, nn::Padding::Same)?, &variables[1])?;
            let x = nn::max_pool(nn::relu(x)?, 2, 2, nn::Padding::Same)?;
            let x = array::reshape(x, [-1, 6272])?;
            let x = math::add(linalg::matmul(x, &variables[2])?, &variables[3])?;
            let x = nn::dropout(nn::relu(x)?, 0.5, None)?;
            let x = math::add(linalg::matmul(x, &variables[4])?, &variables[5])?;
            let y = array::one_hot(&labels, 10)?;
            let log = math::log(nn::softmax(&x)?)?;
            let loss = math::negative(math::reduce_sum(math::multiply(y, log)?, ..)?)?;
            let gradients = tape.gradient(&loss, &variables)?;
            optimizer.apply_gradients(gradients.iter().zip(&variables))?;
            Ok((loss, math::argmax(&x, 1)?))
        });
        let images = random::stateless_uniform([128, 28, 28, 1], [1, 2], 0, 256, DType::Int32);
        let images = array::cast(images.unwrap(), DType::UInt8).unwrap();
        let labels = Tensor::from((0..128).map(|i| (i % 10) as u8).collect::<Vec<_>>());
        let call = || {
            let (loss, read) = step.call((images.clone(), labels.clone())).unwrap();
            assert!(loss.as_slice::<f32>().unwrap()[0].is_finite());
            assert_eq!(read.shape().dims(), [128]);
        };
        // The first call compiles; by the tenth each thread has had every kind of piece once, and
        // with it the scratch memory that it keeps.
        (0..10).for_each(|_| call());
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        (0..10).for_each(|_| call());
        let allocations = ALLOCATIONS.load(Ordering::Relaxed) - before;
        assert_eq!(allocations, 0, "in 10 steps");
    }
}
