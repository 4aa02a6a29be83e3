//! Prints what every fallback source sees: `watch [SECONDS] [FOLDER]...` (10 seconds; the filesystems that hold the folders,
//! `/` unless told). For looking at, not for machines.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::event::{poll, PollFd, PollFlags, Timespec};
use watertight_sensor_fallback::fanotify::{self, Places};
use watertight_sensor_fallback::{
    proc_connector, Counts, Error, Fanotify, Inotify, Observed, ProcConnector, ProcPoll, SockDiag, Source,
};

/// The sources that opened.
#[derive(Default)]
struct Sources {
    fanotify: Option<Fanotify>,
    proc_connector: Option<ProcConnector>,
    proc_poll: Option<ProcPoll>,
    sock_diag: Option<SockDiag>,
    inotify: Option<Inotify>,
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let seconds = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(10);
    let mut folders: Vec<PathBuf> = arguments.map(PathBuf::from).collect();
    if folders.is_empty() {
        folders.push("/".into());
    }
    let mut sources = open(folders);
    if let Some(fanotify) = &mut sources.fanotify {
        // What we print may go to a file, whose change we would print.
        fanotify.ignore_pid(i32::try_from(std::process::id()).unwrap_or_default());
        println!("fanotify watches {:?}, rename pairs: {}", fanotify.watched(), fanotify.has_rename_pairs());
        fanotify.refused().iter().for_each(|refusal| println!("fanotify refused: {refusal}"));
    }
    let totals = watch(&mut sources, Duration::from_secs(seconds));
    for (source, counts) in totals {
        println!("{source}: {counts:?}");
    }
}

fn open(folders: Vec<PathBuf>) -> Sources {
    let options = fanotify::Options { places: Places::Holding(folders.clone()), ..fanotify::Options::default() };
    Sources {
        fanotify: opened(Fanotify::open(options)),
        proc_connector: opened(ProcConnector::open(proc_connector::Options::default())),
        proc_poll: opened(ProcPoll::open(Duration::from_secs(1))),
        sock_diag: opened(SockDiag::open(Duration::from_secs(1))),
        inotify: opened(Inotify::open(&folders)),
    }
}

fn opened<T>(result: Result<T, Error>) -> Option<T> {
    result.inspect_err(|error| println!("refused: {error}")).ok()
}

fn watch(sources: &mut Sources, duration: Duration) -> Vec<(Source, Counts)> {
    let mut totals = Vec::new();
    let deadline = Instant::now() + duration;
    while let Some(left) = deadline.checked_duration_since(Instant::now()) {
        wait(sources, left);
        let results = [
            (Source::Fanotify, sources.fanotify.as_mut().map(|source| source.drain(&mut print(Source::Fanotify)))),
            (
                Source::ProcConnector,
                sources.proc_connector.as_mut().map(|source| source.drain(&mut print(Source::ProcConnector))),
            ),
            (Source::ProcPoll, sources.proc_poll.as_mut().map(|source| source.drain(&mut print(Source::ProcPoll)))),
            (Source::SockDiag, sources.sock_diag.as_mut().map(|source| source.drain(&mut print(Source::SockDiag)))),
            (Source::Inotify, sources.inotify.as_mut().map(|source| source.drain(&mut print(Source::Inotify)))),
        ];
        for (source, result) in results {
            match result {
                Some(Ok(counts)) => add(&mut totals, source, counts),
                Some(Err(error)) => println!("{error}"),
                None => {}
            }
        }
    }
    totals
}

fn wait(sources: &Sources, left: Duration) {
    let fds = [
        sources.fanotify.as_ref().map(Fanotify::fd),
        sources.proc_connector.as_ref().map(ProcConnector::fd),
        sources.proc_poll.as_ref().map(ProcPoll::fd),
        sources.sock_diag.as_ref().map(SockDiag::fd),
        sources.inotify.as_ref().map(Inotify::fd),
    ];
    let mut ready: Vec<_> = fds.into_iter().flatten().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
    // A poll that is interrupted only makes the next drain an empty one.
    let _ = poll(&mut ready, Timespec::try_from(left).ok().as_ref());
}

fn add(totals: &mut Vec<(Source, Counts)>, source: Source, counts: Counts) {
    match totals.iter_mut().find(|(other, _)| *other == source) {
        None => totals.push((source, counts)),
        Some((_, total)) => {
            total.records += counts.records;
            total.delivered += counts.delivered;
            total.filtered += counts.filtered;
            total.malformed += counts.malformed;
            total.overflows += counts.overflows;
        }
    }
}

fn print(source: Source) -> impl FnMut(Observed) {
    move |observed| println!("{source}: {}", line(&observed))
}

fn line(observed: &Observed) -> String {
    match observed {
        Observed::File(change) => format!(
            "{} {:?}/{} -> {:?} {:?} pid {:?} kind {:?}{}",
            change.operations,
            change.directory,
            change.name.escape_ascii(),
            change.new_directory,
            change.new_name.as_ref().map(|name| name.escape_ascii().to_string()),
            change.pid,
            change.kind,
            if change.merged { " merged" } else { "" },
        ),
        Observed::Exec { tgid, process: Some(process), vanished, .. } => format!(
            "exec {tgid} {:?} {:?} vanished {vanished}",
            process.executable,
            process.arguments.iter().map(|argument| argument.escape_ascii().to_string()).collect::<Vec<_>>(),
        ),
        Observed::ProcessSeen { process, existing } => {
            format!("process {} {:?} existing {existing}", process.pid, process.executable)
        }
        other => format!("{other:?}"),
    }
}
