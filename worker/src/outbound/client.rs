//! A connection to a remote host, from connecting to QUIT (OUT-31, OUT-33).
//!
//! Speaks SMTP and LMTP (RFC 2033). Owns what is known of the host between messages; the dialogue
//! of one message is in `conversation.rs`. Must never decide which host is tried, or when again.

use std::rc::Rc;
use std::time::Duration;

use haraka_shared::config::OutboundIni;
use haraka_shared::reply::Reply;
use haraka_shared::route::XClient;

use super::attempt::{Lost, Peer, Stage, Unusable};
use super::extensions::Extensions;
use super::kits::Kits;
use super::remote::{Remote, connected};
use super::route::{Place, Target};
use super::shaping::Held;
use super::wish::Approach;
use crate::rt::{TcpStream, UnixStream};

/// How long to wait at each stage (RFC 5321 §4.5.3.2, PB-18).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For the connection.
    pub connect: Duration,
    /// For the greeting.
    pub greeting: Duration,
    /// For the reply to EHLO, HELO or LHLO.
    pub hello: Duration,
    /// For the reply to MAIL.
    pub mail: Duration,
    /// For the reply to RCPT.
    pub rcpt: Duration,
    /// For the reply to DATA.
    pub data: Duration,
    /// For each piece of message data.
    pub block: Duration,
    /// For the reply to the final dot.
    pub dot: Duration,
    /// For the TLS handshake, and for the replies to STARTTLS, AUTH and XCLIENT.
    pub other: Duration,
    /// For the reply to QUIT.
    pub quit: Duration,
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        let seconds = Duration::from_secs;
        Timeouts {
            connect: seconds(30),
            greeting: seconds(300),
            hello: seconds(300),
            mail: seconds(300),
            rcpt: seconds(300),
            data: seconds(120),
            block: seconds(180),
            dot: seconds(600),
            other: seconds(300),
            quit: seconds(10),
        }
    }
}

impl From<&OutboundIni> for Timeouts {
    fn from(ini: &OutboundIni) -> Timeouts {
        Timeouts {
            connect: ini.connect_timeout,
            greeting: ini.greeting_timeout,
            hello: ini.helo_timeout,
            mail: ini.mail_timeout,
            rcpt: ini.rcpt_timeout,
            data: ini.data_init_timeout,
            block: ini.data_block_timeout,
            dot: ini.data_done_timeout,
            other: ini.other_timeout,
            quit: ini.quit_timeout,
        }
    }
}

impl Timeouts {
    /// The time for a stage.
    pub fn of(&self, stage: Stage) -> Duration {
        match stage {
            Stage::Connect => self.connect,
            Stage::Greeting => self.greeting,
            Stage::Hello => self.hello,
            Stage::Mail => self.mail,
            Stage::Rcpt => self.rcpt,
            Stage::Data => self.data,
            Stage::Block => self.block,
            Stage::Dot => self.dot,
            Stage::StartTls | Stage::Handshake | Stage::Auth | Stage::XClient => self.other,
            Stage::Quit => self.quit,
        }
    }
}

/// What all connections have in common.
#[derive(Clone)]
pub struct ClientSettings {
    /// Name for EHLO unless the route gives one.
    pub me: String,
    /// How long to wait.
    pub timeouts: Timeouts,
    /// TLS is used where it is offered, unless the route says otherwise.
    pub enable_tls: bool,
    /// Passwords may go where others can read them.
    pub auth_in_clear: bool,
    /// What TLS is made from.
    pub(crate) kits: Rc<Kits>,
}

/// A connection that can take messages one after the other.
pub struct Client {
    /// Goes first: a connection counts until it is closed.
    pub(super) remote: Remote,
    pub(super) settings: Rc<ClientSettings>,
    pub(super) target: Target,
    pub(super) approach: Approach,
    pub(super) peer: Peer,
    /// The client whose address the host takes for that of this connection.
    pub(super) speaks_for: Option<XClient>,
    pub(super) extensions: Extensions,
    /// The host holds an unfinished transaction.
    pub(super) dirty: bool,
    /// Closed, closing or no longer understood.
    pub(super) gone: bool,
    /// Messages that were offered.
    pub(super) used: u32,
}

impl Client {
    /// Connects, awaits the greeting, says hello, begins TLS and logs in.
    ///
    /// # Errors
    /// [`Unusable`]: another host may do better.
    pub async fn connect(
        target: &Target,
        approach: &Approach,
        settings: &Rc<ClientSettings>,
        uuid: Rc<str>,
    ) -> Result<Client, Unusable> {
        let within = target.route.connect_timeout;
        let within = within.unwrap_or(settings.timeouts.connect);
        let stream = match &target.place {
            Place::Socket(address) => {
                connected(within, TcpStream::connect(*address, target.route.bind)).await
            }
            Place::Path(path) => connected(within, UnixStream::connect(path)).await,
        };
        let stream = stream.map_err(Unusable::Connect)?;
        // Commands are gathered here, so the kernel need not wait for more of them.
        stream.set_nodelay(true).map_err(Unusable::Connect)?;
        let mut client = Client {
            remote: Remote::new(stream, uuid),
            settings: settings.clone(),
            peer: target.peer(),
            approach: approach.clone(),
            speaks_for: None,
            target: target.clone(),
            extensions: Extensions::default(),
            dirty: false,
            gone: false,
            used: 0,
        };
        client.greeting().await?;
        client.hello().await?;
        Box::pin(client.secure(&approach.tls)).await?;
        client.introduce().await?;
        client.log_in(approach.must_log_in).await?;
        Ok(client)
    }

    async fn greeting(&mut self) -> Result<(), Unusable> {
        let reply = self.reply(Stage::Greeting).await?;
        if reply.is_success() {
            Ok(())
        } else {
            Err(Unusable::Greeting(reply))
        }
    }

    pub(super) async fn hello(&mut self) -> Result<(), Unusable> {
        // SMC-05: who speaks for a client goes by its name.
        let client = self.speaks_for.as_ref().and_then(|c| c.helo.as_ref());
        let own = self.target.route.bind_helo.as_ref();
        let name = client.or(own).unwrap_or(&self.settings.me).clone();
        let verb = if self.target.route.lmtp {
            "LHLO"
        } else {
            "EHLO"
        };
        let mut reply = self
            .ask(&format!("{verb} {name}\r\n"), Stage::Hello)
            .await?;
        if reply.is_success() {
            self.extensions = Extensions::from_reply(&reply);
            self.peer.dsn = self.extensions.dsn;
            return Ok(());
        }
        // RFC 5321 §3.2; LMTP has no older greeting
        if reply.is_permanent() && !self.target.route.lmtp {
            reply = self.ask(&format!("HELO {name}\r\n"), Stage::Hello).await?;
            if reply.is_success() {
                return Ok(());
            }
        }
        Err(Unusable::Hello(reply))
    }

    /// Sends a command line and reads its reply.
    pub(super) async fn ask(&mut self, line: &str, stage: Stage) -> Result<Reply, Lost> {
        let within = self.settings.timeouts.of(stage);
        self.remote.command(line.as_bytes(), stage, within).await?;
        self.reply(stage).await
    }

    /// As [`ask`](Client::ask), with a line that nobody may read in the log.
    pub(super) async fn ask_secretly(&mut self, line: &str, stage: Stage) -> Result<Reply, Lost> {
        let within = self.settings.timeouts.of(stage);
        self.remote.secret(line.as_bytes(), stage, within).await?;
        self.reply(stage).await
    }

    pub(super) async fn reply(&mut self, stage: Stage) -> Result<Reply, Lost> {
        self.remote
            .reply(stage, self.settings.timeouts.of(stage))
            .await
    }

    /// Where this connection leads.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// How the host was spoken to.
    pub fn approach(&self) -> &Approach {
        &self.approach
    }

    /// Whether the host takes us for this client, or for ourselves because it knows no other.
    pub fn speaks_for(&self, client: Option<&XClient>) -> bool {
        self.speaks_for.as_ref() == client
            || (self.speaks_for.is_none() && !self.extensions.xclient)
    }

    /// Who is at the other end.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// What it counts as, if it counts.
    pub(crate) fn held(&self) -> Option<&Rc<Held>> {
        self.approach.counted.as_ref()
    }

    /// Messages that were offered over this connection.
    pub fn used(&self) -> u32 {
        self.used
    }

    /// Whether another message can be offered: the host has neither closed nor said a word unasked.
    pub fn is_usable(&mut self) -> bool {
        !self.gone && self.remote.is_quiet()
    }

    /// Takes leave. What the host answers makes no difference to anyone.
    pub async fn quit(mut self) {
        if !self.gone {
            // A host that is gone already is what QUIT asks for.
            drop(self.ask("QUIT\r\n", Stage::Quit).await);
        }
    }
}
