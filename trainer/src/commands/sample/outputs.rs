//! What `sit sample` writes.

use super::args::Args;
use super::images::Wanted;
use super::pictures::Pictures;
use super::unfinished::{self, Unfinished};
use crate::data;
use crate::error::{Failure, Result};
use crate::files::{FileError, Identity};
use crate::judge::Agreement;
use crate::npz;
use crate::outputs::Outputs;
use crate::pending::Pending;
use crate::png::{self, Sheet};
use crate::sampling::{Images, State};
use crate::trajectory::{OwnTimes, Trajectory};
use crate::vae::{self, Vae};
use crate::{memory, stdout};
use sit_engine::analytic::Toy;
use sit_engine::checkpoint::Recipe;
use sit_engine::model::NetworkIo;
use sit_engine::text::shown;
use std::path::{Path, PathBuf};

impl Args {
    /// Refuses outputs that cannot be written, or would replace an input or each other, before the work rather than after it.
    pub fn check_outputs(&self, wanted: &Wanted, io: &NetworkIo, vae: Option<&Vae>) -> Result<()> {
        let refuse = |what: String| Err(Failure::Input(what));
        self.check_grid()?;
        let mut outputs = Outputs::default();
        outputs.reads("CHECKPOINT", &self.source.checkpoint);
        if let Some(init) = &self.init {
            outputs.reads("--init", init);
        }
        if let Some(vae) = vae {
            outputs.reads("--vae", vae.path());
        }
        if let Some(judge) = &self.judge {
            outputs.reads_data("--judge", judge);
        }
        if let Some(data) = &self.data {
            outputs.reads_images("--data", data);
        }
        for (flag, file) in self.solver.files() {
            outputs.reads(flag, file);
        }
        if let Some(base) = &self.base {
            outputs.reads_data("--base", base);
        }
        if let Some(noise) = &self.noise_out {
            outputs.writes("--noise-out", noise, &["safetensors"])?;
        }
        if let Some(folder) = &self.png {
            if !png::is_picture(io.channels()) {
                if png::is_plane(io.image) {
                    return refuse(
                        "--png: this model makes points in the plane; --npz writes them, and --out plots them".into(),
                    );
                }
                return refuse(format!(
                    "--png: this model makes latents of {} channels, which are no pictures without a decoder (--vae); --npz writes them \
                     as they are",
                    io.channels()
                ));
            }
            if self
                .unfinished()
                .is_some_and(|unfinished| Identity::of(&unfinished) == Identity::of(folder))
            {
                return refuse(format!(
                    "--png: {} is where --count keeps what is done; choose another folder",
                    shown(folder)
                ));
            }
            match self
                .unfinished()
                .is_some_and(|unfinished| unfinished::is_begun(&unfinished))
            {
                // It holds the images that are made already.
                true => outputs.reads_data("--png", folder),
                false => outputs.fills("--png", folder)?,
            }
        }
        if let Some(grid) = self.grid() {
            outputs.writes("--out", grid, &["png"])?;
        }
        if let Some(npz) = &self.npz {
            outputs.writes("--npz", npz, &["npz"])?;
        }
        if let Some(trajectory) = &self.trajectory {
            outputs.writes("--trajectory", trajectory, &["safetensors"])?;
        }
        if self.grid().is_none()
            && !self.reverse
            && [&self.png, &self.npz, &self.trajectory, &self.judge]
                .iter()
                .all(|o| o.is_none())
        {
            let (flag, trajectory) = match self.many() {
                Some(_) => ("--count", ""),
                None => ("--no-grid", "--trajectory, "),
            };
            return refuse(format!(
                "{flag}: nothing would come of it; give {trajectory}--png, --npz or --judge"
            ));
        }
        if self.grid().is_some() {
            let n = wanted.images.n();
            memory::require_host(
                &format!("--out: the grid of {n} images"),
                self.grid_bytes(wanted, io),
                "--no-grid declines it, or make fewer images at once",
            )?;
        }
        Ok(())
    }

    /// Bytes that the grid takes in memory; `None` when no PNG can hold it.
    pub fn grid_bytes(&self, wanted: &Wanted, io: &NetworkIo) -> Option<u64> {
        if self.grid().is_none() {
            return Some(0);
        }
        let n = usize::try_from(wanted.images.n()).ok()?;
        Sheet::forecast(n, io.image, wanted.place)
    }
}

/// The outputs of one command while they are written. If dropped before [`Files::finish`], only complete single PNGs remain.
pub struct Files {
    /// Shapes of what is shown: of pictures, where latents are decoded.
    io: NetworkIo,
    decoder: Option<vae::Pictures>,
    sheet: Option<(Sheet, Pending)>,
    toy: Option<Toy>,
    npz: Option<npz::Writer>,
    trajectory: Option<Trajectory>,
    own_times: Option<(OwnTimes, String)>,
    pictures: Option<Pictures>,
    judge: Option<Agreement>,
    /// Of `--count`, with the path of its archive.
    unfinished: Option<(Unfinished, Option<PathBuf>)>,
}

impl Files {
    /// Opens all of them, before the work. `io` is of what is shown, and `state` the shape of a state, which differ where `decoder` decodes
    /// latents. `t` are the times of the states; `settings` is JSON that the trajectory records. Without times, images have times of
    /// their own.
    pub fn create(
        args: &Args,
        wanted: &Wanted,
        recipe: &Recipe,
        (io, names): (&NetworkIo, &[String]),
        (state, decoder): ([usize; 3], Option<vae::Pictures>),
        t: Option<&[f32]>,
        settings: &str,
        mut judge: Option<Agreement>,
        unfinished: Option<Unfinished>,
    ) -> Result<Self> {
        let (images, shape) = (&wanted.images, io.image);
        let n = images.n();
        let toy = recipe.data.as_ref().map(|data| Path::new(&data.name));
        // A name of another program may be anything.
        let toy = toy.and_then(|name| data::toy(name).ok()).flatten();
        let sheet = match args.grid() {
            None => None,
            Some(path) => Some((
                Sheet::new(n as usize, shape, wanted.place, toy),
                Pending::create(path)?,
            )),
        };
        let npz = args.npz.as_deref().filter(|_| unfinished.is_none());
        let trajectory = args.trajectory.as_deref();
        let pictures = args.png.as_deref();
        let mut pictures = pictures
            .map(|folder| Pictures::create(folder, io, names))
            .transpose()?;
        if let Some(unfinished) = &unfinished {
            if let Some(pictures) = &mut pictures {
                pictures.go_on(images, unfinished.done())?;
            }
            if let Some(judge) = &mut judge {
                judge.go_on(unfinished.judged());
            }
        }
        Ok(Files {
            io: *io,
            decoder,
            sheet,
            toy,
            npz: npz
                .map(|path| npz::Writer::create(path, n, shape))
                .transpose()?,
            trajectory: trajectory
                .zip(t)
                .map(|(path, t)| {
                    Trajectory::create(path, t, state, n, images.all_labels(), settings)
                })
                .transpose()?,
            own_times: trajectory
                .filter(|_| t.is_none())
                .map(|path| OwnTimes::create(path, state, n).map(|file| (file, settings.into())))
                .transpose()?,
            pictures,
            judge,
            unfinished: unfinished.map(|unfinished| (unfinished, args.npz.clone())),
        })
    }

    /// Writes an accepted state of an image with times of its own.
    pub fn on_the_way(&mut self, image: u64, t: f64, x: &[f32]) -> Result<()> {
        match &mut self.own_times {
            Some((file, _)) => file.state(image, t, x),
            None => Ok(()),
        }
    }

    /// Writes the states of a batch.
    pub fn take(&mut self, state: &State<'_>) -> Result<()> {
        if let Some(trajectory) = &mut self.trajectory {
            trajectory.state(state.step, state.first, state.x)?;
        }
        if !state.done {
            return Ok(());
        }
        let pictures = self.decoder.as_mut().map(|decoder| decoder.of(state.x));
        let pictures = pictures.transpose()?;
        let state = &State {
            x: pictures.as_deref().unwrap_or(state.x),
            ..*state
        };
        if let Some((sheet, _)) = &mut self.sheet {
            sheet.put(state.first as usize, state.x, state.labels);
        }
        if let Some(npz) = &mut self.npz {
            npz.images(state.x)?;
        }
        if let Some(pictures) = &mut self.pictures {
            pictures.write(state)?;
        }
        if let Some(judge) = &mut self.judge {
            judge.look(state);
        }
        if let Some((unfinished, _)) = &mut self.unfinished {
            let judged = self.judge.as_ref().map(Agreement::counts);
            unfinished.take(state.x, state.numbers.len(), judged.unwrap_or_default())?;
        }
        Ok(())
    }

    /// Gives all their names, and returns lines that name them.
    pub fn finish(self, images: &Images) -> Result<String> {
        let mut text = String::new();
        if let Some((sheet, mut out)) = self.sheet {
            let path = out.path().to_owned();
            sheet
                .write(&mut out)
                .map_err(FileError::of("write", &path))?;
            text += &named(&path, out.finish()?);
            if let Some(what) = png::shows(self.io.image, self.toy) {
                text += &format!("{what}\n");
            }
        }
        if let Some(npz) = self.npz {
            let path = npz.path().to_owned();
            text += &named(&path, npz.finish(images.all_labels())?);
        }
        let pictures = self.pictures.map(Pictures::finish).transpose()?;
        if let Some((unfinished, npz)) = self.unfinished {
            let bytes = unfinished.finish(npz.as_deref(), images.all_labels())?;
            if let Some((path, bytes)) = npz.zip(bytes) {
                text += &named(&path, bytes);
            }
        }
        if let Some(trajectory) = self.trajectory {
            let path = trajectory.path().to_owned();
            text += &named(&path, trajectory.finish()?);
        }
        if let Some((file, settings)) = self.own_times {
            let path = file.path().to_owned();
            text += &named(&path, file.finish(images.all_labels(), &settings)?);
        }
        text += &pictures.unwrap_or_default();
        if let Some(judge) = self.judge {
            text += &judge.verdict();
        }
        Ok(text)
    }
}

/// A line that names a file, with its size where that is large.
fn named(path: &Path, bytes: u64) -> String {
    format!("{}{}\n", shown(path), stdout::size(bytes))
}
