//! House rules that naga does not check, for readers and for strict browsers.

use super::Shader;
use naga::valid::GlobalUse;
use naga::{AddressSpace, Block, Function, Handle, Literal, Statement, StorageAccess};
use std::fmt::Display;

/// WebGPU's default limits.
const MAX_STORAGE_BINDINGS: usize = 8;
const MAX_INVOCATIONS: u32 = 256;
const MAX_WORKGROUP_BYTES: u32 = 16 * 1024;

/// Checks all house rules; the error lists every violation, one per line.
pub fn check(shader: &Shader) -> Result<(), String> {
    let mut broken = Broken {
        shader,
        rules: Vec::new(),
    };
    names(shader, &mut broken);
    barriers(shader, &mut broken);
    numbers(shader, &mut broken);
    limits(shader, &mut broken);
    bindings(shader, &mut broken);
    comments(shader, &mut broken);
    if broken.rules.is_empty() {
        Ok(())
    } else {
        Err(broken.rules.join("\n"))
    }
}

/// The violations so far, each with its line.
struct Broken<'a> {
    shader: &'a Shader,
    rules: Vec<String>,
}

impl Broken<'_> {
    /// Reports a violation by the entry point as a whole.
    fn push(&mut self, rule: impl Display) {
        self.push_at("@compute", rule);
    }

    /// Reports a violation at the first line that contains `part`.
    fn push_at(&mut self, part: &str, rule: impl Display) {
        let lines = &mut self.shader.source.lines();
        self.push_line(
            lines.position(|line| line.contains(part)).unwrap_or(0),
            rule,
        );
    }

    fn push_line(&mut self, line: usize, rule: impl Display) {
        let (origin, entry) = (&self.shader.origins[line], &self.shader.entry);
        self.rules.push(format!("{origin}: {entry}: {rule}"));
    }
}

fn names(shader: &Shader, broken: &mut Broken) {
    let prefix = format!("{}_", shader.stem);
    if !shader.entry.starts_with(&prefix) {
        broken.push(format_args!(
            "an entry point of this file is named {prefix}..."
        ));
    }
}

/// Functions that contain a barrier must have the prefix `wg_`: their callers must have uniform control flow.
fn barriers(shader: &Shader, broken: &mut Broken) {
    let mut with_barrier: Vec<Handle<Function>> = Vec::new();
    // In naga's arena, functions come before their callers, so one pass sees every callee first.
    for (handle, function) in shader.module.functions.iter() {
        let name = function.name.as_deref().unwrap_or_default();
        let declared = format!("fn {name}(");
        if has_barrier(&function.body, &with_barrier) {
            with_barrier.push(handle);
            if !name.starts_with("wg_") {
                broken.push_at(
                    &declared,
                    format_args!("function {name} holds a barrier: name it wg_{name}"),
                );
            }
        } else if name.starts_with("wg_") {
            broken.push_at(
                &declared,
                format_args!("function {name} holds no barrier: wg_ is for those that do"),
            );
        }
    }
}

fn has_barrier(block: &Block, with_barrier: &[Handle<Function>]) -> bool {
    block.iter().any(|statement| match statement {
        Statement::ControlBarrier(_)
        | Statement::MemoryBarrier(_)
        | Statement::WorkGroupUniformLoad { .. } => true,
        Statement::Call { function, .. } => with_barrier.contains(function),
        Statement::Block(inner) => has_barrier(inner, with_barrier),
        Statement::If { accept, reject, .. } => [accept, reject]
            .iter()
            .any(|b| has_barrier(b, with_barrier)),
        Statement::Switch { cases, .. } => cases
            .iter()
            .any(|case| has_barrier(&case.body, with_barrier)),
        Statement::Loop {
            body, continuing, ..
        } => [body, continuing]
            .iter()
            .any(|b| has_barrier(b, with_barrier)),
        _ => false,
    })
}

/// WGSL does not guarantee infinities and NaN, so a kernel neither writes nor tests them.
fn numbers(shader: &Shader, broken: &mut Broken) {
    for (i, line) in shader.source.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        let words = code.split(|c: char| !c.is_alphanumeric() && c != '_');
        for word in words.filter(|word| {
            matches!(
                *word,
                "inf" | "nan" | "isinf" | "isnan" | "INFINITY" | "NAN"
            )
        }) {
            broken.push_line(i, format_args!("`{word}`: WGSL has no infinity and no NaN"));
        }
    }
    let module = &shader.module;
    let functions = module.functions.iter().map(|(_, function)| function);
    for function in functions.chain(module.entry_points.iter().map(|entry| &entry.function)) {
        for (handle, expression) in function.expressions.iter() {
            if matches!(expression, naga::Expression::Literal(Literal::F32(value)) if value.abs() >= 1e38)
            {
                let span = function.expressions.get_span(handle);
                broken.push_line(
                    span.location(&shader.source).line_number as usize - 1,
                    "a literal of 1e38 or more overflows in the next operation",
                );
            }
        }
    }
}

fn limits(shader: &Shader, broken: &mut Broken) {
    let (module, entry) = (&shader.module, &shader.module.entry_points[0]);
    if entry.workgroup_size_overrides.is_some() || !module.overrides.is_empty() {
        broken.push("sizes are `const`: reflection cannot see an `override`");
    }
    let invocations: u32 = entry.workgroup_size.iter().product();
    if invocations > MAX_INVOCATIONS {
        broken.push(format_args!(
            "{invocations} invocations, at most {MAX_INVOCATIONS}"
        ));
    }
    let info = shader.info.get_entry_point(0);
    let used = || {
        module
            .global_variables
            .iter()
            .filter(|(handle, _)| !info[*handle].is_empty())
    };
    let storage = used()
        .filter(|(_, v)| matches!(v.space, AddressSpace::Storage { .. }))
        .count();
    if storage > MAX_STORAGE_BINDINGS {
        broken.push(format_args!(
            "{storage} storage bindings, at most {MAX_STORAGE_BINDINGS}"
        ));
    }
    let workgroup = used().filter(|(_, variable)| variable.space == AddressSpace::WorkGroup);
    let bytes: u32 = workgroup
        .map(|(_, variable)| module.types[variable.ty].inner.size(module.to_ctx()))
        .sum();
    if bytes > MAX_WORKGROUP_BYTES {
        broken.push(format_args!(
            "{bytes} bytes of workgroup memory, at most {MAX_WORKGROUP_BYTES}"
        ));
    }
}

fn bindings(shader: &Shader, broken: &mut Broken) {
    let info = shader.info.get_entry_point(0);
    for (handle, variable) in shader.module.global_variables.iter() {
        let name = variable.name.as_deref().unwrap_or_default();
        let Some(binding) = &variable.binding else {
            continue;
        };
        let declared = format!("> {name}:");
        let usage = info[handle];
        if binding.group != 0 {
            broken.push_at(
                &declared,
                format_args!("binding {name} is in group {}, expected 0", binding.group),
            );
        }
        if usage.is_empty() {
            broken.push_at(&declared, format_args!("binding {name} is never used"));
        }
        match variable.space {
            AddressSpace::Uniform => {
                let ty = shader.module.types[variable.ty]
                    .name
                    .as_deref()
                    .unwrap_or_default();
                if name != "dims" || !ty.starts_with(&camel(&shader.stem)) || !ty.ends_with("Dims")
                {
                    broken.push_at(
                        &declared,
                        format_args!(
                            "uniform {name}: {ty}, expected dims: {}...Dims",
                            camel(&shader.stem)
                        ),
                    );
                }
                struct_comments(shader, ty, broken);
            }
            AddressSpace::Storage { access } => {
                if access.contains(StorageAccess::STORE) && !usage.contains(GlobalUse::WRITE) {
                    broken.push_at(
                        &declared,
                        format_args!(
                            "binding {name} is read_write but never written: declare it read"
                        ),
                    );
                }
                if shape_comment(&shader.source, name).is_none() {
                    broken.push_at(
                        &declared,
                        format_args!("binding {name} has no shape comment, e.g. `// [M, K]`"),
                    );
                }
            }
            _ => broken.push_at(
                &declared,
                format_args!("binding {name} is neither uniform nor storage"),
            ),
        }
    }
}

fn struct_comments(shader: &Shader, name: &str, broken: &mut Broken) {
    for (field, comment) in field_comments(&shader.source, name) {
        if comment.is_empty() {
            broken.push_at(
                &format!(" {field}:"),
                format_args!("field {field} of {name} has no comment that says what it counts"),
            );
        }
    }
}

fn comments(shader: &Shader, broken: &mut Broken) {
    let block = entry_comment(&shader.source);
    if !block
        .iter()
        .any(|line| line.contains('=') && !line.starts_with("Work:"))
    {
        broken.push("no equation in the comment block above @compute");
    }
    if !block.iter().any(|line| line.starts_with("Work:")) {
        broken.push("no line `// Work: ...` (who owns what) in the comment block above @compute");
    }
}

/// The comment lines directly above `@compute`.
pub fn entry_comment(source: &str) -> Vec<&str> {
    let lines: Vec<&str> = source.lines().collect();
    let at = lines
        .iter()
        .position(|line| line.starts_with("@compute"))
        .unwrap_or(0);
    let above = lines[..at]
        .iter()
        .rposition(|line| !line.starts_with("//"))
        .map_or(0, |i| i + 1);
    lines[above..at]
        .iter()
        .map(|line| line.trim_start_matches('/').trim())
        .collect()
}

/// The `// [...]` after the declaration of the storage binding `name`.
pub fn shape_comment<'a>(source: &'a str, name: &str) -> Option<&'a str> {
    let marker = format!("> {name}:");
    let line = source
        .lines()
        .find(|line| line.contains("@binding(") && line.contains(&marker))?;
    let comment = line.split_once("//")?.1.trim();
    let end = comment.find(']')?;
    comment.starts_with('[').then(|| &comment[..=end])
}

/// The fields of the struct `name`, each with its trailing comment.
pub fn field_comments<'a>(source: &'a str, name: &str) -> Vec<(&'a str, &'a str)> {
    let head = format!("struct {name} {{");
    let lines = source
        .lines()
        .skip_while(|line| !line.starts_with(&head))
        .skip(1);
    let fields = lines.take_while(|line| !line.starts_with('}'));
    let parts = fields.filter_map(|line| {
        let (code, comment) = line.split_once("//").unwrap_or((line, ""));
        Some((code.split_once(':')?.0.trim(), comment.trim()))
    });
    parts.collect()
}

/// `pointwise_silu` as `PointwiseSilu`.
fn camel(snake: &str) -> String {
    let capitalized = snake
        .split('_')
        .map(|word| word[..1].to_uppercase() + &word[1..]);
    capitalized.collect()
}
