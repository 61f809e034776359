//! Files of mean and covariance of features.

use crate::data::Npz;
use crate::error::{Failure, Result};
use crate::files::write_atomically;
use crate::memory;
use crate::metrics::Gaussian;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use sit_engine::text::shown;
use std::collections::HashMap;
use std::io::Write;
use std::path::Path;

/// The key of a file's metadata that says what it is, and its value.
const FORMAT: (&str, &str) = ("format", "sit statistics");

/// What made features: only those of one kind compare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// The network and its weights, as in `inception-` and a hash of them.
    pub extractor: String,
    /// How images come to its size, as in `tf1`; `none` where they have it.
    pub resize: String,
}

/// Mean and covariance of the features of a set of images.
#[derive(Debug, Clone)]
pub struct Statistics {
    /// What made the features; files of other programs do not say it.
    pub made: Option<Made>,
    /// Of the features.
    pub features: Gaussian,
    /// Of spatial features, which sFID compares.
    pub spatial: Option<Gaussian>,
}

impl Statistics {
    /// Reads a file; `None` if it is neither a `.safetensors` file nor an `.npz` file with `mu`.
    ///
    /// An `.npz` file has `mu` `[d]` and `sigma` `[d, d]`, and may have `mu_s` and `sigma_s`, as ADM's have, in f64 or f32. A `.safetensors` file has
    /// the same tensors in F64, and the texts `extractor`, `resize` and `count`.
    ///
    /// # Errors
    /// [`Failure::Input`] naming the file: it cannot be read, lacks an array, or has one of another type or shape, or that is no covariance.
    pub fn read(path: &Path) -> Result<Option<Self>> {
        let is = |extension: &str| {
            path.extension()
                .is_some_and(|own| own.eq_ignore_ascii_case(extension))
        };
        if is("safetensors") {
            return Self::of_safetensors(path).map(Some);
        }
        match is("npz") && path.is_file() {
            true => Self::of_npz(path),
            false => Ok(None),
        }
    }

    fn of_npz(path: &Path) -> Result<Option<Self>> {
        let refuse = |what: String| Failure::Input(format!("{}: {what}", shown(path)));
        let mut npz = Npz::open(path)?;
        let mut gaussian = |mean: &str, covariance: &str| -> Result<Option<Gaussian>> {
            let Some(mu) = npz.array(mean)? else {
                return Ok(None);
            };
            let sigma = npz.array(covariance)?;
            let sigma = sigma
                .ok_or_else(|| refuse(format!("has {mean}, expected {covariance} beside it")))?;
            let &[d] = &mu.shape[..] else {
                let expected = "a vector of at least 1 value";
                return Err(refuse(format!(
                    "{mean} is {:?}, expected {expected}",
                    mu.shape
                )));
            };
            if sigma.shape != [d, d] {
                return Err(refuse(format!(
                    "{covariance} is {:?}, expected [{d}, {d}] as {mean} has {d} values",
                    sigma.shape
                )));
            }
            memory::require_host(
                &format!("{covariance} of {}", shown(path)),
                sigma.n_bytes.checked_mul(4),
                "expected a covariance of features",
            )?;
            let (mu, sigma) = (npz.floats(&mu)?, npz.floats(&sigma)?);
            let made = Gaussian::of_file(mu, sigma, None);
            made.map(Some)
                .map_err(|e| refuse(format!("{mean} and {covariance}: {e}")))
        };
        let Some(features) = gaussian("mu", "sigma")? else {
            return Ok(None);
        };
        Ok(Some(Statistics {
            made: None,
            features,
            spatial: gaussian("mu_s", "sigma_s")?,
        }))
    }

    fn of_safetensors(path: &Path) -> Result<Self> {
        let refuse = |what: String| Failure::Input(format!("{}: {what}", shown(path)));
        let io_error = |e: std::io::Error| refuse(e.to_string());
        let n_bytes = std::fs::metadata(path).map_err(io_error)?.len();
        memory::require_host(
            &shown(path),
            n_bytes.checked_mul(2),
            "expected a file of statistics",
        )?;
        let bytes = std::fs::read(path).map_err(io_error)?;
        let bad = |e: safetensors::SafeTensorError| {
            refuse(format!(
                "is no whole safetensors file ({})",
                shown(e.to_string())
            ))
        };
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(bad)?;
        let file = SafeTensors::deserialize(&bytes).map_err(bad)?;
        let texts = header.metadata().clone().unwrap_or_default();
        if texts.get(FORMAT.0).map(String::as_str) != Some(FORMAT.1) {
            return Err(refuse(
                "has no statistics, expected a file of sit eval --save-statistics".into(),
            ));
        }
        let text = |key: &str| {
            let text = texts.get(key).cloned();
            text.ok_or_else(|| refuse(format!("has no {key} in its metadata")))
        };
        let n = text("count")?;
        let n = n.parse::<usize>();
        let n = n.map_err(|_| refuse("count in its metadata is no whole number".into()))?;
        let floats = |name: &str| -> Result<Option<(Vec<f64>, Vec<usize>)>> {
            let Ok(tensor) = file.tensor(name) else {
                return Ok(None);
            };
            if tensor.dtype() != Dtype::F64 {
                return Err(refuse(format!(
                    "{name} is {:?}, expected F64",
                    tensor.dtype()
                )));
            }
            let values = tensor.data().as_chunks().0.iter();
            let values = values.map(|b| f64::from_le_bytes(*b)).collect();
            Ok(Some((values, tensor.shape().to_vec())))
        };
        let gaussian = |mean: &str, covariance: &str| -> Result<Option<Gaussian>> {
            let Some((mu, shape)) = floats(mean)? else {
                return Ok(None);
            };
            let (sigma, of_sigma) = floats(covariance)?
                .ok_or_else(|| refuse(format!("has {mean}, expected {covariance} beside it")))?;
            let d = mu.len();
            if shape != [d] || of_sigma != [d, d] {
                return Err(refuse(format!(
                    "{mean} is {shape:?} and {covariance} {of_sigma:?}, expected [d] and [d, d]"
                )));
            }
            let made = Gaussian::of_file(mu, sigma, Some(n));
            made.map(Some)
                .map_err(|e| refuse(format!("{mean} and {covariance}: {e}")))
        };
        Ok(Statistics {
            made: Some(Made {
                extractor: text("extractor")?,
                resize: text("resize")?,
            }),
            features: gaussian("mu", "sigma")?.ok_or_else(|| refuse("has no mu".into()))?,
            spatial: gaussian("mu_s", "sigma_s")?,
        })
    }

    /// Writes those of the features, and of the spatial ones if there are any, of `n` images as a `.safetensors` file.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(
        path: &Path,
        made: &Made,
        n: usize,
        features: &Gaussian,
        spatial: Option<&Gaussian>,
    ) -> Result<()> {
        let bytes =
            |values: &[f64]| -> Vec<u8> { values.iter().flat_map(|x| x.to_le_bytes()).collect() };
        let mut tensors = Vec::new();
        for (gaussian, names) in [
            (Some(features), ["mu", "sigma"]),
            (spatial, ["mu_s", "sigma_s"]),
        ] {
            if let Some(gaussian) = gaussian {
                let d = gaussian.dim();
                tensors.push((names[0], vec![d], bytes(gaussian.mean())));
                tensors.push((names[1], vec![d, d], bytes(gaussian.covariance())));
            }
        }
        let texts = HashMap::from([
            (FORMAT.0.to_owned(), FORMAT.1.to_owned()),
            ("extractor".to_owned(), made.extractor.clone()),
            ("resize".to_owned(), made.resize.clone()),
            ("count".to_owned(), n.to_string()),
        ]);
        let views = tensors.iter().map(|(name, shape, bytes)| {
            TensorView::new(Dtype::F64, shape.clone(), bytes).map(|view| (*name, view))
        });
        let file = views
            .collect::<std::result::Result<Vec<_>, _>>()
            .and_then(|views| safetensors::serialize(views, Some(texts)));
        let file = file.map_err(|e| Failure::Run(format!("{}: {e}", shown(path))))?;
        Ok(write_atomically(path, |out| out.write_all(&file))?)
    }

    /// Refuses statistics of features that something else made. A file that does not say it must have as many, and as many `spatial` ones if those are
    /// compared.
    ///
    /// # Errors
    /// [`Failure::Input`] naming `path`: another extractor, another resize, or another number of features.
    pub fn check(
        &self,
        path: &Path,
        made: &Made,
        dim: usize,
        spatial: Option<usize>,
    ) -> Result<()> {
        let refuse = |what: String| Err(Failure::Input(format!("{}: {what}", shown(path))));
        if let Some(own) = &self.made {
            if own.extractor != made.extractor {
                return refuse(format!(
                    "got statistics of the extractor {}, expected {}",
                    shown(&own.extractor),
                    made.extractor
                ));
            }
            if own.resize != made.resize {
                return refuse(format!(
                    "got statistics of images resized by {}, expected {}",
                    shown(&own.resize),
                    made.resize
                ));
            }
        }
        if self.features.dim() != dim {
            return refuse(format!(
                "got statistics of {} features, expected {dim} as {} has",
                self.features.dim(),
                made.extractor
            ));
        }
        if let (Some(own), Some(dim)) = (&self.spatial, spatial)
            && own.dim() != dim
        {
            return refuse(format!(
                "got statistics of {} spatial features (mu_s), expected {dim} as {} has",
                own.dim(),
                made.extractor
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn made(extractor: &str, resize: &str) -> Made {
        Made {
            extractor: extractor.into(),
            resize: resize.into(),
        }
    }

    fn statistics() -> Statistics {
        let gaussian = |d: usize| {
            let sigma = (0..d * d).map(|i| if i % (d + 1) == 0 { 1.5 } else { 0.1 });
            Gaussian::new(vec![0.25; d], sigma.collect(), Some(9)).unwrap()
        };
        Statistics {
            made: Some(made("net", "tf1")),
            features: gaussian(3),
            spatial: Some(gaussian(2)),
        }
    }

    #[test]
    fn a_file_is_read_back_with_the_same_bits() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        let written = statistics();
        let own = written.made.as_ref().unwrap();
        let spatial = written.spatial.as_ref();
        Statistics::write(&path, own, 9, &written.features, spatial).unwrap();
        let read = Statistics::read(&path).unwrap().unwrap();
        assert_eq!(read.made, written.made);
        assert_eq!(read.features.n(), Some(9));
        for (a, b) in [
            (&read.features, &written.features),
            (&read.spatial.unwrap(), &written.spatial.unwrap()),
        ] {
            assert_eq!((a.mean(), a.covariance()), (b.mean(), b.covariance()));
        }
    }

    #[test]
    fn what_does_not_compare_is_refused() {
        let path = Path::new("x.safetensors");
        let own = statistics();
        own.check(path, &made("net", "tf1"), 3, Some(2)).unwrap();
        let refused = own
            .check(path, &made("net", "tf1"), 3, Some(5))
            .unwrap_err();
        assert_eq!(
            refused.to_string(),
            "x.safetensors: got statistics of 2 spatial features (mu_s), expected 5 as net has"
        );
        for (other, d, expected) in [
            (
                made("other", "tf1"),
                3,
                "x.safetensors: got statistics of the extractor net, expected other",
            ),
            (
                made("net", "antialias"),
                3,
                "x.safetensors: got statistics of images resized by tf1, expected antialias",
            ),
            (
                made("net", "tf1"),
                4,
                "x.safetensors: got statistics of 3 features, expected 4 as net has",
            ),
        ] {
            let message = own.check(path, &other, d, None).unwrap_err().to_string();
            assert_eq!(message, expected);
        }
    }

    #[test]
    fn other_files_are_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        let refused = |bytes: &[u8], expected: &str| {
            fs::write(&path, bytes).unwrap();
            let message = Statistics::read(&path).unwrap_err().to_string();
            assert!(
                message.contains("x.safetensors: ") && message.contains(expected),
                "{message}"
            );
        };
        refused(b"", "is no whole safetensors file");
        refused(&[255; 64], "is no whole safetensors file");
        let file = |texts: &[(&str, &str)], name: &str, shape: &[usize], dtype: Dtype| {
            let texts = texts
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
            let n: usize =
                shape.iter().product::<usize>() * if dtype == Dtype::F64 { 8 } else { 4 };
            let bytes = vec![0; n];
            let view = TensorView::new(dtype, shape.to_vec(), &bytes).unwrap();
            safetensors::serialize([(name, view)], Some(texts.collect())).unwrap()
        };
        let good = [
            ("format", "sit statistics"),
            ("count", "5"),
            ("extractor", "a"),
            ("resize", "b"),
        ];
        refused(&file(&[], "mu", &[2], Dtype::F64), "has no statistics");
        refused(&file(&good[..1], "mu", &[2], Dtype::F64), "has no count");
        refused(
            &file(&[good[0], ("count", "-1")], "mu", &[2], Dtype::F64),
            "count in its metadata",
        );
        refused(&file(&good, "x", &[2], Dtype::F64), "has no mu");
        refused(
            &file(&good, "mu", &[2], Dtype::F32),
            "mu is F32, expected F64",
        );
        refused(
            &file(&good, "mu", &[2], Dtype::F64),
            "expected sigma beside it",
        );
        assert!(Statistics::read(Path::new("x.png")).unwrap().is_none());
    }
}
