//! Threads that are there before there is work for them: who gives up the right to start any has those that it needs.

use std::io;
use std::sync::mpsc::{channel, Sender};
use std::thread;

type Job = Box<dyn FnOnce() + Send>;

/// Threads without work.
#[derive(Debug)]
pub struct Crew {
    idle: Vec<Sender<Job>>,
}

impl Crew {
    /// So many threads. Each of them runs when this returns, and makes no system call then but to wait.
    ///
    /// # Errors
    /// The machine has no room for them.
    pub fn start(count: usize) -> io::Result<Self> {
        let (up, ups) = channel();
        let mut idle = Vec::with_capacity(count);
        for _ in 0..count {
            let (give, jobs) = channel::<Job>();
            let up = up.clone();
            thread::Builder::new().spawn(move || {
                let _ = up.send(()); // who started it waits
                if let Ok(job) = jobs.recv() {
                    job();
                }
            })?;
            idle.push(give);
        }
        ups.iter().take(count).for_each(drop);
        Ok(Self { idle })
    }

    /// One of them does this from now on.
    ///
    /// # Errors
    /// None is idle.
    pub fn give(&mut self, job: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let thread = self.idle.pop().ok_or_else(|| io::Error::other("no thread is left for this"))?;
        thread.send(Box::new(job)).map_err(|_| io::Error::other("a thread is gone"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thread_has_one_job_and_there_are_no_more_than_were_started() {
        let mut crew = Crew::start(2).expect("two threads");
        let (done, jobs) = channel();
        for number in 0..2 {
            let done = done.clone();
            crew.give(move || done.send(number).expect("somebody waits")).expect("one is idle");
        }
        crew.give(|| ()).expect_err("none is idle");
        let mut all: Vec<i32> = jobs.iter().take(2).collect();
        all.sort_unstable();
        assert_eq!(all, [0, 1]);
    }
}
