//! Positions of the controls, found by the roles and names that screen readers use.

use egui::accesskit::{Node, NodeId};
use egui::{Context, FullOutput, Plugin};

/// The controls of the last frame.
#[derive(Default)]
pub struct Controls {
    nodes: Vec<(NodeId, Node)>,
}

impl Controls {
    /// The center, in points, of the first control of this role and name.
    pub fn place(&self, role: &str, name: &str) -> Option<[f64; 2]> {
        let is_it =
            |node: &&Node| format!("{:?}", node.role()) == role && self.name(node) == Some(name);
        let node = self.nodes.iter().map(|(_, node)| node).find(is_it)?;
        let at = node.bounds()?;
        Some([(at.x0 + at.x1) / 2.0, (at.y0 + at.y1) / 2.0])
    }

    /// The control's own name, or that of its label.
    fn name<'a>(&'a self, node: &'a Node) -> Option<&'a str> {
        node.label().or_else(|| {
            let label = node.labelled_by().first()?;
            let (_, label) = self.nodes.iter().find(|(id, _)| id == label)?;
            label.value().or(label.label())
        })
    }
}

impl Plugin for Controls {
    fn debug_name(&self) -> &'static str {
        "controls"
    }

    fn output_hook(&mut self, _ctx: &Context, output: &mut FullOutput) {
        // There is no tree until it has been requested.
        if let Some(tree) = output.platform_output.accesskit_update.take() {
            self.nodes = tree.nodes;
        }
    }
}
