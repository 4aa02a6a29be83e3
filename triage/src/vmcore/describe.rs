//! What the core itself tells beyond its log: the registers at the fault, the code there, the page walk, the calls, modules and tasks.

use super::kernel::Kernel;
use super::log::HungTask;
use super::registers::{self, Saved};
use super::stack::{Start, Walk};
use super::tasks::Reader;
use super::vmcoreinfo::Vmcoreinfo;
use crate::machine::code;
use crate::machine::paging::Outcome;
use crate::machine::registers::Machine;
use crate::report::{Fact, Report};

use super::notes::Note;

/// Names of the levels of Linux' page tables, from the last one up.
const LEVELS: [(&str, &str); 5] = [("PTE", "PTE"), ("PDE", "PMD"), ("PPE", "PUD"), ("PXE", "P4D"), ("P5E", "PGD")];

/// Facts that VMCOREINFO gives.
pub(super) fn facts(report: &mut Report, lines: &Vmcoreinfo) {
    let levels = lines.number("pgtable_l5_enabled").map(|number| if number != 0 { "5 levels" } else { "4 levels" });
    let offset = lines.text("KERNELOFFSET").map(|digits| format!("0x{digits}"));
    let build = lines.text("BUILD-ID").map(str::to_owned);
    let facts = [("KERNEL_BUILD_ID", build), ("KERNEL_OFFSET", offset), ("PAGE_TABLES", levels.map(str::to_owned))];
    let present = facts.into_iter().filter_map(|(name, value)| Some(Fact { name: name.to_owned(), value: value? }));
    report.facts.extend(present);
}

/// Fills in what the kernel's memory and the notes tell.
pub(super) fn fill(
    report: &mut Report,
    kernel: &Kernel<'_>,
    notes: &[Note],
    hung: Option<&HungTask>,
    warnings: &mut Vec<String>,
) {
    modules(report, kernel);
    let reader = Reader::new(kernel.memory, &kernel.types);
    let (tasks, is_whole) = reader.all(&kernel.symbols).unwrap_or((Vec::new(), false));
    if !is_whole {
        warnings.push("the list of tasks is damaged or cut: some may be missing".to_owned());
    }
    report.tasks = tasks.iter().map(super::tasks::KernelTask::shown).collect();
    let cpu = kernel.panic_cpu().or(report.cpu);
    let current = cpu.and_then(|cpu| kernel.current(cpu)).and_then(|task| reader.task(task));
    let slept = hung.and_then(|hung| tasks.iter().find(|task| task.pid == hung.pid && task.name == hung.name));
    let start = match slept {
        Some(task) => reader.saved(task).map(|(ip, sp, bp)| Start { ip, sp, bp, registers: None }),
        None => stopped(kernel, notes, cpu),
    };
    let who = slept.or(current.as_ref());
    if let Some(task) = who {
        report.process = Some(task.name.clone());
        report.pid = Some(u64::from(task.pid));
        report.thread = Some(task.pid.to_string());
    }
    report.cpu = slept.and_then(|task| task.cpu).or(cpu);
    let Some(start) = start else {
        warnings.push("no registers of the processor that stopped: frames are the log's".to_owned());
        return;
    };
    let at_stop = start.registers.clone();
    let walk = Walk::from(kernel, start);
    if walk.is_cut {
        warnings.push("the stack has more frames than are listed".to_owned());
    }
    report.frames = walk.frames(kernel);
    match &walk.fault {
        Some(fault) => at_fault(report, kernel, fault),
        None => {
            // The log has registers of the program that called then; the core has those of the processor that stopped.
            report.registers = at_stop.map(|saved| saved.shown()).unwrap_or_default();
            report.instruction = None;
            report.listing.clear();
        }
    }
    access(report, kernel);
}

/// Where the processor stopped, by its note.
fn stopped(kernel: &Kernel<'_>, notes: &[Note], cpu: Option<u32>) -> Option<Start> {
    let all = registers::of_notes(notes);
    let own = cpu.and_then(|cpu| all.get(usize::try_from(cpu).ok()?));
    let in_kernel = |saved: &&Saved| kernel.is_code(saved.get("rip"));
    let saved = own.filter(in_kernel).or_else(|| all.iter().find(in_kernel))?.clone();
    Some(Start { ip: saved.get("rip"), sp: saved.get("rsp"), bp: saved.get("rbp"), registers: Some(saved) })
}

fn modules(report: &mut Report, kernel: &Kernel<'_>) {
    if !kernel.modules.is_empty() {
        report.modules = kernel.modules.iter().map(super::modules::KernelModule::shown).collect();
    }
}

/// Registers, instruction and code at the fault. Control registers are the log's: the kernel does not save them.
fn at_fault(report: &mut Report, kernel: &Kernel<'_>, fault: &Saved) {
    let mut registers = fault.shown();
    for (name, register) in report.registers.iter().filter(|(name, _)| name.starts_with("cr")) {
        registers.set(name, register.value.0, register.valid);
    }
    report.registers = registers;
    let (ip, cpu, modules) = (fault.get("rip"), fault.cpu(), kernel.code());
    (report.listing, report.instruction) = code::at_fault(kernel.memory, &modules, Some(&cpu), ip, Machine::X64);
    for line in &mut report.listing {
        line.place = line.address.and_then(|address| kernel.place(address.0));
    }
}

/// The page walk of the address that was used.
fn access(report: &mut Report, kernel: &Kernel<'_>) {
    let Some(access) = &mut report.access else { return };
    // A program's addresses are translated by tables of its own.
    let is_kernel = access.address.0 >> 63 == 1;
    let Some((mut walk, outcome)) = kernel.memory.walk(access.address.0).filter(|_| is_kernel) else { return };
    let levels = walk.len();
    for level in &mut walk {
        let name = LEVELS.iter().find(|(name, _)| *name == level.name).map(|(_, name)| *name);
        // With four levels the top table is the PGD and there is no P4D.
        level.name =
            name.map(|name| if levels == 4 && name == "P4D" { "PGD" } else { name }).unwrap_or_default().to_owned();
    }
    access.walk = walk;
    access.mapped = match outcome {
        Outcome::Mapped(_) => Some(true),
        Outcome::NotMapped | Outcome::NonCanonical => Some(false),
        Outcome::Unknown => None,
    };
}
