//! A report without what may be secret: words of the stack that point at no code may be keys or passwords, memory and registers
//! too; a process may carry its arguments in its name.

use super::Report;

/// Facts that hold what a process was started with, or what a program that is not ours said of itself. What a worker of ours notes is not
/// among them: a release, ids and names of content say nothing of a person, and are what a report is sent away for.
const SECRET_FACTS: [&str; 2] = ["COMMAND_LINE", "ANNOTATION"];

/// How far above the stack pointer a frame pointer may lie: a stack of 8 MiB, as large as a thread's is where nothing else is set.
const STACK_BYTES_MAX: u64 = 8 << 20;

impl Report {
    /// Leaves out what may be secret. Frames, modules and the fault itself stay.
    pub fn redact(&mut self) {
        for frame in &mut self.frames {
            frame.words.retain(|word| word.in_module);
        }
        self.memory.clear();
        if let Some(operand) = self.instruction.as_mut().and_then(|instruction| instruction.operand.as_mut()) {
            // Where it lies stays, what lay there goes.
            operand.truncate(operand.find('=').unwrap_or(operand.len()));
        }
        self.facts.retain(|fact| !SECRET_FACTS.contains(&fact.name.as_str()));
        let address = self.access.as_ref().map(|access| access.address);
        let stack = ["rsp", "esp"].iter().find_map(|name| self.registers.get(name)).map(|register| register.value.0);
        self.registers.forget(|name, register| {
            let is_place = match name {
                "rip" | "rsp" | "pc" | "sp" | "eip" | "esp" => true,
                // Code without frame pointers holds anything there.
                "rbp" | "ebp" => stack
                    .is_some_and(|stack| (stack..stack.saturating_add(STACK_BYTES_MAX)).contains(&register.value.0)),
                _ => false,
            };
            !is_place && Some(register.value) != address
        });
        if let Some(process) = &mut self.process {
            if let Some((name, _arguments)) = process.split_once(' ') {
                *process = name.to_owned();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::report::{Access, Frame, Hex, Instruction, Kind, MemoryLine, Report, StackWord};

    #[test]
    fn a_redacted_report_holds_no_word_that_points_at_no_code() {
        let mut report = Report::of(Kind::WindowsKernel);
        let word = |value, in_module| StackWord { value: Hex(value), in_module };
        report.frames.push(Frame { words: vec![word(0x5ec2e7, false), word(0xfff0, true)], ..Frame::default() });
        report.memory.push(MemoryLine { address: Hex(16), bytes: "5e c2 e7".to_owned() });
        report.instruction =
            Some(Instruction { operand: Some("ds:0000000000001000=5ec2e7".to_owned()), ..Instruction::default() });
        report.registers.set("rax", 0x5ec2e7, true);
        report.registers.set("r8", 0xbad, true);
        report.registers.set("rip", 0xfff0, true);
        report.access = Some(Access { address: Hex(0xbad), ..Access::default() });
        report.process = Some("mysqld --password=hunter2".to_owned());
        report.redact();
        let json = serde_json::to_string(&report).expect("a report is JSON");
        assert!(!json.contains("5ec2e7") && !json.contains("5e c2") && !json.contains("hunter2"), "{json}");
        assert!(json.contains("0xfff0") && json.contains("ds:0000000000001000\"") && json.contains("mysqld"), "{json}");
        assert!(report.registers.get("r8").is_some() && report.registers.get("rax").is_none());
    }

    #[test]
    fn a_frame_pointer_stays_where_it_is_one() {
        for (rbp, is_kept) in [(0x7ffd_0000_1020, true), (0x5345_4352_4554_5057, false), (0x7ffd_0000_0ff8, false)] {
            let mut report = Report::of(Kind::LinuxOops);
            report.registers.set("rsp", 0x7ffd_0000_1000, true);
            report.registers.set("rbp", rbp, true);
            report.redact();
            assert_eq!(report.registers.get("rbp").is_some(), is_kept, "{rbp:x}");
        }
        // Without a stack pointer nothing says that it is one.
        let mut report = Report::of(Kind::LinuxOops);
        report.registers.set("ebp", 0xc1f0_1234, true);
        report.redact();
        assert!(report.registers.is_empty());
    }
}
