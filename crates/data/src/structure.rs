//! What an element may be.

use tapeflow_core::{Result, Tensor};

/// The structure of a dataset's elements: a [`Tensor`], a tuple of up to four structures, or a
/// `Vec` of them. It is made of components, which are tensors.
///
/// ```
/// use tapeflow_core::Tensor;
/// use tapeflow_data::Structure;
///
/// let pair = (Tensor::from(1.0f32), vec![Tensor::from(2i64), Tensor::from(3i64)]);
/// assert_eq!(pair.components().len(), 3);
/// let copy = pair.map_components(&mut |tensor| Ok(tensor.clone()))?;
/// assert_eq!(copy.1.len(), 2);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
pub trait Structure: Clone + Send + Sync + 'static {
    /// Appends the components, in order.
    fn flatten<'a>(&'a self, components: &mut Vec<&'a Tensor>);

    /// The same structure with other components: what `f` makes of each, in order.
    ///
    /// # Errors
    /// The first error of `f`.
    fn map_components(&self, f: &mut dyn FnMut(&Tensor) -> Result<Tensor>) -> Result<Self>;

    /// The components, in order.
    fn components(&self) -> Vec<&Tensor> {
        let mut components = Vec::new();
        self.flatten(&mut components);
        components
    }
}

impl Structure for Tensor {
    fn flatten<'a>(&'a self, components: &mut Vec<&'a Tensor>) {
        components.push(self);
    }

    fn map_components(&self, f: &mut dyn FnMut(&Tensor) -> Result<Tensor>) -> Result<Self> {
        f(self)
    }
}

impl<S: Structure> Structure for Vec<S> {
    fn flatten<'a>(&'a self, components: &mut Vec<&'a Tensor>) {
        for part in self {
            part.flatten(components);
        }
    }

    fn map_components(&self, f: &mut dyn FnMut(&Tensor) -> Result<Tensor>) -> Result<Self> {
        self.iter().map(|part| part.map_components(f)).collect()
    }
}

macro_rules! tuple {
    ($($Part:ident $index:tt),*) => {
        impl<$($Part: Structure),*> Structure for ($($Part,)*) {
            fn flatten<'a>(&'a self, components: &mut Vec<&'a Tensor>) {
                $(self.$index.flatten(components);)*
            }

            fn map_components(&self, f: &mut dyn FnMut(&Tensor) -> Result<Tensor>) -> Result<Self> {
                Ok(($(self.$index.map_components(f)?,)*))
            }
        }
    };
}

tuple!(A 0);
tuple!(A 0, B 1);
tuple!(A 0, B 1, C 2);
tuple!(A 0, B 1, C 2, D 3);
