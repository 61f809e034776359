//! Serves the static files of a folder over HTTP on loopback, as any web server would, to look at the page and to test it.

use super::gzip;
use anyhow::{Context, Result};
use std::collections::HashMap;
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

/// What is served.
#[derive(Debug)]
struct Site {
    folder: PathBuf,
    /// Files by gzip, for who accepts that.
    gzipped: HashMap<PathBuf, Vec<u8>>,
}

impl Server {
    /// Serves `folder`; port 0 takes a free one.
    ///
    /// # Errors
    /// When the port is taken.
    pub fn start(folder: &Path, port: u16) -> Result<Server> {
        let gzipped = HashMap::new();
        let folder = folder.to_owned();
        Server::serve(Site { folder, gzipped }, port)
    }

    /// Serves `folder` by gzip on a free port, as servers on the internet do. It is compressed before, which takes seconds.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn gzipped(folder: &Path) -> Result<Server> {
        let mut gzipped = HashMap::new();
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let bytes = fs::read(&path).with_context(|| path.display().to_string())?;
            gzipped.insert(path, gzip(&bytes)?);
        }
        let folder = folder.to_owned();
        Server::serve(Site { folder, gzipped }, 0)
    }

    fn serve(site: Site, port: u16) -> Result<Server> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            .with_context(|| format!("127.0.0.1:{port}"))?;
        let port = listener.local_addr()?.port();
        let site = Arc::new(site);
        let stopped = Arc::new(AtomicBool::new(false));
        let stop = stopped.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stop.load(Ordering::Relaxed) {
                    continue;
                }
                let site = site.clone();
                // It is not an error if the browser closes the connection early.
                thread::spawn(move || answer(&stream, &site).ok());
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
fn answer(stream: &TcpStream, site: &Site) -> Result<()> {
    let mut lines = BufReader::new(stream).lines();
    let request = lines.next().context("nothing asked")??;
    let mut accepts_gzip = false;
    for header in lines {
        let header = header?.to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        accepts_gzip |= header.starts_with("accept-encoding:") && header.contains("gzip");
    }
    let mut words = request.split(' ');
    let (method, target) = (words.next(), words.next().unwrap_or("/"));
    let path = file(&site.folder, target).unwrap_or_default();
    let gzipped = site.gzipped.get(&path).filter(|_| accepts_gzip);
    let found = match gzipped {
        Some(body) => Some(body.clone()),
        None => fs::read(&path).ok(),
    };
    let (status, kind, body) = match (method, found) {
        (Some("GET" | "HEAD"), Some(body)) => ("200 OK", kind(&path), body),
        (Some("GET" | "HEAD"), None) => ("404 Not Found", "text/plain", b"no such file\n".into()),
        _ => ("405 Method Not Allowed", "text/plain", b"GET only\n".into()),
    };
    let encoding = match gzipped {
        Some(_) => "Content-Encoding: gzip\r\n",
        None => "",
    };
    let mut out = stream;
    write!(
        out,
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\
         {encoding}Cache-Control: no-cache\r\nConnection: close\r\n\r\n",
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
    fn gzip_comes_to_who_accepts_it() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/web");
        let server = Server::gzipped(&folder).unwrap();
        let plain = get(&server, "/serve.rs");
        assert!(plain.contains("gzip_comes_to_who_accepts_it"), "{plain}");
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, server.port)).unwrap();
        let ask = "GET /serve.rs HTTP/1.1\r\nAccept-Encoding: br, gzip\r\n\r\n";
        stream.write_all(ask.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|at| at == b"\r\n\r\n").unwrap();
        let (head, body) = answer.split_at(end + 4);
        let head = String::from_utf8_lossy(head);
        assert!(head.contains("Content-Encoding: gzip"), "{head}");
        let length = format!("Content-Length: {}\r\n", body.len());
        assert!(head.contains(&length), "{head}");
        let mut text = String::new();
        let mut unzip = flate2::read::GzDecoder::new(body);
        unzip.read_to_string(&mut text).unwrap();
        assert!(plain.ends_with(&text) && !text.is_empty(), "{text}");
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
