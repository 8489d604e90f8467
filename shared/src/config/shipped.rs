//! What Haraka's own `config/` sets, for plugins of a single file that read the core's files (CFS-07).
//!
//! Only what is active there. Lists that grant something (recipients' domains, trusted clients) are
//! left out: a file that an operator does not have must not let anybody in.

/// The content of the file of this name; `None` if Haraka ships none, or one without settings.
pub(super) fn file(name: &str) -> Option<&'static [u8]> {
    let found = FILES.iter().find(|(known, _)| *known == name);
    found.map(|(_, text)| text.as_bytes())
}

const FILES: &[(&str, &str)] = &[
    ("auth_flat_file.ini", "[core]\nmethods=CRAM-MD5\n[users]\n"),
    (
        "auth_vpopmaild.ini",
        "[main]\nhost=127.0.0.6\nport=89\n[example.com]\nhost=127.0.0.10\n",
    ),
    ("connection.ini", CONNECTION),
    (
        "log.ini",
        "[main]\nlevel=info\ntimestamps=false\nformat=default\n",
    ),
    ("smtp_bridge.ini", "host=localhost\n"),
    ("smtp_forward.ini", FORWARD),
    ("smtp_proxy.ini", FORWARD),
    ("tarpit.timeout", "0\n"),
    (
        "tls.ini",
        "[redis]\n[no_tls_hosts]\n[mutual_auth_hosts]\n[mutual_auth_hosts_exclude]\n[outbound]\n",
    ),
];

const FORWARD: &str = "host=localhost\nport=2555\n[tls]\n";

const CONNECTION: &str = "[main]\n\
    [haproxy]\nhosts[] =\n\
    [headers]\nmax_lines=1000\nmax_received=100\n\
    [max]\nbytes=26214400\nmime_parts=1000\nline_length=512\ndata_line_length=992\n\
    [message]\nhelo=Haraka is at your service.\nclose=closing connection. Have a jolly good day.\n\
    [uuid]\nbanner_chars=6\ndeny_chars=0\n";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Ini;

    // covers CFS-07
    #[test]
    fn shipped_files_can_be_read_and_grant_nothing() {
        for (name, text) in FILES {
            let ini = Ini::parse(name, text.as_bytes());
            assert!(ini.warnings().is_empty(), "{name}: {:?}", ini.warnings());
        }
        let connection = Ini::parse("connection.ini", file("connection.ini").unwrap());
        assert_eq!(connection.text("max", "bytes"), Some("26214400"));
        assert_eq!(file("host_list"), None);
        assert_eq!(file("xclient.hosts"), None);
    }
}
