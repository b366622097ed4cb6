//! The ops behind the methods of [`Variable`](crate::Variable): they write over a value.

mod assign_add;
mod assign_sub;

pub use assign_add::AssignAdd;
pub use assign_sub::AssignSub;
