//! Adding to a variable.

use tapeflow_kernels::elementwise::zip_in_place;

use crate::ops::prelude::*;

/// The op of [`Variable::assign_add`](crate::Variable::assign_add), whose inputs are the variable's value and
/// the difference. `tf.raw_ops.AssignAddVariableOp`.
///
/// ```
/// use tapeflow_core::Variable;
///
/// let x = Variable::new([1, 2]);
/// x.assign_add([10, 20])?;
/// assert_eq!(x.value().to_vec::<i32>()?, [11, 22]);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct AssignAdd;

impl Op for AssignAdd {
    fn name(&self) -> &'static str {
        "Variable.assign_add"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        check_dtype(self.name(), "the value", inputs[0].dtype, DTypes::NUMERIC)?;
        Ok(vec![inputs[0]])
    }

    fn run(&self, inputs: &[Array<'_>], outputs: &mut [ArrayMut<'_>]) -> Result<()> {
        dispatch_wide!(number, self, inputs, outputs, inputs[0].dtype(), T => {
            zip_in_place(outputs[0].data::<T>(), inputs[0].data(), Number::add);
            Ok(())
        })
    }

    fn gradient(&self) -> Gradient {
        // An assignment is no function of tensors that a tape could follow.
        Gradient::NotDifferentiable
    }

    fn updates(&self) -> usize {
        1
    }
}
