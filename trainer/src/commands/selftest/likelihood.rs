//! Likelihoods along the reverse ODE against the density of a mixture.

use super::Line;
use super::worlds::{World, drawn};
use crate::error::Result;
use sit_engine::backend::Device;
use sit_engine::sample::{Draw, LogLikelihood, Trace};
use sit_engine::transport::{Method, Ode, Path, Sampler, Tolerance};

/// Points at once.
const N: usize = 64;

/// The exact trace gives the density; random probes give it up to their own error.
pub fn densities(device: &Device) -> Result<Vec<Line>> {
    let world = World::three(device)?;
    let adaptive = Ode {
        method: Method::Dopri5,
        tolerance: Tolerance {
            rtol: 1e-5,
            atol: 1e-5,
            ..Tolerance::default()
        },
        ..Ode::default()
    };
    let fixed = Sampler::ode(Method::Rk4, 50);
    let probes = Trace::Hutchinson {
        n_probes: 8,
        draw: Draw::Rademacher,
        is_fresh: false,
    };
    Ok(vec![
        exact(&world, "exact trace, dopri5", adaptive.clone().into())?,
        exact(&world, "exact trace, rk4, 50 steps", fixed)?,
        estimated(&world, "8 probes, dopri5", adaptive.into(), probes)?,
    ])
}

/// Log-densities of points of the data, less what they must be.
fn errors(world: &World, sampler: Sampler, trace: Trace) -> Result<(Vec<LogLikelihood>, Vec<f64>)> {
    let points = (0..N as u64).flat_map(|i| drawn(&world.mixture, i));
    let x: Vec<f32> = points.map(|x| x as f32).collect();
    let numbers: Vec<u64> = (0..N as u64).collect();
    let mut likelihood = world.sampling(sampler, N).likelihood(trace)?;
    likelihood.add(&numbers, &x, &[0; N])?;
    let mut done = Vec::with_capacity(N);
    while !likelihood.is_empty() {
        done.extend(likelihood.step()?);
    }
    done.sort_by_key(|point| point.number);
    let data = world.mixture.at(&Path::Linear, 1.0);
    let rows = x.chunks_exact(world.mixture.dimension()).zip(&done);
    let errors = rows.map(|(x, point)| {
        let x: Vec<f64> = x.iter().map(|&x| x.into()).collect();
        point.nats - data.log_density(&x)
    });
    let errors = errors.collect();
    Ok((done, errors))
}

fn nfe(points: &[LogLikelihood]) -> f64 {
    let sum: f64 = points.iter().map(|point| f64::from(point.nfe)).sum();
    sum / points.len().max(1) as f64
}

fn exact(world: &World, name: &str, sampler: Sampler) -> Result<Line> {
    const MOST: f64 = 0.01;
    let (points, errors) = errors(world, sampler, Trace::Exact)?;
    let worst = errors.iter().fold(0.0, |worst: f64, error| {
        if error.is_nan() {
            f64::INFINITY
        } else {
            worst.max(error.abs())
        }
    });
    Ok(Line {
        name: name.into(),
        nfe: nfe(&points),
        measured: format!("log p at most {worst:.1e} nats off"),
        wrong: (worst > MOST).then(|| format!("expected at most {MOST}")),
    })
}

fn estimated(world: &World, name: &str, sampler: Sampler, trace: Trace) -> Result<Line> {
    let (points, errors) = errors(world, sampler, trace)?;
    let mean = errors.iter().sum::<f64>() / N as f64;
    let squares: f64 = points
        .iter()
        .map(|point| point.std_error.unwrap_or(0.0).powi(2))
        .sum();
    let far = mean.abs() / (squares.sqrt() / N as f64);
    Ok(Line {
        name: name.into(),
        nfe: nfe(&points),
        measured: format!("mean log p {far:.1} standard errors off"),
        wrong: (far.is_nan() || far > 4.0).then(|| "expected at most 4".into()),
    })
}
