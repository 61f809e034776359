// Elementwise maps over n elements.
// OF is the map; LIB includes 1: activations, 2: cosine and sine.
#params OF LIB
#include "lib/flat.wgsl"
#if LIB == 1
#include "lib/activation.wgsl"
#end
#if LIB == 2
#include "lib/trig.wgsl"
#end

const LANES: u32 = 256u;
const TILE_X: u32 = 256u;

#entry pointwise_neg OF=-x[i] LIB=0
#entry pointwise_exp OF=exp(clamp(x[i],-87.3,88.7)) LIB=0
#entry pointwise_ln OF=log(x[i]) LIB=0
#entry pointwise_sqrt OF=sqrt(x[i]) LIB=0
#entry pointwise_rsqrt OF=inverseSqrt(x[i]) LIB=0
#entry pointwise_recip OF=1.0/x[i] LIB=0
#entry pointwise_square OF=x[i]*x[i] LIB=0
#entry pointwise_tanh OF=2.0*sigmoid(2.0*x[i])-1.0 LIB=1
#entry pointwise_sigmoid OF=sigmoid(x[i]) LIB=1
#entry pointwise_silu_fwd OF=silu(x[i]) LIB=1
#entry pointwise_gelu OF=gelu(x[i]) LIB=1
#entry pointwise_relu OF=max(x[i],0.0) LIB=0
#entry pointwise_step OF=select(0.0,1.0,x[i]>0.0) LIB=0
#entry pointwise_cos OF=cos_sin(x[i]).x LIB=2
#entry pointwise_sin OF=cos_sin(x[i]).y LIB=2
#entry pointwise_copy OF=x[i] LIB=0
struct PointwiseDims {
    n: u32, // elements of each tensor
}

@group(0) @binding(0) var<uniform> dims: PointwiseDims;
@group(0) @binding(1) var<storage, read> x: array<f32>; // [n]
@group(0) @binding(2) var<storage, read_write> y: array<f32>; // [n]

// y[i] = ${OF}
// Work: one invocation per element.
@compute @workgroup_size(LANES)
fn ${ENTRY}(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat_group(group, groups) * LANES + lane;
    if (i < dims.n) {
        y[i] = ${OF};
    }
}

#entry pointwise_affine OF=dims.a*x[i]+dims.b LIB=0
struct PointwiseAffineDims {
    n: u32, // elements of each tensor
    a: f32, // factor
    b: f32, // added to the product
}

@group(0) @binding(0) var<uniform> dims: PointwiseAffineDims;
@group(0) @binding(1) var<storage, read> x: array<f32>; // [n]
@group(0) @binding(2) var<storage, read_write> y: array<f32>; // [n]

// y[i] = a x[i] + b
// Work: one invocation per element.
@compute @workgroup_size(LANES)
fn pointwise_affine(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat_group(group, groups) * LANES + lane;
    if (i < dims.n) {
        y[i] = ${OF};
    }
}

#entry pointwise_silu_bwd OF=silu_slope(x[i]) LIB=1
#entry pointwise_gelu_bwd OF=gelu_slope(x[i]) LIB=1
struct PointwiseDims {
    n: u32, // elements of each tensor
}

@group(0) @binding(0) var<uniform> dims: PointwiseDims;
@group(0) @binding(1) var<storage, read> g: array<f32>; // [n]
@group(0) @binding(2) var<storage, read> x: array<f32>; // [n]
@group(0) @binding(3) var<storage, read_write> gx: array<f32>; // [n]

// gx[i] = g[i] ${OF}
// Work: one invocation per element.
@compute @workgroup_size(LANES)
fn ${ENTRY}(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat_group(group, groups) * LANES + lane;
    if (i < dims.n) {
        gx[i] = g[i] * ${OF};
    }
}

#entry pointwise_add OF=a[i]+b[i] LIB=0
#entry pointwise_sub OF=a[i]-b[i] LIB=0
#entry pointwise_mul OF=a[i]*b[i] LIB=0
#entry pointwise_div OF=a[i]/b[i] LIB=0
#entry pointwise_maximum OF=max(a[i],b[i]) LIB=0
struct PointwiseDims {
    n: u32, // elements of each tensor
}

@group(0) @binding(0) var<uniform> dims: PointwiseDims;
@group(0) @binding(1) var<storage, read> a: array<f32>; // [n]
@group(0) @binding(2) var<storage, read> b: array<f32>; // [n]
@group(0) @binding(3) var<storage, read_write> y: array<f32>; // [n]

// y[i] = ${OF}
// Work: one invocation per element.
@compute @workgroup_size(LANES)
fn ${ENTRY}(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat_group(group, groups) * LANES + lane;
    if (i < dims.n) {
        y[i] = ${OF};
    }
}
