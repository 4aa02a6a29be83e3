//! The report as text, with the field names that analysts know from debuggers.

use std::fmt::{self, Write as _};

use crate::printable::printable;

use super::{Frame, Kind, Listed, Operation, Report, Task};

/// Tasks of the text form.
const TASKS_SHOWN_MAX: usize = 24;

/// Registers a line.
const REGISTERS_A_LINE: usize = 4;

/// Width of names, so that values stand below each other.
const NAME_WIDTH: usize = 18;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |name: &str, value: &str| writeln!(f, "{:<NAME_WIDTH$}{}", format!("{name}:"), printable(value));
        line("FILE", &self.file)?;
        if let Some(bytes) = &self.file_bytes {
            line("FILE_BYTES", bytes)?;
        }
        if let Some(error) = &self.error {
            return line("ERROR", error);
        }
        if self.kind == Kind::None {
            line("TITLE", "no crash found")?;
            return self.warnings.iter().try_for_each(|warning| line("WARNING", warning));
        }
        let texts = [("TITLE", &self.title), ("TYPE", &self.type_), ("CAUSE", &self.cause)];
        for (name, value) in texts.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?))) {
            line(name, value)?;
        }
        for title in &self.alt_titles {
            line("ALSO_KNOWN_AS", title)?;
        }
        if self.corrupted {
            line("CORRUPTED", "yes: parts are missing or mixed with others")?;
        }
        if self.suppressed {
            line("SUPPRESSED", "yes: says nothing of its own")?;
        }
        self.write_place(&mut line)?;
        self.write_fault(&mut line)?;
        for fact in &self.facts {
            line(&fact.name, &fact.value)?;
        }
        self.write_blocks(f)?;
        self.write_signature(f)
    }
}

type Line<'a> = dyn FnMut(&str, &str) -> fmt::Result + 'a;

impl Report {
    /// Which machine, process and processor.
    fn write_place(&self, line: &mut Line<'_>) -> fmt::Result {
        if let Some(span) = self.span {
            line("SPAN", &format!("bytes {} to {}", span.start, span.end))?;
        }
        if let Some(process) = &self.process {
            let pid = self.pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default();
            line("PROCESS_NAME", &format!("{process}{pid}"))?;
        }
        if let Some(thread) = &self.thread {
            line("FAULTING_THREAD", thread)?;
        }
        if let Some(cpu) = self.cpu {
            line("CPU", &cpu.to_string())?;
        }
        if let Some(build) = &self.os_build {
            line("OS_BUILD", build)?;
        }
        if !self.taint.is_empty() {
            line("TAINT", &self.taint.join(", "))?;
        }
        Ok(())
    }

    /// What the processor and the system said.
    fn write_fault(&self, line: &mut Line<'_>) -> fmt::Result {
        if let Some(bugcheck) = &self.bugcheck {
            let name = bugcheck.name.as_deref().map(|name| format!(" ({name})")).unwrap_or_default();
            line("BUGCHECK_CODE", &format!("{}{name}", bugcheck.code))?;
            for (number, parameter) in (1_u8..).zip(&bugcheck.parameters) {
                line(&format!("BUGCHECK_P{number}"), &parameter.to_string())?;
            }
        }
        if let Some(exception) = &self.exception {
            let address = exception.address.map(|address| format!(" at {address}")).unwrap_or_default();
            line("EXCEPTION_CODE", &format!("{}{address}", exception.code))?;
        }
        let Some(access) = &self.access else { return Ok(()) };
        let name = match access.operation {
            Operation::Read => "READ_ADDRESS",
            Operation::Write => "WRITE_ADDRESS",
            Operation::Execute => "EXECUTE_ADDRESS",
        };
        let class = access.class.as_deref().map(|class| format!(" {class}")).unwrap_or_default();
        let mapped = match access.mapped {
            Some(true) => " (mapped)",
            Some(false) => " (not mapped)",
            None => "",
        };
        line(name, &format!("{}{class}{mapped}", access.address))
    }

    fn write_blocks(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.registers.is_empty() {
            writeln!(f, "\nREGISTERS:  (* was not saved at the fault)")?;
            let registers: Vec<_> = self.registers.iter().collect();
            for row in registers.chunks(REGISTERS_A_LINE) {
                for (name, register) in row {
                    let mark = if register.valid { ' ' } else { '*' };
                    write!(f, "{:>6}={:016x}{mark}", printable(name), register.value.0)?;
                }
                writeln!(f)?;
            }
        }
        if let Some(instruction) = &self.instruction {
            let text = instruction.text.as_deref().unwrap_or("(not disassembled)");
            let operand = instruction.operand.as_deref().unwrap_or_default();
            let shown = format!("{:<16} {text}  {operand}", instruction.bytes);
            writeln!(f, "\nFAULTING_INSTRUCTION:\n{}", printable(shown.trim_end()))?;
        }
        if !self.listing.is_empty() {
            writeln!(f, "\nCODE:  (> faults, ~ may begin elsewhere)")?;
            self.listing.iter().try_for_each(|listed| write_listed(f, listed))?;
        }
        if let Some(access) = self.access.as_ref().filter(|access| !access.walk.is_empty()) {
            writeln!(f, "\nPAGE_WALK:  of {}", access.address)?;
            for level in &access.walk {
                write!(f, "{:>4}", printable(&level.name))?;
                let hex = |value: Option<super::Hex>| value.map(|value| value.to_string());
                for (name, value) in
                    [("at", hex(level.address)), ("contains", hex(level.value)), ("pfn", hex(level.pfn))]
                {
                    value.map_or(Ok(()), |value| write!(f, "  {name} {value}"))?;
                }
                for value in [&level.flags, &level.state].into_iter().flatten() {
                    write!(f, "  {}", printable(value))?;
                }
                writeln!(f)?;
            }
        }
        if !self.memory.is_empty() {
            writeln!(f, "\nMEMORY:")?;
            self.memory
                .iter()
                .try_for_each(|line| writeln!(f, "{:016x}  {}", line.address.0, printable(&line.bytes)))?;
        }
        if !self.frames.is_empty() {
            writeln!(f, "\nSTACK_TEXT:")?;
            self.frames.iter().try_for_each(|frame| write_frame(f, frame))?;
        }
        write_tasks(f, &self.tasks)?;
        super::modules::write(f, self)
    }

    /// Whose code, and by what it is counted.
    fn write_signature(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.blamed.is_some() || self.guilty.is_some() || self.bucket.is_some() || !self.warnings.is_empty() {
            writeln!(f)?;
        }
        let mut line = |name: &str, value: &str| writeln!(f, "{:<NAME_WIDTH$}{}", format!("{name}:"), printable(value));
        if let Some(blamed) = &self.blamed {
            blamed.module.as_ref().map_or(Ok(()), |module| line("MODULE_NAME", module))?;
            blamed.function.as_ref().map_or(Ok(()), |function| line("SYMBOL_NAME", function))?;
            line("BLAMED_BECAUSE", &blamed.why)?;
        }
        if let Some(guilty) = &self.guilty {
            line("GUILTY", guilty)?;
        }
        if let Some(bucket) = &self.bucket {
            line("BUCKET_ID", &format!("{} {}", bucket.version, bucket.id))?;
            line("BUCKET_KEY", &bucket.key)?;
            line("FAMILY_ID", &bucket.family)?;
            line("EXACT_ID", &bucket.exact)?;
        }
        self.warnings.iter().try_for_each(|warning| line("WARNING", warning))
    }
}

fn write_listed(f: &mut fmt::Formatter<'_>, listed: &Listed) -> fmt::Result {
    let mark = match (listed.is_fault, listed.ambiguous) {
        (true, _) => '>',
        (false, true) => '~',
        (false, false) => ' ',
    };
    let address = || listed.address.map(|address| address.to_string());
    let place = listed.place.clone().or_else(address).unwrap_or_default();
    writeln!(f, "{mark} {}  {:<16} {}", printable(&place), printable(&listed.bytes), printable(&listed.text))
}

fn write_frame(f: &mut fmt::Formatter<'_>, frame: &Frame) -> fmt::Result {
    let mark = if frame.is_fault { '>' } else { ' ' };
    write!(f, "{mark}{:>3} {:<13} ", frame.n, frame.trust.to_string())?;
    for address in [frame.sp, frame.return_address].into_iter().flatten() {
        write!(f, "{:016x} ", address.0)?;
    }
    if !frame.words.is_empty() {
        frame.words.iter().try_for_each(|word| write!(f, "{:016x} ", word.value.0))?;
        f.write_str(": ")?;
    }
    let mut place = String::new();
    match (&frame.module, &frame.function, frame.offset) {
        (Some(module), Some(function), _) => write!(place, "{module}!{function}")?,
        (None, Some(function), _) => place.push_str(function),
        (Some(module), None, Some(offset)) => write!(place, "{module}+{offset}")?,
        (Some(module), None, None) => place.push_str(module),
        (None, None, _) => match frame.ip {
            Some(ip) => write!(place, "{:016x}", ip.0)?,
            None => place.push('?'),
        },
    }
    if let (Some(_), Some(offset)) = (&frame.function, frame.function_offset) {
        write!(place, "+{offset}")?;
    }
    if let Some(file) = &frame.file {
        write!(place, " {file}")?;
        frame.line.map_or(Ok(()), |line| write!(place, ":{line}"))?;
    }
    if let Some(stack) = &frame.stack {
        write!(place, " <{stack}>")?;
    }
    writeln!(f, "{}", printable(&place))
}

/// How many there were, and those that did not just wait; JSON has all of them.
fn write_tasks(f: &mut fmt::Formatter<'_>, tasks: &[Task]) -> fmt::Result {
    if tasks.is_empty() {
        return Ok(());
    }
    let is_telling = |task: &&Task| !matches!(task.state.as_str(), "sleeping" | "idle");
    writeln!(f, "\nTASKS:  {} ({} neither sleep nor idle)", tasks.len(), tasks.iter().filter(is_telling).count())?;
    for task in tasks.iter().filter(is_telling).take(TASKS_SHOWN_MAX) {
        let cpu = task.cpu.map(|cpu| format!(" cpu {cpu}")).unwrap_or_default();
        writeln!(f, "    {:<7} {:<16} {}{cpu}", task.pid, printable(&task.name), printable(&task.state))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::report::{Access, Frame, Hex, Kind, Operation, Report, Trust};

    #[test]
    fn the_text_form_has_the_field_names_of_debuggers() {
        let mut report = Report::of(Kind::WindowsKernel);
        report.access = Some(Access {
            operation: Operation::Read,
            address: Hex(0xffff_8405_0000_0074),
            class: Some("paged pool".to_owned()),
            mapped: Some(false),
            ..Access::default()
        });
        report.process = Some("System".to_owned());
        report.registers.set("r8", 0xffff_8405_0000_0074, true);
        report.registers.set("r12", 0, false);
        let frame = Frame {
            module: Some("sensor".to_owned()),
            offset: Some(Hex(0xe14ed)),
            trust: Trust::Context,
            ..Frame::default()
        };
        report.frames.push(frame);
        let text = report.to_string();
        for expected in [
            "READ_ADDRESS:     0xffff840500000074 paged pool (not mapped)\n",
            "PROCESS_NAME:     System\n",
            "    r8=ffff840500000074    r12=0000000000000000*\n",
            "   0 context       sensor+0xe14ed\n",
        ] {
            assert!(text.contains(expected), "no {expected:?} in\n{text}");
        }
    }

    #[test]
    fn a_text_without_a_crash_says_what_was_not_read_of_it() {
        let mut none = Report::none("a.log".to_owned(), None);
        none.warnings.push("of 9 bytes those from 2 to 3 were not read".to_owned());
        let text = none.to_string();
        assert!(text.contains("no crash found\nWARNING:          of 9 bytes"), "{text}");
    }

    #[test]
    fn a_dump_cannot_drive_the_terminal() {
        let mut report = Report::of(Kind::LinuxOops);
        report.title = Some("\u{1b}]0;owned\u{7}\u{202e}".to_owned());
        report.process = Some("a\u{1b}[2Jb".to_owned());
        assert!(!report.to_string().contains(['\u{1b}', '\u{7}', '\u{202e}']));
    }
}
