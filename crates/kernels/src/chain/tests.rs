use super::*;
use crate::parallel::set_threads;
use crate::philox::Philox;

const FUNCTIONS: [Function; 30] = [
    Function::Cast,
    Function::Negative,
    Function::Abs,
    Function::Sign,
    Function::Square,
    Function::Sqrt,
    Function::Exp,
    Function::Log,
    Function::Tanh,
    Function::Sigmoid,
    Function::Erf,
    Function::Relu,
    Function::Add,
    Function::Subtract,
    Function::Multiply,
    Function::Divide,
    Function::Maximum,
    Function::Minimum,
    Function::Pow,
    Function::ReluGrad,
    Function::SigmoidGrad,
    Function::TanhGrad,
    Function::ScaleKept { rate: 0.25, scale: 4.0 / 3.0 },
    Function::Equal,
    Function::NotEqual,
    Function::Less,
    Function::LessEqual,
    Function::Greater,
    Function::GreaterEqual,
    Function::Select,
];

struct Random(Philox);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0.next_block()[0] as usize % limit
    }

    /// Mostly ordinary numbers, some of the others.
    fn value(&mut self) -> f32 {
        let specials = [0.0, -0.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e-40, 1.0];
        match self.below(20) {
            choice if choice < specials.len() => specials[choice],
            _ => (self.below(1 << 20) as f32 / 1e5) - 5.0,
        }
    }
}

/// The extents of an input that broadcasts to `dims` along one side, in the middle, or nowhere.
fn some_dims(random: &mut Random, dims: [usize; 3]) -> [usize; 3] {
    let [a, b, c] = dims;
    [dims, dims, [1, 1, 1], [1, 1, c], [1, b, c], [a, 1, 1], [a, b, 1], [1, b, 1]][random.below(8)]
}

fn steps(random: &mut Random, inputs: usize) -> Vec<Step> {
    let count = 1 + random.below(12);
    let mut steps: Vec<Step> = Vec::new();
    for index in 0..count {
        let function = FUNCTIONS[random.below(FUNCTIONS.len())];
        let operands: Vec<Operand> = (0..function.operands())
            .map(|_| match random.below(inputs + index) {
                input if input < inputs => Operand::Input(input),
                step => Operand::Step(step - inputs),
            })
            .collect();
        steps.push(Step::new(function, &operands));
    }
    steps
}

/// One step after the other, one element at a time.
fn naive(steps: &[Step], inputs: &[Vec<f32>], element: usize) -> Vec<f32> {
    let mut results: Vec<f32> = Vec::new();
    for step in steps {
        let operand = |index: usize| match step.operands.get(index) {
            Some(&Operand::Input(input)) => [inputs[input][element]],
            Some(&Operand::Step(step)) => [results[step]],
            None => [0.0],
        };
        let mut out = [0.0];
        step.function.apply(&mut out, [&operand(0), &operand(1), &operand(2)]);
        results.push(out[0]);
    }
    results
}

fn same(x: f32, y: f32) -> bool {
    x.to_bits() == y.to_bits() || (x.is_nan() && y.is_nan())
}

#[test]
fn chains_give_the_bits_of_their_steps_one_by_one() {
    let mut random = Random(Philox::new([3, 1], [0; 4]));
    for case in 0..150 {
        let dims = [1 + random.below(40), 1 + random.below(8), 1 + random.below(300)];
        let len = dims.iter().product();
        let inputs = 1 + random.below(4);
        let own: Vec<[usize; 3]> = (0..inputs).map(|_| some_dims(&mut random, dims)).collect();
        let is_byte: Vec<bool> = (0..inputs).map(|_| random.below(4) == 0).collect();
        let floats: Vec<Vec<f32>> = own
            .iter()
            .map(|dims| (0..dims.iter().product()).map(|_| random.value()).collect())
            .collect();
        let bytes: Vec<Vec<u8>> =
            floats.iter().map(|x| x.iter().map(|&x: &f32| x as u8).collect()).collect();
        // Each input as it is after broadcasting.
        let broadcast: Vec<Vec<f32>> = (0..inputs)
            .map(|input| {
                let value = |i| match is_byte[input] {
                    true => f32::from(bytes[input][i]),
                    false => floats[input][i],
                };
                let [_, b, c] = dims;
                let at = |i: usize| {
                    let index = [i / c / b, i / c % b, i % c];
                    let own = own[input];
                    let index: Vec<usize> = (0..3).map(|axis| index[axis] % own[axis]).collect();
                    (index[0] * own[1] + index[1]) * own[2] + index[2]
                };
                (0..len).map(|i| value(at(i))).collect()
            })
            .collect();
        let steps = steps(&mut random, inputs);
        let mut outputs = vec![steps.len() - 1];
        let other = random.below(steps.len());
        if other + 1 < steps.len() {
            outputs.push(other);
        }
        let program = Program::new(inputs, &steps, &outputs).unwrap();
        let given: Vec<Input> = (0..inputs)
            .map(|input| {
                let values = match is_byte[input] {
                    true => Values::U8(&bytes[input]),
                    false => Values::F32(&floats[input]),
                };
                Input::broadcast(values, &own[input], &dims).unwrap()
            })
            .collect();
        for level in Level::available() {
            for threads in [1, 2] {
                set_threads(threads);
                let mut first = vec![9.0; len];
                let mut second = vec![9; len];
                let results = &mut [Output::F32(&mut first), Output::Bool(&mut second)];
                run_at(level, &program, len, &given, &mut results[..outputs.len()]);
                for element in 0..len {
                    let want = naive(&steps, &broadcast, element);
                    let [got, last] = [first[element], want[steps.len() - 1]];
                    let place = format!("case {case} {level}, element {element} of {dims:?}");
                    assert!(same(got, last), "{place}: {got} is not {last}, {steps:?}");
                    if outputs.len() == 2 {
                        let truth = u8::from(want[outputs[1]] != 0.0);
                        assert_eq!(second[element], truth, "{place}: {steps:?}");
                    }
                }
            }
        }
        set_threads(0);
    }
}

#[test]
fn empty_arrays_pass() {
    let steps = [Step::new(Function::Add, &[Operand::Input(0), Operand::Input(1)])];
    let program = Program::new(2, &steps, &[0]).unwrap();
    let row = Input::broadcast(Values::F32(&[1.0, 2.0]), &[2], &[0, 2]).unwrap();
    run(&program, 0, &[Input::full(Values::F32(&[])), row], &mut [Output::F32(&mut [])]);
}

#[test]
fn rows_longer_than_a_block_and_of_awkward_lengths() {
    let steps = [Step::new(Function::Subtract, &[Operand::Input(0), Operand::Input(1)])];
    let program = Program::new(2, &steps, &[0]).unwrap();
    for (rows, columns) in [(5, 1000), (3, 2500), (700, 7), (2, BLOCK), (40, BLOCK - 1)] {
        let x: Vec<f32> = (0..rows * columns).map(|i| i as f32).collect();
        let row = Input::broadcast(Values::F32(&x[..columns]), &[columns], &[rows, columns]);
        let mut out = vec![0.0; x.len()];
        let inputs = [Input::full(Values::F32(&x)), row.unwrap()];
        run(&program, x.len(), &inputs, &mut [Output::F32(&mut out)]);
        for (i, &out) in out.iter().enumerate() {
            assert_eq!(out, (i - i % columns) as f32, "{rows} {columns} {i}");
        }
    }
}
