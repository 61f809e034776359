//! SDE samplers against the moments of a mixture; Langevin dynamics; the loss of conditional flow matching.

use super::Line;
use super::worlds::{SEED, World, drawn};
use crate::error::Result;
use sit_engine::analytic::Mixture;
use sit_engine::backend::Device;
use sit_engine::rng::{Stream, fill_normal, uniform};
use sit_engine::transport::{
    DdpmSampler, Diffusion, DiffusionForm, Edm, LastStep, Method, Path, Respacing, Sampler, Sde,
    SdeMethod, langevin, nfe,
};

/// Points at once.
const N: usize = 4096;

/// A bias that steps of finite size may leave, relative to the standard deviation of a coordinate.
const BIAS: f64 = 0.02;

/// Compares means and variances with those of the data; a difference counts in standard errors, after what steps may leave.
fn judge(world: &World, name: String, samples: &[f32], nfe: usize) -> Line {
    let d = world.mixture.dimension();
    let n = samples.len() / d;
    let mut far: f64 = 0.0;
    for (i, [mean, variance]) in world.moments().into_iter().enumerate() {
        let column = || samples.iter().skip(i).step_by(d).map(|&x| f64::from(x));
        let got = column().sum::<f64>() / n as f64;
        let squares = column().map(|x| (x - mean).powi(2)).sum::<f64>() / n as f64;
        let fourth = column().map(|x| (x - mean).powi(4)).sum::<f64>() / n as f64;
        let error_of_mean = (variance / n as f64).sqrt();
        let error_of_variance = ((fourth - variance * variance).max(0.0) / n as f64).sqrt();
        let beyond = |difference: f64, bias: f64, error: f64| {
            let rest = (difference.abs() - bias).max(0.0) / error;
            if rest.is_nan() { f64::INFINITY } else { rest }
        };
        far = far
            .max(beyond(got - mean, BIAS * variance.sqrt(), error_of_mean))
            .max(beyond(
                squares - variance,
                2.0 * BIAS * variance,
                error_of_variance,
            ));
    }
    Line {
        name,
        nfe: nfe as f64,
        measured: format!("moments {far:.1} standard errors off"),
        wrong: (far > 4.0).then(|| "expected at most 4".into()),
    }
}

/// Every SDE sampler reaches the data's distribution, as the ODE does.
pub fn moments(device: &Device) -> Result<Vec<Line>> {
    let world = World::three(device)?;
    let mut lines = Vec::new();
    let mut check = |name: String, sampler: Sampler| -> Result<()> {
        let sampling = world.sampling(sampler, N);
        let n = nfe(&sampling.schedule()?);
        lines.push(judge(&world, name, &sampling.sample(&[0; N])?, n));
        Ok(())
    };
    check("ODE, heun".into(), Sampler::ode(Method::Heun, 50))?;
    for &form in DiffusionForm::ALL {
        if matches!(form, DiffusionForm::Sbdm | DiffusionForm::WKlEta) {
            // Infinite at the start, and dependent on a model's loss.
            continue;
        }
        // A diffusion that does not vanish with sigma needs steps below sigma^2 / D, and a last step without it.
        let (n_steps, last_step) = match form {
            DiffusionForm::Constant => (400, LastStep::Euler),
            _ => (150, LastStep::Mean),
        };
        let sde = Sde {
            method: SdeMethod::Euler,
            diffusion: Diffusion::new(form, 1.0),
            n_steps,
            last_step,
            last_step_size: 0.05,
            ..Sde::default()
        };
        check(format!("euler, {form}"), sde.into())?;
    }
    for method in [
        SdeMethod::Heun,
        SdeMethod::PredictorCorrector,
        SdeMethod::Alternate,
    ] {
        let sde = Sde {
            method,
            n_steps: 100,
            last_step: LastStep::Tweedie,
            ..Sde::default()
        };
        check(format!("{method}, sigma"), sde.into())?;
    }
    let windowed = Sde {
        noise_window: [0.2, 0.8],
        n_steps: 150,
        ..Sde::default()
    };
    check("euler, noise in 0.2..0.8".into(), windowed.into())?;
    let along = Sde {
        along: Some(Path::Gvp),
        n_steps: 150,
        ..Sde::default()
    };
    check("euler along GVP".into(), along.into())?;
    let churn = Edm {
        n_steps: 40,
        churn: 20.0,
        ..Edm::default()
    };
    check("EDM, heun with churn 20".into(), churn.into())?;
    for (name, chain) in [
        ("DDPM, ancestral", DdpmSampler::ancestral()),
        ("DDPM, ddim with eta 0.5", DdpmSampler::ddim(0.5)),
    ] {
        let chain = DdpmSampler {
            respacing: Some(Respacing::Sections(vec![150])),
            ..chain
        };
        check(name.into(), chain.into())?;
    }
    Ok(lines)
}

/// Langevin dynamics on a mixture's energy, and the gradient of the loss of conditional flow matching.
pub fn theory(device: &Device) -> Result<Vec<Line>> {
    let world = World::three(device)?;
    Ok(vec![langevin_line(&world)?, matching_line(&world.mixture)])
}

fn langevin_line(world: &World) -> Result<Line> {
    const STEPS: usize = 400;
    const POINTS: usize = 1000;
    let d = world.mixture.dimension();
    let marginal = world.mixture.at(&Path::Linear, 1.0);
    // Starts from the data: dynamics that keep its distribution are the right ones.
    let mut x: Vec<f64> = Vec::with_capacity(POINTS * d);
    for i in 0..POINTS as u64 {
        x.extend(drawn(&world.mixture, i));
    }
    for (k, step) in langevin(2e-3, STEPS)?.into_iter().enumerate() {
        let mut noise = vec![0.0; x.len()];
        fill_normal(SEED, Stream::SdeNoise, k as u32, 0, &mut noise);
        step.apply(&mut x, &noise, |x, _| {
            x.chunks_exact(d).flat_map(|x| marginal.score(x)).collect()
        });
    }
    let samples: Vec<f32> = x.iter().map(|&x| x as f32).collect();
    Ok(judge(world, "Langevin, 400 steps".into(), &samples, STEPS))
}

/// The losses `E|v - u(x | x1)|^2` and `E|v - u(x)|^2`, of the velocity of a pair and of its mean at `x`, differ by a constant, so
/// their gradients are equal (Lipman et al., arXiv 2210.02747, theorem 2). Here for `v = a x + b t`, by the difference of the
/// gradients in its standard errors.
fn matching_line(mixture: &Mixture) -> Line {
    const PAIRS: u64 = 20_000;
    let d = mixture.dimension();
    // The gradients differ by -2 (u(x | x1) - u(x)) dv, whatever v is.
    let mut sums = [[0.0; 2]; 2];
    for i in 0..PAIRS {
        let t = uniform(SEED, Stream::Time, 0, i);
        let x1 = drawn(mixture, i);
        let mut x0 = vec![0.0; d];
        fill_normal(SEED, Stream::Noise, 0, i * d as u64, &mut x0);
        let x0: Vec<f64> = x0.into_iter().map(f64::from).collect();
        let x: Vec<f64> = x1
            .iter()
            .zip(&x0)
            .map(|(x1, x0)| t * x1 + (1.0 - t) * x0)
            .collect();
        let marginal = mixture.at(&Path::Linear, t).velocity(&x);
        let mut both = [0.0; 2];
        for k in 0..d {
            let apart = (x1[k] - x0[k]) - marginal[k];
            both[0] -= 2.0 * apart * x[k];
            both[1] -= 2.0 * apart * t;
        }
        for (sum, value) in sums.iter_mut().zip(both) {
            sum[0] += value;
            sum[1] += value * value;
        }
    }
    let n = PAIRS as f64;
    let far = sums.map(|[sum, squares]| {
        let mean: f64 = sum / n;
        mean.abs() / ((squares / n - mean * mean) / n).sqrt()
    });
    // A NaN counts as far.
    let far = far.into_iter().fold(0.0, |most: f64, far| {
        if far.is_nan() {
            f64::INFINITY
        } else {
            most.max(far)
        }
    });
    Line {
        name: "matching, 20000 pairs".into(),
        nfe: 0.0,
        measured: format!("gradients {far:.1} standard errors apart"),
        wrong: (far > 4.0).then(|| "expected at most 4".into()),
    }
}
