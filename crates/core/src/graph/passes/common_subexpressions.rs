//! Common subexpressions: computes once what several nodes compute alike.

use std::any::{Any, TypeId};
use std::collections::HashMap;

use super::Graph;
use crate::error::Result;
use crate::graph::{Source, Value};
use crate::shape::Spec;

/// What makes two nodes alike. An op's attributes are those that its `Debug` prints, which is
/// derived and so prints them all.
#[derive(PartialEq, Eq, Hash)]
enum Key {
    Op(TypeId, String, Vec<Value>),
    Constant(Spec, Vec<u8>),
}

/// Larger constants, in bytes, are not compared.
const LARGEST: usize = 1 << 12;

pub(super) fn run(graph: &mut Graph) -> Result<Vec<String>> {
    let mut first: HashMap<Key, usize> = HashMap::new();
    let mut merged = 0;
    // Inputs come before their users, so that what is alike further down is found in one sweep.
    graph.drop_dead();
    for index in 0..graph.nodes.len() {
        let node = &graph.nodes[index];
        let key = match &node.source {
            Source::Op(op) => {
                let type_id = (&**op as &dyn Any).type_id();
                Key::Op(type_id, format!("{op:?}"), node.inputs.clone())
            }
            Source::Constant(tensor) if tensor.spec().num_bytes() <= LARGEST => {
                Key::Constant(*tensor.spec(), tensor.bytes()?.to_vec())
            }
            _ => continue,
        };
        let Some(&earlier) = first.get(&key) else {
            first.insert(key, index);
            continue;
        };
        for output in 0..graph.nodes[index].outputs.len() {
            graph.replace(Value { node: index, output }, Value { node: earlier, output });
        }
        merged += usize::from(matches!(graph.nodes[index].source, Source::Op(_)));
    }
    Ok(if merged > 0 { vec![format!("merged {merged} ops with equal ones")] } else { vec![] })
}
