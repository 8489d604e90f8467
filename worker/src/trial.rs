//! `haraka -t PLUGIN`: one message driven through named plugins, without a network (CLI-12, CLI-13).
//!
//! Walks the hooks of a session in their order with a client that does not exist, says what each hook
//! came to, and stops at the first denial unless told to go on. The plugins are real: one that stores
//! or forwards mail does so.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path as FilePath;
use std::rc::Rc;

use haraka_shared::address::{Address, Limits};
use haraka_shared::body::BodyWriter;
use haraka_shared::config::{Config, ConfigDir, Watch};
use haraka_shared::connection::{Connection, HelloVerb, Local};
use haraka_shared::header::{Header, HeaderLimits};
use haraka_shared::hook::{Call, Code, Path, Verdict};
use haraka_shared::message_stream::ReadOptions;
use haraka_shared::mime::{MimeError, MimeLimits, MimeTree, PartKind};
use haraka_shared::stuffing::Stuffer;
use haraka_shared::transaction::Transaction;

use crate::hooks::{Registry, Subject};
use crate::life::{WorkerError, lone_worker};
use crate::rt::{self, Runtime};
use crate::worker::Worker;

/// What to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trial {
    /// These plugins in this order; `None` for those of `config/plugins`.
    pub plugins: Option<Vec<String>>,
    /// The client's address.
    pub ip: IpAddr,
    /// How it introduces itself.
    pub hello: (HelloVerb, String),
    /// Its sender.
    pub from: String,
    /// Its recipients.
    pub to: Vec<String>,
    /// The message, with any line ends.
    pub message: Vec<u8>,
    /// Write the type of each part of the message, and its text.
    pub dump_mime: bool,
    /// Write the message as plugins left it.
    pub dump_stream: bool,
    /// Go on after a denial.
    pub skip_deny: bool,
    /// The client may send anywhere.
    pub relaying: bool,
}

impl Default for Trial {
    fn default() -> Trial {
        Trial {
            plugins: None,
            ip: IpAddr::V4(Ipv4Addr::new(1, 2, 3, 4)),
            hello: (HelloVerb::Ehlo, "test.example.com".to_owned()),
            from: "test@example.com".to_owned(),
            to: vec!["test@example.com".to_owned()],
            message: Vec::new(),
            dump_mime: false,
            dump_stream: false,
            skip_deny: false,
            relaying: false,
        }
    }
}

/// Runs the trial and reports on `out`. True if no hook denied.
pub fn trial(
    config: &Config,
    install_dir: &FilePath,
    trial: &Trial,
    out: &mut dyn Write,
) -> Result<bool, WorkerError> {
    let from = envelope(&trial.from)?;
    let to: Vec<Path> = trial
        .to
        .iter()
        .map(|t| envelope(t))
        .collect::<Result<_, _>>()?;
    let runtime = Runtime::new().map_err(failed("event loop"))?;
    runtime.block_on(async {
        let dir = ConfigDir::open(install_dir)?;
        let watch = Watch::new();
        let hooks = match &trial.plugins {
            Some(names) => Registry::load_these(names, config, &dir, &watch)?,
            None => Registry::load(config, &dir, install_dir, &watch)?,
        };
        let mut course = Course {
            worker: lone_worker(config, dir, hooks, watch)?,
            conn: client(trial),
            trial,
            out,
            denied: false,
        };
        let done = Box::pin(course.run(from, to)).await;
        course.worker.hooks.shutdown().await;
        done.map_err(failed("output")).map(|()| !course.denied)
    })
}

fn failed(what: &'static str) -> impl Fn(std::io::Error) -> WorkerError {
    move |error| WorkerError::System { what, error }
}

/// An address as it is given on a command line, with or without angle brackets.
fn envelope(text: &str) -> Result<Path, WorkerError> {
    let bracketed = if text.starts_with('<') {
        text.to_owned()
    } else {
        format!("<{text}>")
    };
    let address = Address::parse(&bracketed, Limits::default())
        .map_err(|e| WorkerError::Trial(format!("{text}: {e}")))?;
    Ok(Path {
        address,
        params: Vec::new(),
    })
}

fn client(trial: &Trial) -> Connection {
    let here = Local {
        ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
        port: 25,
    };
    let conn = Connection::new(trial.ip, 1234, here, rt::now());
    conn.set_relaying(trial.relaying);
    conn
}

/// Why a trial goes no further.
enum Stop {
    /// A hook denied.
    Denied,
    /// Nobody takes what it says.
    Output(std::io::Error),
    /// The message has more parts than allowed.
    Mime(MimeError),
}

impl From<MimeError> for Stop {
    fn from(error: MimeError) -> Stop {
        Stop::Mime(error)
    }
}

impl From<std::io::Error> for Stop {
    fn from(error: std::io::Error) -> Stop {
        Stop::Output(error)
    }
}

/// A trial under way.
struct Course<'a> {
    worker: Rc<Worker>,
    conn: Connection,
    trial: &'a Trial,
    out: &'a mut dyn Write,
    denied: bool,
}

impl Course<'_> {
    async fn run(&mut self, from: Path, to: Vec<Path>) -> std::io::Result<()> {
        match self.session(from, to).await {
            // Denied or not, the session comes to its end.
            Ok(()) | Err(Stop::Denied) => {}
            Err(Stop::Output(e)) => return Err(e),
            Err(Stop::Mime(e)) => {
                self.denied = true;
                writeln!(self.out, "message not taken apart: {e}")?;
            }
        }
        self.ask(Call::Quit(())).await?;
        if self.conn.transaction().is_some() {
            self.ask(Call::ResetTransaction(())).await?;
            self.conn.set_transaction(None);
        }
        self.ask(Call::Disconnect(())).await?;
        Ok(())
    }

    async fn session(&mut self, from: Path, to: Vec<Path>) -> Result<(), Stop> {
        self.ask(Call::ConnectInit(())).await?;
        let found = self.decide(Call::LookupRdns(())).await?;
        if found.code == Code::Ok {
            let name = found.message.text().unwrap_or("Unknown".into());
            self.conn.set_remote_host(&name);
        }
        self.decide(Call::Connect(())).await?;
        let (verb, host) = &self.trial.hello;
        *self.conn.hello.borrow_mut() = Some((*verb, Rc::from(host.as_str())));
        self.conn.esmtp.set(*verb == HelloVerb::Ehlo);
        let hello = match verb {
            HelloVerb::Ehlo => Call::Ehlo(host),
            HelloVerb::Helo => Call::Helo(host),
        };
        self.decide(hello).await?;

        let number = self.conn.tran_count.get() + 1;
        self.conn.tran_count.set(number);
        let uuid = format!("{:X}.{number}", self.conn.uuid.hyphenated());
        let txn = Transaction::new(uuid, from);
        self.conn.set_transaction(Some(txn.clone()));
        self.decide(Call::Mail(&txn.mail_from())).await?;
        for to in &to {
            txn.push_recipient(to.address.clone(), to.params.clone());
            let verdict = self.decide(Call::Rcpt(to)).await?;
            if verdict.code == Code::Ok {
                self.decide(Call::RcptOk(&to.address)).await?;
            }
        }
        self.decide(Call::Data(())).await?;
        fill(&txn, &self.trial.message);
        let services = self.worker.services();
        let limits = self.worker.settings().mime;
        txn.prepare_body(&*services, limits).await?;
        self.decide(Call::DataPost(())).await?;
        if self.trial.dump_mime {
            parts(&txn.parse_mime(&*services, limits).await?, limits, self.out)?;
        }
        if self.trial.dump_stream {
            writeln!(self.out, "STREAM:")?;
            dump(&txn, self.out)?;
        }
        let verdict = self.decide(Call::Queue(())).await?;
        let said = verdict.message.text().unwrap_or_default();
        self.ask(Call::QueueOk(&said)).await?;
        Ok(())
    }

    /// Asks a hook whose denial ends the session, unless that is not wanted.
    async fn decide(&mut self, call: Call<'_>) -> Result<Verdict, Stop> {
        let verdict = self.ask(call).await?;
        if verdict.code.denies() || verdict.code == Code::Disconnect {
            self.denied = true;
            if !self.trial.skip_deny {
                return Err(Stop::Denied);
            }
        }
        Ok(verdict)
    }

    /// Asks the plugins and says what came of it; a hook that none of them wants is passed over.
    async fn ask(&mut self, call: Call<'_>) -> std::io::Result<Verdict> {
        if !self.worker.hooks.wants(call.hook()) {
            return Ok(Verdict::CONT);
        }
        let subject = Subject {
            connection: Some(&self.conn),
            delivery: None,
            services: &self.worker.services(),
        };
        let verdict = self.worker.hooks.run(call, &subject).await;
        let (hook, code) = (call.hook().name(), verdict.code.name());
        match verdict.message.text() {
            Some(text) => writeln!(self.out, "{hook}: {code} {text}")?,
            None => writeln!(self.out, "{hook}: {code}")?,
        }
        Ok(verdict)
    }
}

/// Puts the message into the transaction, in stored form.
fn fill(txn: &Transaction, message: &[u8]) {
    let mut stored = Vec::with_capacity(message.len() + 64);
    let mut stuffer = Stuffer::new();
    stuffer.push(message, &mut |piece| stored.extend_from_slice(piece));
    stuffer.finish(&mut |piece| stored.extend_from_slice(piece));
    let (header, at) = Header::split(&stored, HeaderLimits::default());
    let mut body = BodyWriter::default();
    body.push(stored.get(at..).unwrap_or_default());
    *txn.header.borrow_mut() = header;
    *txn.body.borrow_mut() = body.finish();
    txn.data_bytes.set(stored.len() as u64);
}

/// Writes what the message consists of, each part before those in it.
fn parts(tree: &MimeTree, limits: MimeLimits, out: &mut dyn Write) -> std::io::Result<()> {
    for (index, part) in tree.parts().iter().enumerate() {
        writeln!(out, "Found MIME part {}", part.content_type())?;
        match part.kind() {
            PartKind::Text => {
                let text = tree.text(index, limits.max_buffered)?;
                writeln!(out, "{}", text.text.trim_end_matches('\n'))?;
            }
            PartKind::Attachment => writeln!(out, "(attachment {:?})", part.filename())?,
            PartKind::Multipart => {}
        }
    }
    Ok(())
}

/// Writes the message as it is in the transaction now, without dot-stuffing.
fn dump(txn: &Transaction, mut out: &mut dyn Write) -> std::io::Result<()> {
    txn.reader(ReadOptions::default()).write_to(&mut out)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;

    struct Install(PathBuf);

    impl Install {
        fn new(name: &str) -> Install {
            let name = format!("haraka-trial-{}-{name}", std::process::id());
            let dir = std::env::temp_dir().join(name);
            for folder in ["config", "queue"] {
                fs::create_dir_all(dir.join(folder)).unwrap();
            }
            for (file, text) in [
                ("host_list", "here.test\n"),
                ("skeleton", "bob@example.com\n"),
                ("plugins", "rcpt_to.in_host_list\nskeleton\n"),
            ] {
                fs::write(dir.join("config").join(file), text).unwrap();
            }
            Install(dir)
        }

        fn runs(&self, this: &Trial) -> (bool, String) {
            let (config, _) = Config::load(&ConfigDir::open(&self.0).unwrap()).unwrap();
            let mut out = Vec::new();
            let passed = trial(&config, &self.0, this, &mut out).unwrap();
            (passed, String::from_utf8(out).unwrap())
        }
    }

    impl Drop for Install {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    fn names(names: &[&str]) -> Option<Vec<String>> {
        Some(names.iter().map(|n| (*n).to_owned()).collect())
    }

    // covers CLI-12
    #[test]
    fn only_the_named_plugins_run_each_hook_in_the_order_of_a_session() {
        let install = Install::new("named");
        let bob = Trial {
            to: vec!["bob@example.com".to_owned(), "<x@here.test>".to_owned()],
            ..Trial::default()
        };
        let (passed, said) = install.runs(&Trial {
            plugins: names(&["skeleton"]),
            ..bob.clone()
        });
        assert!(passed);
        assert_eq!(said, "rcpt: OK\nrcpt: CONT\n");
        let (_, said) = install.runs(&bob);
        assert_eq!(said, "mail: CONT\nrcpt: OK\nrcpt: OK\n");
    }

    // covers CLI-13
    #[test]
    fn the_stream_is_the_message_with_plain_dots_and_crlf() {
        let install = Install::new("stream");
        let (_, said) = install.runs(&Trial {
            plugins: names(&[]),
            message: b"Subject: a\n\n.dot\n..\nend".to_vec(),
            dump_stream: true,
            ..Trial::default()
        });
        assert_eq!(said, "STREAM:\nSubject: a\r\n\r\n.dot\r\n..\r\nend\r\n");
    }

    // covers CLI-13
    #[test]
    fn each_part_is_shown_with_its_type_and_decoded_text() {
        let install = Install::new("mime");
        let message = "Content-Type: multipart/mixed; boundary=b\n\n\
            --b\nContent-Type: text/plain; charset=iso-8859-1\n\
            Content-Transfer-Encoding: quoted-printable\n\ncaf=E9\n\
            --b\nContent-Type: image/png\n\
            Content-Disposition: attachment; filename=x.png\n\nxx\n--b--\n";
        let (passed, said) = install.runs(&Trial {
            plugins: names(&[]),
            message: message.into(),
            dump_mime: true,
            ..Trial::default()
        });
        assert!(passed);
        assert_eq!(
            said,
            "Found MIME part multipart/mixed; boundary=b\n\
             Found MIME part text/plain; charset=iso-8859-1\ncafé\n\
             Found MIME part image/png\n(attachment \"x.png\")\n"
        );
    }

    // covers CLI-12, CLI-13, HOK-19
    #[test]
    fn a_denial_ends_the_session_unless_it_is_to_be_skipped() {
        let wants = |hook| haraka_shared::plugin::Wants::hook(hook);
        use haraka_shared::hook::HookName::{Data, Disconnect, Mail, Quit};
        let judge = || {
            let hooks = [wants(Mail), wants(Data), wants(Quit), wants(Disconnect)];
            crate::hooks::tests::script::plugin("judge", &hooks, |call, _| {
                let verdict = match call {
                    Call::Mail(_) => Verdict::deny("not you"),
                    _ => Verdict::CONT,
                };
                Box::pin(async move { verdict })
            })
        };
        let install = Install::new("denial");
        let course = |skip_deny| {
            let this = Trial {
                skip_deny,
                ..Trial::default()
            };
            let (config, _) = Config::load(&ConfigDir::open(&install.0).unwrap()).unwrap();
            let mut out = Vec::new();
            let denied = Runtime::new().unwrap().block_on(async {
                let dir = ConfigDir::open(&install.0).unwrap();
                let hooks = Registry::build(vec![judge()]);
                let mut course = Course {
                    worker: lone_worker(&config, dir, hooks, Watch::new()).unwrap(),
                    conn: client(&this),
                    trial: &this,
                    out: &mut out,
                    denied: false,
                };
                let (from, to) = (envelope("a@b.c").unwrap(), vec![envelope("d@e.f").unwrap()]);
                course.run(from, to).await.unwrap();
                course.denied
            });
            (denied, String::from_utf8(out).unwrap())
        };
        let end = "quit: CONT\ndisconnect: CONT\n";
        assert_eq!(course(false), (true, format!("mail: DENY not you\n{end}")));
        assert_eq!(
            course(true),
            (true, format!("mail: DENY not you\ndata: CONT\n{end}"))
        );
    }

    // covers CLI-13
    #[test]
    fn an_address_that_is_none_is_said_before_any_plugin_runs() {
        let install = Install::new("address");
        let (config, _) = Config::load(&ConfigDir::open(&install.0).unwrap()).unwrap();
        let this = Trial {
            from: "a@@b".to_owned(),
            ..Trial::default()
        };
        let refused = trial(&config, &install.0, &this, &mut Vec::new()).unwrap_err();
        assert!(refused.to_string().starts_with("a@@b: "), "{refused}");
    }
}
