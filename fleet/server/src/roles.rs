//! Who may do what: one table of roles and actions, and no other place that decides it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What the holder of a token may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Looks.
    Viewer,
    /// Looks, enrols and revokes hosts, begins and stops rollouts.
    Operator,
    /// All of it, and gives out tokens.
    Admin,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Status, hosts, crash buckets.
    Look,
    /// Read the audit log.
    ReadAudit,
    /// Make a token for enrolment.
    MakeEnrolToken,
    /// Revoke a host.
    RevokeHost,
    /// Begin, pause, resume, abort or promote a rollout.
    RollOut,
    /// Say what a ring may begin, and when.
    SetRing,
    /// Make or revoke a token of the operator API.
    GiveAccess,
}

impl Action {
    /// All, in the table's order.
    pub const ALL: [Self; 7] = [
        Self::Look,
        Self::ReadAudit,
        Self::MakeEnrolToken,
        Self::RevokeHost,
        Self::RollOut,
        Self::SetRing,
        Self::GiveAccess,
    ];

    /// Its word in refusals and in the audit log.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Look => "look",
            Self::ReadAudit => "read_audit",
            Self::MakeEnrolToken => "make_enrol_token",
            Self::RevokeHost => "revoke_host",
            Self::RollOut => "roll_out",
            Self::SetRing => "set_ring",
            Self::GiveAccess => "give_access",
        }
    }

    /// The table: the least role that may.
    #[must_use]
    pub const fn least(self) -> Role {
        match self {
            Self::Look => Role::Viewer,
            Self::ReadAudit | Self::MakeEnrolToken | Self::RevokeHost | Self::RollOut | Self::SetRing => Role::Operator,
            Self::GiveAccess => Role::Admin,
        }
    }
}

impl Role {
    /// All, those who may least first.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Operator, Self::Admin];

    /// Whether it may.
    #[must_use]
    pub fn may(self, action: Action) -> bool {
        self >= action.least()
    }

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    /// The role of a name.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_roles_is_the_golden_one() {
        let mut table = String::from("action            viewer operator admin\n");
        for action in Action::ALL {
            let may = Role::ALL.map(|role| if role.may(action) { "yes" } else { "-" });
            table.push_str(&format!("{:<17} {:<6} {:<8} {}\n", action.name(), may[0], may[1], may[2]));
        }
        assert_eq!(table, include_str!("../tests/golden/roles.txt"));
    }
}
