//! One step of a transcript done: against the server, with the client that it is about.

use super::text::{glob_fits, masked};
use super::{Act, Match, Writes};
use crate::harness::{DEADLINE, Server, SmtpClient, poll_until};

impl Act {
    /// Does the step; an error says what was awaited and what came.
    pub fn perform(
        &self,
        server: &Server,
        client: &mut SmtpClient,
        writes: Writes,
    ) -> Result<(), String> {
        let io = |error: std::io::Error| error.to_string();
        match self {
            Self::Client(_) => {}
            Self::Send(bytes) if writes == Writes::Bytewise => {
                // Of a long piece, the beginning and the end byte by byte: the middle shows nothing new.
                let edge = 600.min(bytes.len());
                let cuts: Vec<_> = (1..edge)
                    .chain((bytes.len() - edge).max(edge)..bytes.len())
                    .collect();
                client.send_split(bytes, &cuts);
            }
            Self::Send(bytes) => client.try_send(bytes).map_err(io)?,
            Self::Line(wanted) => {
                let line = client
                    .try_line()
                    .map_err(|error| format!("{wanted:?} awaited, {error}"))?;
                let line = line.ok_or_else(|| format!("{wanted:?} awaited, connection closed"))?;
                if !wanted.fits(&masked(&line)) {
                    return Err(format!("{wanted:?} awaited, got {line:?}"));
                }
            }
            Self::Reply(code) => {
                let reply = client
                    .try_reply()
                    .map_err(|error| format!("{code} awaited, {error}"))?;
                let reply = reply.ok_or_else(|| format!("{code} awaited, connection closed"))?;
                if reply.code.to_string() != *code {
                    return Err(format!("{code} awaited, got {reply}"));
                }
            }
            Self::Close => match client.try_line() {
                Ok(None) => {}
                other => return Err(format!("close awaited, got {other:?}")),
            },
            Self::HalfClose => client.half_close_quietly(),
            Self::StoredCount(count) => {
                let found = server.install().stored().len();
                if found != *count {
                    return Err(format!(
                        "{count} stored messages awaited, there are {found}"
                    ));
                }
            }
            Self::Stored { has, part } => {
                let message = server.install().stored().pop().ok_or("nothing is stored")?;
                if message.windows(part.len()).any(|window| window == part) != *has {
                    return Err(format!(
                        "stored message: {:?}",
                        message.escape_ascii().to_string()
                    ));
                }
            }
            Self::Log(part) => {
                let seen = || server.log_text().contains(part.as_str()).then_some(());
                poll_until(DEADLINE, seen).ok_or_else(|| format!("no log line with {part:?}"))?;
            }
        }
        Ok(())
    }
}

impl Match {
    fn fits(&self, line: &str) -> bool {
        match self {
            Self::Prefix(prefix) => line.starts_with(prefix),
            Self::Glob(glob) => glob_fits(glob.as_bytes(), line.as_bytes()),
        }
    }
}
