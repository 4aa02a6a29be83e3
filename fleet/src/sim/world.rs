//! A made-up fleet: strata as fleets have them, a few large and many small ones.

use super::rng::Rng;
use crate::plan::{Candidate, Fleet, HostId, Plan, Roster, Stratum, Traits, LISTED_MAX};

/// Values of a trait with the part of the hosts that have it, in percent.
type Share = (&'static str, u64);

const KERNELS: [Share; 4] = [("6.1", 52), ("6.12", 30), ("5.15", 15), ("5.10", 3)];
const DISTRIBUTIONS: [Share; 3] = [("debian-12", 60), ("rhel-9", 30), ("ubuntu-22", 10)];
const ARCHITECTURES: [Share; 2] = [("x86-64", 88), ("aarch64", 12)];
const AGENTS: [Share; 2] = [("1.1", 95), ("1.0", 5)];
const WORKLOADS: [Share; 3] = [("web", 60), ("database", 25), ("build", 15)];

/// The buckets of one release, by stratum, lowest first, and the fleet that the planner sees.
pub(super) struct World {
    pub(super) fleet: Fleet,
    buckets: Vec<Vec<u32>>,
}

impl World {
    /// So many hosts with the buckets of one release.
    pub(super) fn new(hosts: u32, rng: &mut Rng) -> Self {
        let mut world = Self { fleet: Fleet::default(), buckets: Vec::new() };
        let mut left = u64::from(hosts);
        for (traits, size) in strata(u64::from(hosts)) {
            let size = size.min(left);
            left = left.saturating_sub(size);
            world.add(traits, size, rng);
        }
        world
    }

    fn add(&mut self, traits: Traits, hosts: u64, rng: &mut Rng) {
        if hosts == 0 {
            return;
        }
        let number = self.fleet.strata.len();
        // The hash of a host and a release is as good as random; hosts are numbered by it, so that they need no names.
        let mut buckets: Vec<u32> = (0..hosts).map(|_| (rng.bits() >> 32) as u32).collect();
        buckets.sort_unstable();
        let candidate = |(place, bucket): (usize, &u32)| Candidate { bucket: *bucket, host: id(number, place) };
        let first = buckets.iter().take(LISTED_MAX).enumerate().map(candidate).collect();
        self.fleet.strata.push(Stratum { name: format!("stratum-{number}"), traits, hosts, first });
        self.buckets.push(buckets);
    }

    /// The hosts as numbers, for a plan of this fleet.
    pub(super) fn roster(self, plan: &Plan) -> Roster {
        let mut roster = Roster::new(plan);
        for (number, (stratum, buckets)) in self.fleet.strata.iter().zip(self.buckets).enumerate() {
            let listed = buckets.len().min(LISTED_MAX);
            roster.add(&stratum.name, buckets, (0..listed).map(|place| id(number, place)));
        }
        roster
    }
}

fn id(stratum: usize, place: usize) -> HostId {
    HostId(format!("{stratum}-{place}"))
}

/// Every combination with its hosts; the last has what rounding left.
fn strata(hosts: u64) -> Vec<(Traits, u64)> {
    let mut strata = Vec::new();
    for (kernel, of_kernel) in KERNELS {
        for (distribution, of_distribution) in DISTRIBUTIONS {
            for (architecture, of_architecture) in ARCHITECTURES {
                for (agent_version, of_agent) in AGENTS {
                    for (workload, of_workload) in WORKLOADS {
                        let percent = [of_kernel, of_distribution, of_architecture, of_agent, of_workload];
                        let size = percent.iter().fold(u128::from(hosts), |size, part| size * u128::from(*part));
                        let traits = Traits {
                            kernel: kernel.into(),
                            distribution: distribution.into(),
                            architecture: architecture.into(),
                            agent_version: agent_version.into(),
                            workload: workload.into(),
                        };
                        strata.push((traits, u64::try_from(size / 10_u128.pow(10)).unwrap_or(0)));
                    }
                }
            }
        }
    }
    let sum: u64 = strata.iter().map(|(_, size)| size).sum();
    if let Some((_, first)) = strata.first_mut() {
        *first += hosts.saturating_sub(sum);
    }
    strata
}
