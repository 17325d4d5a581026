//! Precedence, places and refusals.

use super::*;

fn config(yaml: &str, env: &[(&str, &str)], flags: &[Flag]) -> Result<Config, ConfigError> {
    let name = format!("sluice-config-{}-{:x}.yaml", std::process::id(), yaml.as_ptr() as usize);
    let path = std::env::temp_dir().join(name);
    std::fs::write(&path, yaml).unwrap();
    let lookup =
        |name: &str| env.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
    let loaded = Config::load(flags, &lookup, Some(&path));
    std::fs::remove_file(&path).ok();
    loaded
}

fn refusal(yaml: &str, env: &[(&str, &str)]) -> String {
    config(yaml, env, &[]).err().expect("accepted").to_string()
}

#[test]
fn flags_then_environment_then_file_then_default() {
    let yaml = "# ours\ngateway_addr: 127.0.0.1:3\n";
    let env = [("SLUICE_GATEWAY_ADDR", "127.0.0.1:2")];
    let flag = Flag { key: key::GATEWAY_ADDR, name: "--gateway-addr", value: "127.0.0.1:1".into() };
    let port = |yaml, env: &[_], flags: &[_]| {
        config(yaml, env, flags).unwrap().addr(key::GATEWAY_ADDR).port()
    };
    assert_eq!(port(yaml, &env, &[flag]), 1);
    assert_eq!(port(yaml, &env, &[]), 2);
    assert_eq!(port(yaml, &[], &[]), 3);
    assert_eq!(port("", &[], &[]), 8001);
    assert_eq!(port("", &[("SLUICE_GATEWAY_ADDR", " ")], &[]), 8001);
}

#[test]
fn says_where_a_value_came_from() {
    let loaded = config(
        "lease: 3s\nallowed_hosts: [a, b]\n",
        &[("DATABASE_URL", "postgres://u:p@h/d")],
        &[],
    )
    .unwrap();
    assert!(loaded.entry(key::LEASE).origin.to_string().ends_with(":1:8"));
    assert_eq!(loaded.entry(key::DATABASE_URL).origin.to_string(), "DATABASE_URL");
    assert_eq!(loaded.entry(key::DATABASE_URL).shown().unwrap(), "postgres://u:****@h/d");
    assert_eq!(loaded.list(key::ALLOWED_HOSTS), ["a", "b"]);
    assert_eq!(loaded.duration(key::LEASE), Duration::from_secs(3));
    assert!(!loaded.is_chosen(key::STATE_ADDR));
}

#[test]
fn names_the_place_and_what_was_meant() {
    let cases = [
        ("lease: 1s\nnats_ulr: x\n", ":2:1: unknown key 'nats_ulr', did you mean 'nats_url'?"),
        ("zebra: x\n", ":1:1: unknown key 'zebra'; `sluice config`"),
        ("gateway_addr: here\n", ":1:15: gateway_addr: 'here' is not an address"),
        ("lease: {a: 1}\n", ":1:8: lease: expected a text"),
        ("lease: [1\n", ":1:8: unclosed bracket"),
        ("- lease\n", ":1:1"),
        ("lease: 1s\nlease: 2s\n", ":2:"),
    ];
    for (yaml, expected) in cases {
        let message = refusal(yaml, &[]);
        assert!(message.contains(expected), "{yaml}: {message}");
    }
    assert_eq!(
        refusal("", &[("SLUICE_LEASE", "soon")]),
        "SLUICE_LEASE: lease: 'soon' is not a duration like 500ms, 10s or 2m"
    );
    assert!(!refusal("", &[("SLUICE_DATABASE_URL", "mysql://u:secret@h/d")]).contains("secret"));
}

#[test]
fn a_named_file_must_exist() {
    let error =
        Config::load(&[], &|_| None, Some(Path::new("/nowhere/sluice.yaml"))).err().unwrap();
    assert!(error.to_string().contains("/nowhere/sluice.yaml"));
}

#[test]
fn defaults_are_right() {
    let loaded = Config::load(&[], &|name| (name == "X").then(String::new), None).unwrap();
    for entry in loaded.entries().filter(|entry| entry.value.is_some()) {
        assert_eq!(entry.value.as_deref(), entry.setting.default);
    }
}

#[test]
fn misspelt_variables_are_noticed() {
    let names = [
        "SLUICE_NATS_ULR",
        "SLUICE_NATS_URL",
        "SLUICE_BIN",
        "SLUICE_SERVICE_PORT_8001_TCP",
        "HOME",
    ];
    let found = misspelt_variables(names.iter().map(|name| (*name).to_owned()));
    assert_eq!(found, [("SLUICE_NATS_ULR".to_owned(), "SLUICE_NATS_URL")]);
}
