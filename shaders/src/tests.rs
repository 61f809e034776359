//! Tests of the build script's modules, on minimal shaders.

use crate::build::{self, check, reflect, template};
use crate::{ALL, Access, AdalnDims, Elem, LINEAR_FWD_32, LINEAR_FWD_64};

/// A shader that satisfies all rules.
const GOOD: &str = "
struct DemoDims {
    n: u32, // elements
}

#entry demo_fwd
@group(0) @binding(0) var<uniform> dims: DemoDims;
@group(0) @binding(1) var<storage, read> x: array<f32>; // [n]
@group(0) @binding(2) var<storage, read_write> y: array<f32>; // [n]

// y = x
// Work: one invocation per element.
@compute @workgroup_size(64)
fn demo_fwd(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x < dims.n) {
        y[id.x] = x[id.x];
    }
}
";

fn no_file(path: &str) -> Result<String, String> {
    Err(format!("{path} is not there"))
}

fn expand(text: &str) -> Result<Vec<template::Entry>, String> {
    template::expand("demo.wgsl", text, &no_file)
}

/// Runs the build script's steps on one file.
fn build(text: &str) -> Result<build::Shader, String> {
    let entries = expand(text)?;
    let shader = build::compile("demo", &entries[0])?;
    check::check(&shader)?;
    Ok(shader)
}

#[track_caller]
fn refused(text: &str, message: &str) {
    let error = build(text).err().unwrap_or_default();
    assert!(
        error.starts_with("demo.wgsl:") && error.contains(message),
        "expected {message:?}, got:\n{error}"
    );
}

/// `GOOD` with `from` replaced.
#[track_caller]
fn with(from: &str, to: &str) -> String {
    assert_eq!(GOOD.matches(from).count(), 1, "{from}");
    GOOD.replace(from, to)
}

#[test]
fn every_house_rule_refuses() {
    assert_eq!(build(GOOD).err(), None);
    let body = "y[id.x] = x[id.x];";
    let function = "@compute";
    let x = "// [n]\n@group(0) @binding(2)";
    for (from, to, message) in [
        (
            "fn demo_fwd(",
            "fn other(",
            "exactly one entry point, named demo_fwd",
        ),
        (
            body,
            "y[id.x] = 1u;",
            "demo.wgsl:16: error: automatic conversions cannot convert elements",
        ),
        (body, "y[id.x] = x[id.x] / nan;", "no definition in scope"),
        (
            body,
            "let inf = 1.0; y[id.x] = inf;",
            "demo.wgsl:16: demo_fwd: `inf`",
        ),
        (
            body,
            "y[id.x] = 2e38;",
            "demo.wgsl:16: demo_fwd: a literal of 1e38",
        ),
        (
            "@workgroup_size(64)",
            "@workgroup_size(512)",
            "demo.wgsl:13: demo_fwd: 512 invocations, at most 256",
        ),
        (
            "@group(0) @binding(1)",
            "@group(1) @binding(1)",
            "demo.wgsl:8: demo_fwd: binding x is in group 1",
        ),
        (body, "y[id.x] = 1.0;", "binding x is never used"),
        (
            "var<storage, read> x",
            "var<storage, read_write> x",
            "x is read_write but never written",
        ),
        (
            x,
            "\n@group(0) @binding(2)",
            "binding x has no shape comment",
        ),
        (
            x,
            "// n of them\n@group(0) @binding(2)",
            "binding x has no shape comment",
        ),
        (
            "// elements",
            "",
            "demo.wgsl:3: demo_fwd: field n of DemoDims has no comment",
        ),
        ("// y = x\n", "", "no equation"),
        (
            "// Work: one invocation per element.\n",
            "",
            "no line `// Work: ...`",
        ),
    ] {
        refused(&with(from, to), message);
    }
    for (from, to, message) in [
        ("DemoDims", "OtherDims", "expected dims: Demo...Dims"),
        ("demo_fwd", "other_fwd", "named demo_..."),
        ("dims", "sizes", "expected dims: Demo...Dims"),
    ] {
        refused(&GOOD.replace(from, to), message);
    }
    for (declaration, message) in [
        (
            "override WIDTH: u32 = 64u;\n",
            "reflection cannot see an `override`",
        ),
        (
            "fn sync() {\n    workgroupBarrier();\n}\n",
            "demo.wgsl:11: demo_fwd: function sync holds a barrier: name it wg_sync",
        ),
        (
            "fn wg_one() -> f32 {\n    return 1.0;\n}\n",
            "wg_one holds no barrier",
        ),
    ] {
        refused(
            &with("// y = x\n", &format!("{declaration}// y = x\n")),
            message,
        );
    }
    let shared = "var<workgroup> tile: array<vec4<f32>, 1025>;\n@compute";
    let uses = with(body, "tile[0] = vec4(x[id.x]); y[id.x] = tile[0].x;");
    let memory = uses.replace(function, shared).replace("// y = x\n", "");
    refused(&memory, "16400 bytes of workgroup memory, at most 16384");
}

#[test]
fn storage_bindings_are_counted() {
    let mut text = GOOD.to_string();
    for i in 3..10 {
        let declaration =
            format!("@group(0) @binding({i}) var<storage, read> x{i}: array<f32>; // [n]\n\n// y");
        text = text.replacen("\n// y", &declaration, 1);
        text = text.replace("= x", &format!("= x{i}[id.x] + x"));
    }
    refused(&text, "9 storage bindings, at most 8");
}

#[test]
fn templates_expand() {
    let library = |path: &str| match path {
        "lib/add.wgsl" => Ok("#params NAME N\nfn ${NAME}() -> u32 { return ${N * 2}u; }".into()),
        _ => no_file(path),
    };
    let text = "\
#params TILE WIDE
const T: u32 = ${TILE}u;
#entry a TILE=8 WIDE=1
#entry b TILE=4 WIDE=0
#include \"lib/add.wgsl\" NAME=add_${TILE} N=${TILE + 1}
#for i in 1..TILE / 4 + 1
#for j in 0..2
${ENTRY} ${i * 10 + j}
#end
#end
#if WIDE == 1
wide
#else
narrow
#end
#entry c TILE=9 WIDE=0
last ${(TILE + 1) * 2 % 4}
";
    let entries = template::expand("demo.wgsl", text, &library).expect("it expands");
    let expanded: Vec<(&str, &str)> = entries
        .iter()
        .map(|entry| (&entry.name[..], &entry.source[..]))
        .collect();
    let a = "const T: u32 = 8u;\nfn add_8() -> u32 { return 18u; }\na 10\na 11\na 20\na 21\nwide\n";
    let b = "const T: u32 = 4u;\nfn add_4() -> u32 { return 10u; }\nb 10\nb 11\nnarrow\n";
    let c = "const T: u32 = 9u;\nlast 0\n";
    assert_eq!(
        entries[0].origins[..3],
        ["demo.wgsl:2", "lib/add.wgsl:2", "demo.wgsl:8"]
    );
    assert_eq!(expanded, [("a", a), ("b", b), ("c", c)]);
}

#[test]
fn template_errors_name_file_and_line() {
    for (text, message) in [
        ("fn f() {}\n", "demo.wgsl: no #entry line"),
        (
            "#params A\n#entry a\n",
            "demo.wgsl:2: parameter A is not set",
        ),
        ("#entry a B=1\n", "demo.wgsl:1: B is not in #params"),
        ("#entry a\n\n#if 1\n", "demo.wgsl:3: no matching #end"),
        ("#entry a\n#end\n", "demo.wgsl:2: #end is no directive"),
        (
            "#entry a\n${1 +}\n",
            "demo.wgsl:2: in `1 +`: unexpected end",
        ),
        ("#entry a\n${C}\n", "demo.wgsl:2: in `C`: unknown name C"),
        (
            "#entry a\n${1 / 0}\n",
            "demo.wgsl:2: in `1 / 0`: division by zero",
        ),
        ("#entry a\n${1\n", "demo.wgsl:2: `${` without `}`"),
        (
            "#entry a\n#for i in 3\n#end\n",
            "demo.wgsl:2: expected #for NAME in FROM..TO",
        ),
        (
            "#entry a\n#include \"b.wgsl\"\n",
            "demo.wgsl:2: b.wgsl is not there",
        ),
        ("#entry a\n#params A\n", "demo.wgsl:2: #params"),
    ] {
        let error = expand(text).expect_err(text);
        assert!(
            error.starts_with(message),
            "expected {message:?}, got:\n{error}"
        );
    }
}

#[test]
fn reflection_writes_what_the_shader_declares() -> Result<(), String> {
    let rust = reflect::generate(&[build(GOOD)?], |_| "SOURCE".into())?;
    for part in [
        "/// y = x\n/// Work: one invocation per element.\npub static DEMO_FWD: Kernel",
        "workgroup: [64, 1, 1]",
        "name: \"x\", group: 0, index: 1, access: Access::Read, elem: Elem::F32, size_bytes: 4, shape: \"[n]\"",
        "name: \"y\", group: 0, index: 2, access: Access::ReadWrite",
        "pub struct DemoDims {\n    /// elements\n    pub n: u32,\n}",
        "&DEMO_FWD,",
    ] {
        assert!(rust.contains(part), "{part} is not in\n{rust}");
    }
    Ok(())
}

#[test]
fn kernels_are_what_they_say() {
    assert_eq!(LINEAR_FWD_64.tile, [64, 64, 1]);
    assert_eq!(LINEAR_FWD_64.constant("MULTIPLE"), Some(4));
    let x = LINEAR_FWD_64.binding("x").expect("it reads x");
    assert_eq!(
        (x.elem, x.access, x.shape),
        (Elem::Vec4F32, Access::Read, "[M, K]")
    );
    assert_eq!(LINEAR_FWD_32.binding("x").map(|x| x.elem), Some(Elem::F32));
    for (i, kernel) in ALL.iter().enumerate() {
        assert!(
            ALL[..i].iter().all(|other| other.name != kernel.name),
            "{}",
            kernel.name
        );
        assert_eq!(crate::kernel(kernel.name), Some(*kernel));
        let module = naga::front::wgsl::parse_str(kernel.source).expect("validated by the build");
        assert_eq!(
            module.entry_points[0].workgroup_size, kernel.workgroup,
            "{}",
            kernel.name
        );
        let bound = module
            .global_variables
            .iter()
            .filter(|(_, v)| v.binding.is_some());
        assert_eq!(bound.count(), kernel.bindings.len(), "{}", kernel.name);
    }
}

/// Checks the table that `build/platforms.rs` wrote when this crate was built: each kernel as translated by naga for each platform.
#[test]
fn every_kernel_is_written_for_every_platform_within_its_limits() {
    let table = include_str!(concat!(env!("OUT_DIR"), "/platforms.txt"));
    let rows: Vec<Vec<&str>> = table.lines().map(|row| row.split(' ').collect()).collect();
    assert_eq!(rows.len(), 4 * ALL.len());
    for kernel in ALL {
        let [storage, outputs] = [Access::Read, Access::ReadWrite].map(|access| {
            let bindings = kernel.bindings.iter();
            bindings.filter(|b| b.access == access).count()
        });
        // Guaranteed by every WebGPU device.
        assert!(storage + outputs <= 8, "{}", kernel.name);
        let [x, y, z] = kernel.workgroup;
        assert!(
            x <= 256 && y <= 256 && z <= 64 && x * y * z <= 256,
            "{}",
            kernel.name
        );
        for (platform, more) in [("metal", 1), ("direct3d", 0)] {
            for checks in ["checked", "unchecked"] {
                let row = rows
                    .iter()
                    .find(|row| row[..3] == [kernel.name, platform, checks]);
                let row = row.unwrap_or_else(|| panic!("{}: {platform}, {checks}", kernel.name));
                let [buffers, bytes] = [row[3], row[4]].map(|n| n.parse::<usize>().unwrap());
                assert_eq!(buffers, kernel.bindings.len() + more, "{row:?}");
                assert!(buffers <= 31, "{row:?}");
                assert!(bytes > kernel.name.len(), "{row:?}");
            }
        }
    }
}

#[test]
fn uniforms_have_the_layout_of_wgsl() {
    let dims = AdalnDims {
        rows: 1,
        tokens: 2,
        dim: 3,
        centered: 1,
        eps: 0.5,
    };
    let words = [1, 2, 3, 1, 0.5f32.to_bits()];
    assert_eq!(
        crate::uniform_bytes(&dims),
        words.map(u32::to_le_bytes).concat()
    );
}

#[test]
fn grids_cover_their_items() {
    assert_eq!(LINEAR_FWD_64.grid([65, 64, 1]), [2, 1, 1]);
    let kernel = &crate::POINTWISE_ADD;
    assert_eq!(kernel.tile[0], 256);
    assert_eq!(kernel.grid_flat(0), [1, 0, 1]);
    assert_eq!(kernel.grid_flat(256), [1, 1, 1]);
    assert_eq!(kernel.grid_flat(257), [2, 1, 1]);
    assert_eq!(kernel.grid_flat(65_535 * 256), [65_535, 1, 1]);
    assert_eq!(kernel.grid_flat(65_535 * 256 + 1), [65_535, 2, 1]);
    assert_eq!(crate::ADAMW_NORM.grid_flat(256), [1, 1, 1]);
}
