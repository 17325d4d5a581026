//! Exported records as files: read, plain or compressed; written whole and never over another one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use flate2::read::MultiGzDecoder;
use flate2::{Compression, GzBuilder};
use serde_json::Value;
use sluice_proto::verify::StoredEvent;

use crate::error::CliError;

/// Largest record that is read from a file, bytes: a small file may unpack to anything.
const MAX_BYTES: u64 = 2 << 30;
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// The run and the events of an export: a list of events, or the answer of the events route, either of them
/// compressed or not.
pub(crate) fn read(path: &Path) -> Result<(String, Vec<StoredEvent>), CliError> {
    parse(&path.display().to_string(), &content(path)?)
}

/// What is in a file, unpacked if it is packed.
pub(crate) fn content(path: &Path) -> Result<Vec<u8>, CliError> {
    let bytes = fs::read(path).map_err(CliError::io("read", path))?;
    if !bytes.starts_with(&GZIP) {
        return Ok(bytes);
    }
    let mut unpacked = Vec::new();
    let unpacking = MultiGzDecoder::new(&*bytes).take(MAX_BYTES + 1).read_to_end(&mut unpacked);
    unpacking.map_err(CliError::io("unpack", path))?;
    match unpacked.len() as u64 > MAX_BYTES {
        true => Err(CliError::Failed(format!(
            "{} unpacks to more than {MAX_BYTES} bytes",
            path.display()
        ))),
        false => Ok(unpacked),
    }
}

/// The run and the events in the text of an export, which `name` is the name of.
pub(crate) fn parse(name: &str, bytes: &[u8]) -> Result<(String, Vec<StoredEvent>), CliError> {
    let unreadable = |why: String| CliError::Failed(format!("{name} is no export: {why}"));
    let value: Value =
        serde_json::from_slice(bytes).map_err(|error| unreadable(error.to_string()))?;
    let events = value.as_array().or_else(|| value["events"].as_array());
    let events = events.ok_or_else(|| unreadable("it holds no list of events".to_owned()))?;
    let is_cut = |total: u64| total != events.len() as u64;
    if value["total_events"].as_u64().is_some_and(is_cut) || !value["next"].is_null() {
        return Err(unreadable("it is a page of a record and not the whole".to_owned()));
    }
    if events.is_empty() {
        return Err(unreadable("it holds no event, and every run has one".to_owned()));
    }
    let id = events.iter().find_map(|event| event["workflow_id"].as_str()).unwrap_or("unknown");
    let stored = events.iter().zip(1..).map(|(event, n)| StoredEvent::from_export(event, n));
    Ok((id.to_owned(), stored.collect()))
}

/// The same bytes for the same content: no name and no time are kept with it.
pub(crate) fn packed(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut packer = GzBuilder::new().write(Vec::new(), Compression::default());
    packer.write_all(bytes)?;
    packer.finish()
}

/// Writes a file that is there whole or not at all; false when there was one of its name, which is left as it is.
pub(crate) fn write_new(path: &Path, bytes: &[u8]) -> Result<bool, CliError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // Processes of several containers have one number.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let part = path.with_file_name(format!(".{name}.{}-{now:x}.part", std::process::id()));
    let written = write_synced(&part, bytes).and_then(|()| publish(&part, path));
    // Whether or not it has its name by now, this one is of no more use.
    let _ = fs::remove_file(&part);
    match written {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(false),
        written => written.map_err(CliError::io("write", path))?,
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or_else(|| Path::new("."));
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(CliError::io("write", folder))?;
    Ok(true)
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// A link is refused where there is a file, at one moment; a rename would replace it.
fn publish(part: &Path, path: &Path) -> io::Result<()> {
    match fs::hard_link(part, path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(error),
        // Some file systems have no links.
        Err(_) if path.exists() => Err(ErrorKind::AlreadyExists.into()),
        Err(_) => fs::rename(part, path),
        Ok(()) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_unpacked_and_never_written_over() {
        let folder = std::env::temp_dir().join(format!("sluice-export-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let file = folder.join("run.json.gz");
        let text = r#"[{"workflow_id": "x"}]"#.repeat(50);
        let bytes = packed(text.as_bytes()).unwrap();
        assert!(bytes.len() < text.len() && bytes == packed(text.as_bytes()).unwrap());
        assert!(write_new(&file, &bytes).unwrap());
        assert_eq!(content(&file).unwrap(), text.as_bytes());
        assert!(!write_new(&file, b"other").unwrap(), "it is there already");
        assert_eq!(fs::read(&file).unwrap(), bytes);
        fs::write(&file, &bytes[..bytes.len() - 5]).unwrap();
        assert!(content(&file).unwrap_err().to_string().contains("cannot unpack"));
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "no part is left");
        fs::remove_dir_all(&folder).unwrap();
    }
}
