//! VMCOREINFO: lines `KEY=value` that the kernel keeps for whoever reads its core. They say how to translate addresses and where
//! the log and the symbols lie; everything else follows from these.

use std::collections::HashMap;

/// Longest text that is read; the kernel has a page for it.
const TEXT_BYTES_MAX: usize = 1 << 20;

/// The lines by key.
#[derive(Clone, Debug, Default)]
pub(super) struct Vmcoreinfo(HashMap<String, String>);

impl Vmcoreinfo {
    /// Reads the text; of a key that comes twice the first counts.
    pub(super) fn parse(text: &str) -> Self {
        let mut lines = HashMap::new();
        let cut = text.len().min(TEXT_BYTES_MAX);
        for line in text.get(..cut).unwrap_or_default().lines() {
            if let Some((key, value)) = line.split_once('=') {
                lines.entry(key.to_owned()).or_insert_with(|| value.trim().to_owned());
            }
        }
        Self(lines)
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A value as it stands.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// The address of a symbol.
    pub(super) fn symbol(&self, name: &str) -> Option<u64> {
        u64::from_str_radix(self.text(&format!("SYMBOL({name})"))?, 16).ok()
    }

    /// A number; negative ones wrap, as addresses do.
    pub(super) fn number(&self, name: &str) -> Option<u64> {
        let text = self.text(&format!("NUMBER({name})"))?;
        match text.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16).ok(),
            None => text.parse::<i64>().map(i64::cast_unsigned).or_else(|_| text.parse()).ok(),
        }
    }

    /// A member's offset.
    pub(super) fn offset(&self, member: &str) -> Option<u64> {
        self.text(&format!("OFFSET({member})"))?.parse().ok()
    }

    /// A type's size.
    pub(super) fn size(&self, name: &str) -> Option<u64> {
        self.text(&format!("SIZE({name})"))?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_line_is_read_as_the_kernel_writes_it() {
        let lines = Vmcoreinfo::parse(
            "OSRELEASE=6.1.0-frob\nSYMBOL(prb)=ffffffff82e6a1c0\nNUMBER(phys_base)=-1048576\nOFFSET(list_head.next)=0\n\
             SIZE(prb_desc)=24\nNUMBER(VMALLOC_START)=0xff20000000000000\nSYMBOL(prb)=1\nnonsense\n",
        );
        assert_eq!(lines.text("OSRELEASE"), Some("6.1.0-frob"));
        assert_eq!(lines.symbol("prb"), Some(0xffff_ffff_82e6_a1c0));
        assert_eq!(lines.number("phys_base"), Some(0_u64.wrapping_sub(1_048_576)));
        assert_eq!(lines.number("VMALLOC_START"), Some(0xff20_0000_0000_0000));
        assert_eq!((lines.offset("list_head.next"), lines.size("prb_desc")), (Some(0), Some(24)));
        assert!(lines.number("absent").is_none() && lines.symbol("OSRELEASE").is_none());
    }
}
