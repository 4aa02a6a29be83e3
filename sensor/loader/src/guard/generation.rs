//! A generation: one map with the whole policy, filled, read back and frozen before anybody asks it, and put in force by one
//! update of one slot.
//!
//! On trial its header has a deadline, after which the kernel asks the confirmed generation instead. To confirm puts a copy
//! without the deadline into both slots.

use std::os::fd::{AsFd as _, AsRawFd as _};
use std::time::Duration;

use anyhow::{ensure, Context as _, Result};
use libbpf_rs::{MapCore as _, MapFlags, MapHandle, MapType};
use watertight_sensor_abi::{
    hint_of, EntryKind, PolicyEntry, PolicyKey, HINT_WORDS, POLICY_SLOT_CONFIRMED, POLICY_SLOT_CURRENT,
};

use super::entries::{Entries, Table};
use super::pins::{GuardPins, HINTS, POLICY};

/// include/uapi/linux/bpf.h: programs may not write to it.
const RDONLY_PROG: u32 = 128;

/// A generation as it is in the kernel.
pub struct Generation {
    /// Everything in it.
    pub table: Table,
    /// Its number.
    pub number: u64,
    /// When it ends unless confirmed, CLOCK_BOOTTIME; 0 for never.
    pub deadline_ns: u64,
}

impl Generation {
    /// Whether its time to be confirmed is over.
    pub fn has_returned(&self) -> bool {
        self.deadline_ns != 0 && boot_ns() > self.deadline_ns
    }

    /// Whether it rules on anything.
    pub fn has_rules(&self) -> bool {
        self.table.keys().any(|key| key.kind == EntryKind::Rule as u32)
    }
}

/// The generations in the two slots: the current one, and the one that was confirmed last.
pub fn read(pins: &GuardPins) -> Result<(Option<Generation>, Option<Generation>)> {
    let outer = pins.map(POLICY)?;
    Ok((slot(&outer, POLICY_SLOT_CURRENT)?, slot(&outer, POLICY_SLOT_CONFIRMED)?))
}

/// What the kernel asks now, if anything.
pub fn in_force(pins: &GuardPins) -> Result<Option<Generation>> {
    let (current, confirmed) = read(pins)?;
    Ok(if current.as_ref().is_some_and(Generation::has_returned) { confirmed } else { current })
}

/// Whether a generation with rules is in force or on trial.
pub fn has_policy(pins: &GuardPins) -> Result<bool> {
    let (current, confirmed) = read(pins)?;
    Ok(current.iter().chain(&confirmed).any(Generation::has_rules))
}

/// Number of the generation that nobody has confirmed yet and that the kernel has not taken back.
pub fn on_trial(pins: &GuardPins) -> Result<Option<u64>> {
    let (current, _) = read(pins)?;
    Ok(current.filter(|current| current.deadline_ns != 0 && !current.has_returned()).map(|current| current.number))
}

/// Puts the entries in force until the deadline. What the kernel would go back to must be what is in force now, so none may be
/// on trial. Returns the generation's number.
pub fn publish_trial(pins: &GuardPins, entries: &Entries, confirm_within: Duration) -> Result<u64> {
    let outer = pins.map(POLICY)?;
    let (current, confirmed) = read(pins)?;
    let last = current.iter().chain(&confirmed).map(|generation| generation.number).max().unwrap_or(0);
    let number = last.saturating_add(1);
    let wait_ns = u64::try_from(confirm_within.as_nanos()).context("the time to confirm is too long")?;
    let table = entries.table(number, boot_ns().saturating_add(wait_ns))?;
    let map = build(&table)?;
    // Before the slot: a file that the hints do not have is not looked for in any generation.
    add_hints(&pins.map(HINTS)?, &table)?;
    put(&outer, POLICY_SLOT_CURRENT, &map)?;
    Ok(number)
}

/// What the generations have named so far, and this one.
fn add_hints(map: &MapHandle, table: &Table) -> Result<()> {
    let header = table.get(&header_key()).context("the generation has no header")?;
    let mut words = vec![0_u64; HINT_WORDS as usize];
    let named = super::entries::named(table).map(hint_of);
    for (word, bits) in named.chain([(0, header.kinds)]) {
        *words.get_mut(word as usize).context("a hint beyond the map")? |= bits;
    }
    for (key, bits) in (0_u32..).zip(words) {
        let key = key.to_ne_bytes();
        let before = map.lookup(&key, MapFlags::ANY).context("reading the hints")?.context("the hints are too few")?;
        let before = u64::from_ne_bytes(before.try_into().ok().context("hints of another size")?);
        map.update(&key, &(before | bits).to_ne_bytes(), MapFlags::ANY).context("writing the hints")?;
    }
    Ok(())
}

/// Makes the generation on trial the one that stays. Returns its number.
pub fn confirm(pins: &GuardPins) -> Result<u64> {
    let outer = pins.map(POLICY)?;
    let trial = slot(&outer, POLICY_SLOT_CURRENT)?.context("there is no policy to confirm")?;
    if trial.deadline_ns == 0 {
        return Ok(trial.number);
    }
    ensure!(
        !trial.has_returned(),
        "generation {} was not confirmed in time and the policy before it is in force: apply it again",
        trial.number
    );
    let mut table = trial.table;
    let header = table.get_mut(&header_key()).context("the generation has no header")?;
    header.deadline_ns = 0;
    let map = build(&table)?;
    // The slot to go back to first: at every moment both verdicts are those of this generation or of the one before.
    put(&outer, POLICY_SLOT_CONFIRMED, &map)?;
    put(&outer, POLICY_SLOT_CURRENT, &map)?;
    Ok(trial.number)
}

/// The key of the first entry.
pub fn header_key() -> PolicyKey {
    PolicyKey { kind: EntryKind::Header as u32, ..PolicyKey::default() }
}

fn put(outer: &MapHandle, slot: u32, inner: &MapHandle) -> Result<()> {
    let fd = u32::try_from(inner.as_fd().as_raw_fd()).context("a descriptor's number")?;
    outer.update(&slot.to_ne_bytes(), &fd.to_ne_bytes(), MapFlags::ANY).context("putting the generation in force")
}

/// A frozen map with exactly these entries.
fn build(table: &Table) -> Result<MapHandle> {
    let options = libbpf_sys::bpf_map_create_opts {
        sz: std::mem::size_of::<libbpf_sys::bpf_map_create_opts>() as libbpf_sys::size_t,
        map_flags: RDONLY_PROG,
        ..Default::default()
    };
    let size = |bytes: usize| u32::try_from(bytes).context("the size of an entry");
    let entries = u32::try_from(table.len()).context("too many entries")?;
    let name = Some("wtg_generation");
    let map =
        MapHandle::create(MapType::Hash, name, size(PolicyKey::BYTES)?, size(PolicyEntry::BYTES)?, entries, &options)
            .context("making the generation's map: does the guard know this process as its loader?")?;
    for (key, entry) in table {
        map.update(&bytes_of(|out| key.write(out)), &bytes_of(|out| entry.write(out)), MapFlags::NO_EXIST)
            .context("filling the generation")?;
    }
    map.freeze().context("freezing the generation")?;
    ensure!(read_table(&map)? == *table, "the kernel reads back another generation than the one that was written");
    Ok(map)
}

fn slot(outer: &MapHandle, slot: u32) -> Result<Option<Generation>> {
    let Some(id) = outer.lookup(&slot.to_ne_bytes(), MapFlags::ANY).context("looking into the policy's slots")? else {
        return Ok(None);
    };
    let id = u32::from_ne_bytes(id.as_slice().try_into().context("a map's id")?);
    let map = MapHandle::from_map_id(id).context("opening the generation in force")?;
    let table = read_table(&map)?;
    let header =
        table.get(&header_key()).context("the generation in force has no header: is it of another version?")?;
    let (number, deadline_ns, entries) = (header.generation, header.deadline_ns, header.entries);
    ensure!(
        usize::try_from(entries).is_ok_and(|entries| entries == table.len()),
        "generation {number} has {} entries, its header says {entries}",
        table.len()
    );
    Ok(Some(Generation { number, deadline_ns, table }))
}

fn read_table(map: &MapHandle) -> Result<Table> {
    let mut table = Table::new();
    for key in map.keys() {
        let value = map.lookup(&key, MapFlags::ANY).context("reading the generation")?.context("an entry vanished")?;
        let key = PolicyKey::read(&key).context("a key of another size")?;
        table.insert(key, PolicyEntry::read(&value).context("an entry of another size")?);
    }
    Ok(table)
}

fn bytes_of(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&mut bytes);
    bytes
}

fn boot_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(time.tv_nsec).unwrap_or(0))
}
