//! Shows a value without giving a secret away.

/// How much of a value may be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Secrecy {
    /// All of it.
    Open,
    /// Nothing.
    Secret,
    /// A URL without its password.
    PasswordInUrl,
}

const MASK: &str = "****";

pub(crate) fn mask(secrecy: Secrecy, value: &str) -> String {
    match secrecy {
        Secrecy::Open => value.to_owned(),
        Secrecy::Secret => MASK.to_owned(),
        Secrecy::PasswordInUrl => mask_url(value),
    }
}

/// Hides whatever stands between the scheme and the last `@` of the authority except a user name, and
/// every parameter that is called a password.
fn mask_url(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return MASK.to_owned() };
    // A password with an unescaped `/` or `?` must not be cut in two and shown.
    let end = rest.rfind('@').map_or(0, |at| at + 1);
    let (credentials, address) = rest.split_at(end);
    let address = mask_query(address);
    match credentials.trim_end_matches('@').split_once(':') {
        Some((user, _)) => format!("{scheme}://{user}:{MASK}@{address}"),
        // A lone text in front of the `@` is a token for NATS.
        None if !credentials.is_empty() && scheme == "nats" => {
            format!("{scheme}://{MASK}@{address}")
        }
        None => format!("{scheme}://{credentials}{address}"),
    }
}

fn mask_query(address: &str) -> String {
    let Some((path, query)) = address.split_once('?') else { return address.to_owned() };
    let pairs = query.split('&').map(|pair| match pair.split_once('=') {
        Some((name, _)) if name.to_ascii_lowercase().contains("password") => {
            format!("{name}={MASK}")
        }
        _ => pair.to_owned(),
    });
    format!("{path}?{}", pairs.collect::<Vec<_>>().join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_is_shown() {
        let cases = [
            ("nats://127.0.0.1:4222", "nats://127.0.0.1:4222"),
            ("nats://sluice:secret@h:1", "nats://sluice:****@h:1"),
            ("nats://secret@h:1", "nats://****@h:1"),
            ("postgres://u:s/e:c@r?et@h/db", "postgres://u:****@h/db"),
            ("postgres://u@h/db?password=secret&x=1", "postgres://u@h/db?password=****&x=1"),
            ("secret", "****"),
        ];
        for (url, shown) in cases {
            assert_eq!(mask(Secrecy::PasswordInUrl, url), shown);
        }
        assert_eq!(mask(Secrecy::Secret, "secret"), "****");
    }
}
