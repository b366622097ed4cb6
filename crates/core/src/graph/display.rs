//! Graphs as text, for people and for Graphviz.

use std::fmt::{self, Write};

use super::{Graph, Node, Source, Value};

impl Graph {
    /// The graph in Graphviz's language: `dot -Tsvg` draws it.
    pub fn to_dot(&self) -> String {
        let mut text = String::from("digraph {\n  node [shape=box, fontname=\"sans-serif\"];\n");
        for (index, node) in self.nodes.iter().enumerate() {
            let specs = specs(node);
            let label = quoted(&format!("{}\n{specs}", self.label(node)));
            let style = match node.source {
                Source::Op(_) => "",
                _ => ", style=filled, fillcolor=\"#eeeeee\"",
            };
            _ = writeln!(text, "  n{index} [label={label}{style}];");
            for input in &node.inputs {
                _ = writeln!(text, "  n{} -> n{index};", input.node);
            }
        }
        for (i, result) in self.results.iter().enumerate() {
            _ = writeln!(text, "  result{i} [label=\"result {i}\", shape=ellipse];");
            _ = writeln!(text, "  n{} -> result{i};", result.node);
        }
        for (i, (variable, value)) in self.updates.iter().enumerate() {
            let label = quoted(&format!("{} :=", variable.name()));
            _ = writeln!(text, "  update{i} [label={label}, shape=ellipse];");
            _ = writeln!(text, "  n{} -> update{i};", value.node);
        }
        text + "}\n"
    }

    /// What a node is, without its inputs.
    pub(super) fn label(&self, node: &Node) -> String {
        match &node.source {
            Source::Argument(index) => format!("argument {index}"),
            Source::Variable(variable) => format!("variable {:?}", variable.name()),
            Source::Constant(tensor) if tensor.shape().num_elements() == 1 => {
                format!("constant {}", crate::tensor::values_text(tensor))
            }
            Source::Constant(_) => "constant".into(),
            Source::RandomStart(_) => "the global generator".into(),
            Source::Op(op) => op.name().into(),
        }
    }
}

/// A string of Graphviz's language.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

fn specs(node: &Node) -> String {
    node.outputs.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.output {
            0 => write!(f, "%{}", self.node),
            output => write!(f, "%{}.{output}", self.node),
        }
    }
}

impl fmt::Display for Graph {
    /// A line for each node, `%4 = linalg.matmul(%2, %3) : float32 [128, 1024]`, then what
    /// variables become and what is returned.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, node) in self.nodes.iter().enumerate() {
            write!(f, "%{index} = {}", self.label(node))?;
            if matches!(node.source, Source::Op(_)) {
                let inputs: Vec<_> = node.inputs.iter().map(ToString::to_string).collect();
                write!(f, "({})", inputs.join(", "))?;
            }
            writeln!(f, " : {}", specs(node))?;
        }
        for (variable, value) in &self.updates {
            writeln!(f, "variable {:?} := {value}", variable.name())?;
        }
        let results: Vec<_> = self.results.iter().map(ToString::to_string).collect();
        writeln!(f, "return {}", results.join(", "))
    }
}
