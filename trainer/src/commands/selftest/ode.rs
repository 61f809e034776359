//! ODE solvers against the exact flow of a Gaussian, `x1 = m + s x0` from `t = 0` to `t = 1`.

use super::Line;
use super::worlds::{SEED, World, rms};
use crate::error::Result;
use sit_engine::backend::Device;
use sit_engine::sample::initial_noise;
use sit_engine::transport::{
    DdpmSampler, Edm, Grid, Method, Ode, Path, Respacing, Sampler, Tolerance, nfe,
};

/// Points at once.
const N: usize = 128;

/// Below this, errors are those of f32.
const FLOOR: f64 = 2e-5;

/// The error of samples against the exact flow of their noise.
fn error(world: &World, samples: &[f32]) -> f64 {
    let d = world.mixture.dimension();
    let mut noise = vec![0.0; samples.len()];
    initial_noise(&world.model.io(), SEED, 0, &mut noise);
    let component = &world.mixture.components()[0];
    let exact =
        |(i, x0): (usize, &f32)| component.mean[i % d] + component.std[i % d] * f64::from(*x0);
    let pairs = samples.iter().zip(noise.iter().enumerate().map(exact));
    rms(pairs.map(|(got, want)| f64::from(*got) - want))
}

/// The order of every solver with given steps.
pub fn orders(device: &Device) -> Result<Vec<Line>> {
    let world = World::gaussian(device)?;
    let mut lines = Vec::new();
    for (method, order, n_steps) in [
        (Method::Euler, 1.0, 32),
        (Method::Midpoint, 2.0, 16),
        (Method::Heun, 2.0, 16),
        (Method::Heun3, 3.0, 8),
        (Method::Rk4, 4.0, 6),
        (Method::Rk438, 4.0, 6),
        // Of order 2 where the half-logarithm of the signal-to-noise ratio is finite; the first and the last step are of order 1.
        (Method::DpmPlusPlus2m, 1.0, 16),
        (Method::UniPc, 1.0, 16),
    ] {
        let run = |n_steps: u32| -> Result<(f64, usize)> {
            let sampling = world.sampling(Sampler::ode(method, n_steps), N);
            let n = nfe(&sampling.schedule()?);
            Ok((error(&world, &sampling.sample(&[0; N])?), n))
        };
        let ((coarse, _), (fine, n)) = (run(n_steps)?, run(2 * n_steps)?);
        let measured = (coarse / fine).log2();
        // NaN is neither.
        let is_right = fine < FLOOR || measured >= order - 0.4;
        let wrong = (!is_right).then(|| format!("expected order {order}"));
        lines.push(Line {
            name: format!("{method}, {} steps", 2 * n_steps),
            nfe: n as f64,
            measured: format!("error {fine:.1e}, order {measured:.2} of {order}"),
            wrong,
        });
    }
    Ok(lines)
}

/// The error of adaptive solvers follows their tolerance.
pub fn adaptive(device: &Device) -> Result<Vec<Line>> {
    let world = World::gaussian(device)?;
    let mut lines = Vec::new();
    for method in [Method::Dopri5, Method::Bosh3, Method::AdaptiveHeun] {
        for rtol in [1e-3, 1e-5] {
            let sampler = Ode {
                method,
                tolerance: Tolerance {
                    rtol,
                    atol: rtol,
                    ..Tolerance::default()
                },
                ..Ode::default()
            };
            let mut pool = world.sampling(sampler.into(), N).pool()?;
            let numbers: Vec<u64> = (0..N as u64).collect();
            pool.add(SEED, &numbers, &[0; N])?;
            let d = world.mixture.dimension();
            let (mut samples, mut n_evaluations) = (vec![0.0; N * d], 0);
            while !pool.is_empty() {
                for image in pool.step()? {
                    samples[image.number as usize * d..][..d].copy_from_slice(&image.x);
                    n_evaluations += image.nfe;
                }
            }
            let error = error(&world, &samples);
            // A tolerance bounds the error of a step, not of the end; a large step may miss where the flow bends.
            let most = 40.0 * rtol;
            lines.push(Line {
                name: format!("{method}, rtol {rtol:.0e}"),
                nfe: f64::from(n_evaluations) / N as f64,
                measured: format!("error {error:.1e}"),
                wrong: (error.is_nan() || error > most)
                    .then(|| format!("expected at most {most:.0e}")),
            });
        }
    }
    Ok(lines)
}

/// The model of the Linear path along other paths, on other grids, and by EDM's sampler.
pub fn paths(device: &Device) -> Result<Vec<Line>> {
    let world = World::gaussian(device)?;
    let ode = |along: Option<Path>, grid: Grid| {
        Sampler::Ode(Ode {
            method: Method::Rk4,
            n_steps: 60,
            along,
            grid,
            ..Ode::default()
        })
    };
    let edm = Sampler::Edm(Edm {
        n_steps: 60,
        ..Edm::default()
    });
    let ddim = DdpmSampler {
        respacing: Some(Respacing::Sections(vec![100])),
        ..DdpmSampler::ddim(0.0)
    };
    let cases = [
        ("rk4 along GVP", ode(Some(Path::Gvp), Grid::Uniform), 1e-3),
        ("rk4 along VP", ode(Some(Path::VP), Grid::Uniform), 2e-2),
        ("rk4 along OU", ode(Some(Path::OU), Grid::Uniform), 2e-2),
        ("rk4, times shifted by 3", ode(None, Grid::Shift(3.0)), 1e-3),
        (
            "rk4, times to the power 2",
            ode(None, Grid::Power(2.0)),
            1e-3,
        ),
        ("EDM, heun", edm, 2e-2),
        ("DDPM, ddim", ddim.into(), 2e-2),
    ];
    let mut lines = Vec::new();
    for (name, sampler, most) in cases {
        let sampling = world.sampling(sampler, N);
        let n = nfe(&sampling.schedule()?);
        let error = error(&world, &sampling.sample(&[0; N])?);
        lines.push(Line {
            name: name.into(),
            nfe: n as f64,
            measured: format!("error {error:.1e}"),
            wrong: (error.is_nan() || error >= most)
                .then(|| format!("expected at most {most:.0e}")),
        });
    }
    Ok(lines)
}
