//! Dead code: drops what neither a result nor a variable needs. It runs after each other pass, so
//! that the next one counts no use that is gone.

use super::Graph;
use crate::graph::Source;

/// Drops it; the number of ops dropped.
pub(super) fn run(graph: &mut Graph) -> usize {
    let ops = |graph: &Graph| {
        graph.nodes.iter().filter(|node| matches!(node.source, Source::Op(_))).count()
    };
    let before = ops(graph);
    graph.drop_dead();
    before - ops(graph)
}
