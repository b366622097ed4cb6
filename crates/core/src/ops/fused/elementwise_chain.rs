//! Element-wise ops, one after the other on blocks that stay in the first-level cache.

use tapeflow_kernels::chain::{
    Input, MAX_INPUTS, MAX_OUTPUTS, Operand, Output, Program, Step, Values, repeats, run,
};

use crate::ops::prelude::*;

/// Element-wise ops as one: what lies between them never exists in memory.
///
/// Its steps are the functions that ops name with [`Op::elementwise`], and the results are the same
/// bits as theirs. Inputs broadcast by NumPy's rule; every output has the shape of the whole.
///
/// ```
/// use tapeflow_core::execute::apply;
/// use tapeflow_core::ops::fused::{ElementwiseChain, Function, Operand, Step};
/// use tapeflow_core::{DType, Tensor};
///
/// // relu(cast(pixels) / 255 - mean)
/// let steps = [
///     Step::new(Function::Cast, &[Operand::Input(0)]),
///     Step::new(Function::Divide, &[Operand::Step(0), Operand::Input(1)]),
///     Step::new(Function::Subtract, &[Operand::Step(1), Operand::Input(2)]),
///     Step::new(Function::Relu, &[Operand::Step(2)]),
/// ];
/// let dtypes = [DType::UInt8, DType::Float32, DType::Float32];
/// let chain = ElementwiseChain::new(&dtypes, &steps, &[3])?;
/// let pixels = Tensor::from([[255u8, 0], [51, 255]]);
/// let mean = Tensor::from([0.5f32, 0.25]);
/// let y = apply(chain, &[&pixels, &Tensor::from(255.0f32), &mean])?;
/// assert_eq!(y.to_vec::<f32>()?, [0.5, 0.0, 0.0, 0.75]);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct ElementwiseChain {
    program: Program,
    steps: Vec<Step>,
    inputs: Vec<DType>,
    /// Each output's step and dtype.
    outputs: Vec<(usize, DType)>,
}

impl ElementwiseChain {
    /// The chain of `steps` that reads inputs of these dtypes and whose outputs are the results of
    /// the steps `outputs`, in this order.
    ///
    /// A step's operands are inputs or earlier steps, in the order of its op's inputs.
    ///
    /// # Errors
    /// A step whose dtypes [`result_dtype`](Self::result_dtype) does not take, whose number of
    /// operands is wrong, or that reads a later one; outputs that are no steps or the same one
    /// twice; more than 16 inputs, 8 outputs, or 12 results alive at a time besides the outputs: then
    /// the chain is better cut in two.
    pub fn new(inputs: &[DType], steps: &[Step], outputs: &[usize]) -> Result<ElementwiseChain> {
        let refuse = |why: String| Error::invalid_argument(format!("{NAME}: {why}"));
        let program = Program::new(inputs.len(), steps, outputs)
            .map_err(|error| refuse(error.to_string()))?;
        let mut results: Vec<DType> = Vec::with_capacity(steps.len());
        for (index, step) in steps.iter().enumerate() {
            let operands: Vec<DType> = step
                .operands
                .iter()
                .map(|operand| match *operand {
                    Operand::Input(input) => inputs[input],
                    Operand::Step(step) => results[step],
                })
                .collect();
            let result = Self::result_dtype(step.function, &operands).ok_or_else(|| {
                let function = step.function;
                refuse(format!("step {index}: {function:?} does not take {operands:?}"))
            })?;
            results.push(result);
        }
        let outputs = outputs.iter().map(|&output| (output, results[output])).collect();
        Ok(ElementwiseChain { program, steps: steps.to_vec(), inputs: inputs.to_vec(), outputs })
    }

    /// The dtype that a step of a chain results in, `float32` or `bool`; `None` where operands of
    /// these dtypes cannot be part of a chain.
    pub fn result_dtype(function: Function, operands: &[DType]) -> Option<DType> {
        use DType::{Bool, Float32, UInt8};
        match (function, operands) {
            (Function::Cast, [Float32 | Bool | UInt8]) => Some(Float32),
            (Function::Select, [Bool, Float32, Float32]) => Some(Float32),
            (Function::Select, [Bool, Bool, Bool]) => Some(Bool),
            (Function::Cast | Function::Select, _) => None,
            (_, [Float32, ..]) if operands.iter().all(|&dtype| dtype == Float32) => {
                Some(if function.is_comparison() { Bool } else { Float32 })
            }
            (_, [Bool, Bool] | [UInt8, UInt8]) if function.is_comparison() => Some(Bool),
            _ => None,
        }
    }

    /// Whether an input of shape `input` can be read in a chain whose shape is `whole`: it
    /// broadcasts, and its axes (those of an extent above 1) lie side by side.
    ///
    /// ```
    /// use tapeflow_core::Shape;
    /// use tapeflow_core::ops::fused::ElementwiseChain;
    ///
    /// let whole = Shape::from([4, 3, 2]);
    /// assert!(ElementwiseChain::reads(&Shape::from([3, 1]), &whole));
    /// assert!(!ElementwiseChain::reads(&Shape::from([4, 1, 2]), &whole));
    /// ```
    pub fn reads(input: &Shape, whole: &Shape) -> bool {
        repeats(input, whole).is_some()
    }

    /// The steps, in the order in which they run.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }
}

const NAME: &str = "elementwise_chain";

impl Op for ElementwiseChain {
    fn name(&self) -> &'static str {
        NAME
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        let refuse = |why: String| Err(Error::shape(format!("{NAME}: {why}")));
        if !inputs.iter().map(|input| &input.dtype).eq(&self.inputs) {
            let given: Vec<DType> = inputs.iter().map(|input| input.dtype).collect();
            return Err(Error::dtype(format!(
                "{NAME}: inputs are {given:?}, not {:?}",
                self.inputs
            )));
        }
        let mut shapes: Vec<Shape> = Vec::with_capacity(self.steps.len());
        for (index, step) in self.steps.iter().enumerate() {
            let mut shape = Shape::SCALAR;
            for operand in &step.operands {
                let own = match *operand {
                    Operand::Input(input) => &inputs[input].shape,
                    Operand::Step(step) => &shapes[step],
                };
                shape = match shape.broadcast(own) {
                    Some(shape) => shape,
                    None => {
                        return refuse(format!("step {index}: {shape} and {own} do not broadcast"));
                    }
                };
            }
            shapes.push(shape);
        }
        let whole = shapes[self.outputs[0].0];
        for input in inputs {
            if !Self::reads(&input.shape, &whole) {
                return refuse(format!("an input of shape {} in a chain of {whole}", input.shape));
            }
        }
        let mut specs = Vec::with_capacity(self.outputs.len());
        for &(step, dtype) in &self.outputs {
            if shapes[step] != whole {
                return refuse(format!("outputs of shapes {whole} and {}", shapes[step]));
            }
            specs.push(Spec { dtype, shape: whole });
        }
        Ok(specs)
    }

    fn run(&self, inputs: &[Array<'_>], outputs: &mut [ArrayMut<'_>]) -> Result<()> {
        let whole = *outputs[0].shape();
        let mut arrays = [Input::full(Values::F32(&[])); MAX_INPUTS];
        for (array, input) in arrays.iter_mut().zip(inputs) {
            let values = match input.dtype() {
                DType::Float32 => Values::F32(input.data()),
                _ => Values::U8(input.data()),
            };
            *array = Input::broadcast(values, input.shape(), &whole).ok_or_else(|| {
                let shape = input.shape();
                Error::shape(format!("{NAME}: an input of shape {shape} in a chain of {whole}"))
            })?;
        }
        let mut results: [Output<'_>; MAX_OUTPUTS] = std::array::from_fn(|_| Output::F32(&mut []));
        let count = outputs.len();
        for (result, output) in results.iter_mut().zip(outputs) {
            *result = match output.dtype() {
                DType::Float32 => Output::F32(output.data()),
                _ => Output::Bool(output.data()),
            };
        }
        let arrays = &arrays[..inputs.len()];
        run(&self.program, whole.num_elements(), arrays, &mut results[..count]);
        Ok(())
    }

    fn gradient(&self) -> Gradient {
        // Passes run on graphs that hold the gradients already.
        Gradient::NotDifferentiable
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::execute::apply_all;
    use crate::ops::array::{cast, select};
    use crate::ops::math;
    use crate::ops::nn::{BiasAdd, Relu, ReluGrad, ScaleKept};

    fn values(len: usize, seed: u32) -> Vec<f32> {
        let mut state = seed;
        (0..len)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 8) as f32 / (1 << 21) as f32 - 4.0
            })
            .collect()
    }

    fn function(op: &dyn Op) -> Function {
        op.elementwise().expect("the op maps element by element")
    }

    #[test]
    fn a_chain_gives_the_bits_of_its_ops() {
        let shape = [5, 7, 9, 32];
        let len: usize = shape.iter().product();
        let x = Tensor::from_slice(&values(len, 1), shape).unwrap();
        let upstream = Tensor::from_slice(&values(len, 2), shape).unwrap();
        let bias = Tensor::from_slice(&values(32, 3), [32]).unwrap();
        let noise = math::sigmoid(Tensor::from_slice(&values(len, 4), shape).unwrap()).unwrap();
        let pixels: Vec<u8> = (0..len).map(|i| (i * 7) as u8).collect();
        let pixels = Tensor::from_slice(&pixels, shape).unwrap();
        let dropout = ScaleKept { rate: 0.4 };

        let biased = apply(BiasAdd::default(), &[&x, &bias]).unwrap();
        let active = apply(Relu, &[&biased]).unwrap();
        let kept = apply(dropout, &[&active, &noise]).unwrap();
        let back = apply(ReluGrad, &[&upstream, &active]).unwrap();
        let scaled = math::divide(cast(&pixels, DType::Float32).unwrap(), 255.0f32).unwrap();
        let above = math::greater(&scaled, &kept).unwrap();
        let chosen = select(&above, math::tanh(&back).unwrap(), math::exp(&kept).unwrap()).unwrap();

        let (input, step) = (Operand::Input, Operand::Step);
        let steps = [
            Step::new(function(&BiasAdd::default()), &[input(0), input(1)]),
            Step::new(function(&Relu), &[step(0)]),
            Step::new(function(&dropout), &[step(1), input(2)]),
            Step::new(function(&ReluGrad), &[input(3), step(1)]),
            Step::new(Function::Cast, &[input(4)]),
            Step::new(function(&math::Divide), &[step(4), input(5)]),
            Step::new(function(&math::Greater), &[step(5), step(2)]),
            Step::new(function(&math::Tanh), &[step(3)]),
            Step::new(function(&math::Exp), &[step(2)]),
            Step::new(Function::Select, &[step(6), step(7), step(8)]),
        ];
        use DType::{Float32, UInt8};
        let dtypes = [Float32, Float32, Float32, Float32, UInt8, Float32];
        let chain = ElementwiseChain::new(&dtypes, &steps, &[9, 6, 1]).unwrap();
        let scale = Tensor::from(255.0f32);
        let inputs = [&x, &bias, &noise, &upstream, &pixels, &scale];
        let outputs = apply_all(chain, &inputs).unwrap();
        assert_eq!(outputs[0].to_vec::<f32>().unwrap(), chosen.to_vec::<f32>().unwrap());
        assert_eq!(outputs[1].to_vec::<bool>().unwrap(), above.to_vec::<bool>().unwrap());
        assert_eq!(outputs[2].to_vec::<f32>().unwrap(), active.to_vec::<f32>().unwrap());
    }

    #[test]
    fn refusals_say_what_does_not_fit() {
        use DType::{Bool, Float32, Int32};
        let add = [Step::new(Function::Add, &[Operand::Input(0), Operand::Input(1)])];
        let message = |dtypes: &[DType], steps: &[Step]| {
            ElementwiseChain::new(dtypes, steps, &[0]).unwrap_err().to_string()
        };
        assert_eq!(
            message(&[Float32, Int32], &add),
            "elementwise_chain: step 0: Add does not take [Float32, Int32]"
        );
        assert_eq!(
            message(&[Float32], &add),
            "elementwise_chain: step 0 reads a step that is not before it"
        );
        let chain = ElementwiseChain::new(&[Float32, Float32], &add, &[0]).unwrap();
        let infer = |x: Spec, y: Spec| chain.infer(&[x, y]);
        let spec = |shape: &[usize]| Spec::new(Float32, Shape::new(shape).unwrap());
        assert_eq!(
            infer(spec(&[2, 3]), spec(&[4])).unwrap_err().to_string(),
            "elementwise_chain: step 0: [2, 3] and [4] do not broadcast"
        );
        assert_eq!(
            infer(spec(&[2, 3, 4]), spec(&[2, 1, 4])).unwrap_err().to_string(),
            "elementwise_chain: an input of shape [2, 1, 4] in a chain of [2, 3, 4]"
        );
        assert!(infer(spec(&[2]), Spec::new(Bool, [2])).unwrap_err().is_dtype());
        assert_eq!(infer(spec(&[2, 1]), spec(&[])).unwrap(), [spec(&[2, 1])]);
    }
}
