//! Schedules, tables, respacings, noisy images and the sampler of times.

use super::*;
use sit_engine::objective::SecondMoment;
use sit_engine::transport::{Chain, Respacing};
use sit_tests::assert_close;

/// The printed numbers have 12 digits.
const TABLE: f64 = 1e-10;

fn chain(key: &str) -> Chain {
    let parts: Vec<&str> = key.split('/').collect();
    let ddpm = Ddpm::new(named(parts[0]), parts[1].parse().unwrap()).unwrap();
    let respacing = match parts.get(2) {
        Some(respacing) => respacing.parse().unwrap(),
        None => Respacing::All,
    };
    Chain::new(&ddpm, &respacing, "respacing").unwrap()
}

/// The positions that a file's lists are of: those of its key `index`, else all.
fn positions(of: &Entry, n: usize) -> Vec<usize> {
    of.get("index")
        .map_or_else(|| (0..n).collect(), |index| index.counts())
}

fn column(positions: &[usize], of: impl Fn(usize) -> f64) -> Vec<f64> {
    positions.iter().map(|&i| of(i)).collect()
}

#[test]
fn schedules_and_tables() {
    let official = Official::open();
    let mut n = 0;
    for (key, of) in official.at("schedules").entries() {
        let (chain, is_tables) = (
            chain(key.trim_start_matches("tables ")),
            key.starts_with("tables"),
        );
        let at = positions(&of, chain.len());
        let check = |name: &str, got: &dyn Fn(usize) -> f64| {
            let want = of.at(name).numbers();
            assert_each(&format!("{key} {name}"), &column(&at, got), &want, TABLE);
        };
        if is_tables {
            check("posterior_variance", &|i| chain.posterior_variance(i));
            check("posterior_log_variance_clipped", &|i| {
                chain.log_posterior_variance(i)
            });
            check("posterior_mean_coef1", &|i| chain.posterior_mean(i)[0]);
            check("posterior_mean_coef2", &|i| chain.posterior_mean(i)[1]);
            check("sqrt_recip_alphas_cumprod", &|i| {
                chain.abar(i).sqrt().recip()
            });
            check("sqrt_recipm1_alphas_cumprod", &|i| {
                (chain.abar(i).recip() - 1.0).sqrt()
            });
        } else {
            check("beta", &|i| chain.beta(i));
            check("alpha_bar", &|i| chain.abar(i));
        }
        n += 1;
    }
    assert!(n > 0, "the file has no schedules");
}

#[test]
fn respacings() {
    let official = Official::open();
    for (key, of) in official.at("respacing").entries() {
        let chain = chain(key);
        assert_eq!(chain.len(), of.at("steps").count(), "{key}");
        let at = positions(&of, chain.len());
        let indices: Vec<usize> = at.iter().map(|&i| chain.indices()[i]).collect();
        assert_eq!(indices, of.at("timesteps").counts(), "{key}");
        // The reference has no tables for a single step.
        if let Some(beta) = of.get("beta") {
            let betas = column(&at, |i| chain.beta(i));
            assert_each(&format!("{key} beta"), &betas, &beta.numbers(), 1e-8);
        }
        if let Some(sum) = of.get("timesteps_sum") {
            assert_eq!(chain.indices().iter().sum::<usize>(), sum.count(), "{key}");
            let sum: f64 = (0..chain.len()).map(|i| chain.beta(i)).sum();
            assert_each(key, &[sum], &[of.at("beta_sum").number()], 1e-8);
        }
    }
    for refused in official.at("respacing_refused").list() {
        let [n, respacing] = &refused.list()[..] else {
            panic!("not a count and a respacing");
        };
        let respacing: Respacing = respacing.text().parse().unwrap();
        let message = respacing
            .indices(n.count() as u32, "respacing")
            .unwrap_err()
            .to_string();
        assert!(
            message.starts_with(&format!("respacing: got {respacing}, ")),
            "{message}"
        );
    }
}

#[test]
fn noisy_images() {
    let (official, arrays) = (Official::open(), Official::open().arrays());
    let at = official.at("inputs").at("q_sample_t").counts();
    let (x1, x0) = (
        official.input("x_start", at.len()),
        official.input("noise", at.len()),
    );
    let len = official.model.io().image_len();
    for name in arrays.names() {
        let Some(schedule) = name.strip_prefix("q_sample.") else {
            continue;
        };
        let ddpm = Ddpm::usual(named(schedule));
        let path = Path::Ddpm(Arc::new(ddpm.clone()));
        let x: Vec<f64> = (0..x1.len())
            .map(|k| {
                let t = ddpm.time(at[k / len]);
                path.alpha(t) * f64::from(x1[k]) + path.sigma(t) * f64::from(x0[k])
            })
            .collect();
        assert_close(&name, &x, &arrays.get(&name), 1e-6);
    }
}

#[test]
fn times_by_their_losses() {
    let official = Official::open();
    let of = official.at("loss_second_moment_resampler");
    let mut times = SecondMoment::new(
        of.at("T").count(),
        of.at("history_per_term").count(),
        of.at("uniform_prob").number(),
    );
    let (t, losses) = (of.at("updates_t").list(), of.at("updates_loss").list());
    let mut log = of.at("log").list().into_iter().peekable();
    for (i, (t, losses)) in t.iter().zip(&losses).enumerate() {
        for (t, loss) in t.counts().into_iter().zip(losses.floats()) {
            times.add(t, loss);
        }
        if let Some(want) = log.next_if(|want| want.at("after").count() == i + 1) {
            assert_eq!(times.is_warm(), want.at("warmed_up").flag(), "after {i}");
            let want = want.at("probabilities").numbers();
            // The reference keeps losses in f64, this program in f32.
            assert_each(&format!("after {i}"), &times.probabilities(), &want, 1e-7);
        }
    }
    assert!(log.next().is_none(), "the log has more");
}
