//! Chains of element-wise functions, run over blocks that stay in the first-level cache.
//!
//! A [`Program`] is a list of steps. [`run`] takes the arrays block by block: each step is a
//! vectorised loop from blocks to a block, so an array between two steps never exists in memory.
//! The functions are those that the ops call one by one, so the results are the same bits.
//!
//! Everything is computed in `f32`; inputs of `u8` are converted where they are read, and truth
//! (1 or 0) is written as `u8` where an output asks for that.

mod function;
mod operand;
mod program;

use std::array;
use std::mem::{MaybeUninit, take};

use crate::parallel::{SharedMut, for_each_chunk_mut, for_each_index};
use crate::simd::{Level, Task};

pub use function::Function;
pub use operand::{Input, Output, Values, repeats};
use program::{Instruction, Source, Target};
pub use program::{MAX_INPUTS, MAX_OUTPUTS, MAX_REGISTERS, Operand, Program, ProgramError, Step};

/// The most elements of a block: 4 KiB, so that several lie in the first-level cache.
const BLOCK: usize = 1024;

/// Blocks per piece of work.
const PIECE: usize = 16;

/// Runs a chain over arrays of `len` elements.
///
/// ```
/// use tapeflow_kernels::chain::{Function, Input, Operand, Output, Program, Step, Values, run};
///
/// // relu(x + bias)
/// let steps = [
///     Step::new(Function::Add, &[Operand::Input(0), Operand::Input(1)]),
///     Step::new(Function::Relu, &[Operand::Step(0)]),
/// ];
/// let program = Program::new(2, &steps, &[1]).unwrap();
/// let x = Input::full(Values::F32(&[1.0, -5.0, 2.0, 3.0]));
/// let bias = Input::broadcast(Values::F32(&[10.0, 1.0]), &[2], &[2, 2]).unwrap();
/// let mut y = [0.0; 4];
/// run(&program, 4, &[x, bias], &mut [Output::F32(&mut y)]);
/// assert_eq!(y, [11.0, 0.0, 12.0, 4.0]);
/// ```
///
/// # Panics
/// If there are not as many inputs and outputs as the program has; if one has not `len` elements.
pub fn run(program: &Program, len: usize, inputs: &[Input<'_>], outputs: &mut [Output<'_>]) {
    run_at(Level::best(), program, len, inputs, outputs);
}

fn run_at(
    level: Level,
    program: &Program,
    len: usize,
    inputs: &[Input<'_>],
    outputs: &mut [Output<'_>],
) {
    assert_eq!(inputs.len(), program.inputs);
    assert_eq!(outputs.len(), program.outputs);
    assert!(inputs.iter().all(|input| input.has_elements(len)));
    assert!(outputs.iter().all(|output| output.len() == len));
    if len == 0 {
        return;
    }
    let block = block_len(inputs, len);
    let mut shared = [const { None }; MAX_OUTPUTS];
    for (shared, output) in shared.iter_mut().zip(outputs) {
        *shared = Some(match output {
            Output::F32(values) => Shared::F32(SharedMut::new(values)),
            Output::Bool(values) => Shared::Bool(SharedMut::new(values)),
        });
    }
    for_each_index(len.div_ceil(block * PIECE), |piece| {
        let start = piece * block * PIECE;
        let end = len.min(start + block * PIECE);
        let mut outputs = [const { Part::Unused }; MAX_OUTPUTS];
        for (part, shared) in outputs.iter_mut().zip(shared.iter().flatten()) {
            // SAFETY: pieces do not overlap.
            *part = unsafe { shared.part(start, end) };
        }
        let outputs = &mut outputs[..program.outputs];
        level.run(Piece { program, inputs, outputs, block, start, end });
    });
}

/// The length of blocks: where that is possible, a whole number of periods of the inputs that
/// repeat, which then are the same in each block.
fn block_len(inputs: &[Input<'_>], len: usize) -> usize {
    let mut unit = 1;
    for period in inputs.iter().map(Input::period) {
        let common = unit / gcd(unit, period) * period;
        if period < len && common <= BLOCK {
            unit = common;
        }
    }
    BLOCK / unit * unit
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// An output that several threads write, each its own part.
enum Shared<'a> {
    F32(SharedMut<'a, f32>),
    Bool(SharedMut<'a, u8>),
}

/// The part of an output that belongs to a piece of work.
enum Part<'a> {
    Unused,
    F32(&'a mut [f32]),
    Bool(&'a mut [u8]),
}

impl Shared<'_> {
    /// # Safety
    /// No two parts in use at a time may overlap.
    unsafe fn part(&self, start: usize, end: usize) -> Part<'_> {
        match self {
            // SAFETY: the caller's promise.
            Shared::F32(values) => Part::F32(unsafe { values.range(start, end) }),
            // SAFETY: the caller's promise.
            Shared::Bool(values) => Part::Bool(unsafe { values.range(start, end) }),
        }
    }
}

/// Room for a block, and a little more: blocks that lie whole pages apart would compete for the same
/// lines of the cache, and a load would wait for a store that only looks like its own.
const SLOT: usize = BLOCK + 5 * 16;

/// On a line of its own, so that no vector crosses from one to the next.
#[repr(align(64))]
struct Slot([f32; SLOT]);

/// Slots of which those that are not used are not touched.
type Slots<const N: usize> = [MaybeUninit<Slot>; N];

/// The elements from `start`, which begins a block, to before `end`.
struct Piece<'a, 'b> {
    program: &'a Program,
    inputs: &'a [Input<'a>],
    outputs: &'a mut [Part<'b>],
    block: usize,
    start: usize,
    end: usize,
}

impl Task for Piece<'_, '_> {
    #[inline(always)]
    fn run(self) {
        let mut slots: Slots<MAX_REGISTERS> = [const { MaybeUninit::uninit() }; MAX_REGISTERS];
        let mut registers: [&mut [f32]; MAX_REGISTERS] = array::from_fn(|_| &mut [][..]);
        for (register, slot) in registers.iter_mut().zip(&mut slots).take(self.program.registers) {
            *register = &mut slot.write(Slot([0.0; SLOT])).0;
        }
        let mut slots: Slots<MAX_INPUTS> = [const { MaybeUninit::uninit() }; MAX_INPUTS];
        let mut loaded: [&mut [f32]; MAX_INPUTS] = array::from_fn(|_| &mut [][..]);
        for ((block, slot), input) in loaded.iter_mut().zip(&mut slots).zip(self.inputs) {
            if !input.is_in_place(self.end, self.block) {
                *block = &mut slot.write(Slot([0.0; SLOT])).0;
            }
        }
        let mut slots: Slots<MAX_OUTPUTS> = [const { MaybeUninit::uninit() }; MAX_OUTPUTS];
        let mut truths: [&mut [f32]; MAX_OUTPUTS] = array::from_fn(|_| &mut [][..]);
        for ((block, slot), output) in truths.iter_mut().zip(&mut slots).zip(&*self.outputs) {
            if matches!(output, Part::Bool(_)) {
                *block = &mut slot.write(Slot([0.0; SLOT])).0;
            }
        }
        for at in (self.start..self.end).step_by(self.block) {
            let len = self.block.min(self.end - at);
            let from = at - self.start;
            for (input, block) in self.inputs.iter().zip(&mut loaded) {
                // What repeats with the blocks stays from the first one.
                let stays = from > 0 && self.block.is_multiple_of(input.period());
                if !block.is_empty() && !stays {
                    input.load(at, &mut block[..len]);
                }
            }
            let mut inputs: [&[f32]; MAX_INPUTS] = [&[]; MAX_INPUTS];
            for ((values, input), block) in inputs.iter_mut().zip(self.inputs).zip(&loaded) {
                *values = if block.is_empty() { input.in_place(at, len) } else { &block[..len] };
            }
            let mut results: [&mut [f32]; MAX_OUTPUTS] = array::from_fn(|_| &mut [][..]);
            for ((result, output), block) in
                results.iter_mut().zip(&mut *self.outputs).zip(&mut truths)
            {
                *result = match output {
                    Part::F32(values) => &mut values[from..from + len],
                    _ => &mut block[..len],
                };
            }
            let mut registers = registers.each_mut().map(|register| &mut **register);
            run_block(&self.program.instructions, inputs, &mut registers, &mut results, len);
            for (output, block) in self.outputs.iter_mut().zip(&truths) {
                if let Part::Bool(values) = output {
                    for (out, &truth) in values[from..from + len].iter_mut().zip(&**block) {
                        *out = u8::from(truth != 0.0);
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn run_block<'a>(
    instructions: &[Instruction],
    inputs: [&[f32]; MAX_INPUTS],
    registers: &mut [&'a mut [f32]; MAX_REGISTERS],
    outputs: &mut [&'a mut [f32]; MAX_OUTPUTS],
    len: usize,
) {
    for &Instruction { function, operands, result } in instructions {
        // Taken out while it is written: it is never one of the operands.
        let out = match result {
            Target::Register(register) => take(&mut registers[register]),
            Target::Output(output) => take(&mut outputs[output]),
        };
        let operands = operands.map(|operand| match operand {
            Source::Input(input) => &inputs[input][..len],
            Source::Result(Target::Register(register)) => &registers[register][..len],
            Source::Result(Target::Output(output)) => &outputs[output][..len],
        });
        function.apply(&mut out[..len], operands);
        match result {
            Target::Register(register) => registers[register] = out,
            Target::Output(output) => outputs[output] = out,
        }
    }
}

/// `out[i] = function(x[i])`, on blocks of a fixed length.
///
/// ```
/// use tapeflow_kernels::chain::{Function, map};
/// let mut out = [0.0; 2];
/// map(Function::Sqrt, &[4.0, 9.0], &mut out);
/// assert_eq!(out, [2.0, 3.0]);
/// ```
///
/// # Panics
/// If the lengths differ, or the function takes more than one operand.
pub fn map(function: Function, x: &[f32], out: &mut [f32]) {
    assert_eq!(function.operands(), 1);
    assert_eq!(x.len(), out.len());
    for_each_chunk_mut(out, BLOCK * PIECE, |index, out| {
        let x = &x[index * BLOCK * PIECE..][..out.len()];
        Level::best().run(Map { function, x, out });
    });
}

struct Map<'a> {
    function: Function,
    x: &'a [f32],
    out: &'a mut [f32],
}

impl Task for Map<'_> {
    #[inline(always)]
    fn run(self) {
        self.function.apply(self.out, [self.x; 3]);
    }
}

/// `y[i] = function(operands)[i]`, where operand `own` is what `y[i]` was and the others are
/// `others`, in order.
///
/// ```
/// use tapeflow_kernels::chain::{Function, Input, Values, map_over};
/// let mut y = [1.0, 2.0, 3.0, 4.0];
/// let row = Input::broadcast(Values::F32(&[10.0, 20.0]), &[2], &[2, 2]).unwrap();
/// map_over(Function::Subtract, 1, &mut y, &[row]);
/// assert_eq!(y, [9.0, 18.0, 7.0, 16.0]);
/// ```
///
/// # Panics
/// If the function does not take one operand more than `others`, or one has not the length of `y`.
pub fn map_over(function: Function, own: usize, y: &mut [f32], others: &[Input<'_>]) {
    assert_eq!(function.operands(), others.len() + 1);
    assert!(own <= others.len() && others.iter().all(|input| input.has_elements(y.len())));
    let block = block_len(others, y.len());
    for_each_chunk_mut(y, block * PIECE, |index, y| {
        Level::best().run(MapOver {
            function,
            own,
            start: index * block * PIECE,
            block,
            y,
            others,
        });
    });
}

/// The elements of `y` from `start` of the whole, which begins a block.
struct MapOver<'a> {
    function: Function,
    own: usize,
    start: usize,
    block: usize,
    y: &'a mut [f32],
    others: &'a [Input<'a>],
}

impl Task for MapOver<'_> {
    #[inline(always)]
    fn run(self) {
        let mut slots: Slots<3> = [const { MaybeUninit::uninit() }; 3];
        let mut blocks = slots.each_mut().map(|slot| &mut slot.write(Slot([0.0; SLOT])).0[..]);
        for (index, y) in self.y.chunks_mut(self.block).enumerate() {
            let at = self.start + index * self.block;
            let mut others = self.others.iter();
            for (operand, block) in blocks.iter_mut().enumerate().take(self.others.len() + 1) {
                if operand == self.own {
                    block[..y.len()].copy_from_slice(y);
                } else if let Some(other) = others.next() {
                    other.load(at, &mut block[..y.len()]);
                }
            }
            let operands = blocks.each_ref().map(|block| &block[..y.len()]);
            self.function.apply(y, operands);
        }
    }
}

#[cfg(test)]
mod tests;
