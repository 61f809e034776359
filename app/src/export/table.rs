//! Numbers of the lanes: as CSV, and as NumPy arrays.

use crate::findings::Traces;
use crate::state::{Quantity, State, caption};
use crate::view::Sum;
use sit_trainer::npy::{Array, archive};

/// The columns of the steps.
const STEPS: &str = "lane,caption,step,t,t_next,evaluations,ms,velocity,score,drift,noise,guide,heun_minus_euler,of_the_mean,length_over_chord,bend";

/// A row for each step of each lane that is recorded: what the tab Step shows. Numbers that do not exist are empty.
///
/// # Errors
/// When no step is recorded.
pub fn csv(state: &State) -> Result<Vec<u8>, String> {
    let mut text = format!("{STEPS}\n");
    let mut traces = Traces::default();
    for lane in 0..state.lanes.len() {
        let record = &state.records[lane];
        let rows = loop {
            if let (rows, true) = traces.rows(state, lane) {
                break rows.to_vec();
            }
        };
        for (step, row) in rows.iter().enumerate() {
            let name = caption(state, lane, state.lanes[lane].settings_at(row.t[0]));
            let norms = row.norms;
            let numbers = [
                Some(row.t[0]),
                Some(row.t[1]),
                Some((record.nfe(step + 1) - record.nfe(step)) as f64),
                Some(record.frames[step].ms),
                norms.map(|n| n.velocity),
                norms.and_then(|n| n.score),
                norms.and_then(|n| n.drift),
                norms.and_then(|n| n.noise),
                row.guide,
                row.error,
                row.weak,
                row.length_ratio,
                row.bend,
            ];
            let numbers = numbers.map(|n| n.map_or_else(String::new, |n| n.to_string()));
            let line = [
                (lane + 1).to_string(),
                quoted(&name),
                (step + 1).to_string(),
            ];
            text += &[&line[..], &numbers[..]].concat().join(",");
            text += "\n";
        }
    }
    match text.lines().count() {
        1 => Err("No step is recorded yet".into()),
        _ => Ok(text.into_bytes()),
    }
}

/// The curves of the tab Cost.
pub fn cost(state: &State) -> String {
    let mut text =
        "sampler,guidance,steps,evaluations,path_distance,sliced_distance,chance\n".to_owned();
    for curve in &state.cost {
        let settings = &curve.of.settings;
        for point in &curve.points {
            let optional = |x: Option<f64>| x.map_or_else(String::new, |x| x.to_string());
            let line = [
                quoted(&crate::state::title(settings)),
                settings.guidance.scale.to_string(),
                point.n_steps.to_string(),
                point.nfe.to_string(),
                optional(point.path),
                optional(point.sliced),
                optional(curve.chance),
            ];
            text += &line.join(",");
            text += "\n";
        }
    }
    text
}

/// A text as a field of CSV.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

/// The samples as they are shown: of each lane the states `[N, C, H, W]` and, where it is another quantity, what is drawn of them; their pictures
/// `[N, C, H, W]` where they are latents that are decoded; the labels
/// and the time of each lane.
///
/// # Errors
/// When nothing is computed yet.
pub fn npz(state: &State) -> Result<Vec<u8>, String> {
    let model = state.model.as_ref().ok_or("There is no network yet")?;
    let [channels, height, width] = model.io.image;
    let shape = [state.n_samples, channels, height, width];
    let mut arrays = Vec::new();
    for lane in 0..state.lanes.len() {
        let position = state.position(lane);
        let (record, name) = (&state.records[lane], format!("lane_{}", lane + 1));
        let Some(x) = record.state(position) else {
            continue;
        };
        let t = record.t(position);
        arrays.push(Array::f32(format!("{name}_x"), &shape, x));
        arrays.push(Array::f32(format!("{name}_t"), &[1], &[t as f32]));
        if state.view.quantity != Quantity::State
            && let Some(values) = Sum::of(state, lane, position).and_then(|sum| sum.values())
        {
            arrays.push(Array::f32(format!("{name}_shown"), &shape, &values));
        }
        if let (Some(autoencoder), Some(moment)) = (state.decoder(), state.moment(lane, position))
            && let Some(done) = state.decoded(&moment)
        {
            let [channels, height, width] = autoencoder.picture(model.io.image);
            let shape = [done.moment.n, channels, height, width];
            arrays.push(Array::f32(
                format!("{name}_decoded"),
                &shape,
                &done.pictures,
            ));
        }
        let labels = state.labels(state.lanes[lane].settings_at(t));
        arrays.push(Array {
            name: format!("{name}_label"),
            dtype: "<i8",
            shape: vec![labels.len() as u64],
            bytes: labels
                .iter()
                .flat_map(|y| i64::from(*y).to_le_bytes())
                .collect(),
        });
    }
    match arrays.is_empty() {
        true => Err("Nothing is computed yet".into()),
        false => archive(&arrays).map_err(|e| e.to_string()),
    }
}
