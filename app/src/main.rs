//! The program on the desktop: `sit-app [LINK | PATH ..] [--measure SECONDS]`.

use sit_app::state::Link;
use sit_app::{App, Start, host};
use std::path::Path;
use std::time::{Duration, Instant};

const USAGE: &str = "usage: sit-app [LINK | PATH ..] [--measure SECONDS]
  PATH               a run, a checkpoint (.safetensors, .pt), a judge, an autoencoder, a picture or tour that was saved here, or data: opened as if dropped
  LINK               what \"Copy link\" gave: the window opens as it was then
  --measure SECONDS  play for so long (1 to 100000 s), time the work for a minute, print the figures and end";

fn main() -> eframe::Result {
    let begin = Instant::now();
    if std::env::args().any(|arg| arg == "--help" || arg == "-h") {
        println!("{USAGE}");
        return Ok(());
    }
    let start = match start(std::env::args().skip(1), begin) {
        Ok(start) => start,
        Err(message) => {
            eprintln!("{message}");
            std::process::exit(2);
        }
    };
    let make = Box::new(|cc: &eframe::CreationContext<'_>| {
        Ok(Box::new(App::new(cc, start)?) as Box<dyn eframe::App>)
    });
    eframe::run_native(host::TITLE, host::native(), make)
}

/// Reads the command line. It has at most two arguments, so it needs no parser library.
fn start(mut args: impl Iterator<Item = String>, begin: Instant) -> Result<Start, String> {
    let mut start = Start::default();
    while let Some(arg) = args.next() {
        if arg == "--measure" {
            let seconds = args.next().and_then(|s| s.parse().ok());
            let seconds = seconds.filter(|s: &f64| (1.0..=1e5).contains(s));
            let seconds = seconds
                .ok_or_else(|| format!("--measure: expected 1 to 100000 seconds\n{USAGE}"))?;
            start.measure = Some((begin, Duration::from_secs_f64(seconds)));
        } else if Path::new(&arg).exists() {
            start.open.push(arg.into());
        } else if arg.starts_with('-') || start.link.is_some() {
            return Err(format!("{arg}: not expected\n{USAGE}"));
        } else {
            // Accept a whole address or only the part after its `#`.
            let state = arg.split_once('#').map(|(_, state)| state.to_owned());
            let link = state.unwrap_or_else(|| arg.clone());
            Link::decode(&link).map_err(|e| {
                format!(
                    "{arg}: no file or folder of this name is there, and as a link: {e}\n{USAGE}"
                )
            })?;
            start.link = Some(link);
        }
    }
    Ok(start)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sit_app::state::State;
    use std::path::PathBuf;

    #[test]
    fn the_command_line() {
        let of = |args: &[&str]| start(args.iter().map(|s| s.to_string()), Instant::now());
        assert_eq!(of(&[]).unwrap(), Start::default());
        let link = State::default().link().encode();
        let address = format!("http://127.0.0.1/#{link}");
        assert_eq!(of(&[&address]).unwrap().link, Some(link.clone()));
        let measured = of(&[&link, "--measure", "5"]).unwrap();
        assert_eq!(
            (measured.link, measured.measure.is_some()),
            (Some(link.clone()), true)
        );
        let here = env!("CARGO_MANIFEST_DIR");
        assert_eq!(
            of(&[here, here]).unwrap().open,
            [here, here].map(PathBuf::from)
        );
        for bad in [
            &["--measure"][..],
            &["--measure", "x"],
            &["--fast"],
            &[&link, &link],
            &["nowhere.safetensors"],
        ] {
            assert!(of(bad).unwrap_err().contains("usage: "), "{bad:?}");
        }
    }
}
