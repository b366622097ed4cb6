//! The gradient tape, by what its user sees.

use std::thread;

use tapeflow_core::{
    DType, GradientTape, Result, Tensor, UnconnectedGradients, Variable, array, custom_gradient,
    linalg, math,
};

fn values(gradient: Option<Tensor>) -> Vec<f32> {
    gradient.expect("a gradient").to_vec::<f32>().expect("float32")
}

fn cube(x: &Tensor) -> Tensor {
    x * x * x
}

#[test]
fn only_what_is_watched_has_a_gradient() -> Result<()> {
    let (x, y) = (Tensor::from([1.0f32, 2.0]), Tensor::from([3.0f32, 4.0]));
    let tape = GradientTape::new();
    tape.watch(&x);
    let z = &x * &y;
    let gradients = tape.gradient(&z, &[&x, &y])?;
    assert_eq!(values(gradients[0].clone()), [3.0, 4.0]);
    assert!(gradients[1].is_none());
    Ok(())
}

#[test]
fn what_came_before_the_watching_is_not_seen() -> Result<()> {
    let x = Tensor::from(3.0f32);
    let tape = GradientTape::new();
    let y = &x * &x;
    tape.watch(&x);
    assert!(tape.gradient(&y, &x)?.is_none());
    Ok(())
}

#[test]
fn the_gradient_of_a_target_with_respect_to_itself_is_one() -> Result<()> {
    let x = Tensor::from([2.0f32, 3.0]);
    let tape = GradientTape::new();
    tape.watch(&x);
    assert_eq!(values(tape.gradient(&x, &x)?), [1.0, 1.0]);
    Ok(())
}

#[test]
fn a_source_that_is_used_twice_gets_the_sum() -> Result<()> {
    let x = Tensor::from(3.0f32);
    let tape = GradientTape::new();
    tape.watch(&x);
    let y = &x * &x;
    let z = &y + &x;
    // y is a source and lies on the way from x to z.
    let gradients = tape.gradient(&z, &[&x, &y])?;
    assert_eq!(values(gradients[0].clone()), [7.0]);
    assert_eq!(values(gradients[1].clone()), [1.0]);
    Ok(())
}

#[test]
fn trainable_variables_are_watched_by_themselves_and_others_when_told() -> Result<()> {
    let trainable = Variable::new(3.0f32);
    let frozen = Variable::untrainable("frozen", 4.0f32);
    let product = |tape: GradientTape| {
        let y = &trainable * &frozen;
        tape.gradient(&y, &[&trainable, &frozen])
    };
    let gradients = product(GradientTape::new())?;
    assert_eq!(values(gradients[0].clone()), [4.0]);
    assert!(gradients[1].is_none());

    let tape = GradientTape::new();
    tape.watch(&frozen);
    assert_eq!(values(product(tape)?[1].clone()), [3.0]);

    let tape = GradientTape::watching_nothing(false);
    tape.watch(&frozen);
    let gradients = product(tape)?;
    assert!(gradients[0].is_none());
    assert_eq!(values(gradients[1].clone()), [3.0]);
    Ok(())
}

#[test]
fn a_tape_gives_one_gradient_unless_it_is_persistent() -> Result<()> {
    let x = Tensor::from(3.0f32);
    let tape = GradientTape::new();
    tape.watch(&x);
    let y = &x * &x;
    assert_eq!(values(tape.gradient(&y, &x)?), [6.0]);
    let error = tape.gradient(&y, &x).unwrap_err();
    assert!(error.is_invalid_argument());
    assert!(error.to_string().contains("GradientTape::persistent()"), "{error}");
    assert!(tape.jacobian(&y, &x).unwrap_err().is_invalid_argument());

    let tape = GradientTape::persistent();
    tape.watch(&x);
    let y = &x * &x;
    let z = &y * &y;
    assert_eq!(values(tape.gradient(&z, &x)?), [108.0]);
    assert_eq!(values(tape.gradient(&y, &x)?), [6.0]);
    assert_eq!(values(tape.gradient(&z, &y)?), [18.0]);
    Ok(())
}

#[test]
fn a_persistent_tape_differentiates_its_own_gradients() -> Result<()> {
    let x = Tensor::from(2.0f32);
    let tape = GradientTape::persistent();
    tape.watch(&x);
    let first = tape.gradient(&cube(&x), &x)?.expect("connected");
    let second = tape.gradient(&first, &x)?.expect("connected");
    assert_eq!(first.to_scalar::<f32>()?, 12.0);
    assert_eq!(second.to_scalar::<f32>()?, 12.0);
    assert_eq!(values(tape.gradient(&second, &x)?), [6.0]);
    Ok(())
}

#[test]
fn nested_tapes_give_the_second_and_third_order() -> Result<()> {
    let x = Variable::new([2.0f32, -1.0]);
    let outermost = GradientTape::new();
    let outer = GradientTape::new();
    let inner = GradientTape::new();
    let value = x.value();
    let y = &value * &value * &value * &value;
    let first = inner.gradient(&y, &x)?.expect("connected");
    let second = outer.gradient(&first, &x)?.expect("connected");
    let third = outermost.gradient(&second, &x)?;
    assert_eq!(first.to_vec::<f32>()?, [32.0, -4.0]);
    assert_eq!(second.to_vec::<f32>()?, [48.0, 12.0]);
    assert_eq!(values(third), [48.0, -24.0]);
    Ok(())
}

#[test]
fn what_runs_in_stop_recording_is_constant() -> Result<()> {
    let x = Variable::new(3.0f32);
    let tape = GradientTape::persistent();
    let y = &x * &x;
    let hidden = tape.stop_recording(|| &x * &y);
    let z = &hidden * &y;
    assert!(tape.gradient(&hidden, &x)?.is_none());
    assert_eq!(values(tape.gradient(&z, &x)?), [27.0 * 6.0]);
    // Only this tape pauses.
    let outer = GradientTape::new();
    let inner = GradientTape::new();
    let y = inner.stop_recording(|| &x * &x);
    assert!(inner.gradient(&y, &x)?.is_none());
    assert_eq!(values(outer.gradient(&y, &x)?), [6.0]);
    Ok(())
}

#[test]
fn a_panic_in_stop_recording_does_not_pause_the_tape_for_good() -> Result<()> {
    let x = Tensor::from(3.0f32);
    let tape = GradientTape::new();
    tape.watch(&x);
    let work = std::panic::AssertUnwindSafe(|| tape.stop_recording(|| panic!("expected")));
    assert!(std::panic::catch_unwind(work).is_err());
    assert_eq!(values(tape.gradient(&(&x * &x), &x)?), [6.0]);
    Ok(())
}

#[test]
fn reset_forgets_what_was_recorded_and_watched() -> Result<()> {
    let x = Tensor::from(3.0f32);
    let tape = GradientTape::persistent();
    tape.watch(&x);
    let before = &x * &x;
    tape.reset();
    assert!(tape.gradient(&before, &x)?.is_none());
    assert!(tape.gradient(&(&x * &x), &x)?.is_none());
    tape.watch(&x);
    assert_eq!(values(tape.gradient(&(&x * &x), &x)?), [6.0]);
    Ok(())
}

#[test]
fn stop_gradient_is_a_constant() -> Result<()> {
    let x = Variable::new(3.0f32);
    let tape = GradientTape::persistent();
    let value = x.value();
    let stopped = array::stop_gradient(&value)?;
    let y = &value * &stopped;
    assert_eq!(values(tape.gradient(&y, &x)?), [3.0]);
    assert!(tape.gradient(&stopped, &x)?.is_none());
    Ok(())
}

/// `x * y` with the gradients ten times as large.
fn times(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    custom_gradient(
        &[x, y],
        |inputs| math::multiply(&inputs[0], &inputs[1]),
        |inputs, upstream| {
            let upstream = upstream * 10.0;
            Ok(vec![Some(&upstream * &inputs[1]), Some(&upstream * &inputs[0])])
        },
    )
}

#[test]
fn custom_gradients_replace_those_of_the_computation() -> Result<()> {
    let (x, y) = (Tensor::from(3.0f32), Tensor::from([2.0f32, 5.0]));
    let outer = GradientTape::new();
    let inner = GradientTape::new();
    for tape in [&outer, &inner] {
        tape.watch(&x);
        tape.watch(&y);
    }
    let z = times(&x, &y)?;
    assert_eq!(z.to_vec::<f32>()?, [6.0, 15.0]);
    let gradients = inner.gradient(&z, &[&x, &y])?;
    // Summed to the shape of x.
    assert_eq!(values(gradients[0].clone()), [70.0]);
    assert_eq!(values(gradients[1].clone()), [30.0, 30.0]);
    // The gradient is an ordinary computation, with its ordinary gradient.
    let dx = gradients[0].clone().expect("connected");
    assert_eq!(values(outer.gradient(&dx, &y)?), [10.0, 10.0]);
    Ok(())
}

#[test]
fn a_custom_gradient_may_pass_its_input_through_or_miscount() -> Result<()> {
    let x = Tensor::from(3.0f32);
    let tape = GradientTape::persistent();
    tape.watch(&x);
    let same = custom_gradient(
        &[&x],
        |inputs| Ok(inputs[0].clone()),
        |_, upstream| Ok(vec![Some(upstream * 2.0)]),
    )?;
    assert_eq!(values(tape.gradient(&same, &x)?), [2.0]);
    let miscounted =
        custom_gradient(&[&x], |inputs| math::square(&inputs[0]), |_, _| Ok(vec![None, None]))?;
    let error = tape.gradient(&miscounted, &x).unwrap_err();
    assert_eq!(error.to_string(), "custom_gradient: 2 gradients for 1 inputs");
    Ok(())
}

#[test]
fn unconnected_sources_have_none_or_zeros() -> Result<()> {
    let (x, y) = (Variable::new(3.0f32), Variable::new([[1.0f32, 2.0]]));
    let tape = GradientTape::persistent();
    let z = &x * &x;
    let gradient = |unconnected| tape.gradient_with(&[&z], &[], &[&x, &y], unconnected);
    assert!(gradient(UnconnectedGradients::None)?[1].is_none());
    let zeros = gradient(UnconnectedGradients::Zero)?[1].clone().expect("zeros");
    assert_eq!(zeros.shape().dims(), [1, 2]);
    assert_eq!(zeros.to_vec::<f32>()?, [0.0, 0.0]);
    Ok(())
}

#[test]
fn several_targets_are_summed_with_their_weights() -> Result<()> {
    let x = Variable::new([1.0f32, 2.0]);
    let tape = GradientTape::persistent();
    let value = x.value();
    let (y, z) = (&value * &value, &value * 3.0);
    let none = UnconnectedGradients::None;
    assert_eq!(values(tape.gradient_with(&[&y, &z], &[], &x, none)?), [5.0, 7.0]);
    let (a, b) = (Tensor::from([1.0f32, 10.0]), Tensor::from([100.0f32, 0.0]));
    let weighted = tape.gradient_with(&[&y, &z], &[&a, &b], &x, none)?;
    assert_eq!(values(weighted), [302.0, 40.0]);
    let error = tape.gradient_with(&[&y, &z], &[&a], &x, none).unwrap_err();
    assert!(error.is_invalid_argument());
    let scalar = Tensor::from(1.0f32);
    assert!(tape.gradient_with(&[&y], &[&scalar], &x, none).unwrap_err().is_shape());
    Ok(())
}

#[test]
fn a_jacobian_has_the_shapes_of_target_and_source() -> Result<()> {
    let (x, w) = (Tensor::from([1.0f64, 2.0, 3.0]), Variable::new([[2.0f64], [5.0]]));
    let tape = GradientTape::new();
    tape.watch(&x);
    let unrelated = Variable::new(1.0f64);
    let y = math::multiply(math::square(&x)?, &w)?;
    let by_x = GradientTape::persistent();
    by_x.watch(&x);
    let y_again = math::multiply(math::square(&x)?, &w)?;

    let jacobian = tape.jacobian(&y, &x)?.expect("connected");
    assert_eq!(jacobian.shape().dims(), [2, 3, 3]);
    let want = [
        [4.0, 0.0, 0.0, 0.0, 8.0, 0.0, 0.0, 0.0, 12.0],
        [10.0, 0.0, 0.0, 0.0, 20.0, 0.0, 0.0, 0.0, 30.0],
    ];
    assert_eq!(jacobian.to_vec::<f64>()?, want.concat());

    let jacobians = by_x.jacobian(&y_again, &[&w, &unrelated])?;
    let by_w = jacobians[0].as_ref().expect("connected");
    assert_eq!(by_w.shape().dims(), [2, 3, 2, 1]);
    let want = [1.0, 0.0, 4.0, 0.0, 9.0, 0.0, 0.0, 1.0, 0.0, 4.0, 0.0, 9.0];
    assert_eq!(by_w.to_vec::<f64>()?, want);
    assert!(jacobians[1].is_none());
    Ok(())
}

#[test]
fn the_jacobian_of_a_gradient_is_the_hessian() -> Result<()> {
    // f(a, b) = a^2 b + b^3
    let x = Tensor::from([3.0f64, 5.0]);
    let outer = GradientTape::new();
    outer.watch(&x);
    let inner = GradientTape::new();
    inner.watch(&x);
    let (a, b) = (array::slice(&x, [0], [1])?, array::slice(&x, [1], [1])?);
    let f = &a * &a * &b + &b * &b * &b;
    let gradient = inner.gradient(&f, &x)?.expect("connected");
    assert_eq!(gradient.to_vec::<f64>()?, [30.0, 84.0]);
    let hessian = outer.jacobian(&gradient, &x)?.expect("connected");
    assert_eq!(hessian.shape().dims(), [2, 2]);
    assert_eq!(hessian.to_vec::<f64>()?, [10.0, 6.0, 6.0, 30.0]);
    Ok(())
}

#[test]
fn threads_have_their_own_tapes() {
    let shared = Variable::new(2.0f32);
    let tape = GradientTape::new();
    let here = &shared * &shared;
    thread::scope(|scope| {
        let workers: Vec<_> = (1..=8u8)
            .map(|factor| {
                let shared = &shared;
                scope.spawn(move || -> Result<f32> {
                    let mut last = 0.0;
                    for _ in 0..50 {
                        let tape = GradientTape::new();
                        let y = shared * shared * f64::from(factor);
                        last = tape.gradient(&y, shared)?.expect("connected").to_scalar()?;
                    }
                    Ok(last)
                })
            })
            .collect();
        for (i, worker) in workers.into_iter().enumerate() {
            let gradient = worker.join().expect("no panic").expect("no error");
            assert_eq!(gradient, 4.0 * (i + 1) as f32);
        }
        // A tape does not see what other threads execute.
        let elsewhere = scope.spawn(|| &shared * &shared).join().expect("no panic");
        let both = [&here, &elsewhere];
        let none = UnconnectedGradients::None;
        let gradient = tape.gradient_with(&both, &[], &shared, none).expect("no error");
        assert_eq!(values(gradient), [4.0]);
    });
}

#[test]
fn threads_update_a_shared_variable_while_kernels_use_threads_of_their_own() -> Result<()> {
    let x = array::ones([64, 256], DType::Float32)?;
    let shared = Variable::new(array::zeros([256, 128], DType::Float32)?);
    let step = || -> Result<()> {
        let tape = GradientTape::new();
        let loss = math::reduce_sum(linalg::matmul(&x, &shared)?, ..)?;
        let gradient = tape.gradient(&loss, &shared)?.expect("connected");
        shared.assign_add(gradient)
    };
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..20).for_each(|_| step().expect("no error")));
        }
    });
    // Each step adds the number of rows to every weight.
    assert!(values(Some(shared.value())).iter().all(|&weight| weight == 4.0 * 20.0 * 64.0));
    Ok(())
}

#[test]
fn a_variable_assigned_between_two_reads_has_the_gradients_of_both() -> Result<()> {
    let x = Variable::new(3.0f32);
    let tape = GradientTape::persistent();
    let before = math::square(&x)?;
    x.assign(10.0f32)?;
    let after = math::square(&x)?;
    x.assign_add(1.0f32)?;
    let sum = &before + &after;
    assert_eq!(sum.to_scalar::<f32>()?, 109.0);
    assert_eq!(values(tape.gradient(&before, &x)?), [6.0]);
    assert_eq!(values(tape.gradient(&after, &x)?), [20.0]);
    assert_eq!(values(tape.gradient(&sum, &x)?), [26.0]);
    Ok(())
}

#[test]
fn gradients_do_not_pass_through_an_assignment() -> Result<()> {
    let (x, y) = (Variable::new(3.0f32), Variable::new(0.0f32));
    let tape = GradientTape::persistent();
    y.assign(math::square(&x)?)?;
    let z = math::square(&y)?;
    assert!(tape.gradient(&z, &x)?.is_none());
    assert_eq!(values(tape.gradient(&z, &y)?), [18.0]);
    Ok(())
}

#[test]
fn integers_have_no_gradient() -> Result<()> {
    let (n, counter) = (Tensor::from([1, 2]), Variable::new(3));
    let tape = GradientTape::persistent();
    tape.watch(&n);
    let product = math::multiply(&n, &counter)?;
    let gradients = tape.gradient(&product, &[&n])?;
    assert!(gradients[0].is_none());
    assert!(tape.gradient(&product, &counter)?.is_none());
    assert!(tape.jacobian(&product, &n)?.is_none());

    // Nor do they pass one on.
    let x = Variable::new([1.5f32, 2.5]);
    let rounded = array::cast(array::cast(&x, DType::Int32)?, DType::Float32)?;
    assert!(tape.gradient(&rounded, &x)?.is_none());
    Ok(())
}

#[test]
fn a_dropped_tape_leaves_the_others_recording() -> Result<()> {
    let x = Variable::new(3.0f32);
    let outer = GradientTape::new();
    {
        let _inner = GradientTape::new();
        math::square(&x)?;
    }
    let y = math::square(&x)?;
    assert_eq!(values(outer.gradient(&y, &x)?), [6.0]);
    Ok(())
}
