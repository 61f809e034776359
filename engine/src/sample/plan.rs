//! The plan of a step, for each form.

use super::field::Field;
use crate::error::Result;
use crate::graph::plan::Request;
use crate::graph::{Arena, Graph, Plan, Var};
use crate::ops::lincomb::{MAX_TERMS, lincomb};
use crate::ops::loss;
use crate::transport::{Guidance, MAX_STAGES, Step, StepForm};

/// Determines the program that computes a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Form {
    pub step: StepForm,
    pub is_guided: bool,
    /// Whether the error is estimated.
    pub has_error: bool,
}

/// The form of each step. If one step with so many stages adds noise, all of them do (an SDE's last one with noise 0), so that they
/// share a program.
pub(super) fn forms(steps: &[Step], guidance: &Guidance, keep_error: bool) -> Vec<Form> {
    let mut is_noisy = [false; MAX_STAGES + 1];
    for step in steps {
        is_noisy[step.form().n_stages] |= step.form().is_noisy;
    }
    let form = |step: &Step| {
        let n_stages = step.form().n_stages;
        Form {
            step: StepForm {
                n_stages,
                is_noisy: is_noisy[n_stages],
            },
            is_guided: step.times().iter().any(|&t| guidance.active(t)),
            has_error: keep_error && step.error().is_some(),
        }
    };
    steps.iter().map(form).collect()
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
    /// The scale of each evaluation's classifier-free guidance.
    pub scales: Vec<String>,
    /// The shares of the networks in each evaluation of autoguidance.
    pub shares: Vec<Row>,
    pub start: Row,
    /// The state of each evaluation; the first one's is the start itself.
    pub rows: Vec<Row>,
    pub error: Row,
    pub square: Row,
    pub end: Row,
}

impl Names {
    pub fn new(form: &Form) -> Self {
        let n = form.step.n_stages;
        let row = |name: &str, n_terms: usize| pieces(name, n_terms).collect::<Row>();
        let is_noise_last = form.step.is_noisy && !form.step.is_noise_first();
        Names {
            times: (0..n).map(|i| format!("t{i}")).collect(),
            scales: (0..n).map(|i| format!("scale{i}")).collect(),
            shares: (0..n).map(|i| row(&format!("shares{i}"), 2)).collect(),
            start: row("start", 2),
            rows: (0..n).map(|i| row(&format!("row{i}"), i + 1)).collect(),
            error: row("error", n + 1),
            square: row("square", 2),
            end: row("end", n + 1 + usize::from(is_noise_last)),
        }
    }
}

/// The plan of a step. Inputs: `x`, `noise`, `t0`, `t1`, .. and the rows of coefficients; outputs: `x` and, if requested, `out` and
/// `error`. The parameters of each network are read from `weights`.
pub(super) fn plan(
    field: &Field<'_>,
    form: Form,
    keep_out: bool,
    weights: Vec<Arena>,
) -> Result<Plan> {
    let mut g = Graph::new();
    let images = field.model.io().images(field.batch);
    let x = g.input("x", images);
    let mut net = field.build(&mut g, form.is_guided)?;
    let noise = form.step.is_noisy.then(|| g.input("noise", images));
    let mut start = x;
    if let Some(noise) = noise.filter(|_| form.step.is_noise_first()) {
        start = combine(&mut g, "start", &[x, noise], field.batch)?;
    }
    let mut terms = vec![start];
    let mut kept = None;
    for i in 0..form.step.n_stages {
        // The first evaluation is at the start state.
        let state = match i {
            0 => start,
            _ => combine(&mut g, &format!("row{i}"), &terms, field.batch)?,
        };
        let evaluation = net.evaluate(&mut g, state, i)?;
        terms.push(evaluation.out);
        kept = kept.or(Some(evaluation.raw));
    }
    let mut outputs = Vec::new();
    if form.has_error {
        let error = combine(&mut g, "error", &terms, field.batch)?;
        // The mean square per sample, computed as a loss whose residual is the error.
        let coef = g.input("square", [field.batch, MAX_TERMS]);
        let square = loss::loss(&mut g, error, error, error, coef)?;
        outputs.push(("error".into(), square));
    }
    if !form.step.is_noise_first() {
        terms.extend(noise);
    }
    let next = combine(&mut g, "end", &terms, field.batch)?;
    outputs.push(("x".into(), next));
    outputs.extend(kept.filter(|_| keep_out).map(|out| ("out".into(), out)));
    let request = Request {
        outputs,
        weights,
        ..Request::default()
    };
    let layouts = std::iter::once(field.model).chain(field.guide);
    let layouts: Vec<_> = layouts.map(|model| model.layout()).collect();
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
