//! Configuration: Haraka's files read into typed settings.
//!
//! `dir.rs` finds and decodes files, `ini.rs` and `flat.rs` know their syntax, one file per ini file
//! declares its settings (`smtp_ini.rs` …), `load.rs` reads them all. A value is interpreted once,
//! here; past this module there is no setting as text. Nothing here knows a socket, and no plugin's
//! settings are declared here: plugins read theirs through [`ConfigDir`] and [`Ini::read`].

mod ciphers;
mod connection_ini;
mod dir;
pub mod document;
mod effective;
mod environment;
mod error;
mod file_type;
mod flat;
mod hjson;
mod ini;
mod ip_range;
mod javascript_ini;
pub mod kinds;
mod layers;
mod listen;
mod live;
mod load;
mod log_ini;
mod mailparser;
mod merge;
mod net_utils_ini;
mod outbound_ini;
mod overrides;
mod reader;
mod retry_times;
mod row;
mod shaping_toml;
mod shipped;
mod smtp_ini;
mod structured;
#[cfg(test)]
mod testing;
mod tls_client;
mod tls_ini;
mod tls_kinds;
mod typed_values;
mod yaml;

pub use ciphers::{Cipher, Selection, select};
pub use connection_ini::{BareNewline, CONNECTION_INI, ConnectionIni, SpoolAfter};
pub use dir::ConfigDir;
pub use effective::{
    MASK, Origin, Setting, effective, effective_all, effective_other, effective_values,
};
pub use environment::Environment;
pub use error::{At, ConfigError, MAX_FILE, Problems, Warning, key_name};
pub use file_type::FileType;
pub use ini::{Entry, Held, Ini, IniValue, Section, is_true};
pub use ip_range::IpRange;
pub use javascript_ini::{JAVASCRIPT_INI, JavaScriptIni};
pub use listen::{Endpoint, ListenAddr, parse_endpoint, split_list};
pub use live::{Live, Observing, Watch};
pub use load::{Config, fixed};
pub use log_ini::{LOG_INI, LogIni};
pub use merge::{merge, merge_typed};
pub use net_utils_ini::{DnsIni, NET_UTILS_INI};
pub use outbound_ini::{DaneUse, InetPrefer, OUTBOUND_INI, OutboundIni};
pub use overrides::Overrides;
pub use reader::nearest;
pub use row::{Describe, FileDecl, Kind, Row};
pub use shaping_toml::SHAPING_TOML;
pub use smtp_ini::{Nodes, SMTP_INI, SmtpIni};
pub use tls_client::{HostList, TLS_CLIENT_KEYS, TlsClient};
pub use tls_ini::{Inbound, TLS_INI, TlsIni};
pub use tls_kinds::{Curve, MinVersion};
pub use typed_values::{Booleans, Typed, TypedSection, guess, number, typed};

/// Every ini file with declared settings.
pub static INI_FILES: [&FileDecl; 7] = [
    &SMTP_INI,
    &CONNECTION_INI,
    &LOG_INI,
    &OUTBOUND_INI,
    &NET_UTILS_INI,
    &JAVASCRIPT_INI,
    &TLS_INI,
];
