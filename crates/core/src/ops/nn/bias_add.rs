//! A number for each channel, added.

use tapeflow_kernels::elementwise::binary;

use crate::ops::Axes;
use crate::ops::math::reduce_sum;
use crate::ops::nn::DataFormat;
use crate::ops::prelude::*;
use crate::shape::MAX_RANK;

/// The op of [`bias_add`]; [`call`](BiasAdd::call) takes the data format.
#[derive(Debug, Clone, Copy, Default)]
pub struct BiasAdd {
    /// Where the channels stand: last, or first after the batch, whatever the number of axes.
    pub data_format: DataFormat,
}

impl BiasAdd {
    /// `value + bias` for the given data format. `tf.nn.bias_add` with all its arguments.
    ///
    /// # Errors
    /// As for [`bias_add`].
    ///
    /// ```
    /// use tapeflow_core::Tensor;
    /// use tapeflow_core::nn::{BiasAdd, DataFormat};
    ///
    /// let value = Tensor::from([[[1.0f32, 2.0], [3.0, 4.0]]]);
    /// let y = BiasAdd { data_format: DataFormat::Nchw }.call(&value, [10.0f32, 20.0])?;
    /// assert_eq!(y.to_vec::<f32>()?, [11.0, 12.0, 23.0, 24.0]);
    /// # Ok::<(), tapeflow_core::Error>(())
    /// ```
    pub fn call(self, value: impl Into<Tensor>, bias: impl Into<Tensor>) -> Result<Tensor> {
        apply_owned(self, [value.into(), bias.into()])
    }
}

impl Op for BiasAdd {
    fn name(&self) -> &'static str {
        "nn.bias_add"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        let (value, bias) = (&inputs[0], &inputs[1]);
        check_same_dtype(self.name(), value, bias)?;
        check_dtype(self.name(), "value", value.dtype, DTypes::NUMERIC)?;
        check_rank(self.name(), "bias", &bias.shape, 1)?;
        let refuse = |why: String| Err(Error::shape(format!("{}: {why}", self.name())));
        if value.shape.rank() < 2 {
            return refuse(format!("value must have at least 2 axes, has shape {}", value.shape));
        }
        let channels = value.shape[self.data_format.channel_axis(value.shape.rank())];
        if bias.shape[0] != channels {
            return refuse(format!(
                "value has {channels} channels, bias {} (value {} {})",
                bias.shape[0], value.shape, self.data_format
            ));
        }
        Ok(vec![*value])
    }

    fn run(&self, inputs: &[Array<'_>], outputs: &mut [ArrayMut<'_>]) -> Result<()> {
        let (value, bias) = (inputs[0], inputs[1]);
        let rank = value.shape().rank();
        // The bias with an axis of extent 1 for each axis behind the channels.
        let mut bias_dims = [1; MAX_RANK];
        bias_dims[0] = bias.shape()[0];
        let bias_dims = &bias_dims[..rank - self.data_format.channel_axis(rank)];
        dispatch_wide!(number, self, inputs, outputs, value.dtype(), T => {
            binary(
                (value.data::<T>(), value.shape()),
                (bias.data::<T>(), bias_dims),
                (outputs[0].data::<T>(), value.shape()),
                Number::add,
            );
            Ok(())
        })
    }

    fn gradient(&self) -> Gradient {
        let format = self.data_format;
        Gradient::rule(Saves::NOTHING, move |call, input| {
            if input == 0 {
                return Ok(Some(call.upstream().clone()));
            }
            let rank = call.input_spec(0).shape.rank();
            let others = (0..rank).filter(|&axis| axis != format.channel_axis(rank));
            let others: Vec<i64> = others.map(|axis| axis as i64).collect();
            reduce_sum(call.upstream(), Axes::list(others)).map(Some)
        })
    }

    fn elementwise(&self) -> Option<Function> {
        // Channels that come last broadcast as they are.
        (self.data_format == DataFormat::Nhwc).then_some(Function::Add)
    }
}

/// `value + bias`, where `bias` has one number for each channel of `value`, which are its last
/// axis. `tf.nn.bias_add`.
///
/// [`BiasAdd`] takes channels first.
///
/// # Errors
/// A `value` of fewer than two axes; a `bias` that is not one axis with an element for each
/// channel; dtypes that differ or are `bool`.
///
/// ```
/// use tapeflow_core::{Tensor, nn};
///
/// let value = Tensor::from([[1.0f32, 2.0], [3.0, 4.0]]);
/// assert_eq!(nn::bias_add(&value, [10.0f32, 20.0])?.to_vec::<f32>()?, [11.0, 22.0, 13.0, 24.0]);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
pub fn bias_add(value: impl Into<Tensor>, bias: impl Into<Tensor>) -> Result<Tensor> {
    BiasAdd::default().call(value, bias)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::array::ones;
    use crate::ops::math::square;
    use crate::test::check_gradients;

    #[test]
    fn gradients_are_those_of_finite_differences() {
        let value: Vec<f64> = (0..12).map(|i| (f64::from(i) * 1.3).sin()).collect();
        let value = Tensor::from_slice(&value, [2, 2, 3]).unwrap();
        let (two, three) = (Tensor::from([0.5f64, -1.0]), Tensor::from([0.5f64, -1.0, 2.0]));
        check_gradients(|x| square(bias_add(&x[0], &x[1])?), &[value.clone(), three]);
        let op = BiasAdd { data_format: DataFormat::Nchw };
        check_gradients(|x| square(op.call(&x[0], &x[1])?), &[value, two]);
    }

    #[test]
    fn any_rank_from_two() {
        let of = |shape: &[usize]| ones(Shape::new(shape).unwrap(), DType::Int32).unwrap();
        let first = BiasAdd { data_format: DataFormat::Nchw };
        assert_eq!(first.call(of(&[3, 2]), [1, 2]).unwrap().to_vec::<i32>().unwrap()[..2], [2, 3]);
        let y = first.call(of(&[1, 2, 1, 1, 1, 2]), [1, 2]).unwrap();
        assert_eq!(y.to_vec::<i32>().unwrap(), [2, 2, 3, 3]);
        assert_eq!(bias_add(of(&[0, 2]), [1, 2]).unwrap().shape().dims(), [0, 2]);
    }

    #[test]
    fn refusals_name_the_shapes() {
        let value = ones([2, 8, 8, 4], DType::Float32).unwrap();
        assert_eq!(
            bias_add(&value, [1.0f32]).unwrap_err().to_string(),
            "nn.bias_add: value has 4 channels, bias 1 (value [2, 8, 8, 4] NHWC)"
        );
        assert_eq!(
            bias_add(&value, [[1.0f32; 4]]).unwrap_err().to_string(),
            "nn.bias_add: bias must have 1 axes, has shape [1, 4]"
        );
        assert_eq!(
            bias_add([1.0f32], [1.0f32]).unwrap_err().to_string(),
            "nn.bias_add: value must have at least 2 axes, has shape [1]"
        );
        assert!(bias_add(&value, [1.0f64; 4]).unwrap_err().is_dtype());
    }
}
