//! Figures of DiT on ImageNet 256x256: FID-50K without guidance (arXiv 2212.09748, table 4).

/// Images of a training step.
const BATCH: f64 = 256.0;

/// Models of a patch size: the side of the patch; work of a forward in GMAC, which the paper calls Gflops; FID after 400 thousand steps.
pub const SIZES: [(&str, [[f64; 2]; 4]); 3] = [
    (
        "patch 8",
        [
            [0.36, 153.60],
            [1.42, 122.74],
            [5.01, 118.87],
            [7.39, 106.41],
        ],
    ),
    (
        "patch 4",
        [
            [1.41, 100.41],
            [5.56, 68.38],
            [19.70, 45.64],
            [29.05, 43.01],
        ],
    ),
    (
        "patch 2",
        [
            [6.06, 68.40],
            [23.01, 43.47],
            [80.71, 23.33],
            [118.64, 19.47],
        ],
    ),
];

/// XL/2 after more steps: thousands of them, and FID.
pub const XL: (f64, [[f64; 2]; 3]) = (118.64, [[400.0, 19.47], [2350.0, 10.67], [7000.0, 9.62]]);

/// XL/2 with each design after 400 thousand steps, in the order of the study's: GMAC and FID.
pub const DESIGNS: [[f64; 2]; 4] = [
    [119.37, 35.24],
    [137.62, 26.14],
    [118.56, 25.21],
    [118.64, 19.47],
];

/// Work of a training in GMAC.
pub fn training(forward: f64, kilosteps: f64) -> f64 {
    3.0 * forward * BATCH * kilosteps * 1e3
}
