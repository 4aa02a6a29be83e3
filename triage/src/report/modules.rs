//! Modules in the text form of a report. A machine has hundreds; an analyst looks for the ones at the fault, with what tells their build.

use std::fmt::{self, Write as _};

use super::{Module, Report, Trust};
use crate::printable::printable;

/// Modules that are shown beside those of the fault and of the stack; JSON has all of them.
const SHOWN_MAX: usize = 12;

/// The loaded and the unloaded modules, those of the fault and of the stack first.
pub(super) fn write(f: &mut fmt::Formatter<'_>, report: &Report) -> fmt::Result {
    let wanted = at_fault(report);
    write_list(f, "MODULES", &report.modules, &wanted)?;
    write_list(f, "UNLOADED_MODULES", &report.unloaded, &wanted)
}

/// Names of the modules that are blamed or have a call on the stack. Leftovers there are calls of other times.
fn at_fault(report: &Report) -> Vec<&str> {
    let blamed = report.blamed.iter().filter_map(|blamed| blamed.module.as_deref());
    let called = report.frames.iter().filter(|frame| frame.trust > Trust::Scan || frame.is_fault);
    let mut names: Vec<&str> = blamed.chain(called.filter_map(|frame| frame.module.as_deref())).collect();
    names.dedup();
    names
}

fn write_list(f: &mut fmt::Formatter<'_>, name: &str, modules: &[Module], wanted: &[&str]) -> fmt::Result {
    if modules.is_empty() {
        return Ok(());
    }
    writeln!(f, "\n{name}:  {}", modules.len())?;
    let place = |module: &&Module| wanted.iter().position(|name| module.name.eq_ignore_ascii_case(name));
    let (mut first, others): (Vec<&Module>, Vec<&Module>) = modules.iter().partition(|module| place(module).is_some());
    first.sort_by_key(place);
    let shown = first.len().max(SHOWN_MAX);
    first.into_iter().chain(others).take(shown).try_for_each(|module| write_one(f, module))?;
    match modules.len().checked_sub(shown) {
        Some(more) if more > 0 => writeln!(f, "    and {more} more (-o json has all)"),
        _ => Ok(()),
    }
}

fn write_one(f: &mut fmt::Formatter<'_>, module: &Module) -> fmt::Result {
    write!(f, "    {:<24}", printable(&module.name))?;
    let fields =
        [("base", module.base), ("size", module.size), ("timestamp", module.timestamp), ("checksum", module.checksum)];
    for (name, value) in fields.into_iter().filter_map(|(name, value)| Some((name, value?))) {
        write!(f, " {name} {value}")?;
    }
    for text in [&module.taint, &module.path].into_iter().flatten() {
        write!(f, " {}", printable(text))?;
    }
    f.write_char('\n')
}

#[cfg(test)]
mod tests {
    use crate::report::{Blamed, Frame, Hex, Kind, Module, Report, Trust};

    #[test]
    fn modules_of_the_fault_and_of_the_stack_are_always_shown() {
        let mut report = Report::of(Kind::WindowsKernel);
        let module = |number: u64| Module {
            name: format!("driver{number}"),
            timestamp: Some(Hex(0x6500_0000 + number)),
            checksum: Some(Hex(number)),
            ..Module::default()
        };
        report.modules = (0..150).map(module).collect();
        report.blamed = Some(Blamed { module: Some("Driver120".to_owned()), ..Blamed::default() });
        for (number, trust) in [(130, Trust::CallVerified), (140, Trust::Scan), (7, Trust::Unwind)] {
            report.frames.push(Frame { module: Some(format!("driver{number}")), trust, ..Frame::default() });
        }
        let shown = report.to_string();
        let of_drivers: Vec<&str> = shown.lines().filter(|line| line.contains(" timestamp ")).collect();
        assert_eq!(of_drivers.len(), 12, "{shown}");
        assert!(of_drivers[0].contains("driver120 ") && of_drivers[0].contains("timestamp 0x65000078 checksum 0x78"));
        assert!(of_drivers[1].contains("driver130 ") && of_drivers[2].contains("driver7 "), "{shown}");
        assert!(of_drivers[3].contains("driver0 "), "{shown}");
        assert!(shown.contains("    and 138 more (-o json has all)\n"), "{shown}");
    }
}
