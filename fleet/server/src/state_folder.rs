//! The state folder: all that a fleet is, in one place that can be copied. What is missing in one that was in use is refused with the
//! mend; nothing is begun anew in silence.
//!
//! ```text
//! state.db      hosts, tokens, records, audit log       ca/          the authority's keys, for us alone
//! ca.pem        whom agents trust                       admin.token  the first token of the operator API
//! content/      the content repository                  backups/     copies of state.db
//! server.lock   held by the server that runs
//! ```

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rustix::fs::{flock, FlockOperation};

use crate::access::new_operator_token;
use crate::authority::{write_secret, Authority};
use crate::clock::{now_ms, sha256_hex};
use crate::roles::Role;
use crate::store::sqlite::SqliteStore;
use crate::store::{AuditEntry, OperatorToken, StateStore as _};

/// The folder of a fleet.
#[derive(Debug)]
pub struct StateFolder {
    path: PathBuf,
    /// Held as long as this lives.
    _lock: Option<fs::File>,
}

impl StateFolder {
    /// Takes the folder for a server; makes it if it is not there.
    ///
    /// # Errors
    /// Another server has it, or it can't be written.
    pub fn take(path: &Path) -> anyhow::Result<Self> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .with_context(|| format!("making {}", path.display()))?;
        // One that was made before, by whoever published content into it, may be open to everybody.
        fs::set_permissions(path, fs::Permissions::from_mode(0o700))
            .with_context(|| format!("keeping {} to its owner", path.display()))?;
        let lock_path = path.join("server.lock");
        let lock = fs::OpenOptions::new().create(true).truncate(false).write(true).open(&lock_path);
        let lock = lock.with_context(|| lock_path.display().to_string())?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .with_context(|| format!("{}: another server runs with this folder", path.display()))?;
        Ok(Self { path: path.to_owned(), _lock: Some(lock) })
    }

    /// Looks at the folder of a server that may run.
    ///
    /// # Errors
    /// It is no such folder.
    pub fn look(path: &Path) -> anyhow::Result<Self> {
        anyhow::ensure!(
            path.join("state.db").exists(),
            "{}: no server has run with this folder: `watertight server run --state` makes it",
            path.display()
        );
        Ok(Self { path: path.to_owned(), _lock: None })
    }

    /// Opens what is there, or begins a fleet in an empty folder.
    ///
    /// # Errors
    /// Something of a fleet is there, and something is missing or damaged.
    pub async fn open(&self) -> anyhow::Result<(SqliteStore, Authority)> {
        let (database, authority) = (self.path.join("state.db"), self.path.join("ca"));
        let is_begun = authority.exists();
        let was_begun = ["ca.pem", "backups"].iter().any(|name| self.path.join(name).exists());
        let store = if is_begun || was_begun || has_tables(&database) {
            SqliteStore::open(&database).await?
        } else {
            SqliteStore::create(&database).await.with_context(|| format!("making {}", database.display()))?
        };
        if !is_begun {
            anyhow::ensure!(
                store.hosts().await?.is_empty(),
                "{}: the authority's keys are gone, though hosts are enrolled: put the folder back from a copy of the state folder",
                authority.display()
            );
            Authority::make(&authority, now_ms())?;
        }
        let authority = Authority::open(&authority)?;
        self.write_anchors(&authority)?;
        self.first_token(&store).await?;
        Ok((store, authority))
    }

    /// Whom agents trust, for who sets agents up.
    fn write_anchors(&self, authority: &Authority) -> anyhow::Result<()> {
        let (path, fresh) = (self.path.join("ca.pem"), self.path.join("ca.pem.new"));
        fs::write(&fresh, authority.anchors_pem()).with_context(|| fresh.display().to_string())?;
        fs::rename(&fresh, &path).with_context(|| path.display().to_string())
    }

    /// The first token, with which the others are made.
    async fn first_token(&self, store: &SqliteStore) -> anyhow::Result<()> {
        let path = self.path.join("admin.token");
        if !store.operator_tokens().await?.is_empty() {
            return Ok(());
        }
        // One that was cut off between file and database is of no use to anybody.
        let _ = fs::remove_file(&path);
        let token = new_operator_token()?;
        write_secret(&path, &format!("{token}\n"))?;
        let entry = AuditEntry {
            at_ms: now_ms(),
            actor: "server".to_owned(),
            action: "give_access".to_owned(),
            subject: "admin".to_owned(),
            reason: "nobody has a token: the first, made at the start".to_owned(),
        };
        let row = OperatorToken { name: "admin".to_owned(), hash: sha256_hex(token.as_bytes()), role: Role::Admin };
        store.put_operator_token(&row, &entry).await?;
        Ok(())
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the database of a server that may run beside this.
    ///
    /// # Errors
    /// It can't be used.
    pub async fn store(&self) -> anyhow::Result<SqliteStore> {
        Ok(SqliteStore::open_beside(&self.path.join("state.db")).await?)
    }
}

/// Whether a first start got as far as the tables: before, the file is empty or has no page yet.
fn has_tables(database: &Path) -> bool {
    fs::metadata(database).is_ok_and(|file| file.len() > 4096)
}
