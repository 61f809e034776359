// Samples in a sheet, as sheet.rs lays them out: sums of recorded arrays through a color scale, into a texture.

struct Strip {
    sum: vec4<f32>, // coefficients of x0 to x3
    less: vec4<f32>, // of y0 to y3, whose sum is taken off
    negative: vec4<f32>, // colors of the signed scale, 0 to 255
    zero: vec4<f32>,
    positive: vec4<f32>,
    range: f32, // numbers beyond it look like it
    is_signed: u32,
    channels: u32, // C
    side: u32, // H
    gap: u32, // pixels between two samples
    columns: u32, // samples in a row
    n: u32, // samples
    left: u32, // first pixel of the strip in the picture
}

@group(0) @binding(0) var<uniform> strip: Strip;
@group(0) @binding(1) var<storage, read> x0: array<f32>; // [n, C, H, H], like all of them
@group(0) @binding(2) var<storage, read> x1: array<f32>;
@group(0) @binding(3) var<storage, read> x2: array<f32>;
@group(0) @binding(4) var<storage, read> x3: array<f32>;
@group(0) @binding(5) var<storage, read> y0: array<f32>;
@group(0) @binding(6) var<storage, read> y1: array<f32>;
@group(0) @binding(7) var<storage, read> y2: array<f32>;
@group(0) @binding(8) var<storage, read> y3: array<f32>;
// What egui expects of a texture: sRGB as it is, not decoded.
@group(0) @binding(9) var picture: texture_storage_2d<rgba8unorm, write>;

fn value(i: u32) -> f32 {
    let sum = strip.sum.x * x0[i] + strip.sum.y * x1[i] + strip.sum.z * x2[i] + strip.sum.w * x3[i];
    let less = strip.less.x * y0[i] + strip.less.y * y1[i] + strip.less.z * y2[i] + strip.less.w * y3[i];
    return sum - less;
}

// [-1, 1] to 0 to 255
fn level(x: vec3<f32>) -> vec3<f32> {
    return floor(127.5 * clamp(x, vec3<f32>(-1.0), vec3<f32>(1.0)) + 128.0);
}

fn color(i: u32) -> vec3<f32> {
    let area = strip.side * strip.side;
    let x = value(i) / strip.range;
    if (strip.channels >= 3u) {
        return level(vec3<f32>(x, value(i + area) / strip.range, value(i + 2u * area) / strip.range));
    }
    if (strip.is_signed == 0u) {
        return level(vec3<f32>(x));
    }
    let end = select(strip.positive.rgb, strip.negative.rgb, x < 0.0);
    return floor(strip.zero.rgb + sqrt(min(abs(x), 1.0)) * (end - strip.zero.rgb));
}

// picture[left + x, y] = color of the sums at pixel (x, y) of the strip; nothing between two samples
// Work: one invocation per pixel of the strip.
@compute @workgroup_size(8, 8)
fn sheet(@builtin(global_invocation_id) at: vec3<u32>) {
    let cell = strip.side + strip.gap;
    let pixel = vec2<u32>(strip.left + at.x, at.y);
    if (at.x >= strip.columns * cell || any(pixel >= textureDimensions(picture))) {
        return;
    }
    let column = at.x / cell;
    let sample = at.y / cell * strip.columns + column;
    let x = at.x % cell;
    let y = at.y % cell;
    if (sample >= strip.n || x >= strip.side || y >= strip.side) {
        textureStore(picture, pixel, vec4<f32>(0.0));
        return;
    }
    let i = (sample * strip.channels * strip.side + y) * strip.side + x;
    textureStore(picture, pixel, vec4<f32>(color(i) / 255.0, 1.0));
}
