//! What a plugin that knows passwords is to `base`, which talks with the client (AUT-10).
//!
//! A back end says what it offers to a client and answers whether a login is right. It never speaks
//! to the client, counts failures or waits as a punishment.

use std::borrow::Cow;

use haraka_shared::connection::Connection;
use haraka_shared::plugin::{HookCx, PluginEnv, PluginError};

use super::mechanism::{CramMd5, Mechanism};
use super::secret::Secret;

/// A source of truth about passwords. One method has to be written besides [`Backend::new`]: either
/// [`plain_password`](Backend::plain_password), where passwords are known in the clear, or
/// [`check_plain`](Backend::check_plain), where somebody else is asked.
pub trait Backend: Sized + 'static {
    /// Name in `config/plugins`, in logs and results.
    const NAME: &'static str;

    /// Reads the configuration; an error ends the start.
    fn new(env: &PluginEnv<'_>) -> Result<Self, PluginError>;

    /// What this client may use now, in the order of the EHLO line; nothing hides AUTH from it. The
    /// usual answer is for clients under TLS only (AUT-01).
    fn offers(&self, connection: &Connection) -> Vec<Mechanism> {
        if connection.tls.borrow().is_some() {
            vec![Mechanism::Plain, Mechanism::Login]
        } else {
            Vec::new()
        }
    }

    /// The rules as they are configured now.
    fn rules(&self) -> Rules {
        Rules::default()
    }

    /// The user's password in the clear; `None` if there is no such user or it is not known.
    fn plain_password(&self, cx: &HookCx, user: &str) -> impl Future<Output = Option<Secret>> {
        let _ = (cx, user);
        std::future::ready(None)
    }

    /// Whether this is the user's password (PLAIN and LOGIN). Neither is empty; `user` may hold any
    /// character.
    fn check_plain(
        &self,
        cx: &HookCx,
        user: &str,
        password: &Secret,
    ) -> impl Future<Output = Answer> {
        async move {
            match self.plain_password(cx, user).await {
                Some(known) => Answer::accept_if(known.matches(password)),
                None => Answer::refused(),
            }
        }
    }

    /// Whether the client knows the user's password (CRAM-MD5).
    fn check_cram_md5(&self, cx: &HookCx, login: &CramMd5) -> impl Future<Output = Answer> {
        async move {
            match self.plain_password(cx, &login.user).await {
                Some(known) => Answer::accept_if(login.proves(&known)),
                None => Answer::refused(),
            }
        }
    }
}

/// What an installation can set about AUTH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Failed logins after which the connection is closed; 0 for no limit, as in Haraka.
    pub max_failures: u32,
    /// The sender's organizational domain must be that of the user (AUT-11). Whether the hook is
    /// taken at all is settled at start.
    pub constrain_sender: bool,
    /// Do not leave the password in the note `auth_passwd` for other plugins.
    pub blankout_password: bool,
}

impl Rules {
    /// [`Rules::max_failures`] where nothing is configured.
    pub const MAX_FAILURES: u32 = 3;
}

impl Default for Rules {
    fn default() -> Rules {
        Rules {
            max_failures: Rules::MAX_FAILURES,
            constrain_sender: false,
            blankout_password: false,
        }
    }
}

/// What a back end says about a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Whether the client is who it says.
    pub finding: Finding,
    /// Code of the reply, if not the usual one.
    pub code: Option<u16>,
    /// Text of the reply, if not the usual one, with its enhanced status code.
    pub text: Option<Cow<'static, str>>,
}

/// See [`Answer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// The password is right: `235 2.7.0 Authentication successful`.
    Accepted,
    /// It is not, or there is no such user: `535 5.7.8 Authentication failed`. Counts as a failure
    /// and is answered with a delay.
    Refused,
    /// Nobody can tell now: `454 4.7.0 Temporary authentication failure`. Does not count.
    Unavailable,
}

impl Answer {
    /// The password is right.
    #[must_use]
    pub const fn accepted() -> Answer {
        Answer::of(Finding::Accepted)
    }

    /// It is not, or there is no such user.
    #[must_use]
    pub const fn refused() -> Answer {
        Answer::of(Finding::Refused)
    }

    /// Nobody can tell now.
    #[must_use]
    pub const fn unavailable() -> Answer {
        Answer::of(Finding::Unavailable)
    }

    /// Accepted if this holds, else refused.
    #[must_use]
    pub const fn accept_if(right: bool) -> Answer {
        if right {
            Answer::accepted()
        } else {
            Answer::refused()
        }
    }

    const fn of(finding: Finding) -> Answer {
        Answer {
            finding,
            code: None,
            text: None,
        }
    }

    /// With a text of its own.
    #[must_use]
    pub fn saying(mut self, text: impl Into<Cow<'static, str>>) -> Answer {
        self.text = Some(text.into());
        self
    }

    /// With a code of its own.
    #[must_use]
    pub const fn with_code(mut self, code: u16) -> Answer {
        self.code = Some(code);
        self
    }
}
