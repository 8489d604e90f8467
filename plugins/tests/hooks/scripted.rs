//! Servers on threads that answer line by line as a test says, and remember what they heard.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// A server; its thread stays until the test program ends.
pub struct Scripted {
    pub addr: SocketAddr,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Scripted {
    /// Sends `greeting` and then, for each line, what `answer` makes of it; `None` closes.
    pub fn start(
        greeting: &'static str,
        answer: impl Fn(&str) -> Option<String> + Send + 'static,
    ) -> Scripted {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let record = Arc::clone(&heard);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                // Whoever hangs up early says so in its own test.
                drop(converse(stream.unwrap(), greeting, &answer, &record));
            }
        });
        Scripted { addr, heard }
    }

    /// A server that answers by a table of lines; what is not in it closes.
    pub fn table(greeting: &'static str, table: &[(&str, &str)]) -> Scripted {
        let table: Vec<(String, String)> = table
            .iter()
            .map(|(line, answer)| ((*line).to_owned(), (*answer).to_owned()))
            .collect();
        Scripted::start(greeting, move |line| {
            let row = table.iter().find(|(l, _)| l == line);
            row.map(|(_, answer)| answer.clone())
        })
    }

    /// The lines so far, of all connections.
    pub fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }

    pub fn forget(&self) {
        self.heard.lock().unwrap().clear();
    }
}

fn converse(
    mut stream: TcpStream,
    greeting: &str,
    answer: &impl Fn(&str) -> Option<String>,
    record: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    stream.write_all(greeting.as_bytes())?;
    let mut lines = BufReader::new(stream.try_clone()?);
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line)? > 0 {
        let text = String::from_utf8_lossy(&line).trim().to_owned();
        line.clear();
        let said = answer(&text);
        if !text.is_empty() {
            record.lock().unwrap().push(text);
        }
        match said {
            Some(said) => stream.write_all(said.as_bytes())?,
            None => return Ok(()),
        }
    }
    Ok(())
}

/// An address where nobody listens.
pub fn nobody() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}
