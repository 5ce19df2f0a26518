//! Database servers of a test's own, which it may kill: the daemons that use them wait, and lose nothing.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sqlx::Connection as _;
use tempfile::TempDir;

use super::databases::Kind;
use super::fleet::{Fleet, Home, passes, times, under_load};
use super::rig::PATIENCE;

/// A server in a folder of its own.
pub struct Server {
    kind: Kind,
    folder: TempDir,
    programs: PathBuf,
    port: u16,
    /// Who runs it: these servers refuse to be run by root.
    user: Option<(u32, u32)>,
    running: Option<Child>,
}

/// The folder of a program, if it is installed.
fn programs(kind: Kind) -> Option<PathBuf> {
    let (program, mut folders) = match kind {
        Kind::Postgres => {
            let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
            let folders = versions.flatten().map(|entry| entry.path().join("bin"));
            ("initdb", folders.collect::<Vec<_>>())
        }
        Kind::Mariadb => ("mariadbd", Vec::new()),
    };
    let path = std::env::var_os("PATH").unwrap_or_default();
    folders.extend(std::env::split_paths(&path));
    folders.extend(["/usr/sbin", "/usr/libexec"].map(PathBuf::from));
    folders
        .into_iter()
        .find(|folder| folder.join(program).exists())
}

/// The user of this name, if we are root and may become it.
fn user(name: &str) -> Option<(u32, u32)> {
    if !rustix::process::getuid().is_root() {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").ok()?;
    let line = users
        .lines()
        .find(|line| line.split(':').next() == Some(name))?;
    let mut fields = line.split(':').skip(2);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

impl Server {
    /// Makes one and starts it. None where its programs are absent, said in the output.
    pub fn start(kind: Kind) -> Option<Self> {
        let Some(programs) = programs(kind) else {
            println!("skipped: no server programs of that database are installed");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        // Free now; if somebody takes it before the server does, the server does not start.
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let name = match kind {
            Kind::Postgres => "postgres",
            Kind::Mariadb => "mysql",
        };
        let mut server = Self {
            kind,
            folder,
            programs,
            port,
            user: user(name),
            running: None,
        };
        server.make();
        server.run();
        Some(server)
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.folder.path());
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    fn make(&self) {
        let data = self.data();
        let made = match self.kind {
            Kind::Postgres => self
                .command(&self.programs.join("initdb"))
                .args([
                    "--auth=trust",
                    "--username=postgres",
                    "--no-sync",
                    "--encoding=UTF8",
                    "--pgdata",
                ])
                .arg(&data)
                .status(),
            Kind::Mariadb => {
                let installer = [
                    "/usr/bin/mariadb-install-db",
                    "/usr/local/bin/mariadb-install-db",
                ];
                let installer = installer.iter().find(|path| Path::new(path).exists());
                self.command(Path::new(
                    installer.expect("mariadb-install-db beside mariadbd"),
                ))
                .arg("--no-defaults")
                .arg("--auth-root-authentication-method=normal")
                .arg(format!("--datadir={}", data.display()))
                .status()
            }
        };
        assert!(made.unwrap().success(), "the server's folder was not made");
    }

    /// Starts it and waits until it answers.
    fn run(&mut self) {
        let (data, socket) = (self.data(), self.folder.path().to_owned());
        let child = match self.kind {
            Kind::Postgres => self
                .command(&self.programs.join("postgres"))
                .arg("-D")
                .arg(&data)
                .args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-k"])
                .arg(&socket)
                .spawn(),
            Kind::Mariadb => self
                .command(&self.programs.join("mariadbd"))
                .arg("--no-defaults")
                .arg(format!("--datadir={}", data.display()))
                .arg(format!("--socket={}", socket.join("sock").display()))
                .arg(format!("--pid-file={}", socket.join("pid").display()))
                .args(["--bind-address=127.0.0.1", &format!("--port={}", self.port)])
                .spawn(),
        };
        self.running = Some(child.unwrap());
        let deadline = Instant::now() + PATIENCE;
        while !self.answers() {
            let ended = self.running.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "the server ended: {ended:?}");
            assert!(Instant::now() < deadline, "the server does not answer");
            passes(Duration::from_millis(20));
        }
    }

    fn answers(&self) -> bool {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            match self.kind {
                Kind::Postgres => sqlx::PgConnection::connect(&self.url("postgres"))
                    .await
                    .is_ok(),
                Kind::Mariadb => sqlx::MySqlConnection::connect(&self.url("mysql"))
                    .await
                    .is_ok(),
            }
        })
    }

    /// The address of a database on it.
    pub fn url(&self, database: &str) -> String {
        let port = self.port;
        match self.kind {
            Kind::Postgres => format!("postgres://postgres@127.0.0.1:{port}/{database}"),
            Kind::Mariadb => format!("mysql://root@127.0.0.1:{port}/{database}"),
        }
    }

    /// A database for a store.
    pub fn store(&self) -> String {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let make = "create database store";
            match self.kind {
                Kind::Postgres => {
                    let mut root = sqlx::PgConnection::connect(&self.url("postgres"))
                        .await
                        .unwrap();
                    sqlx::raw_sql(make).execute(&mut root).await.unwrap();
                }
                Kind::Mariadb => {
                    let mut root = sqlx::MySqlConnection::connect(&self.url("mysql"))
                        .await
                        .unwrap();
                    sqlx::raw_sql(make).execute(&mut root).await.unwrap();
                }
            }
        });
        self.url("store")
    }

    /// kill -9, as a power failure ends it but for the disk.
    pub fn kill(&mut self) {
        let mut child = self.running.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        if self.kind == Kind::Postgres {
            self.forget_children();
        }
    }

    /// What a killed PostgreSQL leaves: its children, who end when they notice, and hold the memory until then.
    fn forget_children(&self) {
        let mark = self.data();
        let deadline = Instant::now() + PATIENCE;
        while fs::read_dir("/proc")
            .unwrap()
            .flatten()
            .any(|entry| fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd == mark))
        {
            assert!(Instant::now() < deadline, "the server's children live on");
            passes(Duration::from_millis(10));
        }
        // The number may be another process's by now.
        let _ = fs::remove_file(mark.join("postmaster.pid"));
    }

    /// Kills it and starts it again.
    pub fn restart(&mut self) {
        self.kill();
        self.run();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.running.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Two daemons work on; their server is killed and started again, each time after some more runs were accepted.
fn restarts(kind: Kind, name: &str, variable: &str) {
    let restarts = times(variable, 2);
    let Some(mut server) = Server::start(kind) else {
        return;
    };
    let Some(mut fleet) = Fleet::start(Home::Own(server.store()), 2) else {
        return;
    };
    let verdict = under_load(&mut fleet, 4, |_, load| {
        for _ in 0..restarts {
            load.more(8);
            server.restart();
        }
        load.more(1);
    });
    println!(
        "{name}: {restarts} restarts of the server, {}",
        verdict.line()
    );
    verdict.must_be_clean();
}

#[test]
fn a_postgres_server_that_is_killed_under_load_costs_no_run() {
    restarts(Kind::Postgres, "PostgreSQL", "FLOWWEAVER_RESTARTS_POSTGRES");
}

#[test]
fn a_mariadb_server_that_is_killed_under_load_costs_no_run() {
    restarts(Kind::Mariadb, "MariaDB", "FLOWWEAVER_RESTARTS_MARIADB");
}
