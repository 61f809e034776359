//! Serves the static files of a folder over HTTP on loopback, as any web server would, to look at the page and to test it.

use anyhow::{Context, Result};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// A server that runs until it is stopped or the program ends.
#[derive(Debug)]
pub struct Server {
    port: u16,
    stopped: Arc<AtomicBool>,
}

impl Server {
    /// Serves `folder`; port 0 takes a free one.
    ///
    /// # Errors
    /// When the port is taken.
    pub fn start(folder: &Path, port: u16) -> Result<Server> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            .with_context(|| format!("127.0.0.1:{port}"))?;
        let port = listener.local_addr()?.port();
        let folder = folder.to_owned();
        let stopped = Arc::new(AtomicBool::new(false));
        let stop = stopped.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stop.load(Ordering::Relaxed) {
                    continue;
                }
                let folder = folder.clone();
                // It is not an error if the browser closes the connection early.
                thread::spawn(move || answer(&stream, &folder).ok());
            }
        });
        Ok(Server { port, stopped })
    }

    /// Closes all connections from now on without an answer.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// `http://127.0.0.1:PORT/`. Browsers treat it as a secure context, like https.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }
}

/// Answers the requests of one connection.
fn answer(stream: &TcpStream, folder: &Path) -> Result<()> {
    let mut lines = BufReader::new(stream).lines();
    let request = lines.next().context("nothing asked")??;
    for header in lines {
        if header?.is_empty() {
            break;
        }
    }
    let mut words = request.split(' ');
    let (method, target) = (words.next(), words.next().unwrap_or("/"));
    let found = file(folder, target).and_then(|path| Some((fs::read(&path).ok()?, kind(&path))));
    let (status, kind, body) = match (method, found) {
        (Some("GET" | "HEAD"), Some((body, kind))) => ("200 OK", kind, body),
        (Some("GET" | "HEAD"), None) => ("404 Not Found", "text/plain", b"no such file\n".into()),
        _ => ("405 Method Not Allowed", "text/plain", b"GET only\n".into()),
    };
    let mut out = stream;
    write!(
        out,
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\
         Cache-Control: no-cache\r\nConnection: close\r\n\r\n",
        body.len()
    )?;
    if method == Some("GET") {
        out.write_all(&body)?;
    }
    Ok(())
}

/// The file for a request; `None` outside of the folder.
fn file(folder: &Path, target: &str) -> Option<PathBuf> {
    let path = target.split(['?', '#']).next()?.trim_start_matches('/');
    let path = Path::new(if path.is_empty() { "index.html" } else { path });
    let inside = path
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    inside.then(|| folder.join(path))
}

/// The media type, by the file's extension.
fn kind(path: &Path) -> &'static str {
    match path.extension().and_then(|ending| ending.to_str()) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("json") => "application/json",
        Some("png") => "image/png",
        Some("svg") => "image/svg+xml",
        Some("wasm") => "application/wasm",
        Some("webmanifest") => "application/manifest+json",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn get(server: &Server, target: &str) -> String {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, server.port)).unwrap();
        write!(stream, "GET {target} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn files_of_the_folder_and_no_others_are_served() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let server = Server::start(&folder, 0).unwrap();
        let ok = get(&server, "/web/serve.rs?x#y");
        assert!(ok.starts_with("HTTP/1.1 200"), "{ok}");
        assert!(ok.contains("files_of_the_folder_and_no_others"), "{ok}");
        for target in [
            "/",
            "/none.js",
            "/../Cargo.toml",
            "//etc/passwd",
            "/web/../../Cargo.toml",
        ] {
            let refused = get(&server, target);
            assert!(refused.starts_with("HTTP/1.1 404"), "{target}: {refused}");
        }
    }
}
