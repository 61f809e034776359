// Value `inner` of the patch of window `row`, counted through the batch; 0 outside the image.
fn patch_value(row: u32, inner: u32) -> Element {
    let tap = inner / dims.channels;
    let line = row / dims.out_width;
    // Negative numbers become larger than any image.
    let h = line % dims.out_height * dims.stride + tap / dims.kernel_width - dims.top;
    let q = row % dims.out_width * dims.stride + tap % dims.kernel_width - dims.left;
    if (h >= dims.height || q >= dims.width) {
        return Element();
    }
    let pixel = (line / dims.out_height * dims.height + h) * dims.width + q;
    return x[(pixel * dims.channels + inner % dims.channels) / MULTIPLE];
}
