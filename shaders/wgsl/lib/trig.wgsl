// WGSL allows cos and sin an error of 2^-11; this version has about 1e-7 for |x| < 1e4.
// x = k pi/2 + r, with pi/2 split into three parts (Cody and Waite), then the Taylor series for |r| <= pi/4.
fn cos_sin(x: f32) -> vec2<f32> {
    let k = round(x * 0.63661977);
    let r = ((x - k * 1.5703125) - k * 4.837512969970703e-4) - k * 7.549789948768648e-8;
    let r2 = r * r;
    let c = 1.0 + r2 * (-0.5 + r2 * (4.1666667e-2 + r2 * (-1.3888889e-3 + r2 * (2.4801587e-5 - r2 * 2.755732e-7))));
    let s = r * (1.0 + r2 * (-1.6666667e-1 + r2 * (8.3333333e-3 + r2 * (-1.9841270e-4 + r2 * 2.7557319e-6))));
    let quadrant = i32(k) & 3;
    let swapped = select(vec2(c, s), vec2(s, c), (quadrant & 1) == 1);
    return vec2(
        select(swapped.x, -swapped.x, quadrant == 1 || quadrant == 2),
        select(swapped.y, -swapped.y, quadrant >= 2),
    );
}
