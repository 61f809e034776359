//! Files that are dropped on the window or chosen in a dialog. A browser reads them asynchronously.

#[cfg(not(target_arch = "wasm32"))]
use crate::files::NO_DIALOG;
use crate::state::Bytes;
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

    /// Lets the person choose a folder or files; what is chosen arrives as if it was dropped. Without a dialog it says so by `say`.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn choose(&self, ctx: &Context, folder: bool, say: impl FnOnce(String) + Send + 'static) {
        let (send, ctx) = (self.send.clone(), ctx.clone());
        // The dialog waits for the person, so it has a thread of its own.
        std::thread::spawn(move || {
            let (dialog, begin) = (rfd::FileDialog::new(), std::time::Instant::now());
            let paths = match folder {
                true => dialog.pick_folder().map(|folder| vec![folder]),
                false => dialog.pick_files(),
            };
            if paths.is_none() && begin.elapsed() < NO_DIALOG {
                say("The system shows no file dialog (on Linux that takes a desktop portal): write the path into Open instead.".into());
            }
            let of = |path: std::path::PathBuf| (name(&path), Ok(Bytes::Disk(path)));
            let files = paths.into_iter().flatten().map(of);
            send.unbounded_send(files.collect()).ok();
            ctx.request_repaint();
        });
    }

    /// Lets the person choose files; what is chosen arrives as if it was dropped.
    #[cfg(target_arch = "wasm32")]
    pub fn choose(&self, ctx: &Context) {
        use wasm_bindgen::{JsCast as _, closure::Closure};
        let input = || {
            let document = web_sys::window()?.document()?;
            let input = document.create_element("input").ok()?;
            input.dyn_into::<web_sys::HtmlInputElement>().ok()
        };
        let Some(input) = input() else {
            return;
        };
        input.set_type("file");
        input.set_multiple(true);
        let (send, ctx, of) = (self.send.clone(), ctx.clone(), input.clone());
        let chosen = Closure::once_into_js(move || {
            wasm_bindgen_futures::spawn_local(async move {
                let mut read = Vec::new();
                let files = of.files();
                let all = files
                    .iter()
                    .flat_map(|all| (0..all.length()).filter_map(|i| all.get(i)));
                for file in all {
                    let bytes = wasm_bindgen_futures::JsFuture::from(file.array_buffer()).await;
                    let bytes = bytes.map(|buffer| js_sys::Uint8Array::new(&buffer).to_vec());
                    let contents = bytes.map(|bytes| Bytes::Memory(bytes.into()));
                    let contents = contents.map_err(|why| format!("cannot be read: {why:?}"));
                    read.push((file.name(), contents));
                }
                send.unbounded_send(read).ok();
                ctx.request_repaint();
            });
        });
        input.set_onchange(Some(chosen.unchecked_ref()));
        input.click();
    }
}

fn name(path: &std::path::Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str());
    name.to_string_lossy().into_owned()
}
