//! Dead code: drops what neither a result nor a variable needs.

use super::Graph;
use crate::error::Result;
use crate::graph::Source;

pub(super) fn run(graph: &mut Graph) -> Result<Vec<String>> {
    let ops = |graph: &Graph| {
        graph.nodes.iter().filter(|node| matches!(node.source, Source::Op(_))).count()
    };
    let before = ops(graph);
    let order = graph.order(&|_| Vec::new()).expect("a trace has no circles");
    graph.keep(&order);
    let dropped = before - ops(graph);
    Ok(if dropped > 0 { vec![format!("dropped {dropped} of {before} ops")] } else { vec![] })
}
