//! Makes other content ready beside the events: opening an image and planning for it takes milliseconds, and they must not wait that
//! long. A thread of the detector, started before its system calls are restricted and restricted with it; going over to what it has
//! made is a matter of two pointers.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{channel, sync_channel, Receiver, Sender};
use std::sync::Arc;

use anyhow::{Context as _, Result};

use super::active::Active;
use super::protocol::Given;
use super::tally::Tally;

/// Opening an image does not recurse, and its plans lie on the heap.
const STACK_BYTES: usize = 256 << 10;

/// The thread, and what it has made.
pub struct Preparer {
    wishes: Sender<Wish>,
    made: Receiver<(u64, Result<Active>)>,
}

enum Wish {
    Prepare(Given),
    /// It was in force; giving its memory back takes a while, too.
    Forget(Box<Active>),
}

impl Preparer {
    /// Starts it; when this returns it has made every system call that a thread begins with.
    ///
    /// # Errors
    /// The kernel gives no thread.
    pub fn start(mailbox: File, tally: Arc<Tally>) -> io::Result<Self> {
        let (wishes, heard) = channel();
        let (make, made) = channel();
        let (begin, begun) = sync_channel(1);
        std::thread::Builder::new().stack_size(STACK_BYTES).spawn(move || {
            let _ = begin.send(());
            while let Ok(wish) = heard.recv() {
                match wish {
                    Wish::Prepare(given) => {
                        let word = given.word;
                        tally.preparing().store(word, Ordering::SeqCst);
                        let active = prepared(given, &mailbox);
                        tally.preparing().store(0, Ordering::SeqCst);
                        if make.send((word, active)).is_err() {
                            return;
                        }
                    }
                    Wish::Forget(active) => drop(active),
                }
            }
        })?;
        begun.recv().map_err(|_| io::Error::other("the thread that makes content ready ended at once"))?;
        Ok(Self { wishes, made })
    }

    /// Begins to make the content in the mailbox ready.
    pub fn prepare(&self, given: Given) {
        let _ = self.wishes.send(Wish::Prepare(given)); // it ends with this process alone
    }

    /// What has become of the content of this name. Never waits.
    pub fn ready(&self) -> Option<(u64, Result<Active>)> {
        self.made.try_recv().ok()
    }

    /// Gives the memory of content back that is no longer in force.
    pub fn forget(&self, active: Active) {
        let _ = self.wishes.send(Wish::Forget(Box::new(active))); // it ends with this process alone
    }
}

fn prepared(given: Given, mailbox: &File) -> Result<Active> {
    let bytes = usize::try_from(given.image_bytes).context("the content has no size")?;
    let mut image = vec![0; bytes];
    mailbox.read_exact_at(&mut image, 0).context("reading the mailbox")?;
    Active::copied(given, image)
}
