//! The conversation with one client, from greeting to goodbye.
//!
//! Commands answer with an [`Outcome`]; this file alone talks: it writes, counts, logs and closes.

use std::borrow::Cow;
use std::rc::Rc;
use std::time::Duration;

use haraka_shared::config::Config;
use haraka_shared::connection::Connection;
use haraka_shared::hook::{Call, Code, HookName, Message};
use haraka_shared::log::Level;
use haraka_shared::log_conn;
use haraka_shared::reply::Reply;

use crate::rt;
use crate::smtp::answer::reply;
use crate::smtp::commands;
use crate::smtp::commands::bdat::Chunks;
use crate::smtp::proto::command::{self, Command};
use crate::smtp::proto::line::LineError;
use crate::smtp::proto::proxy;
use crate::smtp::proto::status::{self, Subject};
use crate::smtp::sessions::full_reply;
use crate::smtp::wire::{Longest, Lost, Wire};
use crate::worker::{Worker, info};

/// What a command wants the session to do.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Answer and go on.
    Say(Reply),
    /// Answer, end the transaction, go on.
    SayReset(Reply),
    /// Answer and close.
    SayClose(Reply),
    /// Already answered.
    Said,
    /// Already answered; close.
    Over,
    /// The client is lost.
    Lost(Lost),
}

/// One client.
pub(crate) struct Session {
    pub(crate) worker: Rc<Worker>,
    /// The settings as they were when the client came.
    pub(crate) config: Rc<Config>,
    pub(crate) conn: Connection,
    pub(crate) wire: Wire,
    /// Answer to every command after a denial at connect, until QUIT (CON-11).
    stuck: Option<Reply>,
    /// What the reply that comes next is about.
    about: Subject,
    /// Keywords that plugins added to the reply to EHLO.
    pub(crate) added: Vec<String>,
    /// A message that comes by BDAT and is not complete.
    pub(crate) chunks: Option<Box<Chunks>>,
    /// The last reply asked for more of AUTH (334), so the next line is a secret.
    challenged: bool,
    /// The port of ours that was connected to, whatever a proxy says.
    pub(super) port: u16,
}

/// Serves a client until it or the server ends the session.
pub(crate) fn converse(
    worker: Rc<Worker>,
    conn: Connection,
    wire: Wire,
) -> impl Future<Output = ()> {
    let mut session = Session {
        config: worker.settings(),
        port: conn.local.get().port,
        worker,
        conn,
        wire,
        stuck: None,
        about: Subject::Greeting,
        added: Vec::new(),
        chunks: None,
        challenged: false,
    };
    // A block that captures the session holds it once, the parameter of an `async fn` twice.
    async move {
        let greeted = rt::catch(Box::pin(session.begin())).await;
        let goes_on = match greeted {
            Ok(goes_on) => goes_on,
            Err(panic) => session.failed(&panic),
        };
        if goes_on {
            session.serve().await;
        }
        Box::pin(session.part()).await;
    }
}

impl Session {
    async fn begin(&mut self) -> bool {
        Box::pin(self.meet_proxy()).await
            && Box::pin(self.begin_tls()).await
            && self.greet(HookName::ConnectInit).await
    }

    /// Everything before the first command (CON-06), from this hook on; false ends the session.
    async fn greet(&mut self, from: HookName) -> bool {
        if from <= HookName::ConnectInit {
            self.hook(Call::ConnectInit(())).await;
        }
        if from <= HookName::LookupRdns {
            let verdict = self.hook(Call::LookupRdns(())).await;
            match verdict.code {
                Code::Ok => {
                    let host = verdict.message.text().unwrap_or(Cow::Borrowed("Unknown"));
                    self.conn.set_remote_host(&host);
                }
                Code::Cont | Code::Stop | Code::NextHook | Code::Delay => {
                    let name = self.worker.names.of(self.conn.remote_ip()).await;
                    self.conn.set_remote_host(&name);
                }
                denied => return self.denied_at_start(denied, verdict.message, RDNS).await,
            }
        }
        // What comes during the hook is seen while it runs.
        if !self.conn.esmtp.get() && self.wire.look() && !self.said_hello_with_header() {
            self.conn.early_talker.set(true);
        }
        let verdict = self.hook(Call::Connect(())).await;
        match verdict.code {
            Code::Deny
            | Code::DenySoft
            | Code::DenyDisconnect
            | Code::DenySoftDisconnect
            | Code::Disconnect => {
                self.denied_at_start(verdict.code, verdict.message, CONNECT)
                    .await
            }
            _ => {
                let banner = match verdict.message {
                    message if message.text().is_some() => reply(220, message, ""),
                    _ => self.banner(),
                };
                self.settle(Outcome::Say(banner)).await
            }
        }
    }

    /// Greets once more because a plugin changed who the client is (xclient).
    pub(crate) async fn greet_again(&mut self, from: HookName) -> Outcome {
        if let Err(full) = self.wire.belongs_to(self.conn.remote_ip()) {
            log_conn!(Level::Warn, self.conn, [], "refused: {}", full.reason());
            return Outcome::SayClose(full_reply(&self.config.me, full));
        }
        if Box::pin(self.greet(from)).await {
            Outcome::Said
        } else {
            Outcome::Over
        }
    }

    /// A denial at lookup_rdns or connect: DENY and DENYSOFT keep the client waiting with the same
    /// answer to everything (PA-15), the others close.
    async fn denied_at_start(&mut self, code: Code, message: Message, at: StartDenial) -> bool {
        let soft = matches!(code, Code::DenySoft | Code::DenySoftDisconnect);
        let (number, text) = if soft { (421, at.soft) } else { (554, at.hard) };
        let reply = reply(number, message, text);
        if matches!(code, Code::Deny | Code::DenySoft) {
            self.stuck = Some(reply.clone());
            return self.settle(Outcome::Say(reply)).await;
        }
        self.settle(Outcome::SayClose(reply)).await
    }

    fn banner(&self) -> Reply {
        let config = &self.config.connection;
        let mut id = String::new();
        if config.banner_chars > 0 {
            let uuid = format!("{:X}", self.conn.uuid.hyphenated());
            id = format!(" ({})", uuid.get(..config.banner_chars).unwrap_or(&uuid));
        }
        match config.greeting.split_first() {
            Some((first, rest)) => {
                let mut lines = vec![format!("{} ESMTP {first}{id}", self.config.me)];
                lines.extend(rest.iter().cloned());
                Reply::lines_of(220, lines)
            }
            None => {
                let (me, info) = (&self.config.me, info(&self.config));
                Reply::new(220, format!("{me} ESMTP {info} ready{id}"))
            }
        }
    }

    /// Commands, one at a time and in order.
    async fn serve(&mut self) {
        let command_time = self.config.connection.command_time;
        let mut line = Vec::new();
        loop {
            let longest = Longest::by(&self.config.connection, self.challenged);
            // Only scripts ask for something while no hook runs.
            if self.conn.companion.borrow().is_some() {
                self.wire.heed(Some(self.conn.clone()));
            }
            let next = self.wire.next_line(longest, command_time, &mut line).await;
            self.wire.heed(None);
            match next {
                Ok(()) => {}
                Err(Lost::Asked) => {
                    self.grant_all().await;
                    continue;
                }
                Err(lost) => return Box::pin(self.lost(lost)).await,
            }
            if self.worker.hooks.run_scripts() {
                *self.conn.line.borrow_mut() = Some(Box::from(line.as_slice()));
            }
            self.mind_pipelining(&line);
            let outcome = match rt::catch(Box::pin(self.command(&line))).await {
                Ok(outcome) => outcome,
                Err(panic) => {
                    self.failed(&panic);
                    return;
                }
            };
            if !self.settle(outcome).await {
                return;
            }
            if line.capacity() > KEPT_LINE {
                line = Vec::new();
            }
            if self.too_many_errors() {
                return self.say(&Reply::new(421, "Too many errors"));
            }
        }
    }

    async fn command(&mut self, line: &[u8]) -> Outcome {
        let challenged = std::mem::take(&mut self.challenged);
        self.log_command(line, challenged);
        let verb = self.conn.hello.borrow().as_ref().map(|(verb, _)| *verb);
        let Some(line) = command::decode(line, verb) else {
            return Outcome::Say(command::EIGHT_BIT);
        };
        if challenged && !command::is_quit(&line) {
            // Whatever it looks like: base64 of a name can be a verb (RFC 4954 §4).
            self.about = Subject::Session;
            return commands::unrecognized(self, command::response(&line)).await;
        }
        if line.is_empty() && proxy::is_rest_of_signature(self.wire.buffered()) {
            return commands::proxy_not_allowed(self);
        }
        let command = Command::parse(&line);
        self.about = Subject::of(&command);
        match &self.stuck {
            Some(reply) if !line.eq_ignore_ascii_case("quit") => Outcome::Say(reply.clone()),
            _ => commands::run(self, command).await,
        }
    }

    /// Each command line; the secrets of AUTH stay out (LOG-16).
    fn log_command(&self, line: &[u8], secret: bool) {
        if !haraka_shared::log::enabled(Level::Protocol) {
            return;
        }
        // Haraka's numbers of its states for a command, and after a denial at connect.
        let state = if self.stuck.is_some() { 2u32 } else { 1 };
        let line = if secret {
            "[redacted]".to_owned()
        } else {
            command::without_secrets(line)
        };
        log_conn!(
            Level::Protocol,
            self.conn,
            [("state", state.into())],
            "C: {line}"
        );
    }

    /// What it means that more input follows this command (PA-18, CON-46, CON-47).
    fn mind_pipelining(&self, line: &[u8]) {
        if self.conn.esmtp.get() && command::is_bdat(line) {
            // Its chunk follows, not a command.
            return;
        }
        let rest = self.wire.buffered();
        let Some(end) = memchr::memchr(b'\n', rest) else {
            return;
        };
        let last = end + 1 == rest.len();
        if self.conn.esmtp.get() && (last || command::may_be_followed(rest)) {
            self.conn.pipelining.set(true);
        } else {
            self.conn.early_talker.set(true);
        }
    }

    /// A defect of ours costs this session only (CON-50); false, as it ends.
    fn failed(&mut self, panic: &rt::Panicked) -> bool {
        log_conn!(Level::Error, self.conn, [], "session {panic}");
        self.say(&Reply::new(421, "Internal Server Error"));
        false
    }

    fn too_many_errors(&self) -> bool {
        let most = self.config.connection.max_errors;
        most.is_some_and(|most| self.conn.errors.get() >= most)
    }

    /// Carries out what a command wants; false ends the session.
    pub(super) async fn settle(&mut self, outcome: Outcome) -> bool {
        match outcome {
            Outcome::Say(reply) => self.say(&reply),
            Outcome::SayReset(reply) => {
                self.say(&reply);
                Box::pin(self.reset_transaction()).await;
            }
            Outcome::SayClose(reply) => {
                self.say(&reply);
                return false;
            }
            Outcome::Said => {}
            Outcome::Over => return false,
            Outcome::Lost(lost) => {
                Box::pin(self.lost(lost)).await;
                return false;
            }
        }
        true
    }

    /// Gathers a reply for the client; the wire writes it before it waits for more input.
    pub(crate) fn say(&mut self, reply: &Reply) {
        if self.wire.is_broken() {
            return;
        }
        let with_status;
        let reply = if self.config.connection.enhanced_status_codes {
            with_status = status::with_status(reply.clone(), self.about);
            &with_status
        } else {
            reply
        };
        let mut tag = None;
        self.challenged = reply.code() == 334;
        if reply.code() >= 400 {
            *self.conn.last_reject.borrow_mut() = Some(reply.to_string().into());
            tag = self.deny_tag();
        }
        let said = self.wire.say(reply, tag.as_deref());
        if haraka_shared::log::enabled(Level::Protocol) {
            for line in String::from_utf8_lossy(said).lines() {
                log_conn!(Level::Protocol, self.conn, [], "S: {line}");
            }
        }
    }

    /// `uuid@host` for each line of a refusal, where configured (KEY-33).
    fn deny_tag(&self) -> Option<String> {
        let chars = self.config.connection.deny_chars;
        if chars == 0 {
            return None;
        }
        let mut uuid = format!("{:X}", self.conn.uuid.hyphenated());
        if let Some(t) = self.conn.transaction() {
            uuid.clone_from(&t.uuid);
        }
        if chars > 1 {
            uuid.truncate(chars);
        }
        let host = &self.worker.host_name;
        Some(format!("{uuid}@{}", host.split('.').next().unwrap_or(host)))
    }

    /// The session ends because of the client, a limit or the server.
    async fn lost(&mut self, lost: Lost) {
        let ip = self.conn.remote_ip().to_string();
        match lost {
            Lost::Gone => {
                self.conn.remote.borrow_mut().closed = true;
                log_conn!(
                    Level::Info,
                    self.conn,
                    [("ip", (&ip).into())],
                    "client half closed connection"
                );
            }
            Lost::Broken(e) => {
                self.conn.remote.borrow_mut().closed = true;
                log_conn!(
                    Level::Info,
                    self.conn,
                    [("ip", (&ip).into())],
                    "client connection error: {e}"
                );
            }
            Lost::Idle => {
                self.say(&Reply::new(421, "timeout"));
                log_conn!(
                    Level::Warn,
                    self.conn,
                    [("ip", (&ip).into())],
                    "client connection timed out"
                );
            }
            Lost::TooSlow => {
                self.say(&Reply::new(421, "timeout"));
                log_conn!(
                    Level::Warn,
                    self.conn,
                    [("ip", (&ip).into())],
                    "client took longer than is allowed"
                );
            }
            Lost::Deaf => {
                self.conn.remote.borrow_mut().closed = true;
                log_conn!(
                    Level::Warn,
                    self.conn,
                    [("ip", (&ip).into())],
                    "client does not take our replies"
                );
            }
            Lost::Dismissed | Lost::Asked => {
                self.conn.remote.borrow_mut().closed = true;
            }
            Lost::Stopping => {
                let text = format!("{} Service shutting down", self.config.me);
                self.say(&Reply::new(421, text));
            }
            Lost::Line(LineError::TooLong) => self.say(&Reply::new(521, "Command line too long")),
            Lost::Line(LineError::TlsHandshake) => {
                self.say(&Reply::new(501, "SSL attempted over a non-SSL socket"))
            }
            Lost::Line(e) => {
                // Postfix closes as well: what follows could be somebody else's mail (PB-01).
                self.say(&Reply::new(521, format!("5.5.2 {e}, closing connection")));
                log_conn!(
                    Level::Notice,
                    self.conn,
                    [("ip", (&ip).into())],
                    "{e} in a command"
                );
            }
        }
    }

    /// The end of every session (CON-54).
    async fn part(&mut self) {
        if self.wire.flush().await.is_err() {
            self.conn.remote.borrow_mut().closed = true;
        }
        self.reset_transaction().await;
        self.hook(Call::Disconnect(())).await;
        self.conn.ended.set(self.lasted());
        self.conn.part();
        self.log_disconnect();
        self.wire.close().await;
    }

    fn lasted(&self) -> Duration {
        rt::precise_now() - self.conn.started
    }

    fn log_disconnect(&self) {
        if !haraka_shared::log::enabled(Level::Notice) {
            return;
        }
        let conn = &self.conn;
        let yes_no = |b: bool| if b { "Y" } else { "N" };
        let remote = conn.remote.borrow();
        let ip = remote.ip.to_string();
        let helo = conn
            .hello
            .borrow()
            .as_ref()
            .map(|(_, h)| h.to_string())
            .unwrap_or_default();
        let rcpts = conn.rcpt_count.to_string();
        let msgs = conn.msg_count.to_string();
        let lr = conn.last_reject.borrow();
        log_conn!(
            Level::Notice,
            conn,
            [
                ("ip", (&ip).into()),
                ("rdns", remote.host.as_deref().unwrap_or_default().into()),
                ("helo", (&helo).into()),
                ("relay", yes_no(conn.relaying()).into()),
                ("early", yes_no(conn.early_talker.get()).into()),
                ("esmtp", yes_no(conn.esmtp.get()).into()),
                ("tls", yes_no(conn.tls.borrow().is_some()).into()),
                ("pipe", yes_no(conn.pipelining.get()).into()),
                ("errors", conn.errors.get().into()),
                ("txns", conn.tran_count.get().into()),
                ("rcpts", (&rcpts).into()),
                ("msgs", (&msgs).into()),
                ("bytes", conn.total_bytes.get().into()),
                ("lr", lr.as_deref().unwrap_or_default().into()),
                ("time", self.lasted().as_secs_f64().into()),
            ],
            "disconnect"
        );
    }

    /// Ends the transaction, if there is one (HOK-20).
    pub(crate) async fn reset_transaction(&mut self) {
        self.chunks = None;
        self.conn.reset.set(self.lasted());
        if self.conn.transaction().is_none() {
            return;
        }
        if self.worker.hooks.wants(HookName::ResetTransaction) {
            // The client need not wait for its reply until the plugins are done.
            if let Err(lost) = self.wire.flush().await {
                log_conn!(Level::Debug, self.conn, [], "reply not written: {lost:?}");
            }
            self.hook(Call::ResetTransaction(())).await;
        }
        self.conn.set_transaction(None);
        self.wire.busy(false);
    }

    /// Time for one whole message.
    pub(crate) fn data_time(&self) -> Option<Duration> {
        self.config.connection.data_time
    }
}

/// Octets of a command line whose memory is kept for the next one.
const KEPT_LINE: usize = 1024;

struct StartDenial {
    hard: &'static str,
    soft: &'static str,
}
const RDNS: StartDenial = StartDenial {
    hard: "rDNS Lookup Failed",
    soft: "rDNS Temporary Failure",
};
const CONNECT: StartDenial = StartDenial {
    hard: "Your mail is not welcome here",
    soft: "Come back later",
};
