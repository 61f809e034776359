//! The function that a solver integrates: a network, or a guided mix of two evaluations.

use crate::error::{Error, Result};
use crate::graph::{Graph, SetId, Var};
use crate::model::{Blueprint, Inputs, Outputs, evaluate};
use crate::nn::Params;
use crate::ops::{guide, lincomb};
use crate::transport::GuidanceChannels;

/// The networks of a field, and how their outputs are combined.
#[derive(Clone, Copy)]
pub(super) struct Field<'a> {
    pub model: &'a Blueprint,
    /// The weak network of autoguidance; without it the model itself, with the null class.
    pub guide: Option<&'a Blueprint>,
    pub channels: GuidanceChannels,
    pub batch: usize,
}

/// The field in a graph. Parameters are declared once, even for several evaluations.
pub(super) struct FieldGraph<'a> {
    field: Field<'a>,
    main: Params,
    weak: Params,
    y: Option<Var>,
    is_guided: bool,
}

/// One evaluation.
pub(super) struct Evaluation {
    /// The prediction that is integrated, `[B, C, H, W]`.
    pub out: Var,
    /// The raw output of the network; with classifier-free guidance `[2B, C, H, W]`, conditional first, then unconditional.
    pub raw: Var,
    /// All channels of the network's last layer, `[B, Cout, H, W]`; those after the prediction are not guided.
    pub all: Var,
}

/// Rejects a guide whose shapes, path or prediction differ from the model's.
pub(super) fn check_guide(model: &Blueprint, guide: &Blueprint) -> Result<()> {
    let (a, b) = (model.io(), guide.io());
    if a != b {
        return Err(Error::setting(
            "autoguide",
            format!(
                "got a model of {:?} and {} classes, expected {:?} and {} classes as the one that it guides",
                b.image, b.n_classes, a.image, a.n_classes
            ),
        ));
    }
    let (a, b) = (model.transport(), guide.transport());
    let is_other_base = a.base.data().is_some() != b.base.data().is_some();
    if is_other_base {
        return Err(Error::setting(
            "autoguide",
            format!(
                "got a model that begins with {}, expected {} as the one that it guides",
                b.base, a.base
            ),
        ));
    }
    if (&a.path, a.prediction, a.data_std) != (&b.path, b.prediction, b.data_std) {
        return Err(Error::setting(
            "autoguide",
            format!(
                "got a model that predicts {} on the {} path, expected {} on {} as the one that it guides",
                b.prediction, b.path, a.prediction, a.path
            ),
        ));
    }
    Ok(())
}

impl<'a> Field<'a> {
    /// The field in `g`, with or without guidance.
    pub fn build(self, g: &mut Graph, is_guided: bool) -> Result<FieldGraph<'a>> {
        let doubles = is_guided && self.guide.is_none();
        let n = if doubles { 2 * self.batch } else { self.batch };
        self.model.network().validate(n)?;
        let null = self.model.io().null_class();
        Ok(FieldGraph {
            field: self,
            main: Params::new(SetId::MAIN),
            weak: Params::new(SetId::GUIDE),
            y: null.map(|_| g.input_u32("y", [n])),
            is_guided,
        })
    }
}

impl FieldGraph<'_> {
    /// Evaluates the field at x `[B, C, H, W]`. Evaluation number `at` has its own inputs `t{at}` and, with guidance,
    /// `scale{at}`, or `shares{at}` with a guide.
    pub fn evaluate(&mut self, g: &mut Graph, x: Var, at: usize) -> Result<Evaluation> {
        let (field, y) = (self.field, self.y);
        let n = match y {
            Some(y) => g.shape(y)[0],
            None => field.batch,
        };
        let t = g.input(format!("t{at}"), [n]);
        let network = |model: &Blueprint, params: &mut Params, g: &mut Graph, x: Var| {
            let inputs = Inputs { x, t, y };
            evaluate(model.network(), &mut params.scope(g), inputs)
        };
        if !self.is_guided {
            let Outputs { out, all } = network(field.model, &mut self.main, g, x)?;
            return Ok(Evaluation { out, raw: out, all });
        }
        let Some(weak) = field.guide else {
            let scale = g.input(format!("scale{at}"), [field.batch]);
            let doubled = guide::double(g, x)?;
            let Outputs { out: raw, all } = network(field.model, &mut self.main, g, doubled)?;
            let n_channels = field.model.io().channels();
            let channels = match field.channels {
                GuidanceChannels::All => n_channels,
                GuidanceChannels::First3 => n_channels.min(3),
            };
            let out = guide::mix(g, raw, scale, channels)?;
            let all = guide::mix(g, all, scale, channels)?;
            return Ok(Evaluation { out, raw, all });
        };
        let Outputs { out: good, all } = network(field.model, &mut self.main, g, x)?;
        let worse = network(weak, &mut self.weak, g, x)?.out;
        let shares = g.input(format!("shares{at}"), [field.batch, lincomb::MAX_TERMS]);
        let out = lincomb::lincomb(g, &[good, worse], shares)?;
        Ok(Evaluation {
            out,
            raw: good,
            all,
        })
    }
}
