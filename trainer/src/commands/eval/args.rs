//! The arguments of `sit eval`.

use super::metric::MetricParser;
use crate::commands::backend::BackendArg;
use crate::commands::values::whole;
use crate::config::{Metric, Protocol};
use crate::error::{Failure, Result};
use crate::outputs::Outputs;
use sit_engine::text::shown;
use std::path::{Path, PathBuf};

/// Judge samples: how far they are from real images.
///
/// Each SAMPLES is a row of one table, such as those of an ODE and of an SDE; the last row is that of real images which were held out (else
/// of a fifth of the reference), the floor that no sample need go below; it has the columns of the judge and of pixels. Distances fall with the number of images, so only those of one number compare.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Images: an .npz file with arr_0, uint8 [N, H, W, C], and with label or arr_1 the classes; a folder of pictures of one size, with a folder for
    /// each class; archives of pictures; IDX files; or digits.
    #[arg(value_name = "SAMPLES")]
    pub samples: Vec<PathBuf>,
    /// Real images: what a model was trained on, as of sit sweep --data, resized and cropped as in a training (but for --inception, which takes pictures of one size as they are); or a file of statistics: an .npz file with mu and sigma, as ADM's are, or a
    /// .safetensors file of --save-statistics [default: those of --train-judge].
    #[arg(long, value_name = "REF")]
    pub reference: Option<PathBuf>,
    /// Of each SAMPLES take only N images, drawn within each class by its share, the same ones each time [default: all].
    #[arg(long, value_name = "N", value_parser = whole::<u32>(2..=100_000_000))]
    pub count: Option<u32>,
    /// What is measured [default: all that the other arguments allow].
    #[arg(long, value_name = "NAME,..", value_parser = MetricParser, value_delimiter = ',')]
    pub metrics: Vec<Metric>,

    /// Weights of the Inception network of FID, such as pytorch-fid's pt_inception-2015-12-05-6726825d.pth, for fid, sfid, is, kid, pr and mind. They do
    /// not come with this program, and without them nothing is called FID.
    #[arg(long, value_name = "FILE", help_heading = "Inception")]
    pub inception: Option<PathBuf>,
    /// Whose numbers they are: how images are resized, and how scores are split and drawn. Statistics must be of the same resize; those of ADM are of
    /// adm.
    #[arg(long, value_enum, default_value_t = Protocol::Adm, requires = "inception", help_heading = "Inception")]
    pub protocol: Protocol,
    /// Images at a time in the network; only memory and speed depend on it.
    #[arg(long, value_name = "B", default_value_t = 8, value_parser = whole::<u32>(1..=4096), help_heading = "Inception")]
    pub batch: u32,

    /// The small classifier for agreement and frechet, which sit eval has trained, or sit sweep [default: of --train-judge, judge.safetensors].
    #[arg(long, value_name = "FILE.safetensors", help_heading = "Judge")]
    pub judge: Option<PathBuf>,
    /// Real images that the judge is trained on, if its file is not there. It is called by a hash of its weights; frechet of two judges do not
    /// compare.
    #[arg(long, value_name = "DATA", help_heading = "Judge")]
    pub train_judge: Option<PathBuf>,

    /// Images of each set that are compared by their pixels, at most.
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = whole::<u32>(2..=1_000_000), help_heading = "Pixels")]
    pub pixels: u32,
    /// Random directions of the sliced distances and of mind.
    #[arg(long, value_name = "M", default_value_t = 1000, value_parser = whole::<u32>(1..=1_000_000), help_heading = "Pixels")]
    pub directions: u32,
    /// Resamples of the bands of 95 %, of pixels and of frechet; 0 for none.
    #[arg(long, value_name = "B", default_value_t = 100, value_parser = whole::<u32>(0..=10_000))]
    pub resamples: u32,
    /// Key of what is drawn: images, directions, subsets, resamples.
    #[arg(long, value_name = "S", default_value_t = 0, value_parser = whole::<u64>(0..=u64::MAX))]
    pub seed: u64,

    /// Compare runs by what log.eval has measured while they trained: a table with a row for the last evaluation of each.
    #[arg(
        long,
        value_name = "RUN",
        num_args = 1..,
        help_heading = "Runs",
        conflicts_with_all = ["samples", "reference", "inception", "judge", "train_judge", "metrics", "count", "save_statistics", "batch", "pixels",
            "directions", "resamples", "seed"]
    )]
    pub compare: Vec<PathBuf>,

    /// Write mean and covariance of the features of the one SAMPLES, with the extractor, the resize and the number of images.
    #[arg(
        long,
        value_name = "FILE.safetensors",
        help_heading = "Output",
        conflicts_with_all = ["reference", "metrics"]
    )]
    pub save_statistics: Option<PathBuf>,
    /// Write all numbers, with more digits.
    #[arg(
        long,
        value_name = "FILE.json",
        help_heading = "Output",
        conflicts_with = "save_statistics"
    )]
    pub json: Option<PathBuf>,
    #[command(flatten)]
    pub backend: BackendArg,
}

const EXAMPLES: &str = "\
Examples:
  sit eval ode.npz sde.npz --train-judge digits --judge judge.safetensors
  sit eval samples.npz --reference VIRTUAL_imagenet256_labeled.npz --inception pt_inception-2015-12-05-6726825d.pth
  sit eval samples.npz --reference /data/faces --metrics pixel-sw,pixel-energy,nearest --json eval.json
  sit eval /data/faces --judge judge.safetensors --save-statistics faces.safetensors
  sit eval --compare runs/digits runs/digits-2   (after sit train --set log.eval.every_steps=1000)";

/// The file of the judge where none is named.
const JUDGE: &str = "judge.safetensors";

impl Args {
    /// The file of the judge, if there is to be one.
    pub fn judge_file(&self) -> Option<&Path> {
        let usual = || self.train_judge.as_ref().map(|_| Path::new(JUDGE));
        self.judge.as_deref().or_else(usual)
    }

    /// Real images or statistics.
    pub fn reference(&self) -> Option<&Path> {
        self.reference.as_deref().or(self.train_judge.as_deref())
    }

    /// The argument that [`Args::reference`] is of.
    pub fn reference_flag(&self) -> &'static str {
        match self.reference {
            Some(_) => "--reference",
            None => "--train-judge",
        }
    }

    /// Refuses arguments that do not go together, and files that cannot be written or are read.
    ///
    /// # Errors
    /// [`Failure::Input`] naming the argument.
    pub fn check(&self) -> Result<()> {
        if self.compare.is_empty() {
            self.check_metrics()?;
        }
        self.check_files()
    }

    fn check_metrics(&self) -> Result<()> {
        let refuse = |what: &str| Err(Failure::Input(what.into()));
        let of_judge = self.metrics.iter().find(|metric| metric.is_of_judge());
        if let Some(metric) = of_judge.filter(|_| self.judge_file().is_none()) {
            return Err(Failure::Input(format!(
                "--metrics {}: expected --judge FILE, or --train-judge DATA",
                metric.name()
            )));
        }
        let of_inception = self.metrics.iter().find(|metric| metric.is_of_inception());
        if let Some(metric) = of_inception.filter(|_| self.inception.is_none()) {
            return Err(Failure::Input(format!(
                "--metrics {}: expected --inception FILE, the weights of 2015-12-05; they do not come with this program",
                metric.name()
            )));
        }
        let has_score = self.protocol.has_score();
        if self.metrics.contains(&Metric::Is) && !has_score {
            return Err(Failure::Input(format!(
                "--metrics is: --protocol {} has none, expected adm or torch-fidelity",
                self.protocol.name()
            )));
        }
        if self.save_statistics.is_some() {
            if self.inception.is_some() && self.judge_file().is_some() {
                return refuse(
                    "--save-statistics: got --inception and a judge, expected one of them",
                );
            }
            if self.samples.len() != 1 {
                return Err(Failure::Input(format!(
                    "--save-statistics: got {} SAMPLES, expected one",
                    self.samples.len()
                )));
            }
            if self.inception.is_none() && self.judge_file().is_none() {
                return refuse(
                    "--save-statistics: expected --inception FILE or --judge FILE, whose features they are of",
                );
            }
        } else if self.samples.is_empty() && self.train_judge.is_none() {
            return refuse("SAMPLES: expected images to judge, or --train-judge DATA alone");
        } else if self.samples.is_empty() && self.json.is_some() {
            return refuse("--json: expected SAMPLES, whose numbers are written");
        } else if self.reference().is_none() {
            return refuse(
                "--reference: expected the real images to compare with, or a file of statistics",
            );
        }
        Ok(())
    }

    /// What is written must be none of what is read, which is thus noted first.
    fn check_files(&self) -> Result<()> {
        let mut outputs = Outputs::default();
        for run in &self.compare {
            outputs.reads("--compare", run);
        }
        for path in &self.samples {
            outputs.reads_images("SAMPLES", path);
        }
        for (name, path) in [
            ("--reference", &self.reference),
            ("--train-judge", &self.train_judge),
        ] {
            if let Some(path) = path {
                outputs.reads_images(name, path);
            }
        }
        if let Some(file) = &self.inception {
            outputs.reads("--inception", file);
        }
        if let Some(file) = self.judge_file() {
            let is_there = file.try_exists().map_err(|e| {
                Failure::Input(format!("--judge: {} cannot be read: {e}", shown(file)))
            })?;
            match (is_there, &self.train_judge) {
                (true, _) => outputs.reads("--judge", file),
                (false, Some(_)) => outputs.writes("--judge", file, &["safetensors"])?,
                (false, None) => {
                    return Err(Failure::Input(format!(
                        "--judge: {} is not there; --train-judge DATA trains it",
                        shown(file)
                    )));
                }
            }
        }
        if let Some(path) = &self.save_statistics {
            outputs.writes("--save-statistics", path, &["safetensors"])?;
        }
        if let Some(path) = &self.json {
            outputs.writes("--json", path, &["json"])?;
        }
        Ok(())
    }
}
