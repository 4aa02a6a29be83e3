//! Programs and libraries that crashed, as files of this machine: code that a dump left out, names of functions, and the rules by which the
//! caller of each is found. A file of another build is not taken: its build id tells.
//!
//! They are looked for by their own path below the folders that the user named, so that `/` or a copy of a machine's file system will do,
//! and by their name alone; a file of debugging symbols by its build id, where distributions put it.

mod cfi;
mod elf;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError};

use minidump::{MinidumpModuleList, Module as _};
use minidump_unwind::{FrameSymbolizer, FrameWalker};

use self::elf::{Elf, HELD_BYTES_MAX};
use super::memory::Memory;
use crate::symbols::{Opened, SymbolFiles};

/// Longest name of a function that is taken apart.
const MANGLED_BYTES_MAX: usize = 4096;

/// A module of the process.
struct Module {
    base: u64,
    size: u64,
    path: String,
    /// In hexadecimal.
    build_id: Option<String>,
}

/// A module's files.
struct Files {
    /// What was mapped; without it there is no code and there are no rules.
    binary: Option<Elf>,
    /// Debugging symbols of it, which have more names.
    symbols: Option<Elf>,
}

/// The binaries of a process, each opened when it is wanted first.
pub(super) struct Binaries {
    files: Arc<dyn SymbolFiles>,
    modules: Vec<Module>,
    opened: Mutex<HashMap<u64, Arc<Files>>>,
    warnings: Mutex<Vec<String>>,
    /// Bytes of the files that may still be held.
    left: Arc<AtomicUsize>,
}

impl Binaries {
    pub(super) fn new(list: &MinidumpModuleList, files: &Arc<dyn SymbolFiles>) -> Self {
        let mut modules: Vec<Module> = Vec::new();
        if files.is_any() {
            modules.extend(list.by_addr().take(super::MODULES_MAX).map(|module| Module {
                base: module.base_address(),
                size: module.size(),
                path: module.code_file().into_owned(),
                build_id: module.code_identifier().map(|id| id.as_str().to_owned()),
            }));
        }
        Self {
            files: Arc::clone(files),
            modules,
            opened: Mutex::default(),
            warnings: Mutex::default(),
            left: Arc::new(AtomicUsize::new(HELD_BYTES_MAX)),
        }
    }

    /// What could not be used, and why.
    pub(super) fn warnings(&self) -> Vec<String> {
        std::mem::take(&mut *self.warnings.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The files of the module that an address lies in, with the address as these have it.
    fn at(&self, address: u64) -> Option<(Arc<Files>, u64)> {
        let before = self.modules.partition_point(|module| module.base <= address);
        let module = self.modules.get(before.checked_sub(1)?)?;
        let offset = address.checked_sub(module.base).filter(|offset| *offset < module.size)?;
        let known = self.opened.lock().unwrap_or_else(PoisonError::into_inner).get(&module.base).cloned();
        let files = known.unwrap_or_else(|| {
            let files = Arc::new(self.open(module));
            self.opened.lock().unwrap_or_else(PoisonError::into_inner).insert(module.base, Arc::clone(&files));
            files
        });
        let first = files.binary.as_ref().or(files.symbols.as_ref())?.first_address();
        Some((files, first.checked_add(offset)?))
    }

    fn open(&self, module: &Module) -> Files {
        let relative = Path::new(module.path.trim_start_matches('/'));
        let name = relative.file_name().map(PathBuf::from).unwrap_or_default();
        let places = [relative.to_owned(), name].into_iter().filter(|place| !place.as_os_str().is_empty());
        let binary = places.filter_map(|place| self.elf(&place, module)).next();
        let debug = module.build_id.as_deref().and_then(|id| id.split_at_checked(2));
        let debug = debug.map(|(first, rest)| PathBuf::from(format!(".build-id/{first}/{rest}.debug")));
        let places = debug.into_iter().flat_map(|place| [Path::new("usr/lib/debug").join(&place), place]);
        let has_names = binary.as_ref().is_some_and(Elf::has_symbols);
        let symbols = places.filter(|_| !has_names).filter_map(|place| self.elf(&place, module)).next();
        Files { binary, symbols }
    }

    /// A file, if it is of the module's build.
    fn elf(&self, place: &Path, module: &Module) -> Option<Elf> {
        let Opened { file, size_bytes } = self.files.open(place)?;
        let elf = Elf::read(file, size_bytes, &self.left)?;
        let id = elf.build_id();
        let is_same = id.is_none() || module.build_id.is_none() || id == module.build_id.as_deref();
        let is_sure = is_same && id.is_some() && module.build_id.is_some();
        if !is_sure {
            let what = if is_same {
                "may be of another build: its build id is not known"
            } else {
                "of another build: not used"
            };
            let warning = format!("{}: {what}", place.display());
            self.warnings.lock().unwrap_or_else(PoisonError::into_inner).push(warning);
        }
        is_same.then_some(elf)
    }

    /// Code that was mapped from a file and can't have been written to.
    fn code(&self, address: u64, size: usize) -> Vec<u8> {
        let found = self.at(address);
        found.and_then(|(files, at)| Some(files.binary.as_ref()?.code(at, size))).unwrap_or_default()
    }

    /// Names the function of a frame; false if nothing knows it.
    pub(super) fn name(&self, frame: &mut (dyn FrameSymbolizer + Send)) -> bool {
        let address = frame.get_instruction();
        let Some((files, at)) = self.at(address) else { return false };
        let of = |elf: &Option<Elf>| elf.as_ref().and_then(|elf| elf.function(at));
        let Some((name, start)) = of(&files.symbols).or_else(|| of(&files.binary)) else { return false };
        frame.set_function(&demangled(&name), address.wrapping_sub(at.wrapping_sub(start)), 0);
        true
    }

    /// Finds the caller of a frame by the rules of its binary.
    pub(super) fn unwind(&self, walker: &mut (dyn FrameWalker + Send)) -> Option<()> {
        let (files, at) = self.at(walker.get_instruction())?;
        files.binary.as_ref()?.rules()?.unwind(at, walker)
    }
}

/// A name as its language has it.
fn demangled(name: &str) -> String {
    // A version of the symbol is no part of the function's name: `memcpy@@GLIBC_2.14`.
    let name = name.split_once('@').map_or(name, |(name, _)| name);
    if name.len() > MANGLED_BYTES_MAX {
        return name.to_owned();
    }
    if let Ok(name) = rustc_demangle::try_demangle(name) {
        return format!("{name:#}");
    }
    let symbol = cpp_demangle::Symbol::new(name).ok().filter(|_| name.starts_with("_Z"));
    let options = cpp_demangle::DemangleOptions::new().no_params().no_return_type();
    symbol.and_then(|symbol| symbol.demangle_with_options(&options).ok()).unwrap_or_else(|| name.to_owned())
}

/// Memory of a dump, and behind it the code that the dump left out.
pub(super) struct Backed<'m> {
    pub dumped: &'m dyn Memory,
    pub binaries: &'m Binaries,
}

impl Memory for Backed<'_> {
    fn some(&self, address: u64, size_max: usize) -> Vec<u8> {
        let mut bytes = self.dumped.some(address, size_max);
        while bytes.len() < size_max {
            let at = u64::try_from(bytes.len()).ok().and_then(|done| address.checked_add(done));
            let left = size_max.saturating_sub(bytes.len());
            let Some(mut more) = at.map(|at| self.binaries.code(at, left)).filter(|more| !more.is_empty()) else {
                break;
            };
            bytes.append(&mut more);
        }
        bytes
    }

    fn is_mapped(&self, address: u64) -> Option<bool> {
        self.dumped.is_mapped(address)
    }
}
