//! A publisher's desk beside a server: the offline keys sign packs, the online ones lie in files for the server.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use watertight_content_repo::director::{DIRECTOR_ROLE, PLAN_PATH};
use watertight_content_repo::key::SigningKey;
use watertight_content_repo::publish::{publish, published_document, Authority, Document, OnlineKeys, Publication};
use watertight_content_repo::release::{ContentId, EngineRange, Release, Ring, Step, WHOLE_PER_MILLION};
use watertight_content_repo::time::Moment;
use watertight_server::rollout::director::{KeyArgs, Keys};

const PASSPHRASE: &str = "correct horse battery staple";
const DAY_S: i64 = 24 * 3600;
const ROLES: [&str; 6] = ["root", "targets", "content", "director", "snapshot", "timestamp"];

pub struct Desk {
    keys: BTreeMap<&'static str, Vec<SigningKey>>,
    folder: PathBuf,
    files: PathBuf,
    packs: Vec<(Release, Vec<u8>)>,
}

impl Desk {
    /// Keys for all roles, and nothing published. `dir` gets `content`, which is the server's, and `keys`.
    pub fn new(state: &Path) -> Self {
        let files = state.join("keys");
        std::fs::create_dir_all(&files).expect("a folder");
        std::fs::write(files.join("passphrase"), format!("{PASSPHRASE}\n")).expect("a file");
        let keys: BTreeMap<_, _> =
            ROLES.map(|role| (role, vec![SigningKey::generate().expect("random bytes")])).into_iter().collect();
        let desk = Self { keys, folder: state.join("content"), files, packs: Vec::new() };
        ["director", "snapshot", "timestamp"].into_iter().for_each(|role| desk.write_key(role));
        desk
    }

    fn write_key(&self, role: &str) {
        let sealed = self.keys[role][0].seal(PASSPHRASE).expect("long enough");
        std::fs::write(self.files.join(format!("{role}.key")), sealed).expect("a file");
    }

    /// What a server is told of the keys.
    pub fn options(&self) -> Vec<String> {
        let path = |name: &str| self.files.join(name).to_str().expect("text").to_owned();
        let key = |role: &str| [format!("--{role}-key"), path(&format!("{role}.key"))];
        let keys = ["director", "snapshot", "timestamp"].into_iter().flat_map(key);
        keys.chain(["--passphrase-file".to_owned(), path("passphrase")]).collect()
    }

    /// The same, as the server reads it.
    pub fn keys(&self) -> Keys {
        let path = |name: &str| Some(self.files.join(name));
        let args = KeyArgs {
            director_key: path("director.key"),
            snapshot_key: path("snapshot.key"),
            timestamp_key: path("timestamp.key"),
            passphrase_file: path("passphrase"),
        };
        args.open().expect("its passphrase").expect("keys")
    }

    fn signed(&self, role: &str, mut document: Document) -> Document {
        document.sign(&self.keys[role][0], true).expect("a document");
        document
    }

    fn authorities(&self) -> BTreeMap<String, Authority> {
        let authority =
            |role| Authority { keys: self.keys[role].iter().map(SigningKey::public).collect(), threshold: 1 };
        ROLES.map(|role| (role.to_owned(), authority(role))).into_iter().collect()
    }

    fn put(&self, publication: Publication) {
        let keys = OnlineKeys { snapshot: &self.keys["snapshot"], timestamp: &self.keys["timestamp"] };
        let publication = Publication { snapshot_lifetime_s: 7 * DAY_S, timestamp_lifetime_s: DAY_S, ..publication };
        // The server publishes too: it may be at it.
        let published = (0..100).find_map(|_| match publish(&self.folder, &publication, keys, Moment::now()) {
            Err(error) if error.to_string().contains("another publisher") => {
                std::thread::sleep(std::time::Duration::from_millis(50));
                None
            }
            done => Some(done),
        });
        published.expect("another publisher ends").expect("a publication");
    }

    /// Signs a pack and publishes it beside those before it. Gives its id.
    pub fn publish(&mut self, version: u64, pack: &[u8]) -> String {
        self.publish_for(version, pack, [("early".into(), everybody())].into())
    }

    /// The same for these rings.
    pub fn publish_for(&mut self, version: u64, pack: &[u8], rings: BTreeMap<String, Ring>) -> String {
        self.publish_release(release(version, rings), pack)
    }

    /// The same under another name.
    pub fn publish_as(&mut self, name: &str, pack: &[u8]) -> String {
        let release = release(1, [("early".into(), everybody())].into());
        self.publish_release(Release { name: name.to_owned(), ..release }, pack)
    }

    fn publish_release(&mut self, release: Release, pack: &[u8]) -> String {
        let expires = Moment::now().plus_s(365 * DAY_S);
        let is_first = self.packs.is_empty();
        self.packs.push((release, pack.to_vec()));
        let content = Document::content(self.packs.len() as u64, expires, &self.packs).expect("good releases");
        let first = |document: Document, role| is_first.then(|| self.signed(role, document));
        self.put(Publication {
            root: first(Document::root(1, expires, &self.authorities()).expect("keys"), "root"),
            targets: first(Document::targets(1, expires, &self.authorities()).expect("keys"), "targets"),
            roles: [("content".to_owned(), self.signed("content", content))].into(),
            files: self.packs.iter().map(|(_, pack)| pack.clone()).collect(),
            ..Publication::default()
        });
        ContentId::of(pack).to_string()
    }

    /// Publishes a plan with the director's key, as a thief of it would.
    pub fn publish_plan(&self, plan: &serde_json::Value) {
        self.put(self.plan(plan));
    }

    /// Puts another director in the place of the one whose key was stolen: offline keys sign who it is, and it its first plan.
    pub fn replace_director(&mut self, plan: &serde_json::Value) {
        self.keys.insert("director", vec![SigningKey::generate().expect("random bytes")]);
        self.write_key("director");
        let expires = Moment::now().plus_s(365 * DAY_S);
        let targets = self.signed("targets", Document::targets(2, expires, &self.authorities()).expect("keys"));
        self.put(Publication { targets: Some(targets), ..self.plan(plan) });
    }

    fn plan(&self, plan: &serde_json::Value) -> Publication {
        let bytes = serde_json::to_vec(plan).expect("a plan");
        let before = published_document(&self.folder, DIRECTOR_ROLE).expect("a repository");
        let version = before.map_or(0, |document| document.version()) + 1;
        let document = Document::director(version, Moment::now().plus_s(DAY_S), PLAN_PATH, &bytes);
        let roles = [(DIRECTOR_ROLE.to_owned(), self.signed("director", document))].into();
        Publication { roles, files: vec![bytes], ..Publication::default() }
    }

    /// The root that ships with the product.
    pub fn root(&self) -> Vec<u8> {
        std::fs::read(self.folder.join("metadata/1.root.json")).expect("it is published")
    }
}

/// All hosts of a ring, for an hour already.
pub fn everybody() -> Ring {
    everybody_in_s(-3600)
}

/// All hosts of a ring, so many seconds from now.
pub fn everybody_in_s(seconds: i64) -> Ring {
    let steps = vec![Step { after_h: 0, per_million: WHOLE_PER_MILLION }];
    Ring { earliest: Moment::now().plus_s(seconds), steps }
}

/// One host of a million now, and all of them so many seconds later.
pub fn all_in_s(seconds: i64) -> Ring {
    let step = |after_h, per_million| Step { after_h, per_million };
    let steps = vec![step(0, 1), step(1, WHOLE_PER_MILLION)];
    Ring { earliest: Moment::now().plus_s(seconds - 3600), steps }
}

fn release(version: u64, rings: BTreeMap<String, Ring>) -> Release {
    Release {
        release: format!("linux-{version}"),
        name: "linux".into(),
        version,
        floor: 0,
        engine: EngineRange { min: 1, max: 1 },
        rings,
    }
}
