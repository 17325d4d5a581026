//! An HTTP server that answers as it was told, also in ways no decent server would.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// What happens once a request was read.
#[derive(Clone)]
pub(crate) enum Answer {
    /// These bytes, then the connection is closed.
    Bytes(Vec<u8>),
    /// Nothing, ever.
    Never,
    /// The connection is closed without a word.
    Drop,
}

impl Answer {
    pub(crate) fn json(body: &Value) -> Self {
        Self::with("200 OK", "content-type: application/json\r\n", body.to_string().as_bytes())
    }

    pub(crate) fn text(body: &str) -> Self {
        Self::with("200 OK", "", body.as_bytes())
    }

    pub(crate) fn status(status: &str) -> Self {
        Self::with(status, "", b"")
    }

    pub(crate) fn with(status: &str, headers: &str, body: &[u8]) -> Self {
        let head = format!(
            "HTTP/1.1 {status}\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        Self::Bytes([head.as_bytes(), body].concat())
    }

    /// A model that says `text`.
    pub(crate) fn chat(text: &str) -> Self {
        Self::json(&json!({
            "model": "scripted-1",
            "choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 11, "completion_tokens": 7},
        }))
    }
}

/// One request as it came in.
pub(crate) struct Seen {
    /// Request line and headers, in lower case.
    pub(crate) head: String,
    pub(crate) body: Value,
}

/// Gives the next of its answers to each request, and the last one again and again.
pub(crate) struct Scripted {
    pub(crate) url: String,
    pub(crate) seen: mpsc::UnboundedReceiver<Seen>,
    serving: tokio::task::JoinHandle<()>,
}

impl Scripted {
    pub(crate) async fn start(answers: Vec<Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (sender, seen) = mpsc::unbounded_channel();
        let answers = Arc::new(Mutex::new(answers));
        let serving = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(talk(stream, Arc::clone(&answers), sender.clone()));
            }
        });
        Self { url, seen, serving }
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn talk(
    mut stream: TcpStream,
    answers: Arc<Mutex<Vec<Answer>>>,
    seen: mpsc::UnboundedSender<Seen>,
) {
    let mut bytes = Vec::new();
    let (head, body) = loop {
        if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return;
        }
        if let Some(request) = complete(&bytes) {
            break request;
        }
    };
    let answer = {
        let mut answers = answers.lock().unwrap();
        if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() }
    };
    let _ = seen.send(Seen { head, body });
    match answer {
        Answer::Bytes(bytes) => {
            let _ = stream.write_all(&bytes).await;
            let _ = stream.shutdown().await;
        }
        Answer::Never => {
            // Until the client has had enough.
            while stream.read_buf(&mut bytes).await.unwrap_or(0) > 0 {}
        }
        Answer::Drop => {}
    }
}

fn complete(bytes: &[u8]) -> Option<(String, Value)> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
    let length: usize =
        head.split("content-length: ").nth(1)?.split("\r\n").next()?.parse().ok()?;
    (bytes.len() >= end + length)
        .then(|| (head, serde_json::from_slice(&bytes[end..]).unwrap_or_default()))
}
