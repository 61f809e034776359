//! The plan of a step, for each form.

use super::field::{Field, Guided};
use crate::error::Result;
use crate::graph::plan::Request;
use crate::graph::{Arena, Graph, Plan, Var};
use crate::model::Blueprint;
use crate::ops::ancestral::{self, Noise};
use crate::ops::lincomb::{MAX_TERMS, lincomb};
use crate::ops::{control, loss};
use crate::transport::{Step, StepForm};

/// Determines the program that computes a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Form {
    pub step: StepForm,
    pub guided: Guided,
    /// Whether the error is estimated.
    pub has_error: bool,
    /// Whether each sample takes or rejects the step before, and weighs the error by tolerances.
    pub is_adaptive: bool,
}

/// The form of each step. Of steps with as many evaluations and as much history, all add noise and scale the first state if one of
/// them does (an SDE's last one with noise 0), so that they share a program.
pub(super) fn forms(
    steps: &[Step],
    guided: impl Fn(&Step) -> Guided,
    keep_error: bool,
) -> Vec<Form> {
    let shared = |step: &Step| {
        let own = step.form();
        let same = |other: &StepForm| other.key() == own.key();
        let alike = steps.iter().map(Step::form).filter(same);
        alike.fold(own, |form, other| StepForm {
            is_noisy: form.is_noisy || other.is_noisy,
            has_first_row: form.has_first_row || other.has_first_row,
            ..form
        })
    };
    // Schedules have thousands of steps of few forms.
    let mut known: Vec<(StepForm, StepForm)> = Vec::new();
    let mut form = |step: &Step| {
        let own = step.form();
        let found = known.iter().find(|(form, _)| *form == own);
        let step_form = match found {
            Some((_, shared)) => *shared,
            None => {
                let shared = shared(step);
                known.push((own, shared));
                shared
            }
        };
        Form {
            step: step_form,
            guided: guided(step),
            has_error: keep_error && step.error().is_some(),
            is_adaptive: false,
        }
    };
    steps.iter().map(&mut form).collect()
}

/// The distinct forms.
pub(super) fn unique(forms: &[Form]) -> Vec<Form> {
    let mut list = Vec::new();
    for &form in forms {
        if !list.contains(&form) {
            list.push(form);
        }
    }
    list
}

/// Names of a row's inputs, with the positions of their coefficients ([`pieces`]).
pub(super) type Row = Vec<(String, usize, usize)>;

/// Names of the inputs of a form's program, made once, not in every step.
#[derive(Debug)]
pub(super) struct Names {
    pub times: Vec<String>,
    /// The span of each evaluation's mean velocity.
    pub spans: Vec<String>,
    /// The scale of each evaluation's classifier-free guidance.
    pub scales: Vec<String>,
    /// The shares of the networks in each evaluation of autoguidance.
    pub shares: Vec<Row>,
    /// The factors of prediction and gradient in each evaluation that a classifier guides.
    pub pushes: Vec<Row>,
    pub start: Row,
    /// The state of each evaluation; the first one's may be the start itself.
    pub rows: Vec<Row>,
    /// The tensors that are kept from step to step, as inputs and outputs.
    pub history: Vec<String>,
    pub keep: Vec<Row>,
    pub error: Row,
    pub square: Row,
    pub end: Row,
}

impl Names {
    pub fn new(form: &Form) -> Self {
        let StepForm {
            n_stages: n,
            n_history: k,
            is_noisy,
            is_noise_first,
            ..
        } = form.step;
        let row = |name: &str, n_terms: usize| pieces(name, n_terms).collect::<Row>();
        let is_noise_last = is_noisy && !is_noise_first;
        Names {
            times: (0..n).map(|i| format!("t{i}")).collect(),
            spans: (0..n).map(|i| format!("span{i}")).collect(),
            scales: (0..n).map(|i| format!("scale{i}")).collect(),
            shares: (0..n).map(|i| row(&format!("shares{i}"), 2)).collect(),
            pushes: (0..n).map(|i| row(&format!("push{i}"), 2)).collect(),
            start: row("start", 2),
            rows: (0..n).map(|i| row(&format!("row{i}"), 1 + k + i)).collect(),
            history: (0..k).map(history).collect(),
            keep: (0..k)
                .map(|j| row(&format!("keep{j}"), 1 + k + n))
                .collect(),
            error: row("error", 1 + k + n),
            square: row("square", 2),
            end: row("end", 1 + k + n + usize::from(is_noise_last)),
        }
    }
}

/// Inputs of an adaptive step: what it would go on from if the step before is taken, whether it is, and the tolerances.
pub(super) const NEXT: [&str; 2] = ["next", "next history"];
pub(super) const TAKEN: &str = "taken";
pub(super) const TOLERANCE: &str = "tolerance";

/// The input with the coefficients of a step of discrete diffusion.
pub(super) const POSTERIOR: &str = "posterior";

/// The input with the coefficients of the learned variance by which a classifier's gradient is multiplied.
pub(super) const GUIDE_STD: &str = "guide std";

/// Name of a kept tensor.
fn history(j: usize) -> String {
    format!("history{j}")
}

/// The plan of a step. Inputs: `x`, `history0`, .., `noise`, `t0`, `t1`, .. and the rows of coefficients; outputs: `x`, `history0`, ..
/// and, if requested, `out` and `error`. An adaptive step also has the inputs [`NEXT`], [`TAKEN`] and [`TOLERANCE`]; its outputs `x`
/// and `history0` are those that it went on from, and the outputs [`NEXT`] are what comes of it. The parameters of each network are read from `weights`.
pub(super) fn plan(
    field: &Field<'_>,
    form: Form,
    keep_out: bool,
    weights: Vec<Arena>,
) -> Result<Plan> {
    let mut g = Graph::new();
    let images = field.model.io().images(field.batch);
    let x = g.input("x", images);
    let mut net = field.build(&mut g, form.guided)?;
    let noise = form.step.is_noisy.then(|| g.input("noise", images));
    let mut start = x;
    let mut histories: Vec<Var> = (0..form.step.n_history)
        .map(|j| g.input(history(j), images))
        .collect();
    if form.is_adaptive {
        let taken = g.input(TAKEN, [field.batch]);
        let next = NEXT.map(|name| g.input(name, images));
        start = control::select(&mut g, taken, x, next[0])?;
        histories[0] = control::select(&mut g, taken, histories[0], next[1])?;
    }
    if let Some(noise) = noise.filter(|_| form.step.is_noise_first) {
        start = combine(&mut g, "start", &[x, noise], field.batch)?;
    }
    let mut terms = vec![start];
    terms.extend_from_slice(&histories);
    let mut kept = None;
    let mut all = None;
    let mut slope = None;
    for i in 0..form.step.n_stages {
        // The first evaluation is at the start state.
        let state = match i {
            0 if !form.step.has_first_row => start,
            _ => combine(&mut g, &format!("row{i}"), &terms, field.batch)?,
        };
        let mut evaluation = net.evaluate(&mut g, state, i)?;
        slope = evaluation.slope;
        if let Some(slope) = slope.filter(|_| !form.step.has_posterior) {
            let terms = [evaluation.out, slope];
            evaluation.out = combine(&mut g, &format!("push{i}"), &terms, field.batch)?;
        }
        terms.push(evaluation.out);
        // The last evaluation of an adaptive step gives the drift with which the next one begins.
        kept = kept.filter(|_| !form.is_adaptive).or(Some(evaluation.raw));
        all = Some(evaluation.all);
    }
    let mut outputs = Vec::new();
    let mut keep = Vec::new();
    for j in 0..form.step.n_history {
        keep.push(combine(&mut g, &format!("keep{j}"), &terms, field.batch)?);
    }
    let error = match form.has_error {
        true => Some(combine(&mut g, "error", &terms, field.batch)?),
        false => None,
    };
    let next = match all.filter(|_| form.step.has_posterior) {
        Some(all) => {
            let noise = match noise {
                // The model's blueprint has checked that the network has outputs for a variance.
                Some(noise) if form.step.is_learned => Noise::Learned(noise, all),
                Some(noise) => Noise::Fixed(noise),
                None => Noise::None,
            };
            let rows = [field.batch, ancestral::COLUMNS];
            let coef = g.input(POSTERIOR, rows);
            let next = ancestral::ancestral(&mut g, start, terms[1], noise, coef)?;
            match slope {
                None => next,
                Some(mut slope) => {
                    if form.step.is_learned {
                        // The variance is the standard deviation, applied twice.
                        let coef = g.input(GUIDE_STD, rows);
                        for _ in 0..2 {
                            let noise = Noise::Learned(slope, all);
                            slope = ancestral::ancestral(&mut g, slope, slope, noise, coef)?;
                        }
                    }
                    combine(&mut g, "push0", &[next, slope], field.batch)?
                }
            }
        }
        None => {
            if !form.step.is_noise_first {
                terms.extend(noise);
            }
            combine(&mut g, "end", &terms, field.batch)?
        }
    };
    if form.is_adaptive {
        outputs.push((NEXT[0].into(), next));
        outputs.push((NEXT[1].into(), keep[0]));
        keep[0] = histories[0];
    }
    if let Some(error) = error {
        let size = if form.is_adaptive {
            let tolerance = g.input(TOLERANCE, [2]);
            control::error(&mut g, error, [start, next], tolerance)?
        } else {
            // The mean square per sample, computed as a loss whose residual is the error.
            let coef = g.input("square", [field.batch, MAX_TERMS]);
            loss::loss(&mut g, error, error, error, coef)?
        };
        outputs.push(("error".into(), size));
    }
    let names = (0..keep.len()).map(history);
    outputs.extend(names.zip(keep));
    outputs.push(("x".into(), if form.is_adaptive { start } else { next }));
    outputs.extend(kept.filter(|_| keep_out).map(|out| ("out".into(), out)));
    let request = Request {
        outputs,
        weights,
        ..Request::default()
    };
    let layouts: Vec<_> = field.networks().map(Blueprint::layout).collect();
    Plan::new(&g, &request, &layouts)
}

/// Splits a row of `n_terms` coefficients into inputs of at most four: their names and the ranges of coefficients. `name` has the
/// first four, `name+` has the sum so far and three more, and so on.
pub(super) fn pieces(name: &str, n_terms: usize) -> impl Iterator<Item = (String, usize, usize)> {
    let mut name = name.to_owned();
    let mut from = 0;
    std::iter::from_fn(move || {
        let is_first = from == 0;
        let room = MAX_TERMS - usize::from(!is_first);
        let to = n_terms.min(from + room);
        let piece = (from < n_terms).then(|| (name.clone(), from, to));
        from = to;
        name.push('+');
        piece
    })
}

/// `Σ_k row_k terms_k`, four tensors at a time.
fn combine(g: &mut Graph, name: &str, terms: &[Var], batch: usize) -> Result<Var> {
    let mut sum: Option<Var> = None;
    for (name, from, to) in pieces(name, terms.len()) {
        let coef = g.input(name, [batch, MAX_TERMS]);
        let tensors: Vec<Var> = sum
            .into_iter()
            .chain(terms[from..to].iter().copied())
            .collect();
        sum = Some(lincomb(g, &tensors, coef)?);
    }
    Ok(sum.expect("a combination has terms"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_rows_are_added_in_pieces() {
        let of = |n| pieces("end", n).collect::<Vec<_>>();
        assert_eq!(of(2), [("end".into(), 0, 2)]);
        assert_eq!(of(4), [("end".into(), 0, 4)]);
        assert_eq!(of(5), [("end".into(), 0, 4), ("end+".into(), 4, 5)]);
        let eight = [
            ("end".into(), 0, 4),
            ("end+".into(), 4, 7),
            ("end++".into(), 7, 8),
        ];
        assert_eq!(of(8), eight);
    }
}
