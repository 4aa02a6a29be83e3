//! Numbers that records and maps have for what they say: what body a record has, what an attachment holds, and what programs are to do.

macro_rules! numbered {
    ($(#[$doc:meta])* $name:ident $prefix:literal { $($(#[$variant_doc:meta])* $variant:ident = $number:literal $c_name:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u16)]
        pub enum $name { $($(#[$variant_doc])* $variant = $number,)* }

        impl $name {
            /// Names and numbers for the C header.
            pub const C_NAMES: &[(&str, u16)] = &[$((concat!($prefix, $c_name), $number)),*];

            /// The variant with this number.
            #[must_use]
            pub const fn from_number(number: u16) -> Option<Self> {
                match number { $($number => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

numbered! {
    /// What body a record has.
    RecordType "RECORD_" {
        /// [`Fork`].
        Fork = 1 "FORK",
        /// [`Exec`].
        Exec = 2 "EXEC",
        /// [`Exit`].
        Exit = 3 "EXIT",
        /// [`Credentials`].
        Credentials = 4 "CREDENTIALS",
        /// [`Target`].
        Target = 5 "TARGET",
        /// [`File`].
        File = 6 "FILE",
        /// [`Socket`].
        Socket = 7 "SOCKET",
        /// [`System`].
        System = 8 "SYSTEM",
        /// [`Verdict`]; in the guard's own ring only.
        Verdict = 9 "VERDICT",
    }
}

numbered! {
    /// What an attachment holds.
    Tag "TAG_" {
        /// Path of the executable: component names from the leaf up, each with its NUL.
        Executable = 1 "EXECUTABLE",
        /// Arguments, each with its NUL.
        Argv = 2 "ARGV",
        /// Working directory, as `Executable`.
        Cwd = 3 "CWD",
        /// Interpreter of a script, a string.
        Interpreter = 4 "INTERPRETER",
        /// Path of the file, as `Executable`.
        Path = 5 "PATH",
        /// Old path of a rename or link, as `Executable`.
        OldPath = 6 "OLD_PATH",
        /// A string: link target, attribute, module name, socket name, mount source.
        Name = 7 "NAME",
        /// A second string: file system type.
        Type = 8 "TYPE",
        /// Control group, as `Executable`: folder names from the leaf up, the hierarchy's root being without a name.
        Cgroup = 9 "CGROUP",
        /// Supplementary groups, four bytes each.
        Groups = 10 "GROUPS",
    }
}

numbered! {
    /// What an executable in the manifest is: the value of the map `manifest` and of the bit that its processes carry.
    Role "ROLE_" {
        /// `watertight`: supervisor, workers and commands.
        Watertight = 1 "WATERTIGHT",
        /// `watertight-loader`.
        Loader = 2 "LOADER",
    }
}

numbered! {
    /// By what a filter tells an operation.
    FilterKind "FILTER_" {
        /// The executable of the process, by identity.
        Executable = 1 "EXECUTABLE",
        /// A folder above the file, by identity.
        Under = 2 "UNDER",
        /// Real and effective user, by range.
        Users = 3 "USERS",
        /// The process's cgroup (v2) or one above it.
        Cgroup = 4 "CGROUP",
    }
}

numbered! {
    /// What a build's telemetry programs do: value of their variable `phase`. Beyond the first two they agree on each
    /// operation with those of another build, so that exactly one of the two tells it (`handover.h`).
    Phase "PHASE_" {
        /// They tell every operation.
        Active = 0 "ACTIVE",
        /// They tell nothing and count nothing.
        Stopped = 1 "STOPPED",
        /// The old build's: they still tell what the new build's have not told.
        Leaving = 2 "LEAVING",
        /// The new build's, before they begin: they tell nothing.
        Waiting = 3 "WAITING",
        /// The new build's: they tell what the old build's have not told.
        Coming = 4 "COMING",
    }
}
