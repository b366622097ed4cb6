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

/// A training step of the lesson's network, compiled, and calls of it.
fn lesson(optimizer: &dyn Optimizer) {
    let variables = variables();
    let step = function(|(images, labels): (Tensor, Tensor)| {
        let tape = GradientTape::new();
        let x = math::divide(array::cast(&images, DType::Float32)?, 255.0f32)?;
        let x = nn::bias_add(nn::conv2d(x, &variables[0], 1, nn::Padding::Same)?, &variables[1])?;
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
    allocates_nothing_after_the_first(|| {
        let (loss, read) = step.call((images.clone(), labels.clone())).unwrap();
        assert!(loss.as_slice::<f32>().unwrap()[0].is_finite());
        assert_eq!(read.shape().dims(), [128]);
    });
}

/// A training step of two convolutions with batch normalisation, compiled, and calls of it.
fn normalised() {
    let filters = [(1, 1), (2, 16)].map(|(seed, depth)| {
        let shape = [3, 3, depth, 16];
        let value = random::stateless_normal(shape, [seed, 0], 0.0, 0.3, DType::Float32);
        Variable::new(value.unwrap())
    });
    let numbers = [1.5f32, 0.5].map(|value| Variable::new([value; 16]));
    let weights = filters.each_ref().into_iter().chain(&numbers).cloned().collect::<Vec<_>>();
    let step = function(|images: Tensor| {
        let tape = GradientTape::new();
        let mut x = images;
        for filters in &filters {
            x = nn::conv2d(x, filters, 1, nn::Padding::Same)?;
            x = nn::relu(nn::fused_batch_norm(x, &numbers[0], &numbers[1])?.0)?;
        }
        let x = nn::max_pool(x, 2, 2, nn::Padding::Same)?;
        let loss = math::reduce_mean(math::square(x)?, ..)?;
        let gradients = tape.gradient(&loss, &weights)?;
        SGD::new(0.01).apply_gradients(gradients.iter().zip(&weights))?;
        Ok(loss)
    });
    let images = random::stateless_uniform([32, 20, 20, 1], [1, 2], 0.0, 1.0, DType::Float32);
    let images = images.unwrap();
    allocates_nothing_after_the_first(|| {
        let loss = step.call(images.clone()).unwrap();
        assert!(loss.as_slice::<f32>().unwrap()[0].is_finite());
    });
    assert!(step.explain().contains("nn.conv2d, and the gradients of that"), "{}", step.explain());
}

fn allocates_nothing_after_the_first(call: impl Fn()) {
    // The first call compiles; by the tenth each thread has had every kind of piece once, and with
    // it the scratch memory that it keeps.
    (0..10).for_each(|_| call());
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    (0..10).for_each(|_| call());
    let allocations = ALLOCATIONS.load(Ordering::Relaxed) - before;
    assert_eq!(allocations, 0, "in 10 steps");
}

/// One test, since all threads of the program are counted.
#[test]
fn compiled_steps_allocate_nothing_after_the_first() {
    lesson(&SGD::new(0.01));
    lesson(&Adam::new(0.01));
    normalised();
}
