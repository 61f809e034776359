//! Files that are dropped on the window. A browser reads them in its own time.

use crate::source::Bytes;
use egui::{Context, DroppedFileHandle};
use futures_channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};

/// A file's name, and its contents or why they cannot be read.
type Dropped = (String, Result<Bytes, String>);

/// Where dropped files arrive.
pub struct Drops {
    arrived: UnboundedReceiver<Dropped>,
    send: UnboundedSender<Dropped>,
}

impl Default for Drops {
    fn default() -> Self {
        let (send, arrived) = unbounded();
        Drops { arrived, send }
    }
}

impl Drops {
    /// Begins to read what was dropped in this frame, and returns a file that has been read.
    pub fn next(&mut self, ctx: &Context) -> Option<Dropped> {
        for file in ctx.input_mut(|input| std::mem::take(&mut input.raw.dropped_files)) {
            self.read(ctx, file);
        }
        self.arrived.try_recv().ok()
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn read(&self, _ctx: &Context, file: DroppedFileHandle) {
        // Weights stay on the disk until they are loaded; a picture is small.
        let on_disk = || {
            let file = std::fs::File::open(file.path()).ok()?;
            Some(Bytes::File(file))
        };
        let contents = match on_disk().filter(|_| !is_picture(&name(&file))) {
            Some(file) => Ok(file),
            None => file.bytes().map(|bytes| Bytes::Memory(bytes.into())),
        };
        self.send.unbounded_send((name(&file), contents)).ok();
    }

    #[cfg(target_arch = "wasm32")]
    fn read(&self, ctx: &Context, file: DroppedFileHandle) {
        let (send, ctx) = (self.send.clone(), ctx.clone());
        wasm_bindgen_futures::spawn_local(async move {
            let bytes = file.bytes_async().await;
            let contents = bytes.map(|bytes| Bytes::Memory(bytes.into()));
            send.unbounded_send((name(&file), contents)).ok();
            ctx.request_repaint();
        });
    }
}

#[cfg(not(target_arch = "wasm32"))]
fn is_picture(name: &str) -> bool {
    let name = name.to_lowercase();
    name.ends_with(".png") || name.ends_with(".gif")
}

fn name(file: &DroppedFileHandle) -> String {
    let path = file.path();
    let name = path.file_name().unwrap_or(path.as_os_str());
    name.to_string_lossy().into_owned()
}
