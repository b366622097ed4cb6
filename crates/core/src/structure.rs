//! Tensors in a structure: what a dataset's element and a function's arguments may be.

use crate::error::Result;
use crate::tensor::Tensor;

/// The structure of a dataset's elements, or of what a [`function`](crate::function()) takes and
/// returns: a [`Tensor`], a tuple of up to four structures, or a
/// `Vec` of them. It is made of components, which are tensors.
///
/// ```
/// use tapeflow_core::{Structure, Tensor};
///
/// let pair = (Tensor::from(1.0f32), vec![Tensor::from(2i64), Tensor::from(3i64)]);
/// assert_eq!(pair.components().len(), 3);
/// let copy = pair.map_components(&mut |tensor| Ok(tensor.clone()))?;
/// assert_eq!(copy.1.len(), 2);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
pub trait Structure: Clone + Send + Sync + 'static {
    /// Shows each component to `seen`, in order.
    fn visit<'a>(&'a self, seen: &mut dyn FnMut(&'a Tensor));

    /// Shows the length of each `Vec` to `seen`, in order: what the type leaves open.
    fn visit_lengths(&self, seen: &mut dyn FnMut(usize));

    /// The same structure with other components: what `f` makes of each, in order.
    ///
    /// # Errors
    /// The first error of `f`.
    fn map_components(&self, f: &mut dyn FnMut(&Tensor) -> Result<Tensor>) -> Result<Self>;

    /// Appends the components, in order.
    fn flatten<'a>(&'a self, components: &mut Vec<&'a Tensor>) {
        self.visit(&mut |component| components.push(component));
    }

    /// The components, in order.
    fn components(&self) -> Vec<&Tensor> {
        let mut components = Vec::new();
        self.flatten(&mut components);
        components
    }
}

impl Structure for Tensor {
    fn visit<'a>(&'a self, seen: &mut dyn FnMut(&'a Tensor)) {
        seen(self);
    }

    fn visit_lengths(&self, _seen: &mut dyn FnMut(usize)) {}

    fn map_components(&self, f: &mut dyn FnMut(&Tensor) -> Result<Tensor>) -> Result<Self> {
        f(self)
    }
}

impl Structure for () {
    fn visit<'a>(&'a self, _seen: &mut dyn FnMut(&'a Tensor)) {}

    fn visit_lengths(&self, _seen: &mut dyn FnMut(usize)) {}

    fn map_components(&self, _f: &mut dyn FnMut(&Tensor) -> Result<Tensor>) -> Result<Self> {
        Ok(())
    }
}

impl<S: Structure> Structure for Vec<S> {
    fn visit<'a>(&'a self, seen: &mut dyn FnMut(&'a Tensor)) {
        self.iter().for_each(|part| part.visit(seen));
    }

    fn visit_lengths(&self, seen: &mut dyn FnMut(usize)) {
        seen(self.len());
        self.iter().for_each(|part| part.visit_lengths(seen));
    }

    fn map_components(&self, f: &mut dyn FnMut(&Tensor) -> Result<Tensor>) -> Result<Self> {
        self.iter().map(|part| part.map_components(f)).collect()
    }
}

macro_rules! tuple {
    ($($Part:ident $index:tt),*) => {
        impl<$($Part: Structure),*> Structure for ($($Part,)*) {
            fn visit<'a>(&'a self, seen: &mut dyn FnMut(&'a Tensor)) {
                $(self.$index.visit(seen);)*
            }

            fn visit_lengths(&self, seen: &mut dyn FnMut(usize)) {
                $(self.$index.visit_lengths(seen);)*
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
