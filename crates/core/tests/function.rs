//! Compiled functions: the same results as eagerly, under every choice of passes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::cell::Cell;

use tapeflow_core::optimizers::{Adam, Optimizer, SGD};
use tapeflow_core::{
    DType, GradientTape, Passes, Result, Tensor, Variable, array, function, linalg, math, nn,
    random,
};

fn floats(tensor: &Tensor) -> Vec<f32> {
    tensor.to_vec::<f32>().unwrap()
}

#[test]
fn a_signature_is_traced_once() {
    let traces = Cell::new(0);
    let double = function(|x: Tensor| {
        traces.set(traces.get() + 1);
        math::add(&x, &x)
    });
    for _ in 0..3 {
        assert_eq!(floats(&double.call(Tensor::from([1.0f32, 2.0])).unwrap()), [2.0, 4.0]);
    }
    assert_eq!(traces.get(), 1);
    assert_eq!(floats(&double.call(Tensor::from([1.0f32])).unwrap()), [2.0]);
    assert_eq!(double.call(Tensor::from([1i32])).unwrap().to_vec::<i32>().unwrap(), [2]);
    assert_eq!(traces.get(), 3);
    assert_eq!(floats(&double.call(Tensor::from([5.0f32])).unwrap()), [10.0]);
    assert_eq!(traces.get(), 3);
}

#[test]
fn a_value_read_inside_is_an_error_that_says_where() {
    let read = function(|x: Tensor| {
        x.to_scalar::<f32>()?;
        Ok(x)
    });
    let error = read.call(Tensor::from(1.0f32)).unwrap_err();
    assert!(error.is_traced(), "{error}");
    assert!(error.to_string().contains("tests/function.rs"), "{error}");
    assert!(error.to_string().contains("float32 []"), "{error}");
}

#[test]
fn a_tensor_that_left_its_trace_is_refused_by_name() {
    let leaked = Cell::new(None);
    let leak = function(|x: Tensor| {
        leaked.set(Some(x.clone()));
        Ok(x)
    });
    leak.call(Tensor::from(1.0f32)).unwrap();
    let leaked = leaked.take().unwrap();
    let error = math::exp(&leaked).unwrap_err();
    assert!(error.is_traced() && error.to_string().starts_with("math.exp"), "{error}");
    assert!(leak.call(leaked.clone()).unwrap_err().is_traced());
    assert!(Variable::new(1.0f32).assign(&leaked).unwrap_err().is_traced());
    assert_eq!(format!("{leaked:?}"), "<tf.Tensor: shape=(), dtype=float32, traced>");
}

#[test]
fn a_refused_trace_leaves_the_thread_eager() {
    let refused = function(|x: Tensor| math::add(&x, [1.0f32, 2.0, 3.0]));
    let error = refused.call(Tensor::from([1.0f32, 2.0])).unwrap_err();
    assert_eq!(error.to_string(), "math.add: shapes [2] and [3] do not broadcast");
    assert_eq!(math::add(1.0f32, 2.0f32).unwrap().to_scalar::<f32>().unwrap(), 3.0);
}

#[test]
fn variables_are_read_and_written_in_order() {
    let (a, b) = (Variable::named("a", 1.0f32), Variable::named("b", 10.0f32));
    let step = function(|x: Tensor| {
        let before = a.value();
        a.assign_add(&x)?;
        let between = a.value();
        b.assign_sub(&between)?;
        a.assign(math::multiply(&a, &b)?)?;
        Ok((before, between, a.value()))
    });
    let read = |t: &Tensor| t.to_scalar::<f32>().unwrap();
    let (before, between, after) = step.call(Tensor::from(2.0f32)).unwrap();
    assert_eq!([read(&before), read(&between), read(&after)], [1.0, 3.0, 21.0]);
    assert_eq!([read(&a.value()), read(&b.value())], [21.0, 7.0]);
    // What was returned stays as it is.
    step.call(Tensor::from(0.0f32)).unwrap();
    assert_eq!([read(&before), read(&between), read(&after)], [1.0, 3.0, 21.0]);
}

#[test]
fn variables_can_change_places() {
    let (a, b) = (Variable::new([1.0f32, 2.0]), Variable::new([3.0f32, 4.0]));
    let swap = function(|(): ()| {
        let old = a.value();
        a.assign(&b)?;
        b.assign(old)
    });
    for _ in 0..3 {
        swap.call(()).unwrap();
    }
    assert_eq!(floats(&a.value()), [3.0, 4.0]);
    assert_eq!(floats(&b.value()), [1.0, 2.0]);
}

#[test]
fn an_update_waits_for_all_readers_of_the_old_value() {
    let w = Variable::named("w", [[1.0f32, 2.0], [3.0, 4.0]]);
    let step = function(|x: Tensor| {
        let w_before = array::reshape(&w, [4])?;
        w.assign_add(&x)?;
        // Traced after the update, reads the old value through a view.
        math::reduce_sum(math::square(w_before)?, ..)
    });
    let x = array::ones([2, 2], DType::Float32).unwrap();
    assert_eq!(step.call(x.clone()).unwrap().to_scalar::<f32>().unwrap(), 30.0);
    let held = w.value();
    assert_eq!(step.call(x).unwrap().to_scalar::<f32>().unwrap(), 54.0);
    assert_eq!(floats(&held), [2.0, 3.0, 4.0, 5.0]);
    assert!(step.explain().contains("updated in place: \"w\""), "{}", step.explain());
}

#[test]
fn updates_that_wait_for_each_other_are_not_in_place() {
    let (a, b) = (Variable::named("a", [1.0f32, 2.0]), Variable::named("b", [10.0f32, 20.0]));
    let w = Variable::named("w", array::ones([256, 256], DType::Float32).unwrap());
    let optimizer = SGD::new(1.0);
    let step = function(|x: Tensor| {
        let (old_a, old_b) = (a.value(), b.value());
        a.assign_add(&x)?;
        b.assign_add(&x)?;
        // Each reads the old value of one and the new value of the other.
        let first = math::multiply(&old_b, &a)?;
        let second = math::multiply(&old_a, &b)?;
        let column = array::reshape(array::broadcast_to(&x, [128, 2])?, [256, 1])?;
        let row = array::ones([1, 256], DType::Float32)?;
        optimizer.apply_gradients([(linalg::matmul(column, row)?, &w)])?;
        Ok((first, second))
    });
    let (first, second) = step.call(Tensor::from([1.0f32, 1.0])).unwrap();
    assert_eq!(floats(&first), [20.0, 60.0]);
    assert_eq!(floats(&second), [11.0, 42.0]);
    assert_eq!(floats(&a.value()), [2.0, 3.0]);
    assert_eq!(floats(&b.value()), [11.0, 21.0]);
    assert_eq!(floats(&w.value()), [0.0; 256 * 256]);
    let text = step.explain();
    assert!(text.contains("updated in place: \"sgd/iteration\", \"w\"\n"), "{text}");
}

#[test]
fn updates_that_read_each_others_old_values() {
    let (a, b) = (Variable::named("a", [1.0f32, 2.0]), Variable::named("b", [10.0f32, 20.0]));
    let both = function(|(): ()| {
        let (old_a, old_b) = (a.value(), b.value());
        a.assign_add(&old_b)?;
        b.assign_add(&old_a)
    });
    both.call(()).unwrap();
    assert_eq!(floats(&a.value()), [11.0, 22.0]);
    assert_eq!(floats(&b.value()), [11.0, 22.0]);

    // Matrix factorisation: the gradient of each factor reads the other.
    let factor = |rows: usize, seed| {
        let value = random::stateless_uniform([rows, 4], [seed, 0], 0.0, 1.0, DType::Float32);
        Variable::new(value.unwrap())
    };
    let run = |compiled: bool| {
        let factors = [factor(5, 1), factor(6, 2)];
        let optimizer = SGD::new(0.1);
        let step = |x: Tensor| {
            let tape = GradientTape::new();
            let y = linalg::MatMul { transpose_b: true, ..Default::default() };
            let error = math::subtract(y.call(&factors[0], &factors[1])?, x)?;
            let loss = math::reduce_mean(math::square(error)?, ..)?;
            let gradients = tape.gradient(&loss, &factors)?;
            optimizer.apply_gradients(gradients.iter().zip(&factors))
        };
        let x = array::ones([5, 6], DType::Float32).unwrap();
        let compiled_step = function(step);
        for _ in 0..3 {
            if compiled { compiled_step.call(x.clone()) } else { step(x.clone()) }.unwrap();
        }
        [floats(&factors[0].value()), floats(&factors[1].value())].concat()
    };
    for (eager, compiled) in run(false).iter().zip(run(true)) {
        assert!((eager - compiled).abs() < 1e-5);
    }
}

#[test]
fn chains_that_need_each_other_are_not_both_fused() {
    let f = function(|(x, v): (Tensor, Tensor)| {
        let a1 = math::exp(&v)?;
        let b2 = math::exp(&x)?;
        let a2 = math::multiply(&a1, math::reduce_sum(&b2, 0)?)?;
        let b1 = math::multiply(&x, &a1)?;
        Ok((a2, math::add(b1, b2)?))
    });
    let (x, v) = (Tensor::from([[0.0f32, 1.0], [2.0, 3.0]]), Tensor::from([0.0f32, 1.0]));
    let (a, b) = f.call((x, v)).unwrap();
    let e = std::f32::consts::E;
    let wanted = [1.0 + e * e, e * (e + e * e * e)];
    assert!(floats(&a).iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-4 * b));
    assert!((floats(&b)[3] - (3.0 * e + e * e * e)).abs() < 1e-3);
}

#[test]
fn a_function_can_be_compiled_while_another_is_traced() {
    let inner = function(|x: Tensor| math::exp(x));
    let outer = function(|x: Tensor| {
        let graph = inner.get_concrete_function(&x)?.graph().to_string();
        assert!(graph.contains("math.exp"), "{graph}");
        math::add(&x, 1.0f32)
    });
    let y = outer.call(Tensor::from(1.0f32)).unwrap();
    assert_eq!(y.to_scalar::<f32>().unwrap(), 2.0);
}

#[test]
fn a_result_that_is_a_variable_does_not_hold_it() {
    let w = Variable::new(array::zeros([1000], DType::Float32).unwrap());
    let f = function(|(): ()| {
        w.assign_add(array::ones([1000], DType::Float32)?)?;
        Ok(w.value())
    });
    let address = || w.value().as_bytes().as_ptr();
    f.call(()).unwrap();
    let before = address();
    f.call(()).unwrap();
    assert_eq!(address(), before);
    assert_eq!(floats(&w.value())[999], 2.0);
}

#[test]
fn random_numbers_are_those_of_eager_calls() {
    let draw = |(): ()| -> Result<(Tensor, Tensor, Tensor)> {
        let unused = random::uniform([100], 0.0, 1.0, DType::Float32)?;
        drop(unused);
        let x = random::normal([3], 0.0, 1.0, DType::Float32)?;
        let kept = nn::dropout(array::ones([8], DType::Float32)?, 0.5, None)?;
        Ok((x, kept, random::stateless_uniform([2], [1, 2], 0.0, 1.0, DType::Float32)?))
    };
    random::set_seed(3);
    let eager: Vec<_> = (0..3).map(|_| draw(()).unwrap()).collect();
    let compiled = function(draw);
    random::set_seed(3);
    for eager in &eager {
        let compiled = compiled.call(()).unwrap();
        assert_eq!(floats(&eager.0), floats(&compiled.0));
        assert_eq!(floats(&eager.1), floats(&compiled.1));
        assert_eq!(floats(&eager.2), floats(&compiled.2));
    }
    assert_ne!(floats(&eager[0].0), floats(&eager[1].0));
}

#[test]
fn inside_a_tape_or_another_function_the_closure_just_runs() {
    let square = function(|x: Tensor| math::square(x));
    let x = Tensor::from(3.0f32);
    let tape = GradientTape::new();
    tape.watch(&x);
    let y = square.call(x.clone()).unwrap();
    let gradient = tape.gradient(&y, &x).unwrap().unwrap();
    assert_eq!(gradient.to_scalar::<f32>().unwrap(), 6.0);

    let outer = function(|x: Tensor| square.call(square.call(x)?));
    assert_eq!(outer.call(x).unwrap().to_scalar::<f32>().unwrap(), 81.0);
}

#[test]
fn results_may_be_arguments_constants_and_in_any_structure() {
    let f = function(|(x, list): (Tensor, Vec<Tensor>)| {
        Ok((vec![list[0].clone(), Tensor::from(7i32)], x))
    });
    let one = |i: i32| Tensor::from(i);
    let (list, x) = f.call((one(1), vec![one(2), one(3)])).unwrap();
    let read = |t: &Tensor| t.to_scalar::<i32>().unwrap();
    assert_eq!([read(&list[0]), read(&list[1]), read(&x)], [2, 7, 1]);
    let nested = function(|x: Vec<Vec<Tensor>>| Ok(x[0].clone()));
    assert_eq!(nested.call(vec![vec![one(1)], vec![one(2), one(3)]]).unwrap().len(), 1);
    // The same specs in another structure are another signature.
    assert_eq!(nested.call(vec![vec![one(1), one(2)], vec![one(3)]]).unwrap().len(), 2);
}

#[test]
fn graphs_print() {
    let w = Variable::named("w", [1.0f32]);
    let f = function(|x: Tensor| {
        let y = math::multiply(&w, x)?;
        w.assign(&y)?;
        Ok(y)
    });
    f.call(Tensor::from([2.0f32])).unwrap();
    let concrete = f.get_concrete_function(&Tensor::from([2.0f32])).unwrap();
    let text = concrete.traced_graph().to_string();
    assert_eq!(
        text,
        "%0 = argument 0 : float32 [1]\n\
         %1 = variable \"w\" : float32 [1]\n\
         %2 = math.multiply(%1, %0) : float32 [1]\n\
         variable \"w\" := %2\n\
         return %2\n"
    );
    let dot = concrete.traced_graph().to_dot();
    assert!(dot.starts_with("digraph {") && dot.contains("n1 -> n2;"), "{dot}");
    assert!(f.graph().starts_with("signature (float32 [1])\n"), "{}", f.graph());
}

/// A small network of the lesson's kind, its loss and its update.
struct Network {
    variables: Vec<Variable>,
    optimizer: Box<dyn Optimizer>,
}

impl Network {
    fn new(optimizer: Box<dyn Optimizer>) -> Network {
        let normal = |seed: i64, shape: &[usize]| {
            let shape = tapeflow_core::Shape::new(shape).unwrap();
            let value = random::stateless_normal(shape, [seed, 0], 0.0, 0.1, DType::Float32);
            Variable::named(format!("v{seed}"), value.unwrap())
        };
        let variables = vec![
            normal(1, &[3, 3, 1, 8]),
            normal(2, &[8]),
            normal(3, &[4 * 4 * 8, 32]),
            normal(4, &[32]),
            normal(5, &[32, 10]),
            normal(6, &[10]),
        ];
        Network { variables, optimizer }
    }

    fn step(&self, x: &Tensor, labels: &Tensor) -> Result<Tensor> {
        let [conv_w, conv_b, fc1_w, fc1_b, fc2_w, fc2_b] = &self.variables[..] else {
            unreachable!()
        };
        let tape = GradientTape::new();
        let x = nn::bias_add(nn::conv2d(x, conv_w, 1, nn::Padding::Same)?, conv_b)?;
        let x = nn::max_pool(nn::relu(x)?, 2, 2, nn::Padding::Same)?;
        let x = array::reshape(x, [-1, 4 * 4 * 8])?;
        let x = nn::relu(math::add(linalg::matmul(x, fc1_w)?, fc1_b)?)?;
        let x = nn::softmax(math::add(linalg::matmul(x, fc2_w)?, fc2_b)?)?;
        let y = array::one_hot(labels, 10)?;
        let loss = math::negative(math::reduce_sum(math::multiply(y, math::log(x)?)?, ..)?)?;
        let gradients = tape.gradient(&loss, &self.variables)?;
        self.optimizer.apply_gradients(gradients.iter().zip(&self.variables))?;
        Ok(loss)
    }
}

fn batch(size: usize, seed: i64) -> (Tensor, Tensor) {
    let x = random::stateless_uniform([size, 8, 8, 1], [seed, 1], 0.0, 1.0, DType::Float32);
    let labels: Vec<u8> = (0..size).map(|i| ((i * 7 + seed as usize) % 10) as u8).collect();
    (x.unwrap(), Tensor::from(labels))
}

/// The largest distance between losses and weights of ten steps, eagerly and compiled.
fn distance(make: fn() -> Box<dyn Optimizer>, passes: Passes) -> f32 {
    let (eager, compiled) = (Network::new(make()), Network::new(make()));
    let step = function(|(x, y): (Tensor, Tensor)| compiled.step(&x, &y)).with_passes(passes);
    let mut worst = 0.0f32;
    let mut compare = |a: &Tensor, b: &Tensor| {
        for (a, b) in floats(a).iter().zip(floats(b)) {
            worst = worst.max((a - b).abs() / (1.0 + a.abs()));
        }
    };
    for i in 0..10 {
        // The last batch is smaller.
        let (x, y) = batch(if i == 9 { 5 } else { 16 }, i);
        let loss = eager.step(&x, &y).unwrap();
        compare(&loss, &step.call((x, y)).unwrap());
    }
    for (a, b) in eager.variables.iter().zip(&compiled.variables) {
        compare(&a.value(), &b.value());
    }
    assert_eq!(eager.optimizer.iterations(), compiled.optimizer.iterations());
    worst
}

#[test]
fn training_compiled_is_training() {
    let optimizers: [fn() -> Box<dyn Optimizer>; 3] = [
        || Box::new(SGD::new(0.01)),
        || Box::new(SGD::new(0.01).momentum(0.9).nesterov(true)),
        || Box::new(Adam::new(0.01)),
    ];
    for make in optimizers {
        assert_eq!(distance(make, Passes::none()), 0.0, "as traced it is the same ops");
        let worst = distance(make, Passes::all());
        assert!(worst < 1e-4, "{worst}");
        for name in Passes::names() {
            let worst = distance(make, Passes::none().with(name).unwrap());
            assert!(worst < 1e-4, "{name} alone: {worst}");
            let worst = distance(make, Passes::all().without(name).unwrap());
            assert!(worst < 1e-4, "all without {name}: {worst}");
        }
    }
}

#[test]
fn the_learning_rate_is_read_in_each_call() {
    let (w, optimizer) = (Variable::new(1.0f32), SGD::new(0.5));
    let step = function(|g: Tensor| optimizer.apply_gradients([(g, &w)]));
    step.call(Tensor::from(1.0f32)).unwrap();
    optimizer.set_learning_rate(0.25);
    step.call(Tensor::from(1.0f32)).unwrap();
    assert_eq!(w.value().to_scalar::<f32>().unwrap(), 0.25);
    assert_eq!(optimizer.iterations(), 2);
}
