//! A chat's webhooks: each path answers in its own way, and what was posted is kept.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, mpsc};

use serde_json::Value;

use super::rig::PATIENCE;

/// One message as it arrived.
#[derive(Debug, Clone)]
pub struct Posted {
    pub path: String,
    pub headers: HashMap<String, String>,
    pub body: Value,
}

/// A running chat.
pub struct Chat {
    base: String,
    posted: Arc<Mutex<Vec<Posted>>>,
    arrived: mpsc::Receiver<()>,
}

impl Chat {
    /// `/hooks/ok` takes a message, `/hooks/busy` takes each second one, `/hooks/closed` takes none, and
    /// `/hooks/hold` never answers.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let posted = Arc::new(Mutex::new(Vec::new()));
        let (tell, arrived) = mpsc::channel();
        let kept = Arc::clone(&posted);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (kept, tell) = (Arc::clone(&kept), tell.clone());
                // A connection that breaks off is its client's to notice.
                std::thread::spawn(move || answer(stream, &kept, &tell).ok());
            }
        });
        Self {
            base,
            posted,
            arrived,
        }
    }

    /// Its address.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The setting that lets tasks reach it.
    pub fn reachable(&self) -> String {
        format!(
            "\n[network]\nallow = [\"{}\"]\n",
            self.base.trim_start_matches("http://")
        )
    }

    /// Everything so far, and nothing of it the next time.
    pub fn take(&self) -> Vec<Posted> {
        while self.arrived.try_recv().is_ok() {}
        std::mem::take(&mut self.posted.lock().unwrap())
    }

    /// Waits for the next message.
    pub fn next(&self) {
        self.arrived.recv_timeout(PATIENCE).unwrap();
    }
}

fn answer(
    stream: TcpStream,
    kept: &Mutex<Vec<Posted>>,
    tell: &mpsc::Sender<()>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut headers = HashMap::new();
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim().split_once(": ") else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let length = headers
        .get("content-length")
        .map_or(0, |text| text.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let before = {
        let mut kept = kept.lock().unwrap();
        let before = kept.iter().filter(|posted| posted.path == path).count();
        kept.push(Posted {
            path: path.clone(),
            headers,
            body,
        });
        before
    };
    // Nobody may be listening any more.
    tell.send(()).ok();
    let (status, more, text) = match path.as_str() {
        "/hooks/ok" => ("200 OK", "", "ok"),
        "/hooks/busy" if before % 2 == 0 => {
            ("429 Too Many Requests", "retry-after: 1\r\n", "slow down")
        }
        "/hooks/busy" => ("200 OK", "", "at last"),
        "/hooks/hold" => {
            // Until the other side gives up.
            reader.read_exact(&mut [0])?;
            return Ok(());
        }
        _ => ("403 Forbidden", "", "no"),
    };
    let mut stream = stream;
    write!(
        stream,
        "HTTP/1.1 {status}\r\n{more}connection: close\r\ncontent-length: {}\r\n\r\n{text}",
        text.len()
    )
}
