//! A redis-server that belongs to one test: on a free port, or a Unix socket, without anything on disk.
//! Knows as much of the protocol (RESP 2) as is needed to read and write what plugins keep there.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use super::{DEADLINE, poll_until};

/// The server; it is killed when dropped.
pub struct Redis {
    port: u16,
    dir: PathBuf,
    child: Option<Child>,
}

/// What a command gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A text, also a status such as `OK`; what is not UTF-8 is replaced.
    Text(String),
    /// An integer.
    Number(i64),
    /// Several.
    List(Vec<Answer>),
    /// Nothing there.
    Nothing,
}

impl Answer {
    /// The texts of a list, sorted or not as the server gave them; the text of a text.
    pub fn texts(self) -> Vec<String> {
        match self {
            Self::Text(text) => vec![text],
            Self::Number(number) => vec![number.to_string()],
            Self::List(all) => all.into_iter().flat_map(Self::texts).collect(),
            Self::Nothing => Vec::new(),
        }
    }

    /// The number; fails the test for anything else.
    #[track_caller]
    pub fn number(&self) -> i64 {
        match self {
            Self::Number(number) => *number,
            other => panic!("redis gave {other:?}, not a number"),
        }
    }
}

/// Whether this machine has the program.
pub fn installed() -> bool {
    let found = Command::new("redis-server")
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    found.is_ok_and(|status| status.success())
}

impl Redis {
    /// A server on a free port of 127.0.0.1, and on the Unix socket [`Redis::socket`]; `None`, said on
    /// the terminal, where there is none on this machine.
    pub fn start() -> Option<Self> {
        if !installed() {
            super::skip("there is no redis-server");
            return None;
        }
        let mut redis = Self::absent();
        redis.run();
        Some(redis)
    }

    /// A port where no server listens yet.
    pub fn absent() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let unique = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("redis-test-{}-{unique}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        Self {
            port: super::port::reserve().port(),
            dir,
            child: None,
        }
    }

    /// Starts it, empty, and waits until it answers.
    #[track_caller]
    pub fn run(&mut self) {
        let log = fs::File::create(self.dir.join("log")).unwrap();
        let child = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &self.port.to_string()])
            .args(["--unixsocket", &self.socket().display().to_string()])
            .args(["--save", "", "--appendonly", "no", "--dir"])
            .arg(&self.dir)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(Stdio::null())
            .spawn();
        self.child = Some(child.expect("redis-server starts"));
        let up = || self.try_command(0, &["PING"]).ok();
        if poll_until(DEADLINE, up).is_none() {
            let log = fs::read_to_string(self.dir.join("log")).unwrap_or_default();
            panic!("redis-server does not answer on port {}: {log}", self.port);
        }
    }

    /// Ends it at once, as a crash would; all connections to it break.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The path of its Unix socket.
    pub fn socket(&self) -> PathBuf {
        self.dir.join("socket")
    }

    /// One command in one of the databases.
    #[track_caller]
    pub fn command(&self, database: u32, words: &[&str]) -> Answer {
        match self.try_command(database, words) {
            Ok(answer) => answer,
            Err(error) => panic!("redis, {words:?}: {error}"),
        }
    }

    fn try_command(&self, database: u32, words: &[&str]) -> std::io::Result<Answer> {
        let mut stream = Follower::connect(self.port)?;
        stream.ask(&["SELECT", &database.to_string()])?;
        stream.ask(words)
    }

    /// Connections that others have to it.
    pub fn clients(&self) -> usize {
        self.count(|line| !line.contains(" name=haraka-results "))
            .saturating_sub(1)
    }

    /// Those of them that follow what is published.
    pub fn followers(&self) -> usize {
        self.count(|line| line.contains(" flags=P "))
    }

    fn count(&self, which: impl Fn(&str) -> bool) -> usize {
        let all = self.command(0, &["CLIENT", "LIST"]).texts().concat();
        all.lines().filter(|line| which(line)).count()
    }

    /// Follows what is published under a pattern.
    #[track_caller]
    pub fn follow(&self, pattern: &str) -> Follower {
        let mut follower = Follower::connect(self.port).unwrap();
        follower.ask(&["PSUBSCRIBE", pattern]).unwrap();
        follower
    }

    /// What is kept in all databases, a line per key: `DATABASE KEY: FIELD=VALUE … ttl`, sorted. The time
    /// left to a key is only told as there or not there.
    #[track_caller]
    pub fn kept(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for database in 0..16 {
            let keys = self.command(database, &["KEYS", "*"]).texts();
            lines.extend(keys.iter().filter_map(|key| self.line(database, key)));
        }
        lines.sort();
        lines
    }

    /// `None` for a key that is gone meanwhile.
    fn line(&self, database: u32, key: &str) -> Option<String> {
        let kind = self.command(database, &["TYPE", key]).texts().concat();
        let held = match kind.as_str() {
            "string" => self.command(database, &["GET", key]).texts().concat(),
            "hash" => {
                let all = self.command(database, &["HGETALL", key]).texts();
                let mut pairs: Vec<_> = all.chunks(2).map(|pair| pair.join("=")).collect();
                pairs.sort();
                pairs.join(" ")
            }
            "none" => return None,
            other => format!("a {other}"),
        };
        let ends = match self.command(database, &["TTL", key]).number() {
            -1 => "",
            _ => " ttl",
        };
        Some(format!("{database} {key}: {held}{ends}"))
    }

    /// Forgets everything.
    #[track_caller]
    pub fn clear(&self) {
        self.command(0, &["FLUSHALL"]);
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// A connection to it; after [`Redis::follow`] it hears what is published.
pub struct Follower {
    stream: BufReader<TcpStream>,
}

impl Follower {
    fn connect(port: u16) -> std::io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(DEADLINE))?;
        Ok(Self {
            stream: BufReader::new(stream),
        })
    }

    fn ask(&mut self, words: &[&str]) -> std::io::Result<Answer> {
        let mut text = format!("*{}\r\n", words.len());
        for word in words {
            text.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        self.stream.get_mut().write_all(text.as_bytes())?;
        self.answer()
    }

    /// The messages that are published up to one whose text contains `last`: channel and text.
    #[track_caller]
    pub fn heard_until(&mut self, last: &str) -> Vec<(String, String)> {
        let mut all = Vec::new();
        loop {
            match self.answer() {
                Ok(Answer::List(parts)) => {
                    if let [_, _, Answer::Text(channel), Answer::Text(text)] = parts.as_slice() {
                        all.push((channel.clone(), text.clone()));
                        if text.contains(last) {
                            return all;
                        }
                    }
                }
                other => panic!("{last:?} was not published but {all:#?}, then {other:?}"),
            }
        }
    }

    fn answer(&mut self) -> std::io::Result<Answer> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        let line = line.trim_end();
        let Some((kind, rest)) = line.split_at_checked(1) else {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        };
        let number = || rest.parse::<i64>().map_err(std::io::Error::other);
        Ok(match kind {
            "+" => Answer::Text(rest.to_owned()),
            ":" => Answer::Number(number()?),
            "$" | "*" if number()? < 0 => Answer::Nothing,
            "$" => {
                let mut text = vec![0; number()? as usize + 2];
                self.stream.read_exact(&mut text)?;
                text.truncate(text.len() - 2);
                Answer::Text(String::from_utf8_lossy(&text).into_owned())
            }
            "*" => {
                let answers = (0..number()?).map(|_| self.answer());
                Answer::List(answers.collect::<Result<_, _>>()?)
            }
            _ => return Err(std::io::Error::other(line.to_owned())),
        })
    }
}

/// `[server]` and `[pubsub]` of `redis.ini`.
pub fn ini(redis: &Redis) -> String {
    let port = redis.port();
    format!("[server]\nhost=127.0.0.1\nport={port}\n[pubsub]\nhost=127.0.0.1\nport={port}\n")
}

/// The same by way of its Unix socket.
pub fn unix_ini(socket: &Path) -> String {
    let socket = socket.display();
    format!("[server]\npath={socket}\n[pubsub]\npath={socket}\n")
}
