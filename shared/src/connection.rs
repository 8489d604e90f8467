//! One client's connection as plugins and log lines see it (CON-01).
//!
//! A cheap handle to shared cells, because plugins keep it after they answered. Every accessor is
//! short and synchronous; no borrow lives across an `.await`. An idle connection must stay small:
//! what few sessions need is boxed or made on demand.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::Deref;
use std::rc::Rc;
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::asks::{self, Ask, Asks, StartTls};
use crate::core_results::Lasted;
use crate::live::Companion;
use crate::net;
use crate::notes::Notes;
use crate::reply::Reply;
use crate::results::Results;
use crate::tls::{Tls, TlsFailure};
use crate::transaction::{Tally, Transaction};

/// HELO or EHLO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HelloVerb {
    /// RFC 821's.
    Helo,
    /// RFC 5321's, with extensions.
    Ehlo,
}

/// The client's end.
#[derive(Clone, Debug)]
pub struct Remote {
    /// Address, IPv4 when it is an IPv4-mapped one (PA-38).
    pub ip: IpAddr,
    /// Port.
    pub port: u16,
    /// Name from the DNS, or `NXDOMAIN`, `DNSERROR`, `Unknown` (CON-07).
    pub host: Option<Rc<str>>,
    /// What the Received field shows; the name unless a plugin says otherwise.
    pub info: Option<Rc<str>>,
    /// The user that a trusted host in front says the client logged in as (xclient).
    pub login: Option<Rc<str>>,
    /// The client has gone.
    pub closed: bool,
    /// The address is this machine's or of a private net (CON-03).
    pub is_private: bool,
    /// The address is this machine's.
    pub is_local: bool,
}

/// Our end.
#[derive(Clone, Copy, Debug)]
pub struct Local {
    /// Address.
    pub ip: IpAddr,
    /// Port.
    pub port: u16,
}

/// The proxy in front of the client (HAP-06).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Proxy {
    /// The peer is a proxy and may say who the client is.
    pub allowed: bool,
    /// The proxy's address, once it has said so.
    pub ip: Option<IpAddr>,
}

/// The handle.
#[derive(Clone)]
pub struct Connection(Rc<ConnectionState>);

/// What the handle gives.
pub struct ConnectionState {
    /// Identity in log lines, replies and Received fields (CON-02).
    pub uuid: Uuid,
    /// When it was accepted.
    pub started: Instant,
    /// The client's end.
    pub remote: RefCell<Remote>,
    /// Our end.
    pub local: Cell<Local>,
    /// The proxy in front of the client.
    pub proxy: Cell<Proxy>,
    /// How the client introduced itself.
    pub hello: RefCell<Option<(HelloVerb, Rc<str>)>>,
    /// EHLO was said and answered: extensions may be used.
    pub esmtp: Cell<bool>,
    /// The client sent a valid group of commands at once (PA-18).
    pub pipelining: Cell<bool>,
    /// The client spoke before its turn (CON-47).
    pub early_talker: Cell<bool>,
    /// May send anywhere; see [`Connection::relaying`].
    pub may_relay: Cell<bool>,
    /// Protocol errors of the client (CON-42).
    pub errors: Cell<u32>,
    /// Transactions begun.
    pub tran_count: Cell<u32>,
    /// Recipients by outcome, over all transactions.
    pub rcpt_count: Tally,
    /// Messages by outcome.
    pub msg_count: Tally,
    /// Bytes of message data, over all transactions.
    pub total_bytes: Cell<u64>,
    /// The command line as the client sent it, without its end; kept only where scripts run.
    pub line: RefCell<Option<Box<[u8]>>>,
    /// The last reply from 400 up (CON-56).
    pub last_reject: RefCell<Option<Box<str>>>,
    /// Lines of the EHLO reply while the capabilities hook runs.
    pub capabilities: RefCell<Vec<String>>,
    /// STARTTLS was offered.
    pub tls_advertised: Cell<bool>,
    /// The TLS session, once begun.
    pub tls: RefCell<Option<Rc<Tls>>>,
    /// What the Received field says of a login; also makes its protocol ESMTPA (AUT-05, RFC 3848).
    pub authheader: RefCell<Option<Box<str>>>,
    /// What plugins ask of the session; see [`Connection::say`].
    pub asks: Asks,
    /// How long the session had lasted at its last reset (RES-06).
    pub reset: Lasted,
    /// How long it lasted, once it is over (RES-06).
    pub ended: Lasted,
    /// What plugins leave for each other.
    pub notes: Notes,
    /// What plugins found; see [`Connection::result`].
    pub results: Results,
    /// What a script engine keeps for the connection; see [`Connection::part`].
    pub companion: RefCell<Option<Box<Rc<dyn Companion>>>>,
    transaction: RefCell<Option<Transaction>>,
}

impl Connection {
    /// A connection that was just accepted.
    pub fn new(ip: IpAddr, port: u16, local: Local, started: Instant) -> Connection {
        let connection = Connection(Rc::new(ConnectionState {
            uuid: Uuid::new_v4(),
            started,
            remote: RefCell::new(Remote {
                ip,
                port,
                host: None,
                info: None,
                login: None,
                closed: false,
                is_private: false,
                is_local: false,
            }),
            local: Cell::new(local),
            proxy: Cell::default(),
            hello: RefCell::new(None),
            esmtp: Cell::new(false),
            pipelining: Cell::new(false),
            early_talker: Cell::new(false),
            may_relay: Cell::new(false),
            errors: Cell::new(0),
            tran_count: Cell::new(0),
            rcpt_count: Tally::default(),
            msg_count: Tally::default(),
            total_bytes: Cell::new(0),
            line: RefCell::new(None),
            last_reject: RefCell::new(None),
            capabilities: RefCell::default(),
            tls_advertised: Cell::new(false),
            tls: RefCell::new(None),
            authheader: RefCell::new(None),
            asks: Asks::default(),
            reset: Lasted::default(),
            ended: Lasted::default(),
            notes: Notes::default(),
            results: Results::default(),
            companion: RefCell::new(None),
            transaction: RefCell::new(None),
        }));
        connection.set_remote_ip(ip);
        connection
    }

    /// A connection without a client, for hooks about mail that the server itself sends (HOK-25).
    pub fn carrying(transaction: &Transaction) -> Connection {
        let here = Local {
            ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 0,
        };
        let connection = Connection::new(here.ip, here.port, here, Instant::now());
        connection.set_transaction(Some(transaction.clone()));
        connection.asks.end();
        connection
    }

    /// Sets the client's address and what follows from it (CON-03).
    pub fn set_remote_ip(&self, ip: IpAddr) {
        let ip = ip.to_canonical();
        let mut remote = self.remote.borrow_mut();
        remote.ip = ip;
        remote.is_local = net::is_local_ip(ip);
        remote.is_private = remote.is_local || net::is_private_ip(ip);
    }

    /// The client's address.
    pub fn remote_ip(&self) -> IpAddr {
        self.remote.borrow().ip
    }

    /// Sets the client's name from the DNS or a plugin (CON-07).
    pub fn set_remote_host(&self, host: &str) {
        let host: Rc<str> = Rc::from(host);
        let mut remote = self.remote.borrow_mut();
        if remote.info.is_none() {
            remote.info = Some(Rc::clone(&host));
        }
        remote.host = Some(host);
    }

    /// The open transaction.
    pub fn transaction(&self) -> Option<Transaction> {
        self.transaction.borrow().clone()
    }

    /// Opens or closes a transaction.
    pub fn set_transaction(&self, transaction: Option<Transaction>) {
        let before = std::mem::replace(&mut *self.transaction.borrow_mut(), transaction);
        if let (Some(over), Some(companion)) = (before, &*self.companion.borrow()) {
            companion.transaction_over(&over.uuid);
        }
    }

    /// The connection ended: nothing is asked any more, and scripts that do not hold it forget it.
    pub fn part(&self) {
        self.asks.end();
        drop(self.companion.take());
    }

    /// Whether the client may send anywhere: in this transaction if that was set during it, else on
    /// the whole connection (PA-09).
    pub fn relaying(&self) -> bool {
        self.transaction
            .borrow()
            .as_ref()
            .and_then(|t| t.relaying.get())
            .unwrap_or(self.may_relay.get())
    }

    /// Sets [`Connection::relaying`], for the open transaction only if there is one (PA-09).
    pub fn set_relaying(&self, relaying: bool) {
        match self.transaction.borrow().as_ref() {
            Some(t) => t.relaying.set(Some(relaying)),
            None => self.may_relay.set(relaying),
        }
    }

    /// Sends a reply from within a hook. A plugin that does so for a command of its own answers OK,
    /// so that nothing else is said about it.
    pub fn say(&self, reply: Reply) {
        // Where there is no client there is nobody to answer.
        self.asks.leave(Ask::Say(reply));
    }

    /// Ends the transaction as RSET does, its hook included; resolves when that is done.
    pub async fn reset_transaction(&self) {
        let (answer, awaiting) = asks::answer();
        self.asks.leave(Ask::Reset(answer));
        // Where there is no session nobody answers.
        awaiting.await;
    }

    /// Has the session end, as soon as it looks (`connection.disconnect()`).
    pub fn hang_up(&self) {
        self.asks.leave(Ask::Close);
    }

    /// Says `go_ahead` and begins TLS from within a hook (RFC 3207 §4.2). What the client sent in
    /// the clear behind its command is dropped; once the handshake is done the session has
    /// forgotten its hello and its transaction, and [`ConnectionState::tls`] is set. After any failure but
    /// [`TlsFailure::NoCertificate`] nothing more can be said to this client: the plugin ends the
    /// session.
    ///
    /// # Errors
    /// See [`TlsFailure`].
    pub async fn start_tls(
        &self,
        go_ahead: Reply,
        within: Option<Duration>,
    ) -> Result<Rc<Tls>, TlsFailure> {
        let (answer, awaiting) = asks::answer();
        self.asks.leave(Ask::StartTls(StartTls {
            go_ahead,
            within,
            answer,
        }));
        // An ask that nobody takes is dropped, which ends the wait.
        awaiting.await.unwrap_or(Err(TlsFailure::NoSession))
    }

    /// Counts a protocol error.
    pub fn count_error(&self) {
        self.errors.set(self.errors.get().saturating_add(1));
    }

    /// Whether this is a mail submission port, where MAIL needs authentication (CON-57).
    pub fn needs_auth(&self) -> bool {
        matches!(self.local.get().port, 587 | 465)
    }

    /// Upper-case uuid, with the number of the newest transaction if there was one (LOG-05).
    pub fn log_id(&self) -> LogId<'_> {
        LogId(self)
    }

    /// `name [ip]`, or `[ip]` while there is no name (EHLO reply, Received).
    pub fn shown<'a>(&self, name: Option<&'a Rc<str>>) -> Shown<'a> {
        let name = name
            .map(|n| &**n)
            .filter(|n| !matches!(*n, "" | "NXDOMAIN" | "DNSERROR"));
        Shown {
            name,
            ip: self.remote_ip(),
        }
    }
}

impl Deref for Connection {
    type Target = ConnectionState;
    fn deref(&self) -> &ConnectionState {
        &self.0
    }
}

/// See [`Connection::log_id`].
pub struct LogId<'a>(&'a ConnectionState);

impl fmt::Display for LogId<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}", self.0.uuid.hyphenated())?;
        match self.0.tran_count.get() {
            0 => Ok(()),
            n => write!(f, ".{n}"),
        }
    }
}

/// See [`Connection::shown`].
pub struct Shown<'a> {
    name: Option<&'a str>,
    ip: IpAddr,
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name {
            Some(name) => write!(f, "{name} [{}]", self.ip),
            None => write!(f, "[{}]", self.ip),
        }
    }
}

/// Writes a line with the connection's uuid and origin `core`:
/// `log_conn!(Level::Notice, conn, [("ip", ip.into())], "connect")`.
#[macro_export]
macro_rules! log_conn {
    ($level:expr, $conn:expr, [$($field:expr),* $(,)?], $($message:tt)+) => {
        if $crate::log::enabled($level) {
            $crate::log::emit($level, &$conn.log_id(), "core", &[$($field),*], format_args!($($message)+));
        }
    };
}
