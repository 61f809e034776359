//! EDM's sampler, grid and preconditioning, as the paper writes them.

use super::{Bench, CPU, gpu_bench};
use sit_engine::error::Result;
use sit_engine::graph::{Graph, Var};
use sit_engine::model::{Inputs, Model, Network, NetworkIo, Outputs};
use sit_engine::nn::{Init, Scope};
use sit_engine::ops::{pointwise, reduce};
use sit_engine::transport::{
    Edm, EdmMethod, Path, Prediction, Sampler, Times, TimesKind, Transport, nfe, schedule,
};
use sit_tests::fixture::{Entry, Fixture};
use sit_tests::formula::Formula;
use sit_tests::{assert_close, net};

/// Tolerance of a state, relative to the distance of the f32 run from the f64 run.
const FEW: f64 = 4.0;

/// The file, and the model of its numbers.
struct Official {
    fixture: Fixture,
    transport: Transport,
    shape: [usize; 4],
}

fn open() -> Official {
    let fixture = Fixture::open("edm");
    let root = fixture.root();
    let number = |key: &str| root.at(key).number();
    let transport = Transport {
        path: Path::Edm {
            sigma: [number("sigma_min"), number("sigma_max")],
            rho: number("rho"),
        },
        prediction: Prediction::Denoiser,
        data_std: number("sigma_data"),
        ..Transport::default()
    };
    let shape = root.at("shape").counts().try_into().expect("four axes");
    drop(root);
    Official {
        transport,
        shape,
        fixture,
    }
}

impl Official {
    fn len(&self) -> usize {
        self.shape.iter().product()
    }

    fn at(&self, key: &str) -> Entry<'_> {
        self.fixture.root().at(key)
    }

    fn sampler(&self, run: &Entry<'_>) -> Edm {
        let number = |key: &str| run.get(key).map(|entry| entry.number());
        let usual = Edm::default();
        let Path::Edm { sigma, rho } = self.transport.path else {
            unreachable!("it was made here")
        };
        Edm {
            method: match run.get("euler").is_some_and(|euler| euler.flag()) {
                true => EdmMethod::Euler,
                false => EdmMethod::Heun,
            },
            n_steps: run.at("steps").count() as u32,
            churn: run.at("churn").number(),
            churn_window: [
                number("smin").unwrap_or(0.0),
                number("smax").unwrap_or(usual.churn_window[1]),
            ],
            churn_noise: number("snoise").unwrap_or(1.0),
            sigma,
            rho,
        }
    }

    /// Formulas of the denoiser `D = m + a^2 / (a^2 + s^2) (x - m) + w s / (1 + s) sin x`: m, a and w.
    fn denoiser(&self) -> (Vec<f64>, Vec<f64>, f64) {
        let text = self.at("denoiser").text();
        let (rest, a) = text.split_once(", a = ").expect("a formula of a");
        let (d, m) = rest.split_once(", m = ").expect("a formula of m");
        let (a, _) = a.split_once(" (").expect("what i is");
        let start = "D(x, sigma) = m + a^2/(a^2+sigma^2)*(x-m) + ";
        let wave = d.strip_prefix(start).expect("the denoiser's form");
        let wave = wave
            .strip_suffix("*sin(x)*sigma/(1+sigma)")
            .expect("the denoiser's form");
        let values = |text: &str| Formula::stated(text).exact(self.len());
        (values(m), values(a), wave.parse().expect("a number"))
    }

    /// The state at the start.
    fn start(&self, edm: &Edm) -> Vec<f32> {
        let latents = self.at("latents").formula().exact(self.len());
        latents.iter().map(|x| (x * edm.sigma[1]) as f32).collect()
    }

    fn noise(&self, step: usize) -> Vec<f32> {
        let formula = self.at("noise").formula();
        formula.with("s", step as f64).values(self.len())
    }
}

#[test]
fn grids_preconditioning_and_times() {
    let official = open();
    let root = official.fixture.root();
    let close = |what: &str, got: f64, want: f64| {
        let error = (got - want).abs() / want.abs().max(1e-3);
        assert!(error < 1e-9, "{what}: got {got}, want {want}");
    };
    let path = &official.transport.path;
    for (n, grid) in root.at("grids").entries() {
        let levels = grid.numbers();
        let last = levels.len() - 2;
        assert_eq!(levels.len() - 1, n.parse::<usize>().unwrap());
        for (i, want) in levels[..=last].iter().enumerate() {
            close(n, path.sigma(i as f64 / last as f64), *want);
        }
    }
    for (sigma, want) in root.at("preconditioning").entries() {
        let sigma: f64 = sigma.parse().unwrap();
        let t = time(path, sigma);
        let coefs = official.transport.x1_pred(t).unwrap();
        close("c_skip", coefs.x, want.at("c_skip").number());
        close("c_out", coefs.out, want.at("c_out").number());
        close(
            "c_noise",
            official.transport.time_input(t),
            want.at("c_noise").number(),
        );
        // The loss of the network's own output has the weight 1.
        close(
            "weight",
            want.at("loss_weight").number() * coefs.out * coefs.out,
            1.0,
        );
    }
    let training = root.at("training_sigma");
    let usual = Times::usual(TimesKind::LogNormal);
    close("mean", usual.mean, training.at("P_mean").number());
    close("deviation", usual.std, training.at("P_std").number());
    let pairs = training.at("normal").numbers().into_iter();
    for (n, sigma) in pairs.zip(training.at("sigma").numbers()) {
        close("sigma", (usual.mean + usual.std * n).exp(), sigma);
    }
}

/// The time of a noise level.
fn time(path: &Path, sigma: f64) -> f64 {
    let (mut low, mut high) = (-1.0, 2.0);
    for _ in 0..200 {
        let middle = 0.5 * (low + high);
        // The level falls with time.
        match path.sigma(middle) > sigma {
            true => low = middle,
            false => high = middle,
        }
    }
    0.5 * (low + high)
}

/// In f64, without a device: the file's states are rounded to f32.
#[test]
fn chains_in_f64() {
    let official = open();
    let (arrays, transport) = (official.fixture.arrays(), &official.transport);
    let (m, a, wave) = official.denoiser();
    for (key, run) in official.at("runs").entries() {
        let edm = official.sampler(&run);
        let steps = schedule(transport, &Sampler::Edm(edm.clone())).unwrap();
        assert_eq!(nfe(&steps), run.at("evaluations").count(), "{key}");
        let mut x: Vec<f64> = official.start(&edm).into_iter().map(f64::from).collect();
        let latents = official.at("latents").formula().exact(official.len());
        x.iter_mut()
            .zip(latents)
            .for_each(|(x, z)| *x = z * edm.sigma[1]);
        let mut levels = Vec::new();
        for (i, step) in steps.iter().enumerate() {
            let mut is_first = true;
            step.apply(&mut x, &official.noise(i), |input, t| {
                let sigma = transport.path.sigma(t);
                if std::mem::take(&mut is_first) {
                    levels.push(sigma);
                }
                let total = (sigma * sigma + transport.data_std.powi(2)).sqrt();
                let coefs = transport.x1_pred(t).unwrap();
                let values = input.iter().zip(m.iter().zip(&a));
                values
                    .map(|(input, (m, a))| {
                        let x = input * total;
                        let shrunk = m + a * a / (a * a + sigma * sigma) * (x - m);
                        let d = shrunk + wave * x.sin() * sigma / (1.0 + sigma);
                        (d - coefs.x * x) / coefs.out
                    })
                    .collect()
            });
            if i == 1 {
                let want = arrays.get(&format!("{key}.after_2_steps"));
                assert_close(&format!("{key} after 2 steps"), &x, &want, 2e-7);
            }
        }
        assert_close(key, &x, &arrays.get(&format!("{key}.end")), 2e-7);
        assert_close(key, &levels, &run.at("sigma_hat").numbers(), 1e-8);
    }
}

/// The file's denoiser of one image as a network: it undoes what EDM puts around a network.
#[derive(Debug)]
struct Denoiser {
    /// `[1, C, H, W]`
    shape: [usize; 4],
    wave: f64,
    data_std: f64,
}

impl Network for Denoiser {
    fn io(&self) -> NetworkIo {
        let [_, c, h, w] = self.shape;
        NetworkIo::new([c, h, w], 0)
    }

    fn validate(&self, _: usize) -> Result<()> {
        Ok(())
    }

    fn forward(&self, s: &mut Scope<'_>, inputs: Inputs) -> Result<Outputs> {
        let m = s.param("m", self.shape, Init::Zeros)?;
        let a = s.param("a", self.shape, Init::Ones)?;
        let g = s.graph();
        let spread = |g: &mut Graph, t: Var| -> Result<Var> {
            let t = g.reshape(t, [self.shape[0], 1, 1, 1])?;
            reduce::broadcast(g, t, self.shape)
        };
        // The time is ln(sigma) / 4.
        let log = pointwise::scale(g, inputs.t, 4.0)?;
        let sigma = pointwise::exp(g, log)?;
        let squares = pointwise::square(g, sigma)?;
        let total = pointwise::affine(g, squares, 1.0, self.data_std * self.data_std)?;
        let root = pointwise::sqrt(g, total)?;
        let skip = pointwise::recip(g, total)?;
        let skip = pointwise::scale(g, skip, self.data_std * self.data_std)?;
        let out = pointwise::div(g, sigma, root)?;
        let out = pointwise::scale(g, out, self.data_std)?;
        let over = pointwise::affine(g, sigma, 1.0, 1.0)?;
        let wave = pointwise::div(g, sigma, over)?;
        let wave = pointwise::scale(g, wave, self.wave)?;
        let [squares, root, skip, out, wave] = [squares, root, skip, out, wave];
        let (squares, root) = (spread(g, squares)?, spread(g, root)?);
        let (skip, out, wave) = (spread(g, skip)?, spread(g, out)?, spread(g, wave)?);

        let x = pointwise::mul(g, inputs.x, root)?;
        let variance = pointwise::square(g, a)?;
        let both = pointwise::add(g, variance, squares)?;
        let share = pointwise::div(g, variance, both)?;
        let away = pointwise::sub(g, x, m)?;
        let near = pointwise::mul(g, share, away)?;
        let sine = pointwise::sin(g, x)?;
        let sine = pointwise::mul(g, wave, sine)?;
        let data = pointwise::add(g, m, near)?;
        let data = pointwise::add(g, data, sine)?;
        let kept = pointwise::mul(g, skip, x)?;
        let rest = pointwise::sub(g, data, kept)?;
        Ok(Outputs::new(pointwise::div(g, rest, out)?))
    }
}

fn chains(bench: &Bench) {
    let official = open();
    let (m, a, wave) = official.denoiser();
    let [n, c, h, w] = official.shape;
    let network = Denoiser {
        shape: [1, c, h, w],
        wave,
        data_std: official.transport.data_std,
    };
    let model = Model::zeros(bench.device, network, official.transport.clone()).unwrap();
    let (arrays, len) = (official.fixture.arrays(), c * h * w);
    for (key, run) in official.at("runs").entries() {
        let edm = official.sampler(&run);
        let start = official.start(&edm);
        let steps = schedule(&official.transport, &Sampler::Edm(edm.clone())).unwrap();
        // The file has noise for every step, and a step without churn takes none.
        let noisy: Vec<usize> = (0..steps.len())
            .filter(|&i| steps[i].noise() > 0.0)
            .collect();
        let mut end = Vec::new();
        for image in 0..n {
            let part = image * len..(image + 1) * len;
            for (name, values) in [("m", &m), ("a", &a)] {
                let values: Vec<f32> = values[part.clone()].iter().map(|&x| x as f32).collect();
                model.write(name, &values).unwrap();
            }
            let mut session = model
                .sampler(edm.clone().into())
                .batch(1)
                .session()
                .unwrap();
            let noise = |j: usize| official.noise(noisy[j])[part.clone()].to_vec();
            end.extend(net::solve(&mut session, &start[part.clone()], &[0], noise));
        }
        let want = arrays.get(&format!("{key}.end"));
        let squares: f64 = want.iter().map(|&x| f64::from(x).powi(2)).sum();
        let rms = (squares / want.len() as f64).sqrt();
        let factor = bench.tensor / CPU.tensor;
        let gap = run.at("f32_f64").number();
        assert_close(key, &end, &want, FEW * factor * gap / rms);
    }
}

#[test]
fn chains_on_the_cpu() {
    chains(&CPU);
}

#[test]
fn chains_on_the_gpu() {
    chains(&gpu_bench());
}
