// The pixels of windows and the windows of pixels, along one axis.

// First and end of the pixels, of `size`, in window `at`.
fn inside(at: u32, before: u32, kernel: u32, size: u32) -> vec2<u32> {
    let first = at * dims.stride;
    let end = min(max(first + kernel, before) - before, size);
    return vec2(min(max(first, before) - before, end), end);
}

// First and end of the windows, of `count`, that contain pixel `at`.
fn around(at: u32, before: u32, kernel: u32, count: u32) -> vec2<u32> {
    let end = min((at + before) / dims.stride + 1u, count);
    let first = (max(at + before + 1u, kernel) - kernel + dims.stride - 1u) / dims.stride;
    return vec2(min(first, end), end);
}
