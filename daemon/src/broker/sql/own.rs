//! The daemon's own store, told apart from the databases that tasks may reach.
//!
//! By what it is, not by how it is called: a file through any link, a server through any of its
//! names. What stands between (a pooler, a forwarded port) cannot be told from here.

use std::net::{IpAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret as _, SecretString};

use super::policy::{Dialect, written};

/// The daemon's own store.
#[derive(Debug, Clone, Default)]
pub struct Own {
    /// Its files.
    pub files: Vec<PathBuf>,
    /// Its URL, where it is on a server.
    pub url: Option<SecretString>,
}

impl Own {
    /// Whether this file is one of the store's. A SQLite database has files beside it, which are as
    /// little anybody's business.
    pub(super) fn is_file(&self, path: &Path) -> bool {
        self.files.iter().any(|own| {
            let beside = ["", "-wal", "-shm", "-journal"].map(|end| {
                let mut name = own.clone().into_os_string();
                name.push(end);
                PathBuf::from(name)
            });
            beside.iter().any(|own| is_same_file(own, path))
        })
    }

    /// Whether this URL leads to the store's server and database, whatever user or options it names.
    /// What cannot be understood is taken for the store.
    pub(super) fn is_server(&self, url: &str) -> bool {
        let Some(own) = &self.url else { return false };
        match (Place::of(own.expose_secret()), Place::of(url)) {
            (Some(own), Some(other)) => own.is_same(&other),
            // A store in a file.
            (None, Some(_)) => false,
            (_, None) => true,
        }
    }

    /// The schema of the store's tables as a grant on a database of this kind would name it, where it has a name of
    /// its own. It is refused by that name on every server: what stands between can make two of one.
    ///
    /// A MariaDB connection reaches every database of its server by `database.table`. A PostgreSQL connection stays in
    /// its database, which is refused as a whole; the schema is refused beside that. None where it is `public`.
    pub(super) fn schema(&self, dialect: Dialect) -> Option<String> {
        let url = self.url.as_ref()?.expose_secret();
        let place = Place::of(url)?;
        match (dialect, place.kind) {
            (Dialect::MariaDb, Kind::MariaDb) => Some(place.database),
            (Dialect::Postgres, Kind::Postgres) => {
                let schema = first_schema(&url::Url::parse(url).ok()?)?;
                (schema != "public").then(|| written(dialect, &schema))
            }
            _ => None,
        }
    }
}

/// The first schema of the search path that a PostgreSQL URL asks for: `?options[search_path]=a,b`, or
/// `?options=-c search_path=a`. The last one counts.
fn first_schema(url: &url::Url) -> Option<String> {
    let mut path = None;
    for (name, value) in url.query_pairs() {
        if name == "options[search_path]" {
            path = Some(value.into_owned());
        } else if name == "options" {
            let set = value.rsplit_once("search_path=").map(|(_, rest)| rest);
            let word = set.and_then(|rest| rest.split_whitespace().next());
            path = word.map(str::to_owned).or(path);
        }
    }
    let path = path?;
    let first = path.split(',').next()?.trim();
    match first
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
    {
        // The name of whoever asks.
        Some("$user") => Some(percent_decoded(url.username())),
        Some(exact) => Some(exact.to_owned()),
        None if first == "$user" => Some(percent_decoded(url.username())),
        None => Some(first.to_ascii_lowercase()),
    }
}

fn is_same_file(one: &Path, other: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    match (std::fs::metadata(one), std::fs::metadata(other)) {
        (Ok(one), Ok(other)) => (one.dev(), one.ino()) == (other.dev(), other.ino()),
        // What does not exist yet can only be told by its path.
        _ => std::path::absolute(one).ok() == std::path::absolute(other).ok(),
    }
}

/// A server's database.
#[derive(Debug)]
struct Place {
    kind: Kind,
    /// Lower case; a socket's folder counts as this machine.
    host: String,
    port: u16,
    database: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Postgres,
    MariaDb,
}

impl Place {
    fn of(url: &str) -> Option<Self> {
        let url = url::Url::parse(url).ok()?;
        let (kind, port) = match url.scheme() {
            "postgres" | "postgresql" => (Kind::Postgres, 5432),
            "mysql" | "mariadb" => (Kind::MariaDb, 3306),
            _ => return None,
        };
        let option = |names: &[&str]| {
            let pairs = url.query_pairs();
            let named = pairs.filter(|(name, _)| names.contains(&&**name));
            named.last().map(|(_, value)| value.into_owned())
        };
        // The drivers take these from the query too, over what stands before it, and the last one counts.
        let host = option(&["host", "hostaddr", "socket"])
            .or_else(|| url.host_str().map(str::to_owned))
            .filter(|host| !host.is_empty() && !host.starts_with('/') && !host.starts_with("%2F"))
            .unwrap_or_else(|| "localhost".to_owned());
        let port = match option(&["port"]) {
            Some(port) => port.parse().ok()?,
            None => url.port().unwrap_or(port),
        };
        let named = option(&["dbname"]).unwrap_or_else(|| {
            let path = url.path().trim_start_matches('/');
            percent_decoded(path)
        });
        // PostgreSQL takes the user's name for a database that is not named.
        let database = if named.is_empty() && kind == Kind::Postgres {
            option(&["user"]).unwrap_or_else(|| percent_decoded(url.username()))
        } else {
            named
        };
        Some(Self {
            kind,
            host: host.trim_matches(['[', ']']).to_ascii_lowercase(),
            port,
            database,
        })
    }

    fn is_same(&self, other: &Self) -> bool {
        // A MariaDB connection reaches every database of its server by `name.table`: that name is refused in grants,
        // see `Own::schema`. Here the connection's own database is what counts.
        self.kind == other.kind
            && self.port == other.port
            && self.database == other.database
            && (self.host == other.host || self.meets(other))
    }

    /// Whether the two hosts have an address in common; every address of this machine is one.
    fn meets(&self, other: &Self) -> bool {
        let (mine, theirs) = (self.addresses(), other.addresses());
        mine.iter().any(|address| theirs.contains(address))
    }

    fn addresses(&self) -> Vec<IpAddr> {
        let Ok(found) = (self.host.as_str(), self.port).to_socket_addrs() else {
            return Vec::new();
        };
        let one = |address: IpAddr| {
            let address = address.to_canonical();
            if address.is_loopback() || address.is_unspecified() {
                IpAddr::from([127, 0, 0, 1])
            } else {
                address
            }
        };
        found.map(|address| one(address.ip())).collect()
    }
}

fn percent_decoded(text: &str) -> String {
    let pair = format!("a={}", text.replace('+', "%2B").replace('&', "%26"));
    let mut pairs = url::form_urlencoded::parse(pair.as_bytes());
    pairs
        .next()
        .map(|(_, value)| value.into_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(url: &str) -> Own {
        Own {
            files: Vec::new(),
            url: Some(url.to_owned().into()),
        }
    }

    #[test]
    fn the_stores_server_is_known_by_every_name_it_has() {
        let store = own("postgres://daemon:geheim@127.0.0.1/flowweaver");
        for same in [
            "postgres://daemon:geheim@127.0.0.1/flowweaver",
            "postgresql://other@127.0.0.1:5432/flowweaver?sslmode=disable",
            "postgres://other@localhost/flowweaver",
            "postgres://other@LOCALHOST/flowweaver",
            "postgres://[::1]/flowweaver",
            "postgres://0.0.0.0/flowweaver",
            "postgres://127.0.0.2/flow%77eaver",
            "postgres:///flowweaver",
            "postgres:///flowweaver?host=/run/postgresql",
            "postgres://%2Frun%2Fpostgresql/flowweaver",
            "postgres://elsewhere/flowweaver?host=localhost",
            "postgres://localhost/else?dbname=flowweaver",
            "postgres://flowweaver@localhost",
            "postgres://localhost:1/flowweaver?port=5432",
            // Not understood.
            "postgres://localhost:99999/x",
            "host=localhost dbname=x",
        ] {
            assert!(store.is_server(same), "{same}");
        }
        for other in [
            "postgres://127.0.0.1/blog",
            "postgres://127.0.0.1:5433/flowweaver",
            "postgres://192.0.2.1/flowweaver",
            "mysql://127.0.0.1:5432/flowweaver",
            "postgres://flowweaver@localhost/blog",
        ] {
            assert!(!store.is_server(other), "{other}");
        }
        let store = own("mysql://root@localhost/flowweaver");
        assert!(store.is_server("mariadb://127.0.0.1:3306/flowweaver"));
        assert!(!store.is_server("mariadb://127.0.0.1:3306/blog"));
        assert!(!Own::default().is_server("postgres://localhost/x"));
        assert!(!own("sqlite:flowweaver.db").is_server("postgres://localhost/x"));
    }

    #[test]
    fn the_stores_schema_has_the_name_that_a_grant_would_give_it() {
        let postgres = |url: &str| own(url).schema(Dialect::Postgres);
        for (options, schema) in [
            ("", None),
            ("?sslmode=disable", None),
            ("?options[search_path]=public", None),
            ("?options[search_path]=keep", Some("keep")),
            ("?options%5Bsearch_path%5D=Keep,public", Some("keep")),
            ("?options[search_path]=%22Keep%22", Some("\"Keep\"")),
            ("?options=-c%20search_path=keep%20-c%20x=1", Some("keep")),
            ("?options=--search_path=keep", Some("keep")),
            ("?options[search_path]=%22$user%22,public", Some("daemon")),
            ("?options[search_path]=a&options[search_path]=b", Some("b")),
        ] {
            let url = format!("postgres://daemon@localhost/flowweaver{options}");
            assert_eq!(postgres(&url).as_deref(), schema, "{url}");
        }
        let store = own("mysql://root@localhost/flow");
        assert_eq!(store.schema(Dialect::MariaDb).as_deref(), Some("flow"));
        assert_eq!(store.schema(Dialect::Postgres), None);
        assert_eq!(own("sqlite:flow.db").schema(Dialect::MariaDb), None);
        assert_eq!(Own::default().schema(Dialect::Postgres), None);
    }

    #[test]
    fn the_stores_files_are_known_through_links_and_with_what_stands_beside_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["store.db", "store.db-wal", "blog.db"] {
            std::fs::write(path(name), name).unwrap();
        }
        std::os::unix::fs::symlink(path("store.db"), path("soft.db")).unwrap();
        std::fs::hard_link(path("store.db"), path("hard.db")).unwrap();
        let own = Own {
            files: vec![path("store.db")],
            url: None,
        };
        for same in [
            "store.db",
            "store.db-wal",
            "store.db-shm",
            "soft.db",
            "hard.db",
            "x/../soft.db",
        ] {
            std::fs::create_dir_all(path("x")).unwrap();
            assert!(own.is_file(&path(same)), "{same}");
        }
        for other in ["blog.db", "none.db"] {
            assert!(!own.is_file(&path(other)), "{other}");
        }
    }
}
