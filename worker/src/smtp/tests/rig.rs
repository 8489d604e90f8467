//! A worker in a directory of its own, and clients to talk to it.

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use haraka_shared::config::{Config, ConfigDir, Watch};
use haraka_shared::connection::{Connection, Local};
use haraka_shared::flight::FlightPage;
use haraka_shared::hook::{Call, HookName, Verdict};
use haraka_shared::ipc::ToMaster;
use haraka_shared::ledger::Ledger;
use haraka_shared::plugin::Wants;
use haraka_shared::traffic::{Counted, Seat, Traffic};

use crate::dns::{Names, Resolver};
use crate::hooks::Registry;
use crate::hooks::tests::script::{Loaded, answers, plugin};
use crate::outbound::{Kits, Outbound};
use crate::rt::sync::mpsc::UnboundedReceiver;
use crate::rt::tests::run_virtual;
use crate::rt::{self, Runtime, Stream, UnixStream};
use crate::smtp::session::converse;
use crate::smtp::sessions::{Sessions, Ticket};
use crate::smtp::wire::Wire;
use crate::tls::{Prepared, ends};
use crate::worker::Worker;

pub(super) const BYE: &str = "221 mx.example.org closing connection. Have a jolly good day.";
pub(super) const BANNER: &str = concat!(
    "220 mx.example.org ESMTP Haraka/",
    env!("CARGO_PKG_VERSION"),
    " ready ("
);

/// A worker; its directory goes with it.
pub(super) struct Rig {
    pub(super) worker: Rc<Worker>,
    told: RefCell<UnboundedReceiver<ToMaster>>,
    dir: PathBuf,
}

impl Drop for Rig {
    fn drop(&mut self) {
        // What is left in the temporary directory does no harm.
        drop(std::fs::remove_dir_all(&self.dir));
    }
}

/// Runs a test with a worker that has these settings in its `connection.ini` and these plugins.
pub(super) fn with<T, F: Future<Output = T>>(
    ini: &str,
    plugins: Vec<Loaded>,
    test: impl FnOnce(Rc<Rig>) -> F,
) -> T {
    with_files(&[("connection.ini", ini)], plugins, test)
}

/// As [`with`], with any files of the configuration directory.
pub(super) fn with_files<T, F: Future<Output = T>>(
    files: &[(&str, &str)],
    plugins: Vec<Loaded>,
    test: impl FnOnce(Rc<Rig>) -> F,
) -> T {
    let dir = directory(files);
    run_virtual(async {
        let rig = Rc::new(Rig::new(dir, plugins));
        test(rig).await
    })
}

/// As [`with`], on the real clock: for what talks to other threads or looks at the time of day.
pub(super) fn with_real_time<T, F: Future<Output = T>>(
    ini: &str,
    plugins: Vec<Loaded>,
    test: impl FnOnce(Rc<Rig>) -> F,
) -> T {
    let dir = directory(&[("connection.ini", ini)]);
    Runtime::new().unwrap().block_on(async {
        let rig = Rc::new(Rig::new(dir, plugins));
        test(rig).await
    })
}

fn directory(files: &[(&str, &str)]) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("haraka-session-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir_all(dir.join("config")).unwrap();
    std::fs::create_dir(dir.join("queue")).unwrap();
    std::fs::write(dir.join("config/me"), "mx.example.org\n").unwrap();
    for (name, text) in files {
        std::fs::write(dir.join("config").join(name), text).unwrap();
    }
    dir
}

impl Rig {
    fn new(dir: PathBuf, mut plugins: Vec<Loaded>) -> Rig {
        let config_dir = ConfigDir::open(&dir).unwrap();
        let (config, warnings) = Config::load(&config_dir).unwrap();
        assert_eq!(warnings, []);
        // Behind the test's own; it keeps the DNS out.
        plugins.push(answers(
            "rdns",
            HookName::LookupRdns,
            Verdict::ok("client.example.com"),
        ));
        let resolver = Resolver::new(&config.dns);
        let limits = &config.connection;
        let sessions = Sessions::new(limits.max_connections, limits.max_connections_per_ip);
        let flight = Arc::new(FlightPage::new().unwrap());
        let tls = Rc::new(crate::tls::Tls::new(crate::tls::Prepared::default()));
        let kits = Kits::new(Rc::clone(&tls), config_dir.clone(), &config.tls);
        let dns = Rc::new(resolver.clone());
        let counted = Counted {
            traffic: Arc::new(Traffic::new(1).unwrap()),
            ledger: Arc::new(Ledger::new(1).unwrap()),
            seat: Seat(0),
        };
        let outbound = Outbound::new(&config, 0, "aaaaaa", flight, counted, dns, kits).unwrap();
        let (master, told) = rt::sync::mpsc::unbounded();
        let worker = Rc::new_cyclic(|this| Worker {
            tls,
            names: Names::new(&resolver),
            resolver,
            hooks: Registry::build(plugins),
            sessions,
            outbound,
            dir: config_dir,
            install_dir: dir.clone(),
            host_name: "mx.internal.example.org".to_owned(),
            slot: 0,
            watch: Watch::new(),
            master,
            config: RefCell::new(Rc::new(config)),
            this: this.clone(),
        });
        let told = RefCell::new(told);
        Rig { worker, told, dir }
    }

    /// From now on there is a certificate.
    pub(super) fn offer_tls(&self) {
        let (cert, key) = ends::files();
        std::fs::write(self.dir.join("config/tls_cert.pem"), cert).unwrap();
        std::fs::write(self.dir.join("config/tls_key.pem"), key).unwrap();
        let config = self.worker.settings();
        self.worker
            .tls
            .replace(Prepared::load(&self.worker.dir, &config));
    }

    /// From now on there is none.
    pub(super) fn withdraw_tls(&self) {
        self.worker.tls.replace(Prepared::default());
    }

    /// Where the queue is.
    pub(super) fn queue_dir(&self) -> PathBuf {
        self.dir.join("queue")
    }

    /// The files of the queue, by name and content.
    pub(super) fn queue(&self) -> Vec<(String, String)> {
        let entries = std::fs::read_dir(self.dir.join("queue")).unwrap();
        let mut files: Vec<_> = entries
            .map(|entry| {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                (
                    name,
                    String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned(),
                )
            })
            .collect();
        files.sort();
        files
    }

    /// What the master was told since the last look.
    pub(super) fn orders(&self) -> Vec<ToMaster> {
        let mut told = self.told.borrow_mut();
        std::iter::from_fn(|| told.try_recv()).collect()
    }

    /// A client from the outside, connected; it has not read the banner.
    pub(super) fn connect(&self) -> Client {
        self.connect_from("192.0.2.1", 25)
    }

    pub(super) fn connect_from(&self, ip: &str, local_port: u16) -> Client {
        let conn = connection(ip, local_port);
        let ticket = self.worker.sessions.admit(conn.remote_ip()).unwrap();
        self.converse(conn, ticket)
    }

    /// A proxy at the usual client's address.
    pub(super) fn connect_as_proxy(&self) -> Client {
        let ticket = self.worker.sessions.admit_proxy().unwrap();
        self.converse(connection("192.0.2.1", 25), ticket)
    }

    pub(super) fn converse(&self, conn: Connection, ticket: Ticket) -> Client {
        let (stream, theirs) = UnixStream::pair().unwrap();
        let config = self.worker.settings();
        let (idle, session) = (
            config.smtp.inactivity_timeout,
            config.connection.session_time,
        );
        let wire = Wire::new(Stream::from(theirs), idle, session, ticket);
        let task = rt::spawn(converse(Rc::clone(&self.worker), conn.clone(), wire));
        Client {
            stream: stream.into(),
            conn,
            task: Some(task),
            read: Vec::new(),
        }
    }

    /// A client that has read the banner.
    pub(super) async fn greeted(&self) -> Client {
        let mut client = self.connect();
        let banner = client.reply().await;
        assert!(banner.starts_with(BANNER), "{banner}");
        client
    }

    /// A client that has said EHLO.
    pub(super) async fn introduced(&self) -> Client {
        let mut client = self.greeted().await;
        let reply = client.say("EHLO client.example.com").await;
        assert!(reply.starts_with("250-mx.example.org Hello "), "{reply}");
        client
    }
}

pub(super) fn connection(ip: &str, local_port: u16) -> Connection {
    let local = Local {
        ip: "198.51.100.1".parse().unwrap(),
        port: local_port,
    };
    Connection::new(ip.parse().unwrap(), 4321, local, rt::now())
}

/// The client's end.
pub(super) struct Client {
    pub(super) stream: Stream,
    /// As the server sees it.
    pub(super) conn: Connection,
    task: Option<rt::Task<()>>,
    read: Vec<u8>,
}

impl Client {
    /// Sends a line and gives the reply to it.
    pub(super) async fn say(&mut self, line: &str) -> String {
        self.send(&format!("{line}\r\n")).await;
        self.reply().await
    }

    pub(super) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    /// One whole reply with lines separated by LF; what came before the end if there is no more.
    pub(super) async fn reply(&mut self) -> String {
        let mut reply = String::new();
        loop {
            while let Some(end) = self.read.windows(2).position(|w| w == b"\r\n") {
                let line: Vec<u8> = self.read.drain(..end + 2).take(end).collect();
                let line = String::from_utf8(line).unwrap();
                reply.push_str(&line);
                if line.as_bytes().get(3) != Some(&b'-') {
                    return reply;
                }
                reply.push('\n');
            }
            if self.more().await == 0 {
                return format!("{reply}{}(closed)", self.read.escape_ascii());
            }
        }
    }

    /// Reads what one read gives.
    async fn more(&mut self) -> usize {
        let mut buffer = vec![0; 65536];
        let got = self.stream.read(&mut buffer).await.unwrap_or(0);
        self.read.extend_from_slice(&buffer[..got]);
        got
    }

    /// What one read gives, with LF as line end.
    pub(super) async fn burst(&mut self) -> String {
        self.more().await;
        String::from_utf8(std::mem::take(&mut self.read))
            .unwrap()
            .replace("\r\n", "\n")
    }

    /// All until the server closes, with LF as line end; the session is over then.
    pub(super) async fn rest(&mut self) -> String {
        while self.more().await > 0 {}
        self.over().await;
        String::from_utf8(std::mem::take(&mut self.read))
            .unwrap()
            .replace("\r\n", "\n")
    }

    /// All until the server closes, as it came; the session is over then.
    pub(super) async fn rest_raw(&mut self) -> Vec<u8> {
        while self.more().await > 0 {}
        self.over().await;
        std::mem::take(&mut self.read)
    }

    /// Sends a line, which must end the session; gives all that comes until it is closed.
    pub(super) async fn last(&mut self, line: &str) -> String {
        self.send(&format!("{line}\r\n")).await;
        self.rest().await
    }

    /// Says STARTTLS and shakes hands.
    pub(super) async fn start_tls(&mut self) {
        assert_eq!(self.say("STARTTLS").await, "220 Go ahead.");
        self.shake_hands().await;
    }

    pub(super) async fn shake_hands(&mut self) {
        let shaken = self.stream.start_tls(ends::client().into());
        shaken.await.unwrap();
    }

    /// Waits for the end of the session.
    pub(super) async fn over(&mut self) {
        if let Some(task) = self.task.take() {
            rt::timeout(Duration::from_secs(3600), task)
                .await
                .unwrap()
                .unwrap();
        }
    }

    /// The uuid of the connection as log lines and replies show it.
    pub(super) fn uuid(&self) -> String {
        format!("{:X}", self.conn.uuid.hyphenated())
    }

    /// Each line and the reply to it.
    pub(super) async fn dialogue(&mut self, steps: &[(&str, &str)]) {
        for (line, expected) in steps {
            let expected = expected.replace("{U}", &self.uuid());
            assert_eq!(self.say(line).await, expected, "to {line:?}");
        }
    }
}

/// Vouches for every recipient.
pub(super) fn vouching() -> Loaded {
    answers("vouch", HookName::Rcpt, Verdict::OK)
}

/// Says that every message is stored.
pub(super) fn storing() -> Loaded {
    answers("store", HookName::Queue, Verdict::OK)
}

/// Both.
pub(super) fn taking() -> Vec<Loaded> {
    vec![vouching(), storing()]
}

/// Waits for this long at a hook.
pub(super) fn pausing(hook: HookName, seconds: u64) -> Loaded {
    plugin("pause", &[Wants::at(hook, -50)], move |_, _| {
        Box::pin(async move {
            rt::sleep(Duration::from_secs(seconds)).await;
            Verdict::CONT
        })
    })
}

/// Answers one hook by what it is called with.
pub(super) fn answering(hook: HookName, answer: impl Fn(Call<'_>) -> Verdict + 'static) -> Loaded {
    plugin("judge", &[Wants::hook(hook)], move |call, _| {
        let verdict = answer(call);
        Box::pin(async move { verdict })
    })
}
