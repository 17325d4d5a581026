//! The NATS server: its configuration and its first words.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;

use crate::datadir::{DataDir, make_folder, write_private};
use crate::error::{IoContext, Result};
use crate::options::NatsSync;
use crate::secrets::Secrets;

pub(crate) const USER: &str = "sluice";
/// Outputs of agents are larger than the server's default of 1 MB allows.
const MAX_PAYLOAD: usize = 8 * 1024 * 1024;
const LOOK: Duration = Duration::from_secs(1);

/// Writes the configuration and says where it is.
pub(crate) fn write_config(
    data: &DataDir,
    port: u16,
    sync: NatsSync,
    secrets: &Secrets,
) -> Result<PathBuf> {
    make_folder(&data.nats(), 0o700)?;
    let path = data.nats().join("nats-server.conf");
    // The server's own format takes JSON, which knows how to quote any path.
    let mut jetstream = json!({ "store_dir": data.nats() });
    if sync == NatsSync::Always {
        jetstream["sync_interval"] = json!("always");
    }
    let config = json!({
        "server_name": server_name(data),
        "listen": format!("127.0.0.1:{port}"),
        "max_payload": MAX_PAYLOAD,
        // A client that is frozen goes on getting its share of what is sent to its queue group, and loses
        // it; the server's default lets it do so for four minutes.
        "ping_interval": "10s",
        "ping_max": 2,
        "authorization": { "users": [{ "user": USER, "password": secrets.nats_password }] },
        "jetstream": jetstream,
    });
    let text = serde_json::to_string_pretty(&config).doing("encode", &path)?;
    write_private(&path, format!("{text}\n").as_bytes())?;
    Ok(path)
}

pub(crate) fn server_name(data: &DataDir) -> String {
    format!("sluice-{}", data.fingerprint())
}

/// Where JetStream keeps its files.
pub(crate) fn jetstream_folder(data: &DataDir) -> PathBuf {
    data.nats().join("jetstream")
}

pub(crate) fn arguments(config: &Path) -> Vec<String> {
    vec!["--config".to_owned(), config.display().to_string()]
}

/// Looks whether our server accepts connections on the port; else says what was seen.
pub(crate) async fn look(port: u16, name: &str) -> std::result::Result<(), String> {
    let hello = tokio::time::timeout(LOOK, read_hello(port)).await;
    let hello =
        hello.map_err(|_| "it did not say hello".to_owned())?.map_err(|error| error.to_string())?;
    let info: Info = hello
        .strip_prefix("INFO ")
        .and_then(|info| serde_json::from_str(info).ok())
        .ok_or_else(|| "what listens there is not a NATS server".to_owned())?;
    if info.server_name != name {
        return Err(format!("the server there is {}", info.server_name));
    }
    if info.jetstream { Ok(()) } else { Err("JetStream is not up".to_owned()) }
}

#[derive(Deserialize)]
struct Info {
    server_name: String,
    #[serde(default)]
    jetstream: bool,
}

async fn read_hello(port: u16) -> std::io::Result<String> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).await?;
    Ok(line)
}
