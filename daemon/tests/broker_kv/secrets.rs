//! Secrets: which source wins, when a new value is sent, and what a broken one harms.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use flowweaver::broker::Broker;
use flowweaver::broker::http::HttpRequest;
use flowweaver::broker::secret::{
    LOOK_AGAIN, Listed, SecretSources, Secrets, Source, TableError, generate_key,
};
use flowweaver::clock::{ManualClock, Timestamp};
use flowweaver::id::{OrganizationId, SecretName};
use flowweaver::store::{Durability, Store};
use flowweaver::workflow::grant::*;
use secrecy::{ExposeSecret as _, SecretString};
use tempfile::TempDir;

use crate::broker_world::*;

pub const ROOT: OrganizationId = OrganizationId::ROOT;

/// A folder, a store, a server that echoes what it was sent, and the time.
pub struct World {
    pub folder: TempDir,
    pub store: Arc<dyn Store>,
    pub server: Server,
    pub clock: ManualClock,
}

/// One process's view of it.
pub struct Process {
    pub secrets: Arc<Secrets>,
    broker: Arc<Broker>,
    grants: Grants,
    url: String,
}

pub fn name(name: &str) -> SecretName {
    name.parse().unwrap()
}

impl World {
    pub async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for inner in ["files", "credentials"] {
            fs::create_dir(folder.path().join(inner)).unwrap();
        }
        let url = format!("sqlite:{}", folder.path().join("store.db").display());
        let store = flowweaver::store::open(&url, Durability::Full);
        Self {
            store: store.await.unwrap(),
            folder,
            server: server(ok).await,
            clock: ManualClock::new(Timestamp::from_micros(1_000_000_000)),
        }
    }

    /// Replaces a file as careful programs do.
    pub fn write(&self, path: &str, text: &str) {
        let path = self.folder.path().join(path);
        let beside = path.with_extension("new");
        fs::write(&beside, text).unwrap();
        fs::set_permissions(&beside, fs::Permissions::from_mode(0o600)).unwrap();
        fs::rename(beside, path).unwrap();
    }

    pub fn sources(&self, environment: &[(&str, &str)]) -> SecretSources {
        SecretSources {
            environment: environment
                .iter()
                .map(|(name, value)| ((*name).into(), (*value).into()))
                .collect(),
            directory: Some(self.folder.path().join("files")),
            credentials: Some(self.folder.path().join("credentials")),
            ..SecretSources::default()
        }
    }

    /// A process with these sources, whose grant needs the secret `KEY`.
    pub async fn process(&self, sources: SecretSources) -> Process {
        let (store, clock) = (Arc::clone(&self.store), Arc::new(self.clock.clone()));
        let secrets = Secrets::load(sources)
            .unwrap()
            .with_table(Arc::clone(&store), clock.clone());
        let secrets = Arc::new(secrets);
        secrets.refresh().await;
        let settings = self.server.reachable();
        let broker = Broker::new(settings, Arc::clone(&secrets), store, clock).unwrap();
        let url = self.server.url("/");
        let mut granted = grant(&format!("{url}*"));
        granted.headers = vec![("Authorization".to_owned(), secret("KEY"))];
        Process {
            secrets,
            broker,
            grants: Grants {
                http: vec![granted],
                ..Grants::default()
            },
            url,
        }
    }

    /// The last value that the server was sent.
    fn sent(&self) -> String {
        let requests = self.server.requests();
        let head = requests.last().unwrap();
        let line = head
            .lines()
            .find_map(|line| line.strip_prefix("authorization: "));
        line.unwrap().to_owned()
    }

    /// What a new attempt of the process sends, or why it cannot.
    pub async fn sends(&self, process: &Process) -> Result<String, String> {
        let attempt = process.begin().await;
        process.ask(&attempt).await.map(|_| self.sent())
    }
}

impl Process {
    async fn begin(&self) -> Attempt {
        self.broker.freshen(&self.grants).await;
        attempt_of(&self.broker, identity(), self.grants.clone())
    }

    /// Asks the server, and gives what the guest hears.
    async fn ask(&self, attempt: &Attempt) -> Result<String, String> {
        let request = HttpRequest::new("GET", &self.url);
        let mut response = attempt
            .ctx
            .http
            .send(request)
            .await
            .map_err(|refusal| refusal.message)?;
        let mut heard = Vec::new();
        while let Some(bytes) = response.read(1 << 16).await.unwrap() {
            heard.extend(bytes);
        }
        Ok(String::from_utf8(heard).unwrap())
    }

    pub async fn set(&self, value: &str) -> u64 {
        self.put("KEY", value).await
    }

    pub async fn put(&self, secret: &str, value: &str) -> u64 {
        let (secret, value) = (name(secret), SecretString::from(value));
        let set = self.secrets.set(ROOT, &secret, &value, "test");
        set.await.unwrap().revision
    }

    pub fn listed(&self) -> Vec<Listed> {
        self.secrets.current().list(ROOT)
    }
}

pub fn key() -> String {
    generate_key().expose_secret().to_owned()
}

pub fn with_key(key: &str) -> [(&'static str, &str); 1] {
    [("FLOWWEAVER_SECRETS_KEY", key)]
}

#[tokio::test]
async fn a_name_has_the_value_of_the_first_source_that_has_it() {
    let world = World::new().await;
    let key = key();
    let all = [
        ("FLOWWEAVER_SECRETS_KEY", key.as_str()),
        ("FLOWWEAVER_SECRET_KEY", "geheim-env"),
        ("FLOWWEAVER_SECRET_EMPTY", ""),
        ("HOME", "/"),
    ];
    world.write("files/KEY", "geheim-file\n");
    world.write("files/not-a-name.txt", "x");
    world.write("credentials/KEY", "geheim-credential");
    let process = world.process(world.sources(&all)).await;
    process.set("geheim-table").await;
    let sources: Vec<_> = process
        .listed()
        .iter()
        .map(|listed| (listed.name.to_string(), listed.source, listed.shadowed_by))
        .collect();
    let (first, named) = (Some(Source::Environment), || "KEY".to_owned());
    assert_eq!(
        sources,
        [
            (named(), Source::Environment, None),
            (named(), Source::Folder, first),
            (named(), Source::Credentials, first),
            (named(), Source::Table, first),
        ]
    );
    assert_eq!(world.sends(&process).await.unwrap(), "geheim-env");
    let process = world.process(world.sources(&all[..1])).await;
    assert_eq!(world.sends(&process).await.unwrap(), "geheim-file");
    for (file, next) in [
        ("files/KEY", "geheim-credential"),
        ("credentials/KEY", "geheim-table"),
    ] {
        fs::remove_file(world.folder.path().join(file)).unwrap();
        assert_eq!(world.sends(&process).await.unwrap(), next);
    }
    let deleted = process.secrets.delete(ROOT, &name("KEY"), "test").await;
    assert!(deleted.unwrap());
    let denied = world.sends(&process).await.unwrap_err();
    assert!(denied.contains("`KEY`, which does not exist"), "{denied}");
}

#[tokio::test]
async fn the_next_attempt_sends_the_new_value_and_the_running_one_keeps_its_own() {
    let world = World::new().await;
    let key = key();
    for place in ["files/KEY", "credentials/KEY", "table"] {
        let process = world.process(world.sources(&with_key(&key))).await;
        let rotate = async |value: &str| {
            if place == "table" {
                process.set(value).await;
            } else {
                world.write(place, value);
            }
        };
        rotate("geheim-old").await;
        let running = process.begin().await;
        process.ask(&running).await.unwrap();
        assert_eq!(world.sent(), "geheim-old", "{place}");
        rotate("geheim-new").await;
        assert_eq!(
            world.sends(&process).await.unwrap(),
            "geheim-new",
            "{place}"
        );
        // The server echoes; it was told both values, and neither is heard by either attempt.
        let echo = HttpRequest {
            body: b"geheim-old geheim-new geheim-other".to_vec(),
            ..HttpRequest::new("GET", format!("{}geheim-new?geheim-old", process.url))
        };
        for attempt in [&running, &process.begin().await] {
            let response = attempt.ctx.http.send(echo.clone()).await;
            let mut heard = Vec::new();
            let mut response = response.unwrap();
            while let Some(bytes) = response.read(1 << 16).await.unwrap() {
                heard.extend(bytes);
            }
            let heard = String::from_utf8(heard).unwrap();
            assert!(!heard.contains("geheim-old"), "{place}: {heard}");
            assert!(!heard.contains("geheim-new"), "{place}: {heard}");
        }
        process.ask(&running).await.unwrap();
        assert_eq!(
            world.sent(),
            "geheim-old",
            "{place}: it keeps what it began with"
        );
        if place != "table" {
            fs::remove_file(world.folder.path().join(place)).unwrap();
        }
    }
}

#[tokio::test]
async fn a_file_that_holds_no_secret_keeps_the_value_before_it_and_harms_no_other() {
    let world = World::new().await;
    world.write("files/KEY", "geheim");
    world.write("files/OTHER", "geheim-other");
    let process = world.process(world.sources(&[])).await;
    let path = world.folder.path().join("files/KEY");
    // A writer that truncates first, seen before it writes.
    fs::write(&path, "").unwrap();
    assert_eq!(world.sends(&process).await.unwrap(), "geheim");
    fs::write(&path, b"\xff\xfe").unwrap();
    let denied = world.sends(&process).await.unwrap_err();
    assert!(
        denied.contains("`KEY`, which is not UTF-8 text"),
        "{denied}"
    );
    let problems: Vec<_> = process
        .listed()
        .into_iter()
        .map(|listed| (listed.name.to_string(), listed.problem.is_some()))
        .collect();
    assert_eq!(
        problems,
        [("KEY".to_owned(), true), ("OTHER".to_owned(), false)]
    );
    // A start with it does not stop the daemon either.
    let started = world.process(world.sources(&[])).await;
    assert!(world.sends(&started).await.is_err());
    world.write("files/KEY", "geheim-mended");
    assert_eq!(world.sends(&started).await.unwrap(), "geheim-mended");
}

#[tokio::test]
async fn a_whole_folder_that_vanishes_keeps_what_it_gave() {
    let world = World::new().await;
    world.write("files/KEY", "geheim");
    let process = world.process(world.sources(&[])).await;
    let (here, away) = (
        world.folder.path().join("files"),
        world.folder.path().join("away"),
    );
    fs::rename(&here, &away).unwrap();
    assert_eq!(world.sends(&process).await.unwrap(), "geheim");
    fs::rename(&away, &here).unwrap();
    world.write("files/KEY", "geheim-new");
    assert_eq!(world.sends(&process).await.unwrap(), "geheim-new");
}

#[tokio::test]
async fn a_symlink_swap_of_the_whole_folder_is_a_rotation() {
    let world = World::new().await;
    let files = world.folder.path().join("files");
    let version = |number: u8, value: &str| {
        let folder = files.join(format!("..{number}"));
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("KEY"), value).unwrap();
        let link = files.join("..new");
        std::os::unix::fs::symlink(format!("..{number}"), &link).unwrap();
        fs::rename(link, files.join("..data")).unwrap();
    };
    version(1, "geheim-one");
    std::os::unix::fs::symlink("..data/KEY", files.join("KEY")).unwrap();
    let process = world.process(world.sources(&[])).await;
    assert_eq!(world.sends(&process).await.unwrap(), "geheim-one");
    version(2, "geheim-two");
    assert_eq!(world.sends(&process).await.unwrap(), "geheim-two");
}

#[tokio::test]
async fn a_value_that_is_too_short_is_told_when_it_is_set_and_in_the_list() {
    let world = World::new().await;
    let key = key();
    let process = world.process(world.sources(&with_key(&key))).await;
    for (value, short) in [("abc", true), ("가", true), ("abcd", false)] {
        let value = SecretString::from(value);
        let set = process
            .secrets
            .set(ROOT, &name("KEY"), &value, "test")
            .await
            .unwrap();
        let listed = process.listed().remove(0);
        assert_eq!(set.problem, listed.problem);
        assert_eq!(set.problem.is_some(), short, "{:?}", set.problem);
        if let Some(problem) = set.problem {
            assert!(problem.contains("fewer than 4 bytes"), "{problem}");
        }
        assert_eq!(world.sends(&process).await.is_err(), short);
    }
}

#[tokio::test]
async fn a_file_that_others_can_read_is_listed_with_the_cure_until_it_is_mended() {
    let world = World::new().await;
    world.write("files/KEY", "geheim");
    let path = world.folder.path().join("files/KEY");
    let mode = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    mode(0o666);
    let process = world.process(world.sources(&[])).await;
    let warned = || process.listed().remove(0).warning;
    let cure = format!("chmod 600 {}", path.display());
    assert!(warned().unwrap().contains(&cure), "{:?}", warned());
    // It is used all the same, and a second look finds nothing else.
    assert_eq!(world.sends(&process).await.unwrap(), "geheim");
    process.secrets.refresh().await;
    assert!(warned().unwrap().contains("0666"), "{:?}", warned());
    mode(0o600);
    process.secrets.refresh().await;
    assert_eq!(warned(), None);
}

#[tokio::test]
async fn another_processs_change_is_noticed_within_the_stated_time() {
    let world = World::new().await;
    let key = key();
    let one = world.process(world.sources(&with_key(&key))).await;
    let two = world.process(world.sources(&with_key(&key))).await;
    one.set("geheim-one").await;
    world.clock.advance(LOOK_AGAIN);
    assert_eq!(world.sends(&two).await.unwrap(), "geheim-one");
    two.set("geheim-two").await;
    assert_eq!(world.sends(&two).await.unwrap(), "geheim-two");
    world.clock.advance(LOOK_AGAIN);
    assert_eq!(world.sends(&one).await.unwrap(), "geheim-two");
}

#[tokio::test]
async fn a_store_that_does_not_answer_leaves_the_other_sources() {
    let world = World::new().await;
    let key = key();
    let mut sources = world.sources(&with_key(&key));
    sources
        .environment
        .push(("FLOWWEAVER_SECRET_KEY".into(), "geheim".into()));
    let secrets = Secrets::load(sources)
        .unwrap()
        .with_table(Arc::new(Keys::default()), Arc::new(world.clock.clone()));
    secrets.refresh().await;
    assert_eq!(secrets.names(ROOT), [name("KEY")]);
    let value = SecretString::from("geheim");
    assert!(matches!(
        secrets.set(ROOT, &name("A"), &value, "test").await,
        Err(TableError::Store(_))
    ));
}

#[tokio::test]
async fn a_secret_belongs_to_the_organizations_that_are_named() {
    let world = World::new().await;
    let (key, other) = (key(), OrganizationId::generate());
    world.write("credentials/SHARED", "geheim-shared");
    world.write("credentials/KEY", "geheim-theirs");
    let mut sources = world.sources(&with_key(&key));
    sources.organizations = [
        (name("SHARED"), BTreeSet::from([ROOT, other])),
        (name("KEY"), BTreeSet::from([other])),
    ]
    .into();
    let process = world.process(sources).await;
    assert!(world.sends(&process).await.is_err());
    assert_eq!(process.secrets.names(ROOT), [name("SHARED")]);
    assert_eq!(process.secrets.names(other), [name("KEY"), name("SHARED")]);
    // Another's value of the same name neither shadows ours nor is it shown.
    process.set("geheim-ours").await;
    assert_eq!(world.sends(&process).await.unwrap(), "geheim-ours");
    let ours: Vec<_> = process
        .listed()
        .into_iter()
        .map(|listed| listed.source)
        .collect();
    assert_eq!(ours, [Source::Table, Source::Credentials]);
}

#[tokio::test]
async fn a_value_has_one_byte_to_64_kib() {
    let world = World::new().await;
    let key = key();
    let process = world.process(world.sources(&with_key(&key))).await;
    for (length, right) in [
        (0, false),
        (64 * 1024 + 1, false),
        (1, true),
        (64 * 1024, true),
    ] {
        let value = SecretString::from("g".repeat(length));
        let set = process
            .secrets
            .set(ROOT, &name("KEY"), &value, "test")
            .await;
        assert_eq!(set.is_ok(), right, "{length}");
    }
}
