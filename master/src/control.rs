//! The control socket: `haraka.sock` in the install directory, for its owner only.
//!
//! One connection carries one command, a line of at most [`LONGEST_COMMAND`] bytes, and gets one
//! line back that begins with `ok` or `error`. The set of commands is fixed (PB-02). A client that
//! is slow, silent or hostile costs a small buffer for a few seconds and never blocks the hub.

use std::io::{self, BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::stat::{Mode, umask};

use haraka_shared::queue_order::{Order, Outcome};

use crate::listeners::remove_stale_socket;

/// Longest command in bytes, line end included: an order with some hundred names.
pub const LONGEST_COMMAND: usize = 16 * 1024;

/// Clients at a time; more wait in the backlog.
const MOST_CLIENTS: usize = 16;

/// Time for a client from connecting to having read its answer.
const CLIENT_TIME: Duration = Duration::from_secs(5);

/// Time for a client that gave an order of the queue tools: disks may be slow, and reports wait for
/// them.
pub const ORDER_TIME: Duration = Duration::from_secs(60);

/// Longest answer in bytes: that to an order of the longest names, with a reason for each.
const LONGEST_ANSWER: u64 = 1024 * 1024;

/// Time for the server to answer the command line tools: longer than any wait of its own.
const ANSWER_TIME: Duration = Duration::from_secs(10);

/// What can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// `flush [DOMAIN]`: try deferred mail now.
    Flush(Option<String>),
    /// `graceful`: replace all workers.
    Graceful,
    /// `stat`: how much is in the queue.
    Stat,
    /// `ledger`: what became of the items and recipients so far, as JSON.
    Ledger,
    /// `usage`: how much of the limits per destination is in use, as JSON.
    Usage,
    /// `queue JSON`: an order of the queue tools.
    Queue(Order),
    /// `suspensions`: they have changed.
    Suspensions,
    /// `ping`: nothing.
    Ping,
}

impl Command {
    /// Reads a line without its end.
    pub fn parse(line: &str) -> Result<Command, &'static str> {
        if let Some(order) = line.strip_prefix("queue ") {
            let order = serde_json::from_str(order);
            return order.map(Command::Queue).map_err(|_| "not an order");
        }
        let mut words = line.split_ascii_whitespace();
        let command = match words.next() {
            Some("flush") => Command::Flush(words.next().map(domain).transpose()?),
            Some("graceful") => Command::Graceful,
            Some("stat") => Command::Stat,
            Some("ledger") => Command::Ledger,
            Some("usage") => Command::Usage,
            Some("suspensions") => Command::Suspensions,
            Some("ping") => Command::Ping,
            _ => return Err("unknown command"),
        };
        match words.next() {
            None => Ok(command),
            Some(_) => Err("too many words"),
        }
    }
}

/// A domain in lower case. It ends up in log lines, so it is kept to what names are made of.
fn domain(word: &str) -> Result<String, &'static str> {
    let plain = |c: char| c.is_alphanumeric() || "-._:[]".contains(c);
    if word.len() > 255 || !word.chars().all(plain) {
        return Err("not a domain");
    }
    Ok(word.to_lowercase())
}

/// The listening socket and its clients. The socket's name is removed when this is dropped in the
/// process that made it.
#[derive(Debug)]
pub struct Control {
    listener: UnixListener,
    path: PathBuf,
    owner: u32,
    clients: Vec<Client>,
    next_id: u64,
}

/// A client that waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientId(u64);

#[derive(Debug)]
struct Client {
    id: ClientId,
    stream: UnixStream,
    input: Vec<u8>,
    asked: bool,
    output: Vec<u8>,
    until: Instant,
}

/// The socket's place for an install directory.
pub fn socket_path(install_dir: &Path) -> PathBuf {
    install_dir.join("haraka.sock")
}

impl Control {
    /// Binds the socket. Fails with `AddrInUse` if a server listens there.
    pub fn bind(install_dir: &Path) -> io::Result<Control> {
        let path = socket_path(install_dir);
        remove_stale_socket(&path)?;
        // Never open to others, not even between bind and chmod.
        let before = umask(Mode::from_bits_truncate(0o177));
        let listener = UnixListener::bind(&path);
        umask(before);
        let listener = listener?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        Ok(Control {
            listener,
            path,
            owner: std::process::id(),
            clients: Vec::new(),
            next_id: 0,
        })
    }

    /// Descriptors to wait for, each with whether it waits to write. The listening socket is not
    /// among them while there are too many clients, nor is a client that waits for its answer.
    pub fn descriptors(&self) -> impl Iterator<Item = (BorrowedFd<'_>, bool)> {
        let listener = (self.clients.len() < MOST_CLIENTS).then(|| (self.listener.as_fd(), false));
        let clients = self
            .clients
            .iter()
            .filter(|c| !c.asked || !c.output.is_empty())
            .map(|c| (c.stream.as_fd(), !c.output.is_empty()));
        listener.into_iter().chain(clients)
    }

    /// When the first client's time is up.
    pub fn deadline(&self) -> Option<Instant> {
        self.clients.iter().map(|c| c.until).min()
    }

    /// Does what can be done without waiting. Gives the commands that became complete.
    pub fn turn(&mut self, now: Instant) -> Vec<(ClientId, Command)> {
        while self.clients.len() < MOST_CLIENTS {
            let Ok((stream, _)) = self.listener.accept() else {
                break;
            };
            if stream.set_nonblocking(true).is_err() {
                continue;
            }
            self.next_id += 1;
            self.clients.push(Client {
                id: ClientId(self.next_id),
                stream,
                input: Vec::new(),
                asked: false,
                output: Vec::new(),
                until: now + CLIENT_TIME,
            });
        }
        let mut commands = Vec::new();
        self.clients.retain_mut(|client| {
            if now >= client.until {
                return false;
            }
            match client.read() {
                Progress::Asked(line) => match Command::parse(&line) {
                    Ok(command) => {
                        if let Command::Queue(_) = command {
                            client.until = now + ORDER_TIME;
                        }
                        commands.push((client.id, command));
                    }
                    Err(why) => client.output = format!("error {why}\n").into_bytes(),
                },
                Progress::Gone => return false,
                Progress::Waiting => {}
            }
            client.write()
        });
        commands
    }

    /// Answers one client. Gone clients do not matter.
    pub fn answer(&mut self, to: ClientId, line: &str) {
        self.clients.retain_mut(|client| {
            if client.id != to {
                return true;
            }
            client.output = format!("{line}\n").into_bytes();
            client.write()
        });
    }
}

enum Progress {
    Asked(String),
    Waiting,
    Gone,
}

impl Client {
    fn read(&mut self) -> Progress {
        if self.asked {
            return self.after_the_command();
        }
        let mut buffer = [0u8; LONGEST_COMMAND];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return Progress::Gone,
                Ok(n) => self.input.extend(buffer.iter().take(n)),
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Progress::Waiting,
                Err(_) => return Progress::Gone,
            }
            if let Some(end) = self.input.iter().position(|b| *b == b'\n') {
                self.asked = true;
                let line = self.input.drain(..end).collect();
                self.input = Vec::new();
                // Not UTF-8 means not a command.
                return Progress::Asked(String::from_utf8(line).unwrap_or_default());
            }
            if self.input.len() >= LONGEST_COMMAND {
                return Progress::Gone;
            }
        }
    }

    /// A client that closed its sending side may still want the answer; what it sends is dropped.
    fn after_the_command(&mut self) -> Progress {
        let mut sink = [0u8; LONGEST_COMMAND];
        match self.stream.read(&mut sink) {
            Err(e) if !matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                Progress::Gone
            }
            _ => Progress::Waiting,
        }
    }

    /// False when this client is done with.
    fn write(&mut self) -> bool {
        while !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(0) => return false,
                Ok(n) => {
                    self.output.drain(..n);
                    if self.output.is_empty() {
                        return false;
                    }
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return e.kind() == ErrorKind::WouldBlock,
            }
        }
        true
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        if self.owner == std::process::id() {
            // It may have been removed by hand, which is as good.
            let removed = std::fs::remove_file(&self.path);
            drop(removed);
        }
    }
}

/// Why the running server could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody listens.
    #[error("Haraka is not running in {}", .0.display())]
    NotRunning(PathBuf),
    /// The socket failed.
    #[error("{}: {cause}", path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// The server refused.
    #[error("{0}")]
    Refused(String),
}

/// Sends one command line to the server of this install directory. Gives its answer without `ok`.
pub fn ask(install_dir: &Path, command: &str) -> Result<String, AskError> {
    ask_within(install_dir, command, ANSWER_TIME)
}

/// Gives an order of the queue tools. The outcomes are in the order of its names.
pub fn give(install_dir: &Path, order: &Order) -> Result<Vec<Outcome>, AskError> {
    let refused = |e: serde_json::Error| AskError::Refused(e.to_string());
    let order = serde_json::to_string(order).map_err(refused)?;
    let answer = ask_within(install_dir, &format!("queue {order}"), ORDER_TIME)?;
    serde_json::from_str(&answer).map_err(refused)
}

fn ask_within(install_dir: &Path, command: &str, time: Duration) -> Result<String, AskError> {
    let path = socket_path(install_dir);
    let failed = |cause: io::Error| match cause.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
            AskError::NotRunning(install_dir.to_owned())
        }
        _ => AskError::Io {
            path: path.clone(),
            cause,
        },
    };
    let mut stream = UnixStream::connect(&path).map_err(failed)?;
    stream.set_read_timeout(Some(time)).map_err(failed)?;
    stream
        .write_all(format!("{command}\n").as_bytes())
        .map_err(failed)?;
    let mut line = String::new();
    BufReader::new(stream)
        .take(LONGEST_ANSWER)
        .read_line(&mut line)
        .map_err(failed)?;
    let line = line.trim_end();
    match line.split_once(' ').unwrap_or((line, "")) {
        ("ok", rest) => Ok(rest.to_owned()),
        ("error", rest) => Err(AskError::Refused(rest.to_owned())),
        _ => Err(AskError::Refused(
            "the server closed the connection".to_owned(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_and_others_refused() {
        assert_eq!(Command::parse("flush"), Ok(Command::Flush(None)));
        assert_eq!(
            Command::parse("flush Example.COM\r"),
            Ok(Command::Flush(Some("example.com".to_owned())))
        );
        assert_eq!(Command::parse("graceful"), Ok(Command::Graceful));
        assert_eq!(Command::parse("stat"), Ok(Command::Stat));
        assert_eq!(Command::parse("ledger"), Ok(Command::Ledger));
        assert_eq!(Command::parse("usage"), Ok(Command::Usage));
        assert_eq!(Command::parse("ping"), Ok(Command::Ping));
        assert_eq!(Command::parse("suspensions"), Ok(Command::Suspensions));
        let order = Order {
            verb: haraka_shared::queue_order::Verb::Remove { at: 5 },
            names: vec!["1_2_3_4 \"odd\" name".to_owned()],
        };
        let line = format!("queue {}", serde_json::to_string(&order).unwrap());
        assert_eq!(Command::parse(&line), Ok(Command::Queue(order)));
        for bad in [
            "queue",
            "queue {}",
            "queue {\"verb\":\"empty\",\"names\":[]}",
            "",
            "  ",
            "FLUSH",
            "stop",
            "flush a b",
            "ping x",
            "flush a\u{1b}[0m",
            "flush a;b",
        ] {
            assert!(Command::parse(bad).is_err(), "{bad:?}");
        }
    }

    struct Fixture {
        control: Control,
        dir: PathBuf,
    }

    impl Fixture {
        fn new(name: &str) -> Fixture {
            let dir =
                std::env::temp_dir().join(format!("haraka-control-{}-{name}", std::process::id()));
            std::fs::create_dir_all(&dir).unwrap();
            let control = Control::bind(&dir).unwrap();
            Fixture { control, dir }
        }

        fn connect(&self) -> UnixStream {
            UnixStream::connect(socket_path(&self.dir)).unwrap()
        }
    }

    impl Drop for Fixture {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.dir).unwrap();
        }
    }

    // covers PB-02
    #[test]
    fn the_socket_is_for_its_owner_only_and_goes_with_the_server() {
        let fixture = Fixture::new("mode");
        let path = socket_path(&fixture.dir);
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(
            Control::bind(&fixture.dir).unwrap_err().kind(),
            ErrorKind::AddrInUse
        );
    }

    #[test]
    fn a_command_in_pieces_is_answered_once_and_the_connection_closed() {
        let mut f = Fixture::new("pieces");
        let now = Instant::now();
        let mut client = f.connect();
        client.write_all(b"flush exam").unwrap();
        assert!(f.control.turn(now).is_empty());
        client.write_all(b"ple.com\nping\nping\n").unwrap();
        let commands = f.control.turn(now);
        assert_eq!(commands.len(), 1);
        assert_eq!(
            commands[0].1,
            Command::Flush(Some("example.com".to_owned()))
        );
        assert!(f.control.turn(now).is_empty());
        f.control.answer(commands[0].0, "ok done");
        let mut answer = [0u8; 8];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"ok done\n");
        assert!(f.control.clients.is_empty());
    }

    #[test]
    fn a_line_without_end_a_silent_client_and_a_flood_of_clients_are_got_rid_of() {
        let mut f = Fixture::new("hostile");
        let now = Instant::now();
        let mut endless = f.connect();
        endless.write_all(&[b'x'; 4 * LONGEST_COMMAND]).unwrap();
        f.control.turn(now);
        assert!(f.control.clients.is_empty());

        let _silent: Vec<_> = (0..MOST_CLIENTS + 5).map(|_| f.connect()).collect();
        f.control.turn(now);
        assert_eq!(f.control.clients.len(), MOST_CLIENTS);
        assert_eq!(f.control.descriptors().count(), MOST_CLIENTS);
        f.control.turn(now + CLIENT_TIME);
        assert!(f.control.clients.is_empty());
        f.control.turn(now + CLIENT_TIME);
        assert_eq!(f.control.clients.len(), 5);
    }

    #[test]
    fn bytes_that_are_no_text_are_an_unknown_command() {
        let mut f = Fixture::new("binary");
        let mut client = f.connect();
        client.write_all(b"\xff\xfe\x00\n").unwrap();
        assert!(f.control.turn(Instant::now()).is_empty());
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "error unknown command\n");
    }

    #[test]
    fn asking_where_no_server_runs_says_so() {
        let dir = std::env::temp_dir().join(format!("haraka-control-none-{}", std::process::id()));
        assert!(matches!(ask(&dir, "ping"), Err(AskError::NotRunning(_))));
    }
}
