use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// What PyYAML 6.0.3 makes of each plain scalar. Regenerate with
/// `yaml.safe_load('k: ' + scalar)['k']`; dates, which JSON does not have, stay text.
#[test]
fn plain_scalars_resolve_as_in_pyyaml() {
    let cases = [
        ("yes", json!(true)),
        ("Yes", json!(true)),
        ("YES", json!(true)),
        ("yEs", json!("yEs")),
        ("no", json!(false)),
        ("No", json!(false)),
        ("NO", json!(false)),
        ("on", json!(true)),
        ("On", json!(true)),
        ("ON", json!(true)),
        ("off", json!(false)),
        ("Off", json!(false)),
        ("OFF", json!(false)),
        ("oFF", json!("oFF")),
        ("true", json!(true)),
        ("True", json!(true)),
        ("TRUE", json!(true)),
        ("tRue", json!("tRue")),
        ("false", json!(false)),
        ("False", json!(false)),
        ("FALSE", json!(false)),
        ("y", json!("y")),
        ("Y", json!("Y")),
        ("n", json!("n")),
        ("N", json!("N")),
        ("~", json!(null)),
        ("null", json!(null)),
        ("Null", json!(null)),
        ("NULL", json!(null)),
        ("nULL", json!("nULL")),
        ("0", json!(0)),
        ("00", json!(0)),
        ("07", json!(7)),
        ("08", json!("08")),
        ("010", json!(8)),
        ("0o10", json!("0o10")),
        ("1", json!(1)),
        ("-1", json!(-1)),
        ("+1", json!(1)),
        ("1_000", json!(1000)),
        ("_1", json!("_1")),
        ("1_", json!(1)),
        ("0_", json!(0)),
        ("0b101", json!(5)),
        ("0b", json!("0b")),
        ("0b_1", json!(1)),
        ("0b2", json!("0b2")),
        ("0x1F", json!(31)),
        ("0xfg", json!("0xfg")),
        ("0x", json!("0x")),
        ("-0x1f", json!(-31)),
        ("0x_a", json!(10)),
        ("1:30", json!(90)),
        ("-1:30", json!(-90)),
        ("1:60", json!("1:60")),
        ("1:5:07", json!(3907)),
        ("01:30", json!("01:30")),
        ("190:20:30", json!(685230)),
        ("1:30.5", json!(90.5)),
        ("1:60.5", json!("1:60.5")),
        ("0:30", json!("0:30")),
        ("0:30.5", json!(30.5)),
        ("1.0", json!(1.0)),
        ("1.", json!(1.0)),
        (".5", json!(0.5)),
        ("-.5", json!("-.5")),
        ("+.5", json!("+.5")),
        ("1.5.2", json!("1.5.2")),
        ("1e3", json!("1e3")),
        ("1.0e3", json!("1.0e3")),
        ("1.0e+3", json!(1000.0)),
        ("1.0E-3", json!(0.001)),
        ("1.e+3", json!(1000.0)),
        ("1_0.5_0", json!(10.5)),
        ("._5", json!("._5")),
        (".e+3", json!(".e+3")),
        ("-1.25", json!(-1.25)),
        ("0.95", json!(0.95)),
        (".", json!(".")),
        ("1.2.3", json!("1.2.3")),
        ("v1.0", json!("v1.0")),
        ("2024-01-02", json!("2024-01-02")),
        ("2024-01-02T03:04:05Z", json!("2024-01-02T03:04:05Z")),
        ("12345678901234567890", json!(12345678901234567890_u64)),
        ("9223372036854775807", json!(9223372036854775807_i64)),
        ("-9223372036854775808", json!(-9223372036854775808_i64)),
        ("1__0", json!(10)),
        ("-0", json!(0)),
        ("+0", json!(0)),
        ("-0.0", json!(-0.0)),
        ("0.10", json!(0.1)),
        ("10%", json!("10%")),
        ("1,000", json!("1,000")),
        ("0777", json!(511)),
        ("-010", json!(-8)),
        ("+010", json!(8)),
        ("1:2:3:4", json!(223384)),
        ("0x8000000000000000", json!(9223372036854775808_u64)),
        ("5m", json!("5m")),
        ("90s", json!("90s")),
        ("a", json!("a")),
    ];
    for (text, expected) in cases {
        let scalar = Scalar { text: text.to_owned(), plain: true };
        assert_eq!(scalar.resolve(), Ok(expected), "{text}");
        let quoted = Scalar { text: text.to_owned(), plain: false };
        assert_eq!(quoted.resolve(), Ok(Value::from(text)));
    }
}

#[test]
fn numbers_that_json_cannot_hold_are_refused() {
    for text in [".inf", "18446744073709551616", "99999999999999999999999", ".nan", "-.INF"] {
        let scalar = Scalar { text: text.to_owned(), plain: true };
        assert!(scalar.resolve().is_err(), "{text}");
    }
}

/// The tree as JSON, keys as their source text.
fn json_of(node: &Node) -> Value {
    match &node.kind {
        Kind::Scalar(scalar) => scalar.resolve().unwrap(),
        Kind::List(items) => items.iter().map(json_of).collect(),
        Kind::Map(entries) => {
            entries.iter().map(|(key, entry)| (key.clone(), json_of(&entry.node))).collect()
        }
    }
}

fn check(text: &str, expected: Value) {
    let (root, problems) = compose(text);
    assert_eq!(problems, [], "{text}");
    assert_eq!(json_of(&root.unwrap()), expected, "{text}");
}

#[test]
fn composes_trees() {
    check("a: 1\nb: [x, '2', {c: on}]\n", json!({"a": 1, "b": ["x", "2", {"c": true}]}));
    check("on: 1\nyes: 2\n1.0: 3\n~: 4\n", json!({"on": 1, "yes": 2, "1.0": 3, "~": 4}));
    check("a:\nb: \"\"\n", json!({"a": null, "b": ""}));
    check("a: |\n  x\n  y\nb: >\n  x\n  y\n", json!({"a": "x\ny\n", "b": "x y\n"}));
    check("a: |\n  x", json!({"a": "x"}));
    check("a: !!str 1\nb: ! 2\n", json!({"a": "1", "b": "2"}));
    check("%YAML 1.1\n---\na: 1\n...\n", json!({"a": 1}));
}

#[test]
fn follows_aliases_and_merges() {
    check("a: &x {p: 1}\nb: *x\n", json!({"a": {"p": 1}, "b": {"p": 1}}));
    check(
        "a: &x {p: 1, q: 2}\nb:\n  <<: *x\n  q: 3\n",
        json!({"a": {"p": 1, "q": 2}, "b": {"q": 3, "p": 1}}),
    );
    check(
        "a: &x {p: 1}\nb: &y {p: 2, r: 3}\nc: {<<: [*x, *y]}\n",
        json!({"a": {"p": 1}, "b": {"p": 2, "r": 3}, "c": {"p": 1, "r": 3}}),
    );
}

/// The problems, with a mark on those that leave the tree usable.
fn problems(text: &str) -> Vec<String> {
    let (_, problems) = compose(text);
    let shown = problems.into_iter().map(|problem| {
        let mark = if problem.harmless { " (harmless)" } else { "" };
        format!("{}:{}: {}{mark}", problem.at.line, problem.at.column, problem.message)
    });
    shown.collect()
}

#[test]
fn reports_what_is_wrong_and_where() {
    let cases = [
        ("a: 1\nb: 2\na: 3\n", "3:1: the key 'a' is already there, at 1:1"),
        ("a: 1\n---\nb: 1\n", "2:1: a second document starts here; a file is one template"),
        (
            "? [a]\n: 1\n",
            "1:3: a key must be text; a text that starts with '{' or '[' needs quotes",
        ),
        ("a: !secret x\n", "1:4: the tag '!secret' is ignored (harmless)"),
        ("a: &x [*x]\n", "1:8: the alias refers to itself"),
        ("a: {<<: 1}\n", "1:9: only mappings can be merged with '<<'"),
    ];
    for (text, expected) in cases {
        assert_eq!(problems(text), [expected], "{text}");
    }
    assert!(problems("a: *nowhere\n")[0].starts_with("1:4: not valid YAML: "));
    assert!(problems("a: [1\nb: 2\n")[0].contains("not valid YAML: "));
    assert!(problems("a:\n\tb: 2\n")[0].starts_with("2:"));
}

#[test]
fn refuses_what_is_too_large() {
    let deep = format!("a: {}{}", "[".repeat(70), "]".repeat(70));
    assert_eq!(problems(&deep), ["1:67: nested deeper than 64"]);
    let large = format!("a: {}", "x".repeat(MAX_BYTES));
    assert_eq!(problems(&large), ["1:1: the file is larger than 256 KiB"]);
    let mut laughs = "l0: &l0 [ha, ha, ha, ha, ha, ha, ha, ha]\n".to_owned();
    for level in 1..20 {
        let below = vec![format!("*l{}", level - 1); 8].join(", ");
        laughs.push_str(&format!("l{level}: &l{level} [{below}]\n"));
    }
    assert!(problems(&laughs)[0].ends_with("too large once its aliases are followed"));
    let mut chain = "l0: &l0 [[[[[[[[[[[[[[[[[[[[x]]]]]]]]]]]]]]]]]]]]\n".to_owned();
    for level in 1..5 {
        let (open, close) = ("[".repeat(20), "]".repeat(20));
        chain.push_str(&format!("l{level}: &l{level} {open}*l{}{close}\n", level - 1));
    }
    assert!(problems(&chain)[0].ends_with("nested deeper than 64"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = compose(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn never_panics_on_what_looks_like_yaml(text in "([a-z]{1,2}: |- |\\[|\\]|\\{|\\}|&a |\\*a|<<: |!x |'|\"|\\||>|\n|\n  |\n    |[0-9]|#|,|---\n|é){0,60}") {
        let (root, _) = compose(&text);
        if let Some(root) = root {
            let _ = root.describe();
        }
    }

    #[test]
    fn scalars_never_panic(text in "[-+0-9_:.eExXbBaAfFoOnNyY~]{0,24}") {
        let _ = Scalar { text, plain: true }.resolve();
    }
}
