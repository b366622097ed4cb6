//! Compiled functions that several threads call, and functions that look at each other.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::mpsc;
use std::sync::{Arc, Barrier, OnceLock};
use std::thread;
use std::time::Duration;

use tapeflow_core::{DType, Function, Result, Tensor, Variable, array, function, linalg, math};

/// The longest that any of this may take before it counts as stuck.
const PATIENCE: Duration = Duration::from_secs(60);

type Boxed = Function<Tensor, Tensor, Box<dyn Fn(Tensor) -> Result<Tensor> + Send + Sync>>;

fn boxed(closure: impl Fn(Tensor) -> Result<Tensor> + Send + Sync + 'static) -> Boxed {
    function(Box::new(closure))
}

/// What `work` returns on a thread of its own; fails where that takes too long.
fn in_time<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> R {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(work()));
    receiver.recv_timeout(PATIENCE).expect("the threads wait for each other")
}

#[test]
fn functions_that_compile_each_other_on_two_threads() {
    static FUNCTIONS: OnceLock<[Boxed; 2]> = OnceLock::new();
    let both_trace = Arc::new(Barrier::new(2));
    let other = |index: usize| {
        let both_trace = both_trace.clone();
        move |x: Tensor| {
            // Only the first two traces meet: what they compile of each other does not.
            if x.shape().rank() == 0 {
                both_trace.wait();
                let other = &FUNCTIONS.get().unwrap()[1 - index];
                other.get_concrete_function(&Tensor::from([0.0f32]))?;
                other.explain();
                assert!(!format!("{other:?}").is_empty());
            }
            math::add(x, index as f32)
        }
    };
    FUNCTIONS.get_or_init(|| [boxed(other(0)), boxed(other(1))]);
    let sums = in_time(|| {
        let sum = |index: usize| FUNCTIONS.get().unwrap()[index].call(Tensor::from(1.0f32));
        let first = thread::spawn(move || sum(0));
        [sum(1), first.join().unwrap()].map(|sum| sum.unwrap().to_scalar::<f32>().unwrap())
    });
    assert_eq!(sums, [2.0, 1.0]);
}

#[test]
fn functions_that_print_themselves_and_each_other() {
    static FUNCTIONS: OnceLock<[Boxed; 2]> = OnceLock::new();
    let print = |x: Tensor| {
        let texts = FUNCTIONS.get().unwrap().each_ref().map(Function::graph);
        assert_eq!(texts, ["", ""], "nothing is compiled before the closures return");
        math::exp(x)
    };
    FUNCTIONS.get_or_init(|| [boxed(print), boxed(|x| FUNCTIONS.get().unwrap()[0].call(x))]);
    let y = in_time(|| FUNCTIONS.get().unwrap()[1].call(Tensor::from(0.0f32)).unwrap());
    assert_eq!(y.to_scalar::<f32>().unwrap(), 1.0);
}

#[test]
fn a_function_that_needs_its_own_compilation_is_refused() {
    static FUNCTIONS: OnceLock<[Boxed; 2]> = OnceLock::new();
    let compile = |index: usize| {
        move |x: Tensor| {
            FUNCTIONS.get().unwrap()[index].get_concrete_function(&x)?;
            Ok(x)
        }
    };
    FUNCTIONS.get_or_init(|| [boxed(compile(1)), boxed(compile(0))]);
    let error = in_time(|| FUNCTIONS.get().unwrap()[0].call(Tensor::from(1.0f32)).unwrap_err());
    assert_eq!(
        error.to_string(),
        "tf::function: to compile the function for (float32 []), its closure asks for that very \
         compilation"
    );
}

#[test]
fn one_thread_traces_while_others_wait() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static TRACES: AtomicUsize = AtomicUsize::new(0);
    let square = Arc::new(boxed(|x| {
        TRACES.fetch_add(1, Ordering::Relaxed);
        thread::sleep(Duration::from_millis(50));
        math::square(x)
    }));
    let together = Arc::new(Barrier::new(4));
    let threads = [1.0f32, 2.0, 3.0, 4.0].map(|x| {
        let (square, together) = (square.clone(), together.clone());
        thread::spawn(move || {
            together.wait();
            square.call(Tensor::from(x)).unwrap().to_scalar::<f32>().unwrap()
        })
    });
    let squares = in_time(move || threads.map(|thread| thread.join().unwrap()));
    assert_eq!(squares, [1.0, 4.0, 9.0, 16.0]);
    assert_eq!(TRACES.load(Ordering::Relaxed), 1);
}

#[test]
fn a_weight_in_panels_under_three_threads() {
    let w = Variable::named("w", array::zeros([256, 256], DType::Float32).unwrap());
    let x = array::ones([2, 256], DType::Float32).unwrap();
    let half = math::multiply(&x, 0.5f32).unwrap();
    // Each call adds 1 to every element, and says what they were before.
    let step = Arc::new(boxed({
        let w = w.clone();
        move |x| {
            let y = linalg::matmul(&x, &w)?;
            let product = linalg::MatMul { transpose_a: true, ..Default::default() };
            w.assign_add(math::multiply(1.0f32, product.call(x, &half)?)?)?;
            Ok(y)
        }
    }));
    const CALLS: usize = 40;
    let callers = [0, 1].map(|_| {
        let (step, x) = (step.clone(), x.clone());
        thread::spawn(move || {
            let mut last = -1.0;
            for _ in 0..CALLS {
                let y = step.call(x.clone()).unwrap().to_vec::<f32>().unwrap();
                assert!(y.iter().all(|&other| other == y[0]), "a step saw half of another");
                assert!(y[0] > last && y[0] % 256.0 == 0.0, "{} after {last}", y[0]);
                last = y[0];
            }
        })
    });
    let (stop, stopped) = mpsc::channel::<()>();
    let reader = thread::spawn({
        let w = w.clone();
        move || {
            let mut last = 0.0;
            while stopped.try_recv() == Err(mpsc::TryRecvError::Empty) {
                let value = w.value();
                let values = value.as_slice::<f32>().unwrap();
                assert!(values.iter().all(|&other| other == values[0]), "half of a step is seen");
                assert!(values[0] >= last, "{} after {last}", values[0]);
                last = values[0];
            }
        }
    });
    in_time(move || callers.map(|caller| caller.join().unwrap()));
    drop(stop);
    reader.join().unwrap();
    assert!(step.explain().contains("is kept as its products read it"), "{}", step.explain());
    assert_eq!(w.value().to_vec::<f32>().unwrap(), vec![2.0 * CALLS as f32; 256 * 256]);
}
