//! Keys that sign metadata: Ed25519, their public half as metadata carries it, their private half in a file under a passphrase.
//!
//! A private key is never on a disk in the clear, and never on a command line. The file's form is JSON: what is public can be
//! read without the passphrase, the seed is sealed by ChaCha20-Poly1305 under a key that Argon2id derives from the passphrase.

use std::fmt;

use argon2::{Algorithm, Argon2, Params, Version};
use ring::aead::{Aad, LessSafeKey, Nonce, UnboundKey, CHACHA20_POLY1305, NONCE_LEN};
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::crypto::{from_hex, sha256_hex, to_hex};

/// Argon2id's memory. 64 MiB is what RFC 9106 recommends where 2 GiB is too much.
const KDF_MEMORY_KIB: u32 = 64 * 1024;
/// More than this a key file may not ask for: it is read before the passphrase is known to be right.
const KDF_MEMORY_KIB_MAX: u32 = 1024 * 1024;
/// Argon2id's passes, RFC 9106's second recommended choice.
const KDF_PASSES: u32 = 3;
const KDF_PASSES_MAX: u32 = 64;
const KDF_LANES: u32 = 4;
const SALT_BYTES: usize = 16;
const SEED_BYTES: usize = 32;
/// A passphrase shorter than this is refused when a key is made.
pub const PASSPHRASE_CHARACTERS_MIN: usize = 8;
/// Key files are some hundred bytes.
pub const KEY_FILE_SIZE_BYTES_MAX: u64 = 16 * 1024;

/// A public key as metadata carries it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublicKey {
    keytype: String,
    scheme: String,
    keyval: KeyValue,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyValue {
    public: String,
}

impl PublicKey {
    /// An Ed25519 key from its 32 bytes.
    fn ed25519(bytes: &[u8]) -> Self {
        Self { keytype: "ed25519".into(), scheme: "ed25519".into(), keyval: KeyValue { public: to_hex(bytes) } }
    }

    /// The key's id: the SHA-256 of its canonical form, the convention of securesystemslib.
    #[must_use]
    pub fn id(&self) -> String {
        let canonical = format!(
            r#"{{"keytype":"{}","keyval":{{"public":"{}"}},"scheme":"{}"}}"#,
            self.keytype, self.keyval.public, self.scheme
        );
        sha256_hex(canonical.as_bytes())
    }
}

/// A key that signs.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    seed: [u8; SEED_BYTES],
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("id", &self.public().id()).finish_non_exhaustive()
    }
}

impl Drop for SigningKey {
    fn drop(&mut self) {
        wipe(&mut self.seed);
    }
}

/// Why a key could not be made or opened.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The system gave no random bytes.
    #[error("the system gave no random bytes")]
    NoRandom,
    /// The passphrase is too short to protect anything.
    #[error("the passphrase has fewer than {PASSPHRASE_CHARACTERS_MIN} characters: choose a longer one")]
    ShortPassphrase,
    /// The file is no key file.
    #[error("this is no key file of `watertight content keys new`: {why}")]
    Malformed {
        /// What is wrong.
        why: String,
    },
    /// The passphrase does not open the file, or the file was changed.
    #[error("the passphrase does not open this key file (or the file was changed)")]
    WrongPassphrase,
}

/// A key file, as written.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile {
    format: String,
    public: PublicKey,
    kdf: Kdf,
    nonce: String,
    sealed: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kdf {
    algorithm: String,
    memory_kib: u32,
    passes: u32,
    lanes: u32,
    salt: String,
}

const FORMAT: &str = "watertight-key-1";
const KDF_ALGORITHM: &str = "argon2id";

impl SigningKey {
    /// A new key.
    ///
    /// # Errors
    /// The system gave no random bytes.
    pub fn generate() -> Result<Self, KeyError> {
        let mut seed = [0; SEED_BYTES];
        random(&mut seed)?;
        Self::from_seed(seed)
    }

    fn from_seed(seed: [u8; SEED_BYTES]) -> Result<Self, KeyError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed)
            .map_err(|_| KeyError::Malformed { why: "its seed is no Ed25519 seed".into() })?;
        Ok(Self { pair, seed })
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey::ed25519(self.pair.public_key().as_ref())
    }

    /// The signature of `message`, in hexadecimal digits.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> String {
        to_hex(self.pair.sign(message).as_ref())
    }

    /// The key as a file's text, sealed under the passphrase.
    ///
    /// # Errors
    /// The passphrase is too short, or the system gave no random bytes.
    pub fn seal(&self, passphrase: &str) -> Result<String, KeyError> {
        if passphrase.chars().count() < PASSPHRASE_CHARACTERS_MIN {
            return Err(KeyError::ShortPassphrase);
        }
        let mut salt = [0; SALT_BYTES];
        random(&mut salt)?;
        let mut nonce = [0; NONCE_LEN];
        random(&mut nonce)?;
        let kdf = Kdf {
            algorithm: KDF_ALGORITHM.into(),
            memory_kib: KDF_MEMORY_KIB,
            passes: KDF_PASSES,
            lanes: KDF_LANES,
            salt: to_hex(&salt),
        };
        let public = self.public();
        let mut sealed = self.seed.to_vec();
        cipher(passphrase, &kdf)?
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(public.id().as_bytes()),
                &mut sealed,
            )
            .map_err(|_| KeyError::Malformed { why: "the seed could not be sealed".into() })?;
        let file = KeyFile { format: FORMAT.into(), public, kdf, nonce: to_hex(&nonce), sealed: to_hex(&sealed) };
        let text = serde_json::to_string_pretty(&json!(file)).map_err(malformed)?;
        Ok(text + "\n")
    }

    /// Opens a key file's text.
    ///
    /// # Errors
    /// The text is no key file, or the passphrase does not open it.
    pub fn open(text: &str, passphrase: &str) -> Result<Self, KeyError> {
        let file = parse(text)?;
        let nonce = from_hex(&file.nonce)
            .and_then(|nonce| Nonce::try_assume_unique_for_key(&nonce).ok())
            .ok_or_else(|| KeyError::Malformed { why: "its nonce is no 12 bytes".into() })?;
        let mut sealed =
            from_hex(&file.sealed).ok_or_else(|| KeyError::Malformed { why: "its seal is no hexadecimal".into() })?;
        let seed = cipher(passphrase, &file.kdf)?
            .open_in_place(nonce, Aad::from(file.public.id().as_bytes()), &mut sealed)
            .ok()
            .and_then(|seed| <[u8; SEED_BYTES]>::try_from(&*seed).ok())
            .ok_or(KeyError::WrongPassphrase)?;
        wipe(&mut sealed);
        let key = Self::from_seed(seed)?;
        if key.public() != file.public {
            return Err(KeyError::Malformed { why: "its public key is not that of its seed".into() });
        }
        Ok(key)
    }
}

/// The public key of a key file, or of a file that holds only a public key.
///
/// # Errors
/// The text is neither.
pub fn public_of(text: &str) -> Result<PublicKey, KeyError> {
    let key = match serde_json::from_str::<PublicKey>(text) {
        Ok(key) => key,
        Err(_) => parse(text)?.public,
    };
    let is_ed25519 = key.keytype == "ed25519"
        && key.scheme == "ed25519"
        && from_hex(&key.keyval.public).is_some_and(|bytes| bytes.len() == 32);
    if is_ed25519 {
        Ok(key)
    } else {
        Err(KeyError::Malformed { why: "its public key is no Ed25519 key".into() })
    }
}

fn parse(text: &str) -> Result<KeyFile, KeyError> {
    let file: KeyFile = serde_json::from_str(text).map_err(malformed)?;
    if file.format == FORMAT && file.kdf.algorithm == KDF_ALGORITHM {
        Ok(file)
    } else {
        Err(KeyError::Malformed { why: format!("format {:?}, derivation {:?}", file.format, file.kdf.algorithm) })
    }
}

/// The cipher that the passphrase gives.
fn cipher(passphrase: &str, kdf: &Kdf) -> Result<LessSafeKey, KeyError> {
    if kdf.memory_kib > KDF_MEMORY_KIB_MAX || kdf.passes > KDF_PASSES_MAX {
        return Err(KeyError::Malformed { why: "its derivation would take too long".into() });
    }
    let salt = from_hex(&kdf.salt).ok_or_else(|| KeyError::Malformed { why: "its salt is no hexadecimal".into() })?;
    let params = Params::new(kdf.memory_kib, kdf.passes, kdf.lanes, None).map_err(malformed)?;
    let mut key = [0; 32];
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase.as_bytes(), &salt, &mut key)
        .map_err(malformed)?;
    let cipher = UnboundKey::new(&CHACHA20_POLY1305, &key).map_err(malformed)?;
    wipe(&mut key);
    Ok(LessSafeKey::new(cipher))
}

fn malformed(why: impl fmt::Display) -> KeyError {
    KeyError::Malformed { why: why.to_string() }
}

fn random(bytes: &mut [u8]) -> Result<(), KeyError> {
    SystemRandom::new().fill(bytes).map_err(|_| KeyError::NoRandom)
}

/// Overwrites a secret in a way that the compiler does not leave out.
fn wipe(secret: &mut [u8]) {
    secret.fill(0);
    std::hint::black_box(secret);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_opens_with_its_passphrase_only() {
        let key = SigningKey::generate().expect("random bytes");
        let text = key.seal("correct horse").expect("long enough");
        assert_eq!(SigningKey::open(&text, "correct horse").expect("its passphrase").public(), key.public());
        assert!(matches!(SigningKey::open(&text, "correct house"), Err(KeyError::WrongPassphrase)));
        assert_eq!(public_of(&text).expect("public without passphrase"), key.public());
        assert!(!text.contains(&to_hex(&key.seed)), "the seed is not in the file");
    }

    #[test]
    fn a_key_file_whose_public_key_was_exchanged_is_refused() {
        let key = SigningKey::generate().expect("random bytes");
        let other = SigningKey::generate().expect("random bytes");
        let text = key.seal("correct horse").expect("long enough");
        let changed = text.replace(&key.public().keyval.public, &other.public().keyval.public);
        assert!(matches!(SigningKey::open(&changed, "correct horse"), Err(KeyError::WrongPassphrase)));
    }

    #[test]
    fn a_short_passphrase_is_refused() {
        let key = SigningKey::generate().expect("random bytes");
        assert!(matches!(key.seal("short"), Err(KeyError::ShortPassphrase)));
    }

    #[test]
    fn a_key_file_that_asks_for_all_memory_is_refused_before_it_is_derived() {
        let key = SigningKey::generate().expect("random bytes");
        let text = key.seal("correct horse").expect("long enough").replace("65536", "4294967295");
        assert!(matches!(SigningKey::open(&text, "correct horse"), Err(KeyError::Malformed { .. })));
    }
}
