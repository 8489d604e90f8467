//! The table of all hooks, and what a hook may answer.
//!
//! Each hook is declared once, in `hooks!` below: its name as Haraka's documentation gives it, what
//! it is called with, and its policy. Dispatch, the run-order listing, the documentation page and the
//! script glue all come from this table.

use std::borrow::Cow;
use std::future::Future;
use std::pin::Pin;

use crate::address::Address;
use crate::delivery::{Bounced, Deferral, Delivered, Delivery};
use crate::log::Line;
use crate::plugin::HookCx;
use crate::reply::Reply;
use crate::route::Route;

/// What a plugin answers, by Haraka's names and numbers (area HOK).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Code {
    /// Nothing to say: ask the next plugin.
    Cont = 900,
    /// End the chain without a verdict.
    Stop = 901,
    /// Refuse for good.
    Deny = 902,
    /// Refuse for now.
    DenySoft = 903,
    /// Refuse for good and close.
    DenyDisconnect = 904,
    /// Close (connect and lookup_rdns only).
    Disconnect = 905,
    /// Accept; what that means depends on the hook (PA-03).
    Ok = 906,
    /// Run the hook named in the message (unrecognized_command only).
    NextHook = 907,
    /// Try later (send_email only).
    Delay = 908,
    /// Refuse for now and close.
    DenySoftDisconnect = 909,
}

impl Code {
    /// The name in log lines and results.
    pub fn name(self) -> &'static str {
        match self {
            Code::Cont => "CONT",
            Code::Stop => "STOP",
            Code::Deny => "DENY",
            Code::DenySoft => "DENYSOFT",
            Code::DenyDisconnect => "DENYDISCONNECT",
            Code::Disconnect => "DISCONNECT",
            Code::Ok => "OK",
            Code::NextHook => "NEXT_HOOK",
            Code::Delay => "DELAY",
            Code::DenySoftDisconnect => "DENYSOFTDISCONNECT",
        }
    }

    /// Whether the `deny` hook is asked about it (HOK-23).
    pub fn denies(self) -> bool {
        matches!(
            self,
            Code::Deny | Code::DenySoft | Code::DenyDisconnect | Code::DenySoftDisconnect
        )
    }
}

/// What a plugin says beside its code.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Message {
    /// Nothing: the hook's own text is used.
    #[default]
    None,
    /// Text for the peer, or a value such as a host name; line breaks make a multi-line reply.
    Text(Cow<'static, str>),
    /// A reply that also sets the code (DSN objects, CON-52).
    Reply(Reply),
    /// Seconds (send_email's DELAY, deferred's DENYSOFT).
    Seconds(f64),
    /// Where to deliver (get_mx).
    Routes(Vec<Route>),
}

impl Message {
    /// The text, if it is text or a reply; empty counts as none.
    pub fn text(&self) -> Option<Cow<'_, str>> {
        match self {
            Message::Text(t) if !t.is_empty() => Some(Cow::Borrowed(t)),
            Message::Reply(r) => Some(Cow::Borrowed(r.text())),
            _ => None,
        }
    }
}

/// A plugin's answer to one hook call, or that of the whole chain.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// What to do.
    pub code: Code,
    /// What to say.
    pub message: Message,
}

impl Verdict {
    /// The answer of a plugin that has nothing to say.
    pub const CONT: Verdict = Verdict {
        code: Code::Cont,
        message: Message::None,
    };
    /// Accept without a text.
    pub const OK: Verdict = Verdict {
        code: Code::Ok,
        message: Message::None,
    };

    /// A code with a text for the peer.
    pub fn new(code: Code, text: impl Into<Cow<'static, str>>) -> Verdict {
        Verdict {
            code,
            message: Message::Text(text.into()),
        }
    }

    /// Refuse for good with this text.
    pub fn deny(text: impl Into<Cow<'static, str>>) -> Verdict {
        Verdict::new(Code::Deny, text)
    }

    /// Refuse for now with this text.
    pub fn deny_soft(text: impl Into<Cow<'static, str>>) -> Verdict {
        Verdict::new(Code::DenySoft, text)
    }

    /// Accept with this text.
    pub fn ok(text: impl Into<Cow<'static, str>>) -> Verdict {
        Verdict::new(Code::Ok, text)
    }

    /// Deliver by these routes, in this order (get_mx).
    pub fn routes(routes: Vec<Route>) -> Verdict {
        Verdict {
            code: Code::Ok,
            message: Message::Routes(routes),
        }
    }
}

impl From<Code> for Verdict {
    fn from(code: Code) -> Verdict {
        Verdict {
            code,
            message: Message::None,
        }
    }
}

/// ESMTP parameters: upper-cased keys, values as given (CON-27).
pub type Params = Vec<(String, Option<String>)>;

/// An address with the ESMTP parameters of its command (mail, rcpt).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// The sender or recipient.
    pub address: Address,
    /// The parameters that came with it.
    pub params: Params,
}

/// A command line that no verb handles.
#[derive(Clone, Copy, Debug)]
pub struct UnknownCommand<'a> {
    /// The text before the first space.
    pub verb: &'a str,
    /// The rest of the line.
    pub rest: &'a str,
    /// It answers a challenge of AUTH and is not for the log (LOG-16).
    pub secret: bool,
}

impl<'a> UnknownCommand<'a> {
    /// A command, not an answer to a challenge.
    #[must_use]
    pub const fn new(verb: &'a str, rest: &'a str) -> UnknownCommand<'a> {
        UnknownCommand {
            verb,
            rest,
            secret: false,
        }
    }
}

/// A denial that the `deny` hook may cancel (HOK-23).
#[derive(Clone)]
pub struct Denial<'a> {
    /// What was answered.
    pub verdict: Verdict,
    /// The plugin that answered.
    pub plugin: std::rc::Rc<str>,
    /// Its method.
    pub method: std::rc::Rc<str>,
    /// The hook that was running, with its arguments.
    pub call: Call<'a>,
}

impl Denial<'_> {
    /// The hook that was running.
    pub fn hook(&self) -> HookName {
        self.call.hook()
    }
}

/// The future that one hook call gives.
pub type HookFuture<'a> = Pin<Box<dyn Future<Output = Verdict> + 'a>>;

/// How dispatch treats a hook.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Name in Haraka's documentation and in plugins.
    pub name: &'static str,
    /// What the plugin is called with, as the documentation writes it.
    pub arguments: &'static str,
    /// Every plugin runs whatever the others answer (HOK-05, HOK-22).
    pub runs_all: bool,
    /// Runs although the client has gone (HOK-35).
    pub required: bool,
    /// A denial is first put to the `deny` hook (HOK-23).
    pub deniable: bool,
    /// The answer counts; otherwise the hook only watches.
    pub decides: bool,
    /// What the answer means, one line.
    pub meaning: &'static str,
}

/// A plugin as its author writes it is turned into this; scripts make the same.
pub trait Handler {
    /// Runs the plugin's method for this call.
    fn call<'a>(&'a self, call: Call<'a>, cx: &'a HookCx) -> HookFuture<'a>;

    /// Who answers for the method of this index among what the plugin wants, where that is not the
    /// plugin itself: scripts have several methods for a hook.
    fn method(&self, _index: usize) -> Option<std::rc::Rc<dyn Handler>> {
        None
    }

    /// The worker ends; what the plugin holds can be put away (PLG-15).
    fn shutdown(&self) {}
}

/// Every plugin runs whatever the others answer.
const RUNS_ALL: u8 = 1;
/// Runs although the client has gone.
const REQUIRED: u8 = 2;
/// The answer is ignored.
const OBSERVES: u8 = 4;
/// A denial is not put to the `deny` hook.
const UNDENIABLE: u8 = 8;

macro_rules! hooks {
    ($(
        $variant:ident = $name:literal, fn $method:ident($arg:ident: $ty:ty), $arguments:literal,
        [$($flag:ident),*], $meaning:literal;
    )*) => {
        /// Every hook of the server.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum HookName { $(#[doc = $meaning] $variant),* }

        impl HookName {
            /// All hooks, in the order of a session.
            pub const ALL: &'static [HookName] = &[$(HookName::$variant),*];
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// How dispatch treats this hook.
            pub fn policy(self) -> &'static Policy {
                match self {
                    $(HookName::$variant => {
                        const FLAGS: u8 = 0 $(| $flag)*;
                        const POLICY: Policy = Policy {
                            name: $name,
                            arguments: $arguments,
                            runs_all: FLAGS & RUNS_ALL != 0,
                            required: FLAGS & REQUIRED != 0,
                            deniable: FLAGS & UNDENIABLE == 0,
                            decides: FLAGS & OBSERVES == 0,
                            meaning: $meaning,
                        };
                        &POLICY
                    })*
                }
            }

            /// The name in Haraka's documentation.
            pub fn name(self) -> &'static str { self.policy().name }

            /// The hook of this name.
            pub fn parse(name: &str) -> Option<HookName> {
                match name { $($name => Some(HookName::$variant),)* _ => None }
            }
        }

        /// One hook call with its arguments.
        #[derive(Clone, Copy)]
        pub enum Call<'a> { $(#[doc = $arguments] $variant($ty)),* }

        impl Call<'_> {
            /// The hook that is called.
            pub fn hook(&self) -> HookName {
                match self { $(Call::$variant(_) => HookName::$variant),* }
            }
        }

        impl Call<'_> {
            /// The first argument as log lines show it (HOK-38).
            pub fn shown(&self) -> String {
                match self { $(Call::$variant(arg) => Shown::shown(arg)),* }
            }
        }

        /// A native plugin's methods, one for each hook, all optional. See [`crate::plugin::Plugin`].
        pub trait Hooks: 'static {
            $(
                #[doc = $meaning]
                fn $method<'a>(&'a self, cx: &'a HookCx, $arg: $ty) -> impl Future<Output = Verdict> + 'a {
                    let _ = (cx, $arg);
                    std::future::ready(Verdict::CONT)
                }
            )*
        }

        /// Calls the method of a native plugin that belongs to the hook.
        pub fn dispatch<'a, P: Hooks>(plugin: &'a P, call: Call<'a>, cx: &'a HookCx) -> HookFuture<'a> {
            match call { $(Call::$variant(arg) => Box::pin(plugin.$method(cx, arg))),* }
        }
    };
}

/// How an argument looks in a log line.
trait Shown {
    fn shown(&self) -> String;
}

macro_rules! shown {
    ($($ty:ty: $x:ident => $text:expr;)*) => {
        $(impl Shown for $ty { fn shown(&self) -> String { let $x = self; $text } })*
    };
}

shown! {
    (): _x => String::new();
    &str: x => (*x).to_owned();
    &Path: x => x.address.to_string();
    &Address: _x => String::new();
    UnknownCommand<'_>: x => if x.secret { "[redacted]" } else { x.verb }.to_owned();
    &Denial<'_>: x => x.verdict.code.name().to_owned();
    &Delivery: x => x.domain.borrow().clone();
    &Deferral: x => x.error.clone();
    &Bounced: x => x.error.clone();
    &Delivered: x => x.host.clone();
    &Line: x => x.level.name().to_owned();
}

hooks! {
    InitMaster = "init_master", fn init_master(_none: ()), "server", [UNDENIABLE],
        "once, before workers start; anything but OK or CONT ends the server";
    InitChild = "init_child", fn init_child(_none: ()), "server", [UNDENIABLE],
        "in each worker, before it accepts; anything but OK or CONT ends the worker";
    InitHttp = "init_http", fn init_http(_none: ()), "server", [UNDENIABLE, OBSERVES],
        "the HTTP server exists and takes routes";
    InitWss = "init_wss", fn init_wss(_none: ()), "server", [UNDENIABLE, OBSERVES],
        "the websocket server exists";
    ConnectInit = "connect_init", fn connect_init(_none: ()), "connection", [RUNS_ALL, OBSERVES],
        "a client connected; every plugin runs, answers are ignored";
    LookupRdns = "lookup_rdns", fn lookup_rdns(_none: ()), "connection", [],
        "OK with a name sets the client's host name; CONT asks the DNS";
    Connect = "connect", fn connect(_none: ()), "connection", [],
        "before the banner; the text replaces it";
    Capabilities = "capabilities", fn capabilities(_none: ()), "connection", [OBSERVES],
        "push lines to connection.capabilities";
    Helo = "helo", fn helo(host: &'a str), "connection, hostname", [],
        "the client said HELO";
    Ehlo = "ehlo", fn ehlo(host: &'a str), "connection, hostname", [],
        "the client said EHLO";
    Mail = "mail", fn mail(from: &'a Path), "connection, [from, params]", [],
        "the sender; OK and CONT accept";
    Rcpt = "rcpt", fn rcpt(to: &'a Path), "connection, [rcpt, params]", [],
        "a recipient; needs OK unless relaying";
    RcptOk = "rcpt_ok", fn rcpt_ok(to: &'a Address), "connection, rcpt", [],
        "a recipient that a plugin vouched for";
    Data = "data", fn data(_none: ()), "connection", [],
        "before 354";
    DataPost = "data_post", fn data_post(_none: ()), "connection", [],
        "the whole message is here";
    MaxDataExceeded = "max_data_exceeded", fn max_data_exceeded(_none: ()), "connection", [],
        "the message was too big; DENYSOFT answers 450 instead of 550";
    Queue = "queue", fn queue(_none: ()), "connection", [],
        "take the message; OK says it is stored";
    QueueOutbound = "queue_outbound", fn queue_outbound(_none: ()), "connection", [],
        "take a relayed message; CONT by all gives it to the built-in queue";
    QueueOk = "queue_ok", fn queue_ok(text: &'a str), "connection, msg", [OBSERVES],
        "the message was queued";
    ResetTransaction = "reset_transaction", fn reset_transaction(_none: ()), "connection",
        [REQUIRED, OBSERVES], "the transaction ends";
    Rset = "rset", fn rset(_none: ()), "connection", [OBSERVES],
        "the client said RSET";
    Noop = "noop", fn noop(_none: ()), "connection", [],
        "the client said NOOP";
    Vrfy = "vrfy", fn vrfy(_none: ()), "connection", [],
        "the client said VRFY; OK says that the user exists";
    Quit = "quit", fn quit(_none: ()), "connection", [OBSERVES],
        "the client said QUIT; the text replaces the farewell";
    UnrecognizedCommand = "unrecognized_command", fn unrecognized_command(command: UnknownCommand<'a>),
        "connection, [cmd, rest]", [], "a verb of no built-in command; OK says it was answered";
    Deny = "deny", fn deny(denial: &'a Denial<'a>),
        "connection|hmail, [code, msg, plugin, function, params, hook]", [UNDENIABLE],
        "another plugin refused; OK cancels that";
    Disconnect = "disconnect", fn disconnect(_none: ()), "connection", [RUNS_ALL, REQUIRED, OBSERVES],
        "the connection ends; every plugin runs";
    Log = "log", fn log(line: &'a Line), "logger, {level, data, obj}", [UNDENIABLE],
        "a line is logged; anything but CONT keeps it from standard output";
    PreSendTransEmail = "pre_send_trans_email", fn pre_send_trans_email(_none: ()), "connection",
        [OBSERVES], "before the queue files are written";
    SendEmail = "send_email", fn send_email(item: &'a Delivery), "hmail", [],
        "before a delivery; DELAY with seconds postpones it, any other answer delivers";
    GetMx = "get_mx", fn get_mx(item: &'a Delivery), "hmail, domain", [],
        "OK with one or several routes sets where to deliver, in their order; DENY bounces, DENYSOFT defers";
    Deferred = "deferred", fn deferred(deferral: &'a Deferral), "hmail, {delay, err, fail_recips, mx}", [],
        "a delivery failed for now; DENYSOFT with seconds sets the delay, OK drops the mail";
    Bounce = "bounce", fn bounce(bounced: &'a Bounced), "hmail, error{mx, bounced_rcpt, deferred_rcpt}",
        [],
        "a delivery failed for good; anything but CONT suppresses the bounce message";
    DeliveredOk = "delivered", fn delivered(delivered: &'a Delivered),
        "hmail, [host, ip, response, delay, port, mode, ok_recips, secured, authenticated]", [OBSERVES],
        "a delivery succeeded";
}
