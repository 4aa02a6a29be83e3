//! The guest's voice: lines on the second serial port, which nothing else writes to.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::sync::{Mutex, PoisonError};
use watertight_lab_guest::Line;

const PORT: &str = "/dev/ttyS1";

/// The open port.
pub struct Report {
    port: Mutex<File>,
}

impl Report {
    /// Opens the port; devtmpfs must be mounted.
    pub fn open() -> std::io::Result<Self> {
        Ok(Self { port: Mutex::new(OpenOptions::new().write(true).open(PORT)?) })
    }

    /// Says one line. A port that fails can't be reported on: the lab then sees the silence.
    pub fn say(&self, line: &Line) {
        let mut port = self.port.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = port.write_all(format!("{line}\n").as_bytes());
    }

    /// Waits until the last byte has left.
    pub fn drain(&self) {
        let port = self.port.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = rustix::termios::tcdrain(&*port);
    }
}
