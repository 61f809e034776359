//! The controls of the program as data: for tests, which find them by role and name, and for the page, which repeats them as HTML
//! elements that screen readers know.

use egui::accesskit::{Action, ActionData, ActionRequest, Node, NodeId, Role, Toggled, TreeId};
use egui::{Context, Event, FullOutput, Plugin, Popup, RawInput};
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};

type Nodes<'a> = HashMap<NodeId, &'a Node>;

/// The controls of the last frame, and what the page asks of them.
#[derive(Default)]
pub struct Controls {
    nodes: Vec<(NodeId, Node)>,
    root: Option<NodeId>,
    /// The list that the page has.
    told: String,
    /// Actions for the next frame.
    asked: Vec<ActionRequest>,
    /// Whether open menus close after the next frame.
    chosen: bool,
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

    /// The control's own name, or that of its label; what a text says.
    fn name<'a>(&'a self, node: &'a Node) -> Option<&'a str> {
        let labelled = || {
            let label = node.labelled_by().first()?;
            let (_, label) = self.nodes.iter().find(|(id, _)| id == label)?;
            label.value().or(label.label())
        };
        let said = || node.value().filter(|_| node.role() == Role::Label);
        node.label().or_else(labelled).or_else(said)
    }

    /// All controls and texts in the order of the window, and the `news`, as JSON; nothing if the page has this list already.
    pub fn list(&mut self, zoom: f64, news: &[String]) -> Option<String> {
        let nodes: Nodes<'_> = self.nodes.iter().map(|(id, node)| (*id, node)).collect();
        // What names a control is read with it.
        let labels: HashSet<_> = self
            .nodes
            .iter()
            .flat_map(|(_, n)| n.labelled_by())
            .collect();
        let mut list = Vec::new();
        let mut left: Vec<_> = self.root.into_iter().collect();
        while let Some(id) = left.pop() {
            let Some(node) = nodes.get(&id) else {
                continue;
            };
            if node.role() == Role::Tooltip {
                // It is the description of its control.
                continue;
            }
            left.extend(node.children().iter().rev());
            if !labels.contains(&id) {
                list.extend(self.item(&nodes, id, node, zoom));
            }
        }
        let text = json!({ "list": list, "news": news }).to_string();
        if text == self.told {
            return None;
        }
        self.told = text.clone();
        Some(text)
    }

    /// What the page needs of a control or text; nothing for what is neither.
    fn item(&self, nodes: &Nodes<'_>, id: NodeId, node: &Node, zoom: f64) -> Option<Value> {
        let kind = match node.role() {
            Role::Button | Role::Link | Role::DisclosureTriangle => "button",
            Role::CheckBox => "checkbox",
            Role::RadioButton => "radio",
            Role::Slider => "range",
            Role::SpinButton => "number",
            Role::ComboBox => "menu",
            Role::Heading => "heading",
            Role::Image | Role::Canvas => "image",
            Role::Label | Role::ProgressIndicator => "text",
            _ => return None,
        };
        let name = self
            .name(node)
            .or(node.value())
            .filter(|name| !name.is_empty())?;
        let at = node.bounds()?;
        let at = [at.x0, at.y0, at.x1 - at.x0, at.y1 - at.y0].map(|x| (x * zoom).round());
        let open = match node.role() {
            Role::ComboBox => Some(Self::is_open(nodes, node)),
            _ => node.is_expanded(),
        };
        Some(json!({
            // As a text, because not every 64-bit number is one in JavaScript.
            "id": id.0.to_string(),
            "kind": kind,
            "name": name,
            "text": node.value(),
            "number": node.numeric_value(),
            "min": node.min_numeric_value(),
            "max": node.max_numeric_value(),
            "step": node.numeric_value_step(),
            "on": node.toggled().map(|toggled| toggled == Toggled::True),
            "open": open,
            "off": node.is_disabled(),
            "about": node.description().filter(|about| *about != name),
            "at": at,
        }))
    }

    /// Whether a menu is open: then its entries are below it. egui says so of collapsing headers alone.
    fn is_open(nodes: &Nodes<'_>, menu: &Node) -> bool {
        let mut left = menu.children().to_vec();
        while let Some(node) = left.pop().and_then(|id| nodes.get(&id)) {
            if node.role() == Role::ListBox {
                return true;
            }
            left.extend(node.children());
        }
        false
    }

    /// Asks for an action in the next frame.
    pub fn ask(&mut self, id: u64, action: Action, value: Option<f64>) {
        self.asked.push(ActionRequest {
            action,
            target_tree: TreeId::ROOT,
            target_node: NodeId(id),
            data: value.map(ActionData::NumericValue),
        });
    }

    /// Clicks on a control in the next frame.
    pub fn click(&mut self, id: u64) {
        // A click of a pointer closes menus, but not one that is asked for.
        let mut nodes = self.nodes.iter();
        self.chosen = !nodes.any(|(node, n)| node.0 == id && n.role() == Role::ComboBox);
        self.ask(id, Action::Click, None);
    }

    /// Closes menus after the next frame.
    pub fn close(&mut self) {
        self.chosen = true;
    }

    /// The next list is told even if it is the same.
    pub fn forget(&mut self) {
        self.told.clear();
    }
}

impl Plugin for Controls {
    fn debug_name(&self) -> &'static str {
        "controls"
    }

    fn input_hook(&mut self, _ctx: &Context, input: &mut RawInput) {
        let asked = self.asked.drain(..).map(Event::AccessKitActionRequest);
        input.events.extend(asked);
    }

    fn output_hook(&mut self, ctx: &Context, output: &mut FullOutput) {
        // There is no tree until it has been requested.
        if let Some(tree) = output.platform_output.accesskit_update.take() {
            self.nodes = tree.nodes;
            self.root = tree.tree.map(|tree| tree.root);
        }
        if std::mem::take(&mut self.chosen) {
            Popup::close_all(ctx);
            ctx.request_repaint();
        }
    }
}
