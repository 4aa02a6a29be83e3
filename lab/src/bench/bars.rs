//! The bars: what each figure may be at most. A figure over its bar is printed as missed, and the run ends with an error.

use watertight_lab_guest::{Sensor, Workload};

/// The reader alone, instructions for an event.
pub const READER_INSTRUCTIONS_MAX: f64 = 5_000.0;
/// Reader, process tree, rules and JSON together, instructions for an event.
pub const DETECTOR_INSTRUCTIONS_MAX: f64 = 25_000.0;
/// Resident memory of all processes of the product, MiB, with nothing to do.
pub const IDLE_MIB_MAX: f64 = 40.0;
/// The same after a million short processes.
pub const BUSY_MIB_MAX: f64 = 80.0;
/// Memory is flat if the second half of these processes adds no more than this, MiB.
pub const GROWTH_MIB_MAX: f64 = 2.0;
/// Two runs of the same work differ by this; a ratio may be above its bar by as much before it is one.
pub const NOISE: f64 = 0.004;

/// What rules may cost: by the name of a scene, microseconds an event, how many times faster than `rsigma-eval`, KiB, and
/// milliseconds to load.
pub const DETECTION: [(&str, f64, f64, u64, f64); 4] = [
    ("linux process_creation rules", 0.6, 2.0, 4 << 10, 10.0),
    ("all linux rules", 1.5, 3.0, 4 << 10, 10.0),
    ("all rules", 5.0, 3.0, 32 << 10, 50.0),
    ("all rules, linux events", 5.0, 3.0, 32 << 10, 50.0),
];

/// Ten times as many rules may cost this many times as much for an event.
pub const TENFOLD_MAX: f64 = 2.0;
/// What the worst event may cost, microseconds; one of which part was left out, and that was counted, may cost more.
pub const HOSTILE_EVENT_US_MAX: f64 = 2_000.0;
/// Events a second that correlations must take.
pub const CORRELATED_PER_S_MIN: f64 = 1e6;
/// What correlations may remember of a hundred thousand groups, KiB.
pub const CORRELATION_KIB_MAX: u64 = 16 << 10;
/// What a sequence may cost, nanoseconds for each event that is a stage of it.
pub const SEQUENCE_NS_MAX: f64 = 200.0;
/// From the install of content that kills the engine to the detector that is back on known content, ms: 99 of 100 times.
pub const RECOVERY_MS_MAX: f64 = 5_000.0;
/// For how long a change of content may keep events waiting, us.
pub const PAUSE_US_MAX: f64 = 1_000.0;
/// Memory of the child that loads content, MiB.
pub const LOADER_MIB_MAX: f64 = 64.0;
/// Its processor time, s.
pub const LOADER_CPU_S_MAX: f64 = 2.0;
/// System calls that it may make.
pub const LOADER_CALLS_MAX: u64 = 30;
/// What a small dump may take: milliseconds, and MiB of the command and its worker together.
pub const SMALL_DUMP_MS_MAX: f64 = 100.0;
pub const SMALL_DUMP_MIB_MAX: f64 = 64.0;
/// What a bitmap dump of 1 GB may take, s.
pub const BITMAP_DUMP_S_MAX: f64 = 3.0;
/// What a core of 4 GB may take, s: as long as the worker may take for a file.
pub const CORE_S_MAX: f64 = 10.0;
/// How fast a log is read, MB/s at least.
pub const CRASH_TEXT_MB_PER_S_MIN: f64 = 100.0;
/// What a thousand logs of one crash each may take on one core, s.
pub const OOPSES_S_MAX: f64 = 2.0;

/// Seconds of one processor that a simulated rollout of good content to a million hosts may take.
pub const GOOD_ROLLOUT_S_MAX: f64 = 0.6;
/// The same of any content.
pub const ROLLOUT_S_MAX: f64 = 2.0;

/// Check-ins that the server must answer for a second of a processor.
pub const CHECK_INS_PER_CORE_MIN: f64 = 20_000.0;
/// What 99 of 100 check-ins may take at 10,000 a second, ms from when they were due.
pub const CHECK_IN_MS_MAX: f64 = 50.0;
/// What an agent that waits may cost the server, KiB.
pub const HELD_KIB_MAX: f64 = 32.0;
/// Until 99 % of 10,000 agents know that there is something new, s.
pub const DOORBELL_S_MAX: f64 = 10.0;
/// Until 10,000 agents that lost their connection are back, s.
pub const STORM_S_MAX: f64 = 15.0;
/// Hosts that the server must enrol for a second of a processor.
pub const ENROLMENTS_PER_CORE_MIN: f64 = 300.0;

/// How much the work may cost with our sensor, as a multiple of what it costs without any.
pub fn ratio_max(sensor: Sensor, workload: Workload) -> Option<f64> {
    match (sensor, workload) {
        (Sensor::Auditd | Sensor::Execsnoop, _) | (_, Workload::Compile) => None,
        (_, Workload::ExecBare | Workload::ExecTrue) => Some(1.03),
        (Sensor::Observe, Workload::OpenRead) => Some(1.06),
        (Sensor::Enforce, Workload::OpenRead) => Some(1.10),
        (_, Workload::OpenWrite) => Some(1.35),
        (_, Workload::Connect) => Some(1.15),
        (_, Workload::Write) => Some(1.00),
    }
}

/// Whether a ratio is within its bar, as far as it can be measured.
pub fn is_within(ratio: f64, most: f64) -> bool {
    ratio <= most + NOISE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_work_but_a_compile_has_a_bar_for_us_and_none_for_others() {
        for workload in Workload::ALL {
            let has_bar = workload != Workload::Compile;
            assert_eq!(ratio_max(Sensor::Observe, workload).is_some(), has_bar);
            assert_eq!(ratio_max(Sensor::Enforce, workload).is_some(), has_bar);
            assert_eq!(ratio_max(Sensor::Auditd, workload), None);
        }
    }

    #[test]
    fn a_ratio_beyond_the_noise_misses() {
        assert!(is_within(1.003, 1.00));
        assert!(!is_within(1.006, 1.00));
    }
}
