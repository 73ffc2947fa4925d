//! A nats-server of the test's own, killed on drop.

use std::{
    env, fs,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;
use waybill_platform::log::{EventLog, Log as _, NatsConfig};

/// How long a start may take.
const START: Duration = Duration::from_secs(30);

pub(crate) struct NatsServer {
    binary: PathBuf,
    folder: TempDir,
    port: u16,
    process: Option<Child>,
}

impl NatsServer {
    /// Starts one; none where there is no nats-server, which is an error under CI.
    pub(crate) fn start() -> Option<Self> {
        let Some(binary) = find() else {
            assert!(env::var_os("CI").is_none(), "nats-server is not on PATH");
            println!("SKIPPED: nats-server is not on PATH");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let mut server = Self { binary, folder, port, process: None };
        server.launch();
        Some(server)
    }

    /// Starts the process again, on the same port and store.
    pub(crate) fn launch(&mut self) {
        let config = format!(
            "listen: 127.0.0.1:{port}\njetstream {{ store_dir: \"{store}\", sync_interval: always }}\n",
            port = self.port,
            store = self.store().display(),
        );
        let file = self.folder.path().join("nats.conf");
        fs::write(&file, config).unwrap();
        let output = fs::File::create(self.folder.path().join("nats.log")).unwrap();
        let mut command = Command::new(&self.binary);
        command.arg("-c").arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(output);
        self.process = Some(command.spawn().unwrap());
        let (address, limit) = (SocketAddr::from((Ipv4Addr::LOCALHOST, self.port)), Instant::now() + START);
        while TcpStream::connect(address).is_err() {
            assert!(Instant::now() < limit, "nats-server does not start");
            std::thread::yield_now();
        }
    }

    /// Kills the process: nothing is written any more.
    pub(crate) fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    pub(crate) fn restart(&mut self) {
        self.stop();
        self.launch();
    }

    pub(crate) fn config(&self) -> NatsConfig {
        NatsConfig {
            require_tls: false,
            url: format!("nats://127.0.0.1:{}", self.port),
            credentials: None,
            inbox_prefix: "_INBOX_test".to_owned(),
            ca_file: None,
            name: "waybill-test".to_owned(),
            renews: None,
        }
    }

    /// A connection that stands.
    pub(crate) async fn connect(&self) -> EventLog {
        let log = EventLog::connect(self.config()).await.unwrap();
        log.connected().wait_for(|connected| *connected).await.unwrap();
        log
    }

    /// Copies the store of the stopped server.
    pub(crate) fn save_store(&self) {
        copy(&self.store(), &self.folder.path().join("saved"));
    }

    /// Puts the copy in the place of the stopped server's store.
    pub(crate) fn restore_store(&self) {
        fs::remove_dir_all(self.store()).unwrap();
        copy(&self.folder.path().join("saved"), &self.store());
    }

    /// Whether a file of the store holds these bytes.
    pub(crate) fn store_holds(&self, bytes: &[u8]) -> bool {
        files(&self.store()).iter().any(|file| {
            // A file may go while it is looked at.
            fs::read(file).is_ok_and(|content| content.windows(bytes.len()).any(|window| window == bytes))
        })
    }

    fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        self.stop();
    }
}

fn find() -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join("nats-server")).find(|file| file.is_file())
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

fn copy(from: &Path, to: &Path) {
    for file in files(from) {
        let target = to.join(file.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(&file, &target).unwrap();
    }
}
