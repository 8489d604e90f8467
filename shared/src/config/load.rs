//! All settings of the core, read together so that everything wrong is told at once.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::INI_FILES;
use super::connection_ini::ConnectionIni;
use super::dir::{ConfigDir, seconds};
use super::effective::{Setting, effective_all};
use super::error::{ConfigError, Problems, Warning};
use super::javascript_ini::JavaScriptIni;
use super::log_ini::LogIni;
use super::mailparser;
use super::net_utils_ini::DnsIni;
use super::outbound_ini::OutboundIni;
use super::shaping_toml::SHAPING_TOML;
use super::smtp_ini::SmtpIni;
use super::tls_ini::TlsIni;
use crate::mime::MimeLimits;
use crate::shaping::Shaping;

/// The settings of the core.
#[derive(Clone, Debug)]
pub struct Config {
    /// `smtp.ini`.
    pub smtp: SmtpIni,
    /// `connection.ini`.
    pub connection: ConnectionIni,
    /// `log.ini`, `loglevel`, `log_timestamps`.
    pub log: LogIni,
    /// `outbound.ini` and the older `outbound.*` files.
    pub outbound: OutboundIni,
    /// `shaping.toml`, over the rules that the program brings.
    pub shaping: Arc<Shaping>,
    /// `javascript.ini`.
    pub scripts: JavaScriptIni,
    /// `net-utils.ini`, section `[dns]`.
    pub dns: DnsIni,
    /// `tls.ini`.
    pub tls: TlsIni,
    /// How much of a message is taken apart: `max.mime_parts` and the `mailparser.*` files (KEY-59).
    pub mime: MimeLimits,
    /// The server's name: `me`, else the host's name (CFS-34).
    pub me: String,
    /// Where the outbound queue is: `queue_dir`, else `queue` in the install directory (CFS-37).
    pub queue_dir: PathBuf,
    /// What a local client must show for the internal commands; `None` turns them off (CFS-35).
    pub internalcmd_key: Option<String>,
    /// `plugins`: names in the order of the file (KEY-56).
    pub plugins: Vec<String>,
    /// The texts of the settings that count after a restart only, to tell whether one has changed.
    pub fixed: Arc<[Setting]>,
}

impl Config {
    /// Where workers keep what they learn of destinations' TLS policies: beside the queue, under its
    /// name with `-tls` at the end, so that two queues never share it.
    pub fn tls_dir(&self) -> PathBuf {
        self.beside_queue("-tls")
    }

    /// Where workers keep what new addresses have sent today: beside the queue, in the same way.
    pub fn warm_up_dir(&self) -> PathBuf {
        self.beside_queue("-warm-up")
    }

    fn beside_queue(&self, end: &str) -> PathBuf {
        let mut path = self.queue_dir.clone().into_os_string();
        path.push(end);
        path.into()
    }

    /// Reads everything. Gives the settings and what an operator should look at, or all errors.
    pub fn load(dir: &ConfigDir) -> Result<(Config, Vec<Warning>), Vec<ConfigError>> {
        match Config::inspect(dir) {
            (Some(config), problems) => Ok((config, problems.warnings)),
            (None, problems) => Err(problems.errors),
        }
    }

    /// Reads everything. Gives all errors and warnings, and the settings if there is no error.
    pub fn inspect(dir: &ConfigDir) -> (Option<Config>, Problems) {
        let mut problems = Problems::default();
        let config = read(dir, &mut problems);
        (config.filter(|_| problems.errors.is_empty()), problems)
    }

    /// The files that it is read from.
    pub fn files() -> Vec<&'static str> {
        let mut files = vec![
            "me",
            "queue_dir",
            "internalcmd_key",
            "plugins",
            "loglevel",
            "log_timestamps",
            "plugin_timeout",
            SHAPING_TOML,
        ];
        files.extend(mailparser::FILES);
        for decl in INI_FILES {
            files.push(decl.name);
            files.extend(decl.rows.iter().filter_map(|row| row.legacy));
        }
        files
    }

    /// Reads the files again and takes what counts while the server runs. A file with an error keeps
    /// what it said before.
    pub fn reread(&self, dir: &ConfigDir) -> (Config, Problems) {
        let mut problems = Problems::default();
        let mut next = self.clone();
        if let Some(newer) = SmtpIni::load(dir, &mut problems) {
            next.smtp.adopt(&newer);
        }
        if let Some(newer) = ConnectionIni::load(dir, &mut problems) {
            next.connection.adopt(&newer);
        }
        if let Some(newer) = OutboundIni::load(dir, &mut problems) {
            next.outbound.adopt(&newer);
        }
        if let Some(newer) = Shaping::load(dir, &mut problems) {
            // Who holds the same rules as before has nothing to do.
            if *next.shaping != newer {
                next.shaping = Arc::new(newer);
            }
        }
        if let Some(newer) = TlsIni::load(dir, &mut problems) {
            next.tls = newer;
        }
        if let Some(newer) = LogIni::load(dir, &mut problems) {
            next.log = newer;
        }
        if let Some(newer) = mailparser::load(dir, &mut problems) {
            next.mime = newer;
        }
        next.mime.max_parts = next.connection.max_mime_parts;
        if let Some(me) = me(dir, &mut problems) {
            next.me = me;
        }
        if let Some(key) = problems.note(dir.value("internalcmd_key")) {
            next.internalcmd_key = key;
        }
        (next, problems)
    }
}

fn read(dir: &ConfigDir, problems: &mut Problems) -> Option<Config> {
    // All are read before the first failure counts.
    let smtp = SmtpIni::load(dir, problems);
    let connection = ConnectionIni::load(dir, problems);
    let log = LogIni::load(dir, problems);
    let outbound = OutboundIni::load(dir, problems);
    let shaping = Shaping::load(dir, problems);
    let scripts = JavaScriptIni::load(dir, problems);
    let dns = DnsIni::load(dir, problems);
    let tls = TlsIni::load(dir, problems);
    let mime = mailparser::load(dir, problems);
    let me = me(dir, problems);
    let queue_dir = queue_dir(dir, problems);
    let internalcmd_key = problems.note(dir.value("internalcmd_key"));
    let plugins = problems.note(dir.list("plugins"));
    check_timeouts(dir, plugins.as_deref().unwrap_or_default(), problems);
    let connection = connection?;
    Some(Config {
        smtp: smtp?,
        mime: MimeLimits {
            max_parts: connection.max_mime_parts,
            ..mime?
        },
        connection,
        log: log?,
        outbound: outbound?,
        shaping: Arc::new(shaping?),
        scripts: scripts?,
        dns: dns?,
        tls: tls?,
        me: me?,
        queue_dir: queue_dir?,
        internalcmd_key: internalcmd_key?,
        plugins: plugins?,
        fixed: fixed(dir).into(),
    })
}

/// The settings that count after a restart only; none if a file cannot be read.
pub fn fixed(dir: &ConfigDir) -> Vec<Setting> {
    let mut all = effective_all(dir).unwrap_or_default();
    all.retain(|setting| !setting.live);
    all
}

fn me(dir: &ConfigDir, problems: &mut Problems) -> Option<String> {
    let Some((at, name)) = problems.note(dir.first_item("me"))? else {
        return Some(host_name());
    };
    // The name becomes part of replies and header fields.
    if name.len() > 255 || name.contains(|c: char| c.is_whitespace() || c.is_control()) {
        problems.errors.push(ConfigError::Value {
            at,
            key: "me".to_owned(),
            why: format!("\"{name}\" is not a host name"),
        });
        return None;
    }
    Some(name)
}

/// The host's own name, or `localhost` on a host without one.
fn host_name() -> String {
    nix::unistd::gethostname()
        .ok()
        .and_then(|name| name.into_string().ok())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "localhost".to_owned())
}

fn queue_dir(dir: &ConfigDir, problems: &mut Problems) -> Option<PathBuf> {
    let Some((at, text)) = problems.note(dir.first_item("queue_dir"))? else {
        return Some(dir.install_dir().join("queue"));
    };
    let path = Path::new(&text);
    if path.is_relative() {
        let text = "is relative; it counts from the install directory, whatever the directory in \
                    which the server is started";
        problems.warnings.push(at.warn(text));
    }
    Some(dir.install_dir().join(path))
}

fn check_timeouts(dir: &ConfigDir, plugins: &[String], problems: &mut Problems) {
    let own = plugins.iter().map(|plugin| {
        let name = plugin.strip_prefix("haraka-plugin-").unwrap_or(plugin);
        format!("{name}.timeout")
    });
    for file in own.chain(["plugin_timeout".to_owned()]) {
        // A plugin's name that is no file name is the plugin loader's to report.
        if dir.path(&file).is_err() {
            continue;
        }
        let Some(Some((at, text))) = problems.note(dir.first_item(&file)) else {
            continue;
        };
        if seconds(&text).is_none() {
            let text = format!("\"{text}\" is not a number of seconds; it does not count");
            problems.warnings.push(at.warn(text));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::TestDir;

    // covers CFS-08, PA-31
    #[test]
    fn empty_directory_gives_a_whole_configuration_without_warnings() {
        // covers CFS-34 CFS-37 PB-43
        let t = TestDir::new();
        let (config, warnings) = Config::load(t.dir()).unwrap();
        assert_eq!(warnings, []);
        assert_eq!(config.me, host_name());
        assert_eq!(config.queue_dir, t.dir().install_dir().join("queue"));
        assert_eq!(config.internalcmd_key, None);
        assert!(config.plugins.is_empty());
    }

    #[test]
    fn value_files_are_taken() {
        // covers CFS-34 CFS-35 CFS-37 KEY-56
        let t = TestDir::new();
        t.write("me", "mail.example.org\n");
        t.write("queue_dir", "/var/spool/q\n");
        t.write("internalcmd_key", "secret");
        t.write("plugins", "# first\ntls\n\nrcpt_to.in_host_list\n");
        let (config, warnings) = Config::load(t.dir()).unwrap();
        assert_eq!(warnings, []);
        assert_eq!(config.me, "mail.example.org");
        assert_eq!(config.queue_dir, Path::new("/var/spool/q"));
        assert_eq!(config.internalcmd_key.as_deref(), Some("secret"));
        assert_eq!(config.plugins, ["tls", "rcpt_to.in_host_list"]);
        t.write("queue_dir", "spool/q");
        let (config, warnings) = Config::load(t.dir()).unwrap();
        assert_eq!(config.queue_dir, t.dir().install_dir().join("spool/q"));
        assert_eq!(warnings.len(), 1);
    }

    #[test]
    fn limits_on_mime_follow_their_files() {
        // covers KEY-26 KEY-59
        let t = TestDir::new();
        t.write("connection.ini", "[max]\nmime_parts=7\n");
        let (config, _) = Config::load(t.dir()).unwrap();
        assert_eq!((config.mime.max_parts, config.mime.max_depth), (7, 100));
        t.write("connection.ini", "[max]\nmime_parts=8\n");
        t.write("mailparser.max_mime_depth", "9");
        let (config, _) = config.reread(t.dir());
        assert_eq!((config.mime.max_parts, config.mime.max_depth), (8, 9));
        t.write("mailparser.max_mime_depth", "deep");
        let (config, problems) = config.reread(t.dir());
        assert_eq!((config.mime.max_parts, config.mime.max_depth), (8, 9));
        assert_eq!(problems.errors.len(), 1);
    }
}
