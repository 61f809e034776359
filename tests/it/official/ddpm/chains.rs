//! Steps of the chain and whole chains.

use super::*;
use sit_engine::sample::Session;
use sit_engine::transport::{
    Chain, DdpmMethod, DdpmSampler, Guidance, GuidanceChannels, Respacing, Sampler, schedule,
};
use sit_tests::assert_close;

/// The mean, the logarithmic variance and the predicted image of steps from given states.
fn mean_and_variance(bench: &Bench) {
    let (official, arrays) = (Official::open(), Official::open().arrays());
    let inputs = official.at("inputs");
    let (at, y) = (inputs.at("t").counts(), inputs.at("y").labels());
    let len = official.model.io().image_len();
    let (x1, x0) = (
        official.input("x_start", at.len()),
        official.input("noise", at.len()),
    );
    let t: Vec<f64> = at.iter().map(|&i| i as f64).collect();
    let forward = official.outputs(bench.device, &x0, &t, &y);
    assert_close("forward", &forward, &arrays.get("forward"), bench.tensor);

    let x: Vec<f32> = x1.iter().zip(&x0).map(|(a, b)| 0.7 * a + 0.4 * b).collect();
    let all = official.outputs(bench.device, &x, &t, &y);
    let mut n = 0;
    for name in arrays.names() {
        let Some(key) = name.strip_prefix("p_mean_variance.") else {
            continue;
        };
        let [mean, variance, clip, what] = key.split('.').collect::<Vec<_>>()[..] else {
            panic!("{name}: not a key of p_mean_variance");
        };
        let mut ddpm = Ddpm::default();
        ddpm.variance = named(variance);
        let chain = ddpm.chain().unwrap();
        let transport = transport(ddpm.clone(), mean);
        let want = arrays.get(&name);
        let got: Vec<f64> = match what {
            "log_variance" => {
                let per = want.len() / at.len();
                let value = |k: usize| {
                    let b = k / per;
                    let [base, slope] = chain.log_variance(ddpm.variance, at[b]);
                    base + slope * f64::from(all[(2 * b + 1) * len + k % per % len])
                };
                (0..want.len()).map(value).collect()
            }
            "pred_xstart" => {
                let value = |k: usize| {
                    let b = k / len;
                    let data = transport.x1_pred(ddpm.time(at[b])).unwrap();
                    data.x * f64::from(x[k]) + data.out * f64::from(all[2 * b * len + k % len])
                };
                (0..want.len()).map(value).collect()
            }
            "mean" => {
                let sampler = DdpmSampler {
                    clip_x0: (clip == "clip").then_some(1.0),
                    ..DdpmSampler::ancestral()
                };
                let steps = schedule(&transport, &sampler.into()).unwrap();
                let model = official.model(bench.device, &transport);
                let mean = |b: usize| {
                    let step = steps[steps.len() - 1 - at[b]];
                    let sampling = model
                        .sampler(DdpmSampler::ancestral().into())
                        .batch(at.len());
                    let mut session = sampling.session_of(vec![step]).unwrap();
                    let end = net::solve(&mut session, &x, &y, |_| vec![0.0; x.len()]);
                    end[b * len..][..len]
                        .iter()
                        .map(|&x| x.into())
                        .collect::<Vec<f64>>()
                };
                (0..at.len()).flat_map(mean).collect()
            }
            _ => panic!("{name}: {what} is not known"),
        };
        assert_close(&name, &got, &want, bench.tensor);
        n += 1;
    }
    assert!(n > 0, "the file has no steps");
}

/// One of the fixture's chains.
struct Run<'a> {
    official: &'a Official,
    bench: &'a Bench,
    of: Entry<'a>,
    transport: Transport,
    sampler: DdpmSampler,
}

impl<'a> Run<'a> {
    fn new(official: &'a Official, bench: &'a Bench, of: Entry<'a>) -> Self {
        let mut ddpm = Ddpm::usual(named(of.at("schedule").text()));
        ddpm.variance = named(of.at("var").text());
        let eta = of.get("eta").map_or(0.0, |eta| eta.number());
        let sampler = match of.at("method").text() {
            "p" => DdpmSampler::ancestral(),
            "ddim" => DdpmSampler::ddim(eta),
            "ddim_reverse" => DdpmSampler {
                reverse: true,
                ..DdpmSampler::ddim(0.0)
            },
            method => panic!("{method} is no method"),
        };
        Run {
            transport: transport(ddpm, of.at("mean").text()),
            sampler: DdpmSampler {
                respacing: Some(of.at("respacing").text().parse().unwrap()),
                clip_x0: of.at("clip").flag().then_some(1.0),
                ..sampler
            },
            official,
            bench,
            of,
        }
    }

    fn batch(&self) -> usize {
        // With guidance the second row of the reference follows the network's outputs at the first one's state: it is no sample.
        match self.of.get("cfg") {
            Some(_) => 1,
            None => self.official.at("inputs").at("chain_y").counts().len(),
        }
    }

    fn labels(&self) -> Vec<u32> {
        let y = self.official.at("inputs").at("chain_y").labels();
        y[..self.batch()].to_vec()
    }

    fn session(&self) -> Session {
        let model = self.official.model(self.bench.device, &self.transport);
        let sampling = model.sampler(Sampler::Ddpm(self.sampler.clone()));
        let sampling = sampling.batch(self.batch());
        let guided = match self.of.get("cfg") {
            Some(scale) => sampling.guided(Guidance {
                scale: scale.number(),
                channels: GuidanceChannels::First3,
                ..Guidance::default()
            }),
            None => sampling,
        };
        guided.session().unwrap()
    }

    /// The states after each step.
    fn states(&self) -> Vec<Vec<f32>> {
        let (mut session, y) = (self.session(), self.labels());
        assert_eq!(session.steps().len(), self.of.at("steps").count());
        let mut x = self.official.input("chain_start", self.batch());
        session.start_at(0, &x, &y).unwrap();
        let mut states = Vec::new();
        for s in 0..session.steps().len() {
            let mut noise = self.official.step_noise(s, self.batch());
            let by_hand = self
                .of
                .get("cond_fn")
                .map(|of| self.conditioned(&of, s, &x, &mut noise));
            let noise = if session.needs_noise() {
                noise
            } else {
                Vec::new()
            };
            block_on(session.step_with_async(&noise)).unwrap();
            x = session.read().unwrap();
            if let Some(added) = by_hand {
                x.iter_mut().zip(added).for_each(|(x, added)| *x += added);
                if s + 1 < session.steps().len() {
                    session.start_at(s + 1, &x, &y).unwrap();
                }
            }
            states.push(x.clone());
        }
        states
    }

    /// What a gradient of a classifier adds to a state after step `s`, from outside: to the mean as variance times gradient, in
    /// ancestral sampling by way of the noise; to DDIM's noise as -sigma times gradient.
    fn conditioned(&self, of: &Entry, s: usize, x: &[f32], noise: &mut [f32]) -> Vec<f32> {
        let steps = schedule(&self.transport, &Sampler::Ddpm(self.sampler.clone())).unwrap();
        let (step, ddpm) = (steps[s], &self.transport.path);
        let Path::Ddpm(ddpm) = ddpm else {
            panic!("a chain");
        };
        let t = ddpm.index(step.t);
        let formula = of.formula().with("t", t);
        let gradient = x
            .iter()
            .map(|&x| formula.with("x", x.into()).number() as f32);
        let gradient: Vec<f32> = gradient.collect();
        if self.sampler.method == DdpmMethod::Ddim {
            let (alpha, sigma) = (
                self.transport.path.alpha(step.t),
                self.transport.path.sigma(step.t),
            );
            let factor = step.as_posterior().unwrap().x0 * sigma * sigma / alpha;
            return gradient.iter().map(|g| factor as f32 * g).collect();
        }
        let y = self.labels();
        let len = x.len() / y.len();
        let all = self
            .official
            .outputs(self.bench.device, x, &vec![t; y.len()], &y);
        let respacing: &Respacing = self.sampler.respacing.as_ref().unwrap();
        let chain = Chain::new(ddpm, respacing, "respacing").unwrap();
        let [a, b] = chain.log_variance(ddpm.variance, chain.len() - 1 - s);
        let variance = |k: usize| {
            let v = all[(2 * (k / len) + 1) * len + k % len];
            (a + b * f64::from(v)).exp()
        };
        if step.noise() == 0.0 {
            return (0..x.len())
                .map(|k| variance(k) as f32 * gradient[k])
                .collect();
        }
        for (k, noise) in noise.iter_mut().enumerate() {
            *noise += variance(k).sqrt() as f32 * gradient[k];
        }
        vec![0.0; x.len()]
    }
}

fn chains(bench: &Bench) {
    let (official, arrays) = (Official::open(), Official::open().arrays());
    let names = arrays.names();
    let mut n = 0;
    for (key, of) in official.at("chains").entries() {
        let run = Run::new(&official, bench, of);
        // The gap of the reference's own f32 and f64, at least a few roundings; ten times that on a GPU.
        let gap = run.of.at("f32_f64").number();
        let tol = (5.0 * gap).max(2e-6) * bench.loss / CPU.loss;
        let check = |what: &str, got: &[f32], want: &[f32]| {
            let want = &want[..got.len()];
            let apart = got.iter().zip(want).map(|(a, b)| (a - b).abs());
            let worst = f64::from(apart.fold(0.0, f32::max));
            let size = f64::from(want.iter().map(|x| x.abs()).fold(0.0, f32::max)).max(1.0);
            println!("{key} {what}: {worst:.1e}, the reference's gap {gap:.1e}");
            assert!(
                worst <= tol * size,
                "{key} {what}: {worst:.1e} of {size}, tolerance {tol:.1e}"
            );
        };
        let states = run.states();
        let (whole, last) = (format!("chain.{key}.states"), format!("chain.{key}.final"));
        if names.contains(&whole) {
            for (s, want) in arrays.get(&whole).chunks_exact(states[0].len()).enumerate() {
                check(&format!("state {s}"), &states[s], want);
            }
        } else {
            check("end", &states[states.len() - 1], &arrays.get(&last));
        }
        n += 1;
    }
    assert!(n > 0, "the file has no chains");
}

#[test]
fn steps_on_the_cpu() {
    mean_and_variance(&CPU);
}

#[test]
fn steps_on_the_gpu() {
    mean_and_variance(&gpu_bench());
}

#[test]
fn chains_on_the_cpu() {
    chains(&CPU);
}

#[test]
fn chains_on_the_gpu() {
    chains(&gpu_bench());
}
