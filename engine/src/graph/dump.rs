//! Text dumps of graphs and plans, one node or step per line: for people and for golden tests.

use super::plan::{Operand, Place, Plan};
use super::{Graph, Kind, SetId};
use std::fmt;

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, node) in self.nodes().iter().enumerate() {
            let name = match &node.kind {
                Kind::Param(SetId::MAIN, name) => format!("param {name}"),
                Kind::Param(set, name) => format!("param {set:?} {name}"),
                Kind::Input(name) => format!("input {name}"),
                Kind::Const(value) => format!("const {value}"),
                Kind::Table(table) => format!("{table:?}"),
                Kind::Arena(arena, segment) => format!("arena {arena:?}[{segment}]"),
                Kind::Reshape => "reshape".into(),
                Kind::StopGradient => "stop_gradient".into(),
                Kind::Op(op) => op.name().into(),
            };
            write!(f, "%{i} = {name}")?;
            for v in &node.ins {
                write!(f, " %{}", v.node.0)?;
                if self.node(v.node).outs.len() > 1 {
                    write!(f, ".{}", v.out)?;
                }
            }
            writeln!(f, " -> {:?}", node.outs)?;
        }
        Ok(())
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} steps, {} slots, {} bytes, {} MACs",
            self.steps.len(),
            self.slots.len(),
            self.slot_bytes(),
            self.macs()
        )?;
        let operand = |o: &Operand| match o.place {
            Place::Slot(s) => format!("s{s}"),
            Place::Arena(arena, segment, offset) => format!("{arena:?}[{segment}]+{offset}"),
        };
        let list = |ops: &[Operand]| ops.iter().map(operand).collect::<Vec<_>>().join(" ");
        for step in &self.steps {
            writeln!(
                f,
                "{} {} -> {} {:?}",
                step.op.name(),
                list(&step.ins),
                list(&step.outs),
                step.out_types
            )?;
        }
        Ok(())
    }
}
