//! QEMU's monitor, as far as a core wants it: stop the guest, write its memory down.

use anyhow::{bail, Context, Result};
use serde_json::{json, Value};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// How long a dump may take: some hundred megabytes, compressed.
const ANSWER_MAX: Duration = Duration::from_secs(180);

/// A connection to the monitor.
pub struct Monitor {
    answers: BufReader<UnixStream>,
}

impl Monitor {
    pub fn connect(socket: &Path) -> Result<Self> {
        let stream = UnixStream::connect(socket).with_context(|| format!("connecting to {}", socket.display()))?;
        stream.set_read_timeout(Some(ANSWER_MAX))?;
        let mut monitor = Self { answers: BufReader::new(stream) };
        let mut greeting = String::new();
        monitor.answers.read_line(&mut greeting).context("waiting for QEMU's greeting")?;
        monitor.command(&json!({ "execute": "qmp_capabilities" }))?;
        Ok(monitor)
    }

    /// Stops the guest, so that its memory stays as it is.
    pub fn stop(&mut self) -> Result<()> {
        self.command(&json!({ "execute": "stop" }))
    }

    /// Writes physical memory, registers and VMCOREINFO to a file.
    pub fn dump(&mut self, file: &Path, form: &str) -> Result<()> {
        let mut arguments = json!({ "paging": false, "protocol": format!("file:{}", file.display()) });
        if form != "elf" {
            arguments["format"] = json!(form);
        }
        self.command(&json!({ "execute": "dump-guest-memory", "arguments": arguments }))
    }

    fn command(&mut self, command: &Value) -> Result<()> {
        let mut line = command.to_string();
        line.push('\n');
        self.answers.get_mut().write_all(line.as_bytes()).context("writing to QEMU's monitor")?;
        loop {
            let mut answer = String::new();
            if self.answers.read_line(&mut answer).context("reading QEMU's answer")? == 0 {
                bail!("QEMU went away during {command}");
            }
            let answer: Value = serde_json::from_str(&answer).context("QEMU's answer is no JSON")?;
            if let Some(error) = answer.get("error") {
                bail!("QEMU refused {command}: {error}");
            }
            // Events come in between.
            if answer.get("return").is_some() {
                return Ok(());
            }
        }
    }
}
