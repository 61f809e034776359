//! What `sit nll` says and writes.

use crate::commands::examples::Examples;
use crate::error;
use crate::files::write_atomically;
use sit_engine::sample::{Draw, LogLikelihood, Trace, bits_per_dimension};
use sit_engine::text::{count, shown};
use sit_engine::transport::Method;
use std::f64::consts::LN_2;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

/// The likelihoods of images, and how they were found.
pub struct Report<'a> {
    pub images: &'a Examples,
    pub results: &'a [LogLikelihood],
    /// Values of an image.
    pub len: usize,
    /// Levels that the values were spread over; `None` for latents.
    pub levels: Option<u32>,
    pub trace: Trace,
    pub method: Method,
    /// Time, alpha and sigma of the states at both ends: data, then noise.
    pub ends: [[f64; 3]; 2],
    pub noise_std: f64,
    /// The exact `log p` of each image, where it is known, or why it is not; `None` for data that nothing is known of.
    pub exact: Option<Result<Vec<f64>, String>>,
    pub seconds: f64,
    pub origin: String,
}

/// Mean and standard error; no error of a single value.
pub(super) fn mean(values: &[f64]) -> (f64, Option<f64>) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    (
        mean,
        (values.len() > 1).then(|| (squares / (n - 1.0) / n).sqrt()),
    )
}

/// `3.214 ± 0.012`, with two digits of the error.
pub(super) fn with_error(value: f64, error: Option<f64>) -> String {
    match error.filter(|error| *error > 0.0 && error.is_finite()) {
        Some(error) => {
            let digits = (1.0 - error.log10().floor()).clamp(0.0, 9.0) as usize;
            format!("{value:.digits$} ± {error:.digits$}")
        }
        None => format!("{value:.4}"),
    }
}

impl Report<'_> {
    fn bits(&self, nats: f64) -> f64 {
        bits_per_dimension(nats, self.len, self.levels)
    }

    /// The lines for the terminal.
    pub fn text(&self, csv: Option<&Path>) -> String {
        let nats: Vec<f64> = self.results.iter().map(|image| image.nats).collect();
        let bits: Vec<f64> = nats.iter().map(|nats| self.bits(*nats)).collect();
        let (n, len) = (self.results.len() as f64, self.len);
        let ((bits, of_images), (nats, mut nats_error)) = (mean(&bits), mean(&nats));
        // Of a single image only the probes tell an error.
        let of_probes = self.results.iter().find_map(|image| image.std_error);
        nats_error = nats_error.or(of_probes);
        let bits_error = nats_error.map(|nats| nats / (len as f64 * LN_2));
        let mut text = format!("{} bits per dimension\n", with_error(bits, bits_error));
        let units = match self.levels {
            Some(levels) => format!("{levels} levels with uniform noise within each, x in [-1, 1]"),
            None => "float32 values as they are, which have no levels: the density in bits, which may be negative".into(),
        };
        let mut line = |line: String| {
            text += &line;
            text.push('\n');
        };
        line(format!(
            "log p = {} nats for each image of {}; {units}",
            with_error(nats, nats_error),
            count(len, "value")
        ));
        match &self.exact {
            None => {}
            Some(Err(why)) => line(why.clone()),
            Some(Ok(exact)) => {
                let (own, own_error) = mean(exact);
                let results = self.results.iter().zip(exact);
                let excess: Vec<f64> = results.map(|(image, exact)| exact - image.nats).collect();
                let (excess, excess_error) = mean(&excess);
                line(format!(
                    "the data's own log p is {} nats; the difference, {} nats, estimates KL(data | model)",
                    with_error(own, own_error),
                    with_error(excess, excess_error)
                ));
            }
        }
        line(match (of_images, bits_error) {
            (Some(_), _) => format!(
                "± is the standard error of the mean over {}",
                self.images.name
            ),
            (None, Some(_)) => format!(
                "± is the standard error of the probes; {}",
                self.images.name
            ),
            (None, None) => format!("of {}", self.images.name),
        });
        let how = match self.trace {
            Trace::Exact => format!(
                "the exact trace, {} for each evaluation",
                count(len, "backward pass")
            ),
            Trace::Hutchinson {
                n_probes,
                draw,
                is_fresh,
            } => {
                let draw = match draw {
                    Draw::Gaussian => "Gaussian",
                    Draw::Rademacher => "Rademacher",
                };
                let kept = match is_fresh {
                    true => "new for each evaluation",
                    false => "kept for the whole way",
                };
                format!(
                    "{} an image, {kept}",
                    count(n_probes, &format!("{draw} probe"))
                )
            }
            _ => "an estimate of the trace".into(),
        };
        line(format!("trace: {how}"));
        let squares: Option<f64> = self
            .results
            .iter()
            .map(|image| image.std_error.map(|e| e * e))
            .sum();
        if let Some(squares) = squares.filter(|_| self.results.len() > 1) {
            let error = squares.sqrt() / n;
            line(format!(
                "of that error the probes make {:.2e} bits per dimension ({error:.2e} nats)",
                error / (len as f64 * LN_2)
            ));
        }
        let nfe = |image: &LogLikelihood| f64::from(image.nfe);
        let (sum, most) = self
            .results
            .iter()
            .map(nfe)
            .fold((0.0, 0.0_f64), |(sum, most), nfe| {
                (sum + nfe, most.max(nfe))
            });
        line(format!(
            "{} from t = {} to {}: {:.1} network evaluations an image, at most {most}; {:.1} s, {}",
            self.method,
            self.ends[0][0],
            self.ends[1][0],
            sum / n,
            self.seconds,
            self.origin
        ));
        if let Some(note) = self.note() {
            line(note);
        }
        if let Some(csv) = csv {
            line(shown(csv));
        }
        text
    }

    /// What the ends of the way leave out.
    fn note(&self) -> Option<String> {
        let [[t1, alpha1, sigma1], [t0, alpha0, sigma0]] = self.ends;
        let mut note = String::new();
        if sigma1 > 0.0 || (alpha1 - 1.0).abs() > 1e-12 {
            write!(
                note,
                "the density is that of the state at t = {t1}, where the path has {alpha1:.4} data + {sigma1:.4} noise"
            )
            .ok();
        }
        if alpha0 > 0.0 {
            if !note.is_empty() {
                note += "; ";
            }
            write!(
                note,
                "log p is that of sampling from N(0, {:.4}) at t = {t0}, where the path itself still has {alpha0:.2e} data + {sigma0:.4} \
                 noise",
                self.noise_std * self.noise_std
            )
            .ok();
        }
        (!note.is_empty()).then_some(note)
    }

    /// Writes a row for each image.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, path: &Path) -> error::Result<()> {
        write_atomically(path, |out| {
            writeln!(
                out,
                "image,label,log_p_nats,std_error_nats,prior_nats,integral_nats,bits_per_dimension,evaluations"
            )?;
            for (image, label) in self.results.iter().zip(&self.images.y) {
                let error = image.std_error.map_or_else(String::new, |e| e.to_string());
                writeln!(
                    out,
                    "{},{label},{},{error},{},{},{},{}",
                    image.number,
                    image.nats,
                    image.prior,
                    image.integral,
                    self.bits(image.nats),
                    image.nfe
                )?;
            }
            Ok(())
        })?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_two_digits() {
        assert_eq!(with_error(3.21416, Some(0.0123)), "3.214 ± 0.012");
        assert_eq!(with_error(-153.27, Some(1.26)), "-153.3 ± 1.3");
        assert_eq!(with_error(3.21416, Some(0.0)), "3.2142");
        assert_eq!(with_error(3.21416, None), "3.2142");
        assert_eq!(mean(&[1.0, 3.0]), (2.0, Some(1.0)));
        assert_eq!(mean(&[1.0]).1, None);
    }
}
