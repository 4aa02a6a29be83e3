//! Names of the functions that frames lie in, from PDB files.

use std::collections::HashMap;

use super::dump::Dump;
use super::image;
use crate::report::Frame;
use crate::symbols::pdb::Sought;
use crate::symbols::SymbolFiles;

/// Names the frames of modules that have a PDB in one of the folders; gives warnings.
pub(super) fn name_frames(dump: &Dump<'_>, files: &dyn SymbolFiles, frames: &mut [Frame]) -> Vec<String> {
    let mut warnings = Vec::new();
    if !files.is_any() {
        return warnings;
    }
    let mut by_module: HashMap<u64, Vec<&mut Frame>> = HashMap::new();
    for frame in frames {
        if let Some((module, _)) = frame.ip.and_then(|ip| dump.modules.find(ip.0)) {
            by_module.entry(module.base).or_default().push(frame);
        }
    }
    for module in &dump.modules.list {
        let Some(frames) = by_module.remove(&module.base) else {
            continue;
        };
        let identity = image::identity(&dump.memory, module.base);
        let sought = Sought { file: module.file(), name: module.name(), identity: identity.as_ref() };
        warnings.extend(sought.name(files, frames));
    }
    warnings
}
