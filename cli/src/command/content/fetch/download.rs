//! `watertight worker download`: gets files from a web server, and reads none of them.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use watertight_content_repo::source::HttpSource;
use watertight_host::worker::updater::Link;

use super::words::{Reply, Server, Wanted};

/// How often it is told that something comes, so that who waits for the file can tell a slow server from a worker that hangs.
const TOLD_EVERY: Duration = Duration::from_secs(1);

/// Runs the worker until nothing more is wanted.
///
/// # Errors
/// It can't be confined, or nobody takes what it got.
pub fn run(report: i32) -> anyhow::Result<u8> {
    let mut link = Link::inherit(report)?;
    let (server, authorities): (Server, Vec<u8>) = link.receive()?.context("there is no task")?;
    link.confine_with_names(host_of(&server.url))?;
    let authorities = server.has_authorities.then_some(authorities.as_slice());
    let source = HttpSource::new(&server.url, authorities, server.limits())?;
    while let Some((wanted, _)) = link.receive::<Wanted>()? {
        let mut told = Instant::now();
        let mut tell = |bytes| {
            if told.elapsed() >= TOLD_EVERY {
                told = Instant::now();
                let _ = link.send(&Reply::Going { bytes }, &[]); // if nobody listens, the answer will say so
            }
        };
        match source.fetch_telling(wanted.tree(), &wanted.path, wanted.size_bytes_max, &mut tell) {
            Ok(Some(bytes)) => link.send(&Reply::Done, &bytes)?,
            Ok(None) => link.send(&Reply::None, &[])?,
            Err(error) => link.send(&Reply::Failed { why: error.to_string() }, &[])?,
        }
    }
    Ok(0)
}

/// The host that a URL names, without a port.
pub(in crate::command) fn host_of(url: &str) -> &str {
    let (_, rest) = url.split_once("://").unwrap_or_default();
    let place = rest.split('/').next().unwrap_or_default();
    let place = place.rsplit_once('@').map_or(place, |(_, place)| place);
    match place.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => place.split(':').next().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_a_url_is_told_without_port_and_user() {
        for (url, host) in [
            ("https://repo.example/a/b", "repo.example"),
            ("http://repo.example:8080", "repo.example"),
            ("http://127.0.0.1:1/x", "127.0.0.1"),
            ("https://[::1]:443/x", "::1"),
            ("https://user@repo.example/", "repo.example"),
        ] {
            assert_eq!(host_of(url), host, "{url}");
        }
    }
}
