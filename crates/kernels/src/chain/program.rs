//! A chain made ready to run: which step writes where.

use std::fmt;

use super::Function;

/// The most arrays that a chain reads.
pub const MAX_INPUTS: usize = 16;

/// The most arrays that a chain writes.
pub const MAX_OUTPUTS: usize = 8;

/// The most results that a chain keeps beside its outputs at a time.
pub const MAX_REGISTERS: usize = 12;

/// What a step reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operand {
    /// An array given to [`run`](super::run), by its place among the inputs.
    Input(usize),
    /// The result of an earlier step, by its place among the steps.
    Step(usize),
}

/// One function of a chain with what it reads; as many operands as the function takes.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// What is computed.
    pub function: Function,
    /// Of what.
    pub operands: Vec<Operand>,
}

impl Step {
    /// A step of these two.
    pub fn new(function: Function, operands: &[Operand]) -> Step {
        Step { function, operands: operands.to_vec() }
    }
}

/// What keeps steps from being one chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProgramError {
    /// A step has not as many operands as its function takes.
    Operands {
        /// The step.
        step: usize,
    },
    /// A step reads a result that is not an earlier one.
    Order {
        /// The step.
        step: usize,
    },
    /// More than [`MAX_INPUTS`] inputs, [`MAX_OUTPUTS`] outputs or [`MAX_REGISTERS`] results alive
    /// at a time: cut the chain in two.
    TooLarge,
    /// There is no output, one that is no step, or a step that is two.
    Outputs,
}

impl fmt::Display for ProgramError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProgramError::Operands { step } => {
                write!(f, "step {step} has the wrong number of operands")
            }
            ProgramError::Order { step } => {
                write!(f, "step {step} reads a step that is not before it")
            }
            ProgramError::TooLarge => write!(
                f,
                "a chain has at most {MAX_INPUTS} inputs, {MAX_OUTPUTS} outputs and \
                 {MAX_REGISTERS} results alive at a time"
            ),
            ProgramError::Outputs => f.write_str("each output must be a step, and another one"),
        }
    }
}

impl std::error::Error for ProgramError {}

/// Where an instruction writes its block of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    Register(usize),
    Output(usize),
}

/// Where an instruction reads a block of values.
#[derive(Debug, Clone, Copy)]
pub(super) enum Source {
    Input(usize),
    Result(Target),
}

/// A step whose operands and result have a place. Operands that the function does not take repeat
/// the first one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Instruction {
    pub function: Function,
    pub operands: [Source; 3],
    pub result: Target,
}

/// A chain of element-wise functions, for [`run`](super::run).
#[derive(Debug, Clone)]
pub struct Program {
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    /// How many registers the instructions name.
    pub(super) registers: usize,
    pub(super) instructions: Vec<Instruction>,
}

impl Program {
    /// The program of these steps, which reads inputs below `inputs` and writes the results of the
    /// steps `outputs`, in this order.
    ///
    /// ```
    /// use tapeflow_kernels::chain::{Function, Operand, Program, Step};
    ///
    /// // |x| * y
    /// let steps = [
    ///     Step::new(Function::Abs, &[Operand::Input(0)]),
    ///     Step::new(Function::Multiply, &[Operand::Step(0), Operand::Input(1)]),
    /// ];
    /// assert!(Program::new(2, &steps, &[1]).is_ok());
    /// ```
    ///
    /// # Errors
    /// [`ProgramError`] says what is wrong with them.
    pub fn new(inputs: usize, steps: &[Step], outputs: &[usize]) -> Result<Program, ProgramError> {
        check(inputs, steps, outputs)?;
        let last_uses = last_uses(steps);
        let mut places: Vec<Target> = Vec::with_capacity(steps.len());
        let mut free = [true; MAX_REGISTERS];
        let mut instructions = Vec::with_capacity(steps.len());
        for (index, step) in steps.iter().enumerate() {
            let place = |operand: &Operand| match *operand {
                Operand::Input(input) => Source::Input(input),
                Operand::Step(step) => Source::Result(places[step]),
            };
            let first = place(&step.operands[0]);
            let mut operands = [first; 3];
            for (own, operand) in operands.iter_mut().zip(&step.operands) {
                *own = place(operand);
            }
            let result = match outputs.iter().position(|&output| output == index) {
                Some(output) => Target::Output(output),
                None => {
                    let register = free.iter().position(|&free| free);
                    let register = register.ok_or(ProgramError::TooLarge)?;
                    free[register] = false;
                    Target::Register(register)
                }
            };
            instructions.push(Instruction { function: step.function, operands, result });
            places.push(result);
            // The result never shares a register with an operand: those are given back after it.
            for (step, _) in last_uses.iter().enumerate().filter(|&(_, &last)| last == index) {
                if let Target::Register(register) = places[step] {
                    free[register] = true;
                }
            }
        }
        let registers = places.iter().map(|place| match *place {
            Target::Register(register) => register + 1,
            Target::Output(_) => 0,
        });
        let registers = registers.max().unwrap_or(0);
        Ok(Program { inputs, outputs: outputs.len(), registers, instructions })
    }
}

/// For each step the last one that reads it, itself where none does.
fn last_uses(steps: &[Step]) -> Vec<usize> {
    let mut last: Vec<usize> = (0..steps.len()).collect();
    for (index, step) in steps.iter().enumerate() {
        for operand in &step.operands {
            if let Operand::Step(read) = *operand {
                last[read] = index;
            }
        }
    }
    last
}

fn check(inputs: usize, steps: &[Step], outputs: &[usize]) -> Result<(), ProgramError> {
    for (index, step) in steps.iter().enumerate() {
        if step.operands.len() != step.function.operands() {
            return Err(ProgramError::Operands { step: index });
        }
        let is_before = |operand: &Operand| match *operand {
            Operand::Input(input) => input < inputs,
            Operand::Step(step) => step < index,
        };
        if !step.operands.iter().all(is_before) {
            return Err(ProgramError::Order { step: index });
        }
    }
    if inputs > MAX_INPUTS || outputs.len() > MAX_OUTPUTS {
        return Err(ProgramError::TooLarge);
    }
    let is_new = |(i, output): (usize, &usize)| !outputs[..i].contains(output);
    if outputs.is_empty()
        || outputs.iter().any(|&output| output >= steps.len())
        || !outputs.iter().enumerate().all(is_new)
    {
        return Err(ProgramError::Outputs);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_are_used_again() {
        let mut steps = vec![Step::new(Function::Abs, &[Operand::Input(0)])];
        steps.extend((0..99).map(|i| Step::new(Function::Negative, &[Operand::Step(i)])));
        let program = Program::new(1, &steps, &[99]).unwrap();
        for (i, instruction) in program.instructions[..99].iter().enumerate() {
            assert_eq!(instruction.result, Target::Register(i % 2));
        }
        assert_eq!(program.instructions[99].result, Target::Output(0));
    }

    #[test]
    fn refusals() {
        let (input, step) = (Operand::Input, Operand::Step);
        let abs = |operand| Step::new(Function::Abs, &[operand]);
        let error =
            |steps: &[Step], outputs: &[usize]| Program::new(1, steps, outputs).unwrap_err();
        let wrong = Step::new(Function::Add, &[input(0)]);
        assert_eq!(error(&[wrong], &[0]), ProgramError::Operands { step: 0 });
        assert_eq!(error(&[abs(input(0)), abs(step(1))], &[1]), ProgramError::Order { step: 1 });
        assert_eq!(error(&[abs(input(1))], &[0]), ProgramError::Order { step: 0 });
        for outputs in [&[] as &[usize], &[1], &[0, 0]] {
            assert_eq!(error(&[abs(input(0))], outputs), ProgramError::Outputs);
        }
        assert_eq!(Program::new(17, &[abs(input(0))], &[0]).unwrap_err(), ProgramError::TooLarge);
        // Results that all wait for the end.
        let mut many: Vec<Step> = (0..14).map(|_| abs(input(0))).collect();
        many.extend((0..13).map(|i| Step::new(Function::Add, &[step(i), step(13)])));
        let error = error(&many, &[26]);
        assert_eq!(error, ProgramError::TooLarge);
        assert!(error.to_string().contains("at most 16 inputs"), "{error}");
    }
}
