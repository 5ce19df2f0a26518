//! The world outside, as small as it can be: it counts what reaches it by the request's key, and can hold requests.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};

use super::rig::PATIENCE;

/// What was asked.
#[derive(Default)]
struct Seen {
    /// How often, by path and `idempotency-key`.
    counts: HashMap<String, HashMap<String, u32>>,
    /// Whether answers wait.
    held: bool,
    /// Requests whose answer waits.
    waiting: usize,
}

/// A server on a port of its own; its threads end with the test's process.
#[derive(Clone)]
pub struct Effects {
    address: String,
    seen: Arc<(Mutex<Seen>, Condvar)>,
}

impl Effects {
    /// Starts one.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let effects = Self {
            address: listener.local_addr().unwrap().to_string(),
            seen: Arc::default(),
        };
        let server = effects.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let server = server.clone();
                // Who breaks off, as a killed daemon does, gets no answer.
                std::thread::spawn(move || drop(server.serve(stream)));
            }
        });
        effects
    }

    /// Host and port.
    pub fn address(&self) -> &str {
        &self.address
    }

    fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut writer = stream;
        loop {
            let mut first = String::new();
            if reader.read_line(&mut first)? == 0 {
                return Ok(());
            }
            let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
            let (mut key, mut length) = (String::new(), 0);
            loop {
                let mut line = String::new();
                reader.read_line(&mut line)?;
                let Some((name, value)) = line.trim().split_once(':') else {
                    break;
                };
                match name.to_ascii_lowercase().as_str() {
                    "idempotency-key" => value.trim().clone_into(&mut key),
                    "content-length" => length = value.trim().parse().unwrap_or(0),
                    _ => {}
                }
            }
            reader.read_exact(&mut vec![0; length])?;
            self.note(path, key);
            writer.write_all(
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}",
            )?;
        }
    }

    /// Counts a request, and waits with the answer as long as that is held.
    fn note(&self, path: String, key: String) {
        let (seen, changed) = &*self.seen;
        let mut seen = seen.lock().unwrap();
        *seen.counts.entry(path).or_default().entry(key).or_default() += 1;
        seen.waiting += 1;
        changed.notify_all();
        let mut seen = changed
            .wait_timeout_while(seen, PATIENCE, |seen| seen.held)
            .unwrap()
            .0;
        seen.waiting -= 1;
        changed.notify_all();
    }

    /// From now on, answers wait.
    pub fn hold(&self) {
        self.seen.0.lock().unwrap().held = true;
    }

    /// Waits until so many requests wait for their answer.
    pub fn waiting(&self, wanted: usize) {
        let (seen, changed) = &*self.seen;
        let seen = seen.lock().unwrap();
        let (seen, over) = changed
            .wait_timeout_while(seen, PATIENCE, |seen| seen.waiting < wanted)
            .unwrap();
        assert!(!over.timed_out(), "{} of {wanted} came", seen.waiting);
    }

    /// Lets all answers go.
    pub fn release(&self) {
        let (seen, changed) = &*self.seen;
        seen.lock().unwrap().held = false;
        changed.notify_all();
    }

    /// How often a path was asked, by key.
    pub fn of(&self, path: &str) -> HashMap<String, u32> {
        let seen = self.seen.0.lock().unwrap();
        seen.counts.get(path).cloned().unwrap_or_default()
    }
}
