//! Kinds of samplers, and how one becomes another.

use super::{ode, sde};
use sit_engine::transport::{
    DdpmMethod, DdpmSampler, Diffusion, Edm, EdmMethod, Grid, Method, Ode, Path, Respacing,
    Sampler, Sde, SdeMethod,
};

/// A kind of sampler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The probability flow ODE.
    Ode,
    /// The SDE.
    Sde,
    /// EDM's sampler.
    Edm,
    /// The chain of discrete diffusion: ancestral sampling or DDIM.
    Ddpm,
}

impl Kind {
    /// All, with their names and what they are.
    pub const ALL: [(Kind, &'static str, &'static str); 4] = [
        (Kind::Ode, "ODE", "Follows the velocity; no noise is added"),
        (
            Kind::Sde,
            "SDE",
            "Adds noise and takes it back by the score",
        ),
        (
            Kind::Edm,
            "EDM",
            "Steps from noise level to noise level down to 0, and may raise the level before each step (churn)",
        ),
        (
            Kind::Ddpm,
            "DDPM",
            "The chain of discrete diffusion: ancestral sampling draws each state anew, DDIM moves along",
        ),
    ];

    /// That of a sampler.
    pub fn of(sampler: &Sampler) -> Self {
        match sampler {
            Sampler::Ode(_) => Kind::Ode,
            Sampler::Sde(_) => Kind::Sde,
            Sampler::Edm(_) => Kind::Edm,
            // The engine may get further ones; a lane has none of them.
            _ => Kind::Ddpm,
        }
    }
}

/// Churn of a branch of EDM's sampler, its noise levels and its factor: EDM's for ImageNet (arXiv 2206.00364, table 5).
const CHURN: (f64, [f64; 2], f64) = (40.0, [0.05, 50.0], 1.003);

/// The most noise levels of a chain that a lane begins with: all of the usual one.
const MOST_LEVELS: u32 = 1000;

/// A sampler of another kind in about as many steps, for a model of `path`.
pub fn of_kind(sampler: &Sampler, kind: Kind, path: &Path) -> Sampler {
    let n = match sampler {
        // With its last step.
        Sampler::Sde(sde) => sde.n_steps.saturating_add(1),
        other => other.n_steps(),
    };
    let is_heun = match sampler {
        Sampler::Ode(ode) => ode.method == Method::Heun,
        Sampler::Sde(sde) => sde.method == SdeMethod::Heun,
        Sampler::Edm(edm) => edm.method == EdmMethod::Heun,
        _ => false,
    };
    let other = match kind {
        Kind::Ode if is_heun => ode(Method::Heun, n),
        Kind::Ode => ode(Method::Euler, n),
        Kind::Sde if is_heun => sde(SdeMethod::Heun, Diffusion::default(), n),
        Kind::Sde => sde(SdeMethod::Euler, Diffusion::default(), n),
        Kind::Edm => {
            let usual = Edm::default();
            // A model of the EDM path has been trained at its own levels.
            let (sigma, rho) = match *path {
                Path::Edm { sigma, rho } => (sigma, rho),
                _ => (usual.sigma, usual.rho),
            };
            return Sampler::Edm(Edm {
                n_steps: n,
                sigma,
                rho,
                ..usual
            });
        }
        Kind::Ddpm => {
            return Sampler::Ddpm(DdpmSampler {
                respacing: Some(Respacing::Sections(vec![n.min(MOST_LEVELS)])),
                ..DdpmSampler::ancestral()
            });
        }
    };
    let along = match sampler {
        Sampler::Ode(ode) => ode.along.clone(),
        Sampler::Sde(sde) => sde.along.clone(),
        _ => None,
    };
    let grid = match sampler.grid() {
        // A list of times ends where its own sampler does.
        Grid::Times(_) => Grid::Uniform,
        grid => grid.clone(),
    };
    match other {
        Sampler::Ode(ode) => Sampler::Ode(Ode { grid, along, ..ode }),
        Sampler::Sde(sde) => Sampler::Sde(Sde { grid, along, ..sde }),
        other => other,
    }
}

/// The sampler with noise for one without, or the reverse, which goes on from the same states.
pub fn other_kind(sampler: &Sampler) -> Sampler {
    match sampler {
        Sampler::Edm(edm) if edm.churn == 0.0 => {
            let (churn, churn_window, churn_noise) = CHURN;
            Sampler::Edm(Edm {
                churn,
                churn_window,
                churn_noise,
                ..edm.clone()
            })
        }
        Sampler::Edm(edm) => Sampler::Edm(Edm {
            churn: 0.0,
            ..edm.clone()
        }),
        Sampler::Ddpm(ddpm) => {
            let method = match ddpm.method {
                DdpmMethod::Ancestral => DdpmMethod::Ddim,
                DdpmMethod::Ddim => DdpmMethod::Ancestral,
            };
            Sampler::Ddpm(DdpmSampler {
                method,
                eta: 0.0,
                ..ddpm.clone()
            })
        }
        // The path is not asked for by these two.
        Sampler::Sde(_) => of_kind(sampler, Kind::Ode, &Path::Linear),
        _ => of_kind(sampler, Kind::Sde, &Path::Linear),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_kind_keeps_the_time_grid_and_the_path() {
        let grid = Grid::Power(2.0);
        for method in [Method::Heun, Method::UniPc] {
            let sampler = Sampler::Ode(Ode {
                method,
                grid: grid.clone(),
                along: Some(Path::Gvp),
                ..Ode::default()
            });
            let other = other_kind(&sampler);
            assert_eq!((other.grid(), other.along()), (&grid, Some(Path::Gvp)));
            let back = other_kind(&other);
            assert_eq!(
                (back.n_steps(), back.grid(), back.along()),
                (sampler.n_steps(), sampler.grid(), sampler.along())
            );
        }
    }

    #[test]
    fn every_kind_becomes_every_other_in_as_many_steps() {
        for (from, ..) in Kind::ALL {
            let sampler = of_kind(&ode(Method::Heun, 20), from, &Path::Linear);
            assert_eq!(Kind::of(&sampler), from);
            for (to, ..) in Kind::ALL {
                let other = of_kind(&sampler, to, &Path::Linear);
                assert_eq!(Kind::of(&other), to);
                other.validate().unwrap();
                let n = other.n_steps() + u32::from(to == Kind::Sde);
                assert_eq!(n, 20, "{from:?} to {to:?}");
            }
            // A branch is of the same kind, but for ODE and SDE, and has noise where this one has none.
            let other = other_kind(&sampler);
            assert_ne!(other, sampler);
            assert_eq!(Kind::of(&other_kind(&other)), from);
        }
        // A model of EDM's path has its own levels; a chain has at most all of its levels.
        let path = Path::Edm {
            sigma: [0.1, 10.0],
            rho: 5.0,
        };
        let Sampler::Edm(edm) = of_kind(&ode(Method::Euler, 2000), Kind::Edm, &path) else {
            panic!("EDM's sampler");
        };
        assert_eq!((edm.sigma, edm.rho), ([0.1, 10.0], 5.0));
        let chain = of_kind(&ode(Method::Euler, 2000), Kind::Ddpm, &path);
        assert_eq!(chain.n_steps(), 1000);
    }
}
