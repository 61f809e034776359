// Data movement: permuted axes, and slices of an axis.
#include "lib/flat.wgsl"

const LANES: u32 = 256u;
const TILE_X: u32 = 256u;

#entry axes_permute
struct AxesPermuteDims {
    n: u32, // elements
    size1: u32, // size of axis 1 of y, which has 5 axes
    size2: u32, // size of axis 2 of y
    size3: u32, // size of axis 3 of y
    size4: u32, // size of axis 4 of y
    stride0: u32, // stride in x of axis 0 of y
    stride1: u32, // stride in x of axis 1 of y
    stride2: u32, // stride in x of axis 2 of y
    stride3: u32, // stride in x of axis 3 of y
    stride4: u32, // stride in x of axis 4 of y
}

@group(0) @binding(0) var<uniform> dims: AxesPermuteDims;
@group(0) @binding(1) var<storage, read> x: array<f32>; // [n]
@group(0) @binding(2) var<storage, read_write> y: array<f32>; // [n]

// y[i0, .., i4] = x[sum_k i_k stride_k]
// Work: one invocation per element of y.
@compute @workgroup_size(LANES)
fn axes_permute(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat_group(group, groups) * LANES + lane;
    if (i >= dims.n) {
        return;
    }
    var rest = i;
    var at = 0u;
#for k in 0..4
    at += (rest % dims.size${4 - k}) * dims.stride${4 - k};
    rest /= dims.size${4 - k};
#end
    y[i] = x[at + rest * dims.stride0];
}

#entry axes_slice
struct AxesDims {
    n: u32, // elements that are written
    width: u32, // elements of a row of x: product of the sizes from the axis on
    out_width: u32, // elements of a row of y
    first: u32, // start of the narrower row in the wider one
}

@group(0) @binding(0) var<uniform> dims: AxesDims;
@group(0) @binding(1) var<storage, read> x: array<f32>; // [rows, width]
@group(0) @binding(2) var<storage, read_write> y: array<f32>; // [rows, out_width]

// y = x[:, first .. first + out_width]
// Work: one invocation per element of y.
@compute @workgroup_size(LANES)
fn axes_slice(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat_group(group, groups) * LANES + lane;
    if (i < dims.n) {
        y[i] = x[(i / dims.out_width) * dims.width + dims.first + i % dims.out_width];
    }
}

#entry axes_pad
struct AxesDims {
    n: u32, // elements that are written
    width: u32, // elements of a row of x: product of the sizes from the axis on
    out_width: u32, // elements of a row of y
    first: u32, // start of the narrower row in the wider one
}

@group(0) @binding(0) var<uniform> dims: AxesDims;
@group(0) @binding(1) var<storage, read> x: array<f32>; // [rows, width]
@group(0) @binding(2) var<storage, read_write> y: array<f32>; // [rows, out_width]

// y[:, first .. first + width] = x, 0 elsewhere
// Work: one invocation per element of y.
@compute @workgroup_size(LANES)
fn axes_pad(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat_group(group, groups) * LANES + lane;
    if (i >= dims.n) {
        return;
    }
    let column = i % dims.out_width;
    var value = 0.0;
    if (column >= dims.first && column < dims.first + dims.width) {
        value = x[(i / dims.out_width) * dims.width + column - dims.first];
    }
    y[i] = value;
}

#entry axes_concat
struct AxesDims {
    n: u32, // elements that are written
    width: u32, // elements of a row of x: product of the sizes from the axis on
    out_width: u32, // elements of a row of y
    first: u32, // start of the narrower row in the wider one
}

@group(0) @binding(0) var<uniform> dims: AxesDims;
@group(0) @binding(1) var<storage, read> x: array<f32>; // [rows, width]
@group(0) @binding(2) var<storage, read_write> y: array<f32>; // [rows, out_width]

// y[:, first .. first + width] = x: one tensor's part of y; other dispatches write the rest
// Work: one invocation per element of x.
@compute @workgroup_size(LANES)
fn axes_concat(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat_group(group, groups) * LANES + lane;
    if (i < dims.n) {
        y[(i / dims.width) * dims.out_width + dims.first + i % dims.width] = x[i];
    }
}
