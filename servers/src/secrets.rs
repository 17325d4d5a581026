//! Generated passwords, kept in the data folder.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use crate::error::{IoContext, Result};

/// The passwords of both servers. Not printable, so that no log can hold them.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Secrets {
    pub(crate) nats_password: String,
    pub(crate) superuser_password: String,
    pub(crate) owner_password: String,
    pub(crate) app_password: String,
}

impl Secrets {
    pub(crate) fn generate() -> Result<Self> {
        Ok(Self {
            nats_password: password()?,
            superuser_password: password()?,
            owner_password: password()?,
            app_password: password()?,
        })
    }
}

/// 192 bits as hexadecimal digits, which need no quoting in SQL, URLs or configuration files.
fn password() -> Result<String> {
    let source = Path::new("/dev/urandom");
    let mut bytes = [0; 24];
    File::open(source).and_then(|mut file| file.read_exact(&mut bytes)).doing("read", source)?;
    Ok(HEXLOWER.encode(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_passwords_are_alike() {
        let secrets = Secrets::generate().unwrap();
        assert_eq!(secrets.nats_password.len(), 48);
        assert_ne!(secrets.nats_password, secrets.app_password);
        assert!(secrets != Secrets::generate().unwrap());
    }
}
