//! The stack of the crashed thread. The walking is minidump-unwind's: by the rules in symbol files, by frame pointers, else by scanning;
//! what it found is checked against the bytes before each return address, where the dump holds them.
//!
//! A hostile dump must not walk for ever: the stack is cut, and each question that the walker asks of symbols passes a guard that lets it
//! starve when its frames or its time are used up.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use breakpad_symbols::{lookup, LocateSymbolsResult, SymbolError, SymbolFile, SymbolSupplier};
use minidump::{CodeView, Endian, MinidumpMemory, Module as _, UnifiedMemory};
use minidump_unwind::{
    walk_stack, CallStack, FileError, FileKind, FillSymbolError, FrameSymbolizer, FrameTrust, FrameWalker, StackFrame,
    SymbolProvider, Symbolizer, SystemInfo,
};

use super::binary::Binaries;
use super::Crash;
use crate::call::{before, Before};
use crate::report::{Frame, Hex, Trust};
use crate::symbols::pdb::Identity;
use crate::symbols::pdb::Sought;
use crate::symbols::SymbolFiles;

/// The smallest page.
const PAGE_BYTES: u64 = 4096;
/// Pages behind a stack pointer on which an overflowed stack is looked for.
const GUARD_PAGES_MAX: usize = 16;
/// How much of the stack is walked, from the stack pointer on.
const STACK_BYTES_MAX: usize = 256 << 10;
/// Frames that are walked and told.
const FRAMES_MAX: u32 = 1024;
/// Longest name of a function or file that is told: those of templates have no bound.
const NAME_BYTES_MAX: usize = 1024;
/// Time for the walk with its symbols.
const WALK_TIME_MAX: Duration = Duration::from_secs(6);

/// Asks for symbols as long as there are frames and time left.
struct Guarded<'b> {
    symbols: Symbolizer,
    binaries: Option<&'b Binaries>,
    frames: AtomicU32,
    until: Instant,
}

impl Guarded<'_> {
    fn is_spent(&self) -> bool {
        self.frames.load(Relaxed) >= FRAMES_MAX || Instant::now() >= self.until
    }

    /// Never goes on once everything is spent; [`drive`] notices.
    async fn pass(&self) {
        if self.is_spent() {
            std::future::pending::<()>().await;
        }
    }
}

#[async_trait::async_trait]
impl SymbolProvider for Guarded<'_> {
    async fn fill_symbol(
        &self,
        module: &(dyn minidump::Module + Sync),
        frame: &mut (dyn FrameSymbolizer + Send),
    ) -> Result<(), FillSymbolError> {
        self.pass().await;
        let filled = self.symbols.fill_symbol(module, frame).await;
        match (&filled, self.binaries) {
            (Err(_), Some(binaries)) if binaries.name(frame) => Ok(()),
            _ => filled,
        }
    }

    async fn walk_frame(
        &self,
        module: &(dyn minidump::Module + Sync),
        walker: &mut (dyn FrameWalker + Send),
    ) -> Option<()> {
        self.pass().await;
        match self.symbols.walk_frame(module, walker).await {
            Some(()) => Some(()),
            None => self.binaries?.unwind(walker),
        }
    }

    async fn get_file_path(
        &self,
        _module: &(dyn minidump::Module + Sync),
        _kind: FileKind,
    ) -> Result<PathBuf, FileError> {
        Err(FileError::NotFound)
    }
}

/// Breakpad's symbol files, from local folders.
struct Local(Arc<dyn SymbolFiles>);

#[async_trait::async_trait]
impl SymbolSupplier for Local {
    async fn locate_symbols(&self, module: &(dyn minidump::Module + Sync)) -> Result<LocateSymbolsResult, SymbolError> {
        let place = lookup(module, FileKind::BreakpadSym).filter(|_| self.0.is_any()).ok_or(SymbolError::NotFound)?;
        let opened = self.0.open(Path::new(&place.cache_rel)).ok_or(SymbolError::NotFound)?;
        let symbols = SymbolFile::parse(opened.file, |_| ())?;
        Ok(LocateSymbolsResult { symbols, extra_debug_info: None })
    }

    async fn locate_file(
        &self,
        _module: &(dyn minidump::Module + Sync),
        _kind: FileKind,
    ) -> Result<PathBuf, FileError> {
        Err(FileError::NotFound)
    }
}

/// Drives a future that waits for nothing but this guard; false if that starved it.
fn drive(future: impl Future<Output = ()>, guard: &Guarded<'_>) -> bool {
    let (mut future, mut context) = (pin!(future), Context::from_waker(Waker::noop()));
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(()) => return true,
            Poll::Pending if guard.is_spent() => return false,
            Poll::Pending => {}
        }
    }
}

/// A stack that has overflowed: its pointer stands where nothing is mapped, and what is saved begins on one of the next pages. Up to there
/// nothing is as good as zeroes, which are nobody's return address.
fn behind_guard(crash: &Crash<'_>, sp: u64) -> Vec<u8> {
    let pages = std::iter::successors(sp.checked_next_multiple_of(PAGE_BYTES), |page| page.checked_add(PAGE_BYTES));
    for start in pages.take(GUARD_PAGES_MAX) {
        let saved = crash.memory.some(start, STACK_BYTES_MAX);
        if !saved.is_empty() {
            let mut bytes = vec![0; usize::try_from(start.saturating_sub(sp)).unwrap_or_default()];
            bytes.extend(saved);
            return bytes;
        }
    }
    Vec::new()
}

/// Walks the crashed thread's stack.
pub(super) fn walk(crash: &mut Crash<'_>, symbols: &Arc<dyn SymbolFiles>) -> Vec<Frame> {
    let (Some(context), Some(sp)) = (crash.context.clone(), crash.stack_pointer()) else {
        crash.warnings.push("the registers of the thread are not in the dump: there is no stack".to_owned());
        return Vec::new();
    };
    let mut bytes = crash.memory.some(sp, STACK_BYTES_MAX);
    if bytes.is_empty() {
        bytes = behind_guard(crash, sp);
    }
    if bytes.is_empty() {
        crash.warnings.push(format!("memory at the stack pointer {sp:#x} is not in the dump"));
    }
    let memory = MinidumpMemory {
        desc: minidump::format::MINIDUMP_MEMORY_DESCRIPTOR::default(),
        base_address: sp,
        size: u64::try_from(bytes.len()).unwrap_or_default(),
        bytes: &bytes,
        endian: Endian::Little,
    };
    let system = SystemInfo {
        os: crash.os,
        os_version: None,
        os_build: None,
        cpu: crash.cpu,
        cpu_info: None,
        cpu_microcode_version: None,
        cpu_count: 1,
    };
    let guard = Guarded {
        symbols: Symbolizer::new(Local(Arc::clone(symbols))),
        binaries: crash.binaries,
        frames: AtomicU32::new(0),
        until: Instant::now().checked_add(WALK_TIME_MAX).unwrap_or_else(Instant::now),
    };
    let mut stack = CallStack::with_context(context);
    let memory = (!bytes.is_empty()).then_some(UnifiedMemory::Memory(&memory));
    let count = |_: usize, _: &StackFrame| {
        guard.frames.fetch_add(1, Relaxed);
    };
    let is_whole = drive(walk_stack(0, count, &mut stack, memory, &crash.modules, &system, &guard), &guard);
    let mut frames = Vec::new();
    for frame in &stack.frames {
        push(crash, frame, &mut frames);
    }
    let most = usize::try_from(FRAMES_MAX).unwrap_or(usize::MAX);
    if !is_whole || frames.len() > most {
        crash.warnings.push("the stack is deeper than what is walked: its outer end is left out".to_owned());
    }
    frames.truncate(most);
    crash.warnings.extend(crash.binaries.map(Binaries::warnings).unwrap_or_default());
    name_from_pdbs(crash, symbols.as_ref(), &mut frames);
    for (n, frame) in (0_u32..).zip(&mut frames) {
        frame.n = n;
    }
    frames
}

/// Names frames of modules that have a PDB here and no file of Breakpad's.
fn name_from_pdbs(crash: &mut Crash<'_>, files: &dyn SymbolFiles, frames: &mut [Frame]) {
    if !files.is_any() {
        return;
    }
    let mut by_module: BTreeMap<u64, Vec<&mut Frame>> = BTreeMap::new();
    for frame in frames.iter_mut().filter(|frame| frame.function.is_none()) {
        if let (Some(ip), Some(offset)) = (frame.ip, frame.offset) {
            by_module.entry(ip.0.saturating_sub(offset.0)).or_default().push(frame);
        }
    }
    for (base, frames) in by_module {
        let Some(module) = crash.modules.module_at_address(base) else { continue };
        let Some(CodeView::Pdb70(record)) = &module.codeview_info else { continue };
        let (Some(path), file) = (module.debug_file(), module.code_file()) else { continue };
        let last = |path: &str| path.rsplit(['\\', '/']).next().unwrap_or_default().to_owned();
        let (file, pdb) = (last(&file), last(&path));
        if matches!(pdb.as_str(), "" | "." | "..") {
            continue;
        }
        let number = &record.signature;
        let mut guid = [0; 16];
        let parts = number.data1.to_le_bytes().into_iter().chain(number.data2.to_le_bytes());
        let parts = parts.chain(number.data3.to_le_bytes()).chain(number.data4);
        guid.iter_mut().zip(parts).for_each(|(to, from)| *to = from);
        let identity = Identity { guid, age: record.age, pdb };
        let name = crash.module_name(&file);
        let warning = Sought { file: &file, name: &name, identity: Some(&identity) }.name(files, frames);
        crash.warnings.extend(warning);
    }
}

/// A frame with the calls that were inlined into it, unless it is none.
fn push(crash: &Crash<'_>, walked: &StackFrame, frames: &mut Vec<Frame>) {
    let ip = walked.resume_address;
    let calls = || crash.isa().map_or(Before::Absent, |isa| before(&|at, size| crash.memory.all(at, size), ip, isa));
    let trust = match walked.trust {
        FrameTrust::Context => Trust::Context,
        FrameTrust::CallFrameInfo | FrameTrust::PreWalked => Trust::Unwind,
        // A chain of frame pointers may be of anything where the code keeps none.
        FrameTrust::FramePointer if calls() == Before::NoCall => Trust::Scan,
        FrameTrust::FramePointer => Trust::Unwind,
        FrameTrust::CfiScan | FrameTrust::Scan | FrameTrust::None => match calls() {
            Before::Call => Trust::CallVerified,
            Before::Absent => Trust::Scan,
            Before::NoCall => return,
        },
    };
    let module = walked.module.as_ref();
    let base = module.map(minidump::Module::base_address);
    let place = Frame {
        ip: Some(Hex(ip)),
        sp: Some(Hex(walked.context.get_stack_pointer())),
        module: module.map(|module| crash.module_name(&module.code_file())),
        offset: base.and_then(|base| ip.checked_sub(base)).map(Hex),
        trust,
        ..Frame::default()
    };
    // The walker tells them from the innermost on.
    for inlined in &walked.inlines {
        frames.push(Frame {
            function: Some(bounded(&inlined.function_name)),
            file: inlined.source_file_name.as_deref().map(bounded),
            line: inlined.source_line,
            ..place.clone()
        });
    }
    frames.push(Frame {
        function: walked.function_name.as_deref().map(bounded),
        function_offset: walked.function_base.and_then(|base| ip.checked_sub(base)).map(Hex),
        file: walked.source_file_name.as_deref().map(bounded),
        line: walked.source_line,
        ..place
    });
}

fn bounded(name: &str) -> String {
    name.char_indices().take_while(|(at, _)| *at < NAME_BYTES_MAX).map(|(_, letter)| letter).collect()
}
