//! The program on the desktop: `sit-app [LINK]`.

use sit_app::{App, Start, host};

fn main() -> eframe::Result {
    let link = std::env::args().nth(1);
    // A whole address or the part of it that counts.
    let link = link.map(|link| match link.split_once('#') {
        Some((_, state)) => state.to_owned(),
        None => link,
    });
    let start = Start {
        link,
        reduced_motion: false,
    };
    let make = Box::new(|cc: &eframe::CreationContext<'_>| {
        Ok(Box::new(App::new(cc, start)?) as Box<dyn eframe::App>)
    });
    eframe::run_native(host::TITLE, host::native(), make)
}
