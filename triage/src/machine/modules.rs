//! Modules, and which of them an address lies in.

use crate::report::{Hex, Module};

/// A module in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Loaded {
    pub path: String,
    pub base: u64,
    pub size: u64,
    pub timestamp: Option<u32>,
    pub checksum: Option<u32>,
}

impl Loaded {
    /// The file's name.
    pub(crate) fn file(&self) -> &str {
        self.path.rsplit(['\\', '/']).next().unwrap_or(&self.path)
    }

    /// The name that debuggers use: the file's without what follows its last dot; the kernel is `nt`.
    pub(crate) fn name(&self) -> &str {
        const KERNELS: [&str; 4] = ["ntoskrnl.exe", "ntkrnlmp.exe", "ntkrnlpa.exe", "ntkrpamp.exe"];
        let file = self.file();
        if KERNELS.iter().any(|kernel| file.eq_ignore_ascii_case(kernel)) {
            return "nt";
        }
        file.rsplit_once('.').map_or(file, |(stem, _)| stem)
    }

    /// The offset of an address in it.
    pub(crate) fn offset_of(&self, address: u64) -> Option<u64> {
        address.checked_sub(self.base).filter(|offset| *offset < self.size)
    }

    /// As a report shows it, unloaded ones with their file's name.
    pub(crate) fn shown(&self, is_loaded: bool) -> Module {
        Module {
            name: if is_loaded { self.name() } else { self.file() }.to_owned(),
            path: Some(self.path.clone()).filter(|path| path != self.file()),
            base: Some(Hex(self.base)),
            size: Some(Hex(self.size)),
            timestamp: self.timestamp.map(|number| Hex(u64::from(number))),
            checksum: self.checksum.map(|number| Hex(u64::from(number))),
            taint: None,
        }
    }
}

/// The loaded modules, in the kernel's order, and by address.
#[derive(Debug, Default)]
pub(crate) struct Modules {
    pub list: Vec<Loaded>,
    by_base: Vec<usize>,
}

impl Modules {
    /// Takes a list.
    pub(crate) fn new(list: Vec<Loaded>) -> Self {
        let mut by_base: Vec<usize> = (0..list.len()).collect();
        by_base.sort_by_key(|at| list.get(*at).map(|module| module.base));
        Self { list, by_base }
    }

    /// The module that an address lies in, with the offset.
    pub(crate) fn find(&self, address: u64) -> Option<(&Loaded, u64)> {
        let of = |at: &usize| self.list.get(*at);
        let before = self.by_base.partition_point(|at| of(at).is_some_and(|module| module.base <= address));
        let module = of(self.by_base.get(before.checked_sub(1)?)?)?;
        Some((module, module.offset_of(address)?))
    }

    /// `module+0x12`, or the bare address.
    pub(crate) fn place(&self, address: u64) -> String {
        match self.find(address) {
            Some((module, offset)) => format!("{}+{offset:#x}", module.name()),
            None => format!("{address:#x}"),
        }
    }
}
