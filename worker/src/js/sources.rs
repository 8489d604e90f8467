//! The scripts that are part of the program.
//!
//! A built-in module is a CommonJS module with one more parameter, `natives`: the ops. Its name here
//! is what scripts require; a file of `node/`, `haraka/` or `core_plugins/` each.

/// What runs first and gives the bridge.
pub(super) const BOOT: &str = include_str!("boot.js");

macro_rules! table {
    ($($name:literal => $file:literal),* $(,)?) => {
        &[$(($name, $file, include_str!($file))),*]
    };
}

/// Built-in modules: name, file, text. Those of Node come before files of the same name, as do
/// those that are this server's own; see `loader.js` for the others.
const BUILT_IN: &[(&str, &str, &str)] = table! {
    "internal/loader" => "loader.js",
    "internal/globals" => "globals.js",
    "internal/hooks" => "haraka/hooks.js",
    "internal/connection" => "haraka/connection.js",
    "internal/transaction" => "haraka/transaction.js",
    "internal/body" => "haraka/body.js",
    "internal/header" => "haraka/header.js",
    "internal/header_addresses" => "haraka/header_addresses.js",
    "internal/outbound" => "haraka/outbound.js",
    "internal/rfc1869" => "haraka/rfc1869.js",
    "internal/smtp_client" => "haraka/smtp_client.js",
    "internal/tls_socket" => "haraka/tls_socket.js",
    "internal/line_socket" => "haraka/line_socket.js",
    "internal/host_pool" => "haraka/host_pool.js",
    "internal/message_stream" => "haraka/message_stream.js",
    "internal/hmail" => "haraka/hmail.js",
    "internal/plugin" => "haraka/plugin.js",
    "internal/publisher" => "haraka/publisher.js",
    "internal/known_files" => "haraka/known_files.js",
    "internal/redis_client" => "haraka/redis_client.js",
    "internal/server" => "haraka/server.js",
    "internal/live" => "haraka/live.js",
    "internal/logger" => "haraka/logger.js",
    "internal/address" => "haraka/address.js",
    "internal/streams/common" => "node/streams/common.js",
    "internal/streams/destroy" => "node/streams/destroy.js",
    "internal/streams/duplex" => "node/streams/duplex.js",
    "internal/streams/iterate" => "node/streams/iterate.js",
    "internal/streams/legacy" => "node/streams/legacy.js",
    "internal/streams/pipeline" => "node/streams/pipeline.js",
    "internal/streams/readable" => "node/streams/readable.js",
    "internal/streams/writable" => "node/streams/writable.js",
    "internal/http/agent" => "node/http/agent.js",
    "internal/http/client" => "node/http/client.js",
    "internal/http/message" => "node/http/message.js",
    "internal/http/parser" => "node/http/parser.js",
    "internal/http/server" => "node/http/server.js",
    "internal/web/events" => "node/web/events.js",
    "internal/web/fetch" => "node/web/fetch.js",
    "haraka-config" => "haraka/config.js",
    "haraka-constants" => "haraka/constants.js",
    "haraka-notes" => "haraka/notes.js",
    "haraka-results" => "haraka/results.js",
    "internal/errors" => "node/errors.js",
    "internal/inspect" => "node/inspect.js",
    "internal/esm" => "node/esm.js",
    "internal/equal" => "node/equal.js",
    "internal/keys" => "node/keys.js",
    "internal/watch" => "node/watch.js",
    "internal/file_streams" => "node/file_streams.js",
    "internal/legacy_url" => "node/legacy_url.js",
    "internal/path_win32" => "node/path_win32.js",
    "haraka-dsn" => "haraka/dsn.js",
    "haraka-email-message" => "haraka/email_message.js",
    "haraka-net-utils" => "haraka/net_utils.js",
    "haraka-tld" => "haraka/tld.js",
    "haraka-utils" => "haraka/utils.js",
    "assert" => "node/assert.js",
    "async_hooks" => "node/async_hooks.js",
    "buffer" => "node/buffer.js",
    "child_process" => "node/child_process.js",
    "cluster" => "node/cluster.js",
    "crypto" => "node/crypto.js",
    "diagnostics_channel" => "node/diagnostics_channel.js",
    "dgram" => "node/dgram.js",
    "dns" => "node/dns.js",
    "events" => "node/events.js",
    "fs" => "node/fs.js",
    "http" => "node/http.js",
    "https" => "node/https.js",
    "module" => "node/module.js",
    "net" => "node/net.js",
    "os" => "node/os.js",
    "path" => "node/path.js",
    "perf_hooks" => "node/perf_hooks.js",
    "process" => "node/process.js",
    "punycode" => "node/punycode.js",
    "querystring" => "node/querystring.js",
    "readline" => "node/readline.js",
    "stream" => "node/stream.js",
    "string_decoder" => "node/string_decoder.js",
    "timers" => "node/timers.js",
    "tls" => "node/tls.js",
    "undici" => "node/web/undici.js",
    "url" => "node/url.js",
    "util" => "node/util.js",
    "vm" => "node/vm.js",
    "worker_threads" => "node/worker_threads.js",
    "zlib" => "node/zlib.js",
};

/// Plugins of the core that others inherit from or that have no native form.
const CORE_PLUGINS: &[(&str, &str, &str)] = table! {
    "auth/auth_base" => "core_plugins/auth_base.js",
    "queue/discard" => "core_plugins/queue_discard.js",
    "rcpt_to.host_list_base" => "core_plugins/rcpt_to.host_list_base.js",
};

type Entry = &'static (&'static str, &'static str, &'static str);

/// The built-in module of this name: its file and text.
pub(super) fn built_in(name: &str) -> Option<Entry> {
    BUILT_IN.iter().find(|(known, _, _)| *known == name)
}

/// Whether scripts can require it: a built-in module, or a part of one with a name of its own.
pub(super) fn is_built_in(name: &str) -> bool {
    PARTS.contains(&name)
        || (built_in(name).is_some() && !name.starts_with("internal/") && !REPLACED.contains(&name))
}

/// Those that a plugin's own package of the name comes before; `loader.js` falls back to them.
const REPLACED: [&str; 5] = [
    "haraka-dsn",
    "haraka-email-message",
    "haraka-net-utils",
    "haraka-tld",
    "haraka-utils",
];

/// Parts of built-in modules; `loader.js` knows which.
const PARTS: [&str; 11] = [
    "assert/strict",
    "constants",
    "dns/promises",
    "fs/promises",
    "path/posix",
    "path/win32",
    "stream/promises",
    "sys",
    "timers/promises",
    "tty",
    "util/types",
];

/// The core's plugin of this name.
pub(super) fn core_plugin(name: &str) -> Option<Entry> {
    CORE_PLUGINS.iter().find(|(known, _, _)| *known == name)
}
