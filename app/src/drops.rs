//! Files that are dropped on the window or chosen in a dialog. A browser reads them asynchronously.

use crate::state::Bytes;
#[cfg(not(target_arch = "wasm32"))]
use crate::state::Choice;
use egui::{Context, DroppedFileHandle};
use futures_channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};

/// A file's name, and its contents or why they cannot be read.
type Dropped = (String, Result<Bytes, String>);

/// Receives files; those dropped together arrive together.
pub struct Drops {
    arrived: UnboundedReceiver<Vec<Dropped>>,
    send: UnboundedSender<Vec<Dropped>>,
}

impl Default for Drops {
    fn default() -> Self {
        let (send, arrived) = unbounded();
        Drops { arrived, send }
    }
}

impl Drops {
    /// Begins to read what was dropped in this frame, and returns files that have been read.
    pub fn next(&mut self, ctx: &Context) -> Option<Vec<Dropped>> {
        let files = ctx.input_mut(|input| std::mem::take(&mut input.raw.dropped_files));
        if !files.is_empty() {
            self.read(ctx, files);
        }
        self.arrived.try_recv().ok()
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn read(&self, _ctx: &Context, files: Vec<DroppedFileHandle>) {
        // A file on the disk is read only when it is needed.
        let contents = |file: &DroppedFileHandle| match file.path().exists() {
            true => Ok(Bytes::Disk(file.path().to_owned())),
            false => file.bytes().map(|bytes| Bytes::Memory(bytes.into())),
        };
        let files = files.iter().map(|file| (name(file.path()), contents(file)));
        self.send.unbounded_send(files.collect()).ok();
    }

    #[cfg(target_arch = "wasm32")]
    fn read(&self, ctx: &Context, files: Vec<DroppedFileHandle>) {
        let (send, ctx) = (self.send.clone(), ctx.clone());
        wasm_bindgen_futures::spawn_local(async move {
            let mut read = Vec::new();
            for file in files {
                let bytes = file.bytes_async().await;
                let contents = bytes.map(|bytes| Bytes::Memory(bytes.into()));
                read.push((name(file.path()), contents));
            }
            send.unbounded_send(read).ok();
            ctx.request_repaint();
        });
    }

    /// Lets paths of the disk arrive together.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn open(&self, paths: Vec<std::path::PathBuf>) {
        let of = |path: std::path::PathBuf| (name(&path), Ok(Bytes::Disk(path)));
        let files = paths.into_iter().map(of).collect();
        self.send.unbounded_send(files).ok();
    }

    /// Lets the person choose; what is chosen arrives as if it was dropped.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn choose(&self, ctx: &Context, choice: Choice) {
        let (send, ctx) = (self.send.clone(), ctx.clone());
        // The dialog waits for the person, so it has a thread of its own.
        std::thread::spawn(move || {
            let dialog = rfd::FileDialog::new();
            let paths = match choice {
                Choice::Folder => dialog.pick_folder().map(|folder| vec![folder]),
                Choice::Files => dialog.pick_files(),
            };
            let of = |path: std::path::PathBuf| (name(&path), Ok(Bytes::Disk(path)));
            let files = paths.into_iter().flatten().map(of);
            send.unbounded_send(files.collect()).ok();
            ctx.request_repaint();
        });
    }
}

fn name(path: &std::path::Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str());
    name.to_string_lossy().into_owned()
}
