use indexmap::IndexMap;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

struct Run {
    context: Value,
    outputs: IndexMap<String, Value>,
    workflow: Value,
    item: Value,
}

impl Run {
    fn scope(&self) -> Scope<'_> {
        Scope {
            context: &self.context,
            outputs: &self.outputs,
            workflow: &self.workflow,
            within: Vec::new(),
            extra: vec![("item", &self.item)],
        }
    }
}

fn run() -> Run {
    let outputs = json!({
        "tests": {"passed": 19, "total": 20, "ratio": 0.95, "ok": true, "flaky": false, "note": null},
        "none": {"passed": 0, "total": 0},
        "analyze": {"path": "full_stack", "files": ["a.rs", "b.rs"], "tags": ["x"], "meta": {"k": 1}},
        "my-step": {"x": "reached", "list": [{"deep": 7}]},
        "words": {"text": "abc", "number": "5", "yes": "true", "braces": "{{ context.name }}"},
        "big": {"max": i64::MAX, "huge": u64::MAX, "small": i64::MIN},
    });
    let Value::Object(outputs) = outputs else { unreachable!() };
    Run {
        context: json!({"name": "demo", "pr_number": 42, "empty": "", "list": [1, "two", null]}),
        outputs: outputs.into_iter().collect(),
        workflow: json!({"id": "w-1", "failed_step": "deploy"}),
        item: json!({"id": 3}),
    }
}

fn verdict(source: &str) -> Check {
    let run = run();
    let condition = Condition::parse(source).unwrap_or_else(|e| panic!("{source}: {e}"));
    assert_eq!(condition.source(), source);
    condition.check(&run.scope())
}

#[test]
fn conditions_that_hold() {
    for source in [
        "outputs.tests.passed == 19",
        "outputs.tests.passed == 19.0",
        "outputs.tests.passed >= outputs.tests.total*0.95",
        "outputs.tests.passed >= outputs.tests.total * 0.9",
        "outputs.tests.passed != outputs.tests.total",
        "outputs.tests.passed < outputs.tests.total",
        "outputs.tests.passed <= 19",
        "outputs.tests.total > 19.5",
        "outputs.tests.passed + 1 == outputs.tests.total",
        "outputs.tests.total - 1 == outputs.tests.passed",
        "outputs.tests.passed / outputs.tests.total == outputs.tests.ratio",
        "2 + 3 * 4 == 14",
        "(2 + 3) * 4 == 20",
        "10 - 3 - 2 == 5",
        "-outputs.tests.passed == -19",
        "- -1 == 1",
        "7 / 2 == 3.5",
        "outputs.analyze.path == 'full_stack'",
        "outputs.analyze.path == \"full_stack\"",
        "'full' in outputs.analyze.path",
        "'a.rs' in outputs.analyze.files",
        "'c.rs' not in outputs.analyze.files",
        "outputs.analyze.path in ['code_only', 'full_stack']",
        "3 in [1, 2, 3.0]",
        "'k' in outputs.analyze.meta",
        "outputs.analyze.files.0 == 'a.rs'",
        "outputs.analyze.files[1] == 'b.rs'",
        "outputs['my-step'].x == 'reached'",
        "outputs['my-step'].list[0]['deep'] == 7",
        "outputs.tests.ok",
        "not outputs.tests.flaky",
        "outputs.tests.ok == true",
        "outputs.tests.ok and not outputs.tests.flaky",
        "outputs.tests.flaky or outputs.tests.ok",
        "true or false and false",
        "not false and true",
        "outputs.tests.note == null",
        "outputs.tests.ok != null",
        "null == null",
        "'it\\'s' == \"it's\"",
        "outputs.words.text < 'abd'",
        "outputs.analyze.tags == ['x']",
        "context.pr_number == 42 and workflow.id == 'w-1' and item.id == 3",
        "True and not False and None == null",
        "'abc' + 'd' == 'abcd'",
        "outputs.big.max == 9223372036854775807",
    ] {
        assert_eq!(verdict(source), Check { holds: true, ..Check::default() }, "{source}");
    }
}

#[test]
fn conditions_that_simply_do_not_hold() {
    for source in [
        "outputs.tests.passed == 20",
        "outputs.tests.passed >= outputs.tests.total",
        "outputs.analyze.path == 'docs_only'",
        "outputs.tests.flaky",
        "not outputs.tests.ok",
        "'z' in outputs.analyze.files",
        "'x' == null",
        "false",
    ] {
        assert_eq!(verdict(source), Check::default(), "{source}");
    }
}

#[test]
fn whatever_cannot_be_evaluated_does_not_hold_and_says_why() {
    for (source, reason) in [
        ("outputs.nobody.x == 1", "outputs.nobody.x is missing"),
        ("outputs.tests.nothing == 1", "outputs.tests.nothing is missing"),
        ("outputs.tests.nothing != 1", "outputs.tests.nothing is missing"),
        ("outputs.a.x == outputs.b.x", "outputs.a.x is missing; outputs.b.x is missing"),
        ("outputs.nobody.x == null", "outputs.nobody.x is missing"),
        ("outputs.nobody.x != null", "outputs.nobody.x is missing"),
        ("not (outputs.nobody.x == 1)", "outputs.nobody.x is missing"),
        ("not outputs.nobody.x", "outputs.nobody.x is missing"),
        ("outputs.tests.ok or outputs.nobody.x", "outputs.nobody.x is missing"),
        ("outputs.tests.flaky and outputs.nobody.x", "outputs.nobody.x is missing"),
        ("outputs.tests.note == 1", "outputs.tests.note is null"),
        ("outputs.tests.note != 1", "outputs.tests.note is null"),
        ("outputs.tests.note == outputs.tests.note", "outputs.tests.note is null"),
        ("outputs.tests.note", "outputs.tests.note is null"),
        ("'abc' > 5", "'abc' > 5: text and a number do not go together"),
        (
            "outputs.words.number == 5",
            "outputs.words.number == 5: text and a number do not go together",
        ),
        (
            "outputs.words.number != 5",
            "outputs.words.number != 5: text and a number do not go together",
        ),
        (
            "outputs.words.number + 1 == 6",
            "outputs.words.number + 1: text and a number do not go together",
        ),
        ("outputs.words.yes", "outputs.words.yes is text, not true or false"),
        ("outputs.words.yes and true", "outputs.words.yes is text, not true or false"),
        ("not outputs.words.text", "outputs.words.text is text, not true or false"),
        ("outputs.tests.passed", "outputs.tests.passed is a number, not true or false"),
        (
            "outputs.tests.ok == 1",
            "outputs.tests.ok == 1: true or false and a number do not go together",
        ),
        (
            "outputs.tests.ok > false",
            "outputs.tests.ok > false: true or false and true or false do not go together",
        ),
        ("1 in 5", "1 in 5: a number and a number do not go together"),
        (
            "1 not in outputs.words.text",
            "1 not in outputs.words.text: a number and text do not go together",
        ),
        ("-outputs.words.text == 1", "outputs.words.text is text, not a number"),
        (
            "outputs.tests.passed / outputs.none.total > 0",
            "outputs.tests.passed / outputs.none.total divides by zero",
        ),
        ("outputs.big.max + 1 > 0", "outputs.big.max + 1 is too large a number"),
        ("outputs.big.max * 2 > 0", "outputs.big.max * 2 is too large a number"),
        ("-outputs.big.small > 0", "-(outputs.big.small) is too large a number"),
        ("1e308 * 10 > 0", "1e+308 * 10 is too large a number"),
        (
            "(outputs.words.text - 1) * 2 > 0",
            "outputs.words.text - 1: text and a number do not go together",
        ),
        ("nobody.x == 1", "nobody.x is missing"),
        ("outputs.analyze.files.9 == 'x'", "outputs.analyze.files.9 is missing"),
        ("outputs.analyze.path.deeper == 'x'", "outputs.analyze.path.deeper is missing"),
    ] {
        let expected = Check { holds: false, reason: Some(reason.to_owned()), warning: None };
        assert_eq!(verdict(source), expected, "{source}");
    }
}

#[test]
fn zero_of_zero_is_true_and_remarked_on() {
    for (source, holds, remarked) in [
        ("outputs.none.passed == outputs.none.total", true, true),
        ("outputs.none.passed >= outputs.none.total * 0.95", true, true),
        ("outputs.none.passed < outputs.none.total", false, true),
        ("outputs.none.passed == 0", true, false),
        ("outputs.tests.passed >= outputs.tests.total * 0.95", true, false),
    ] {
        let check = verdict(source);
        assert_eq!((check.holds, check.warning.is_some()), (holds, remarked), "{source}");
    }
    let warning = verdict("outputs.none.passed == outputs.none.total").warning.unwrap();
    assert_eq!(warning, "outputs.none.passed == outputs.none.total compares 0 with 0");
}

#[test]
fn says_what_cannot_be_parsed_and_where() {
    for (source, offset, message) in [
        ("", 0, "expected a value, found the end"),
        ("a ==", 4, "expected a value, found the end"),
        ("a | upper", 2, "filters such as '| upper' are not part of the language"),
        ("len(a) > 1", 3, "calls are not part of the language"),
        ("a.b() == 1", 3, "calls are not part of the language"),
        ("a[b] == 1", 2, "only a quoted name or a number can stand in brackets"),
        ("a[0 == 1", 4, "']' is missing"),
        ("a. == 1", 2, "a name is missing after '.'"),
        ("a = 1", 2, "'=' compares nothing; write '=='"),
        ("a && b", 2, "write 'and' instead of '&'"),
        ("!a", 0, "write 'not' instead of '!'"),
        ("a < b < c", 6, "comparisons cannot be chained; join them with 'and'"),
        ("a == b in c", 7, "comparisons cannot be chained; join them with 'and'"),
        ("a b", 2, "'b' is not expected here"),
        ("(a", 2, "expected ')', found the end"),
        ("a)", 1, "')' is not expected here"),
        ("'abc", 0, "the closing ' is missing"),
        ("'a\\q'", 2, "after '\\' only \\ ' \" n and t are known"),
        ("1.2.3", 3, "'.' means nothing in an expression"),
        ("12ab", 0, "'12' is not a number we can use"),
        ("99999999999999999999", 0, "'99999999999999999999' is not a number we can use"),
        ("{{ a }}", 0, "'{' cannot stand inside an expression"),
        ("x in [a]", 6, "a list can hold only numbers, texts and constants"),
        ("a if b else c", 2, "'if' is not expected here"),
        ("a @ b", 2, "'@' means nothing in an expression"),
        ("é == 1", 0, "'é' means nothing in an expression"),
    ] {
        let expected = ParseError { offset, message: message.to_owned() };
        assert_eq!(Condition::parse(source), Err(expected), "{source}");
    }
}

#[test]
fn expressions_are_bounded() {
    let deep = format!("{}1{}", "(".repeat(100), ")".repeat(100));
    assert!(Condition::parse(&deep).unwrap_err().message.contains("nested too deep"));
    assert!(Condition::parse(&"not ".repeat(100)).unwrap_err().message.contains("too deep"));
    let wide = format!("1{}", " + 1".repeat(300));
    assert!(Condition::parse(&wide).unwrap_err().message.contains("256 operators"));
    let long = format!("'{}'", "x".repeat(5000));
    assert!(Condition::parse(&long).unwrap_err().message.contains("4096 bytes"));
}

/// Renders one text as a payload would: value, and whether there was a problem.
fn rendered(source: &str) -> (Value, Vec<String>) {
    let run = run();
    Text::parse(source).unwrap_or_else(|e| panic!("{source}: {e}"));
    let Rendered { value, problems } = Payload::compile(json!(source)).render(&run.scope());
    (value, problems)
}

#[test]
fn a_text_that_is_one_expression_keeps_its_type() {
    for (source, expected) in [
        ("{{ context.pr_number }}", json!(42)),
        ("{{context.pr_number}}", json!(42)),
        ("  {{ context.pr_number }}\n", json!(42)),
        ("{{ outputs.tests.ratio }}", json!(0.95)),
        ("{{ outputs.tests.ok }}", json!(true)),
        ("{{ outputs.tests.note }}", json!(null)),
        ("{{ outputs.analyze.files }}", json!(["a.rs", "b.rs"])),
        ("{{ outputs.analyze.meta }}", json!({"k": 1})),
        ("{{ outputs['my-step'].x }}", json!("reached")),
        ("{{ workflow.failed_step }}", json!("deploy")),
        ("{{ item.id }}", json!(3)),
        ("{{ 'a}}b' }}", json!("a}}b")),
        ("{{ 4 / 2 }}", json!(2.0)),
        ("{{ outputs.tests.passed > 1 }}", json!(true)),
        // What is missing is null, however deep.
        ("{{ outputs.tests.nothing }}", json!(null)),
        ("{{ outputs.nobody.changes }}", json!(null)),
        ("{{ outputs.nobody.changes.deeper.still }}", json!(null)),
        ("{{ nobody.x }}", json!(null)),
        // A value is not rendered again.
        ("{{ outputs.words.braces }}", json!("{{ context.name }}")),
        ("plain", json!("plain")),
        ("a } b }} c", json!("a } b }} c")),
    ] {
        assert_eq!(rendered(source), (expected, vec![]), "{source}");
    }
}

#[test]
fn an_expression_inside_a_text_becomes_text() {
    for (source, empty, not_available) in [
        ("PR #{{ context.pr_number }}!", "PR #42!", "PR #42!"),
        ("{{ context.name }}{{ context.name }}", "demodemo", "demodemo"),
        ("r={{ outputs.tests.ratio }}", "r=0.95", "r=0.95"),
        ("ok={{ outputs.tests.ok }}", "ok=true", "ok=true"),
        ("f={{ outputs.analyze.files }}", "f=[\"a.rs\",\"b.rs\"]", "f=[\"a.rs\",\"b.rs\"]"),
        ("m={{ outputs.analyze.meta }}", "m={\"k\":1}", "m={\"k\":1}"),
        ("n={{ outputs.tests.note }}.", "n=.", "n=n/a."),
        ("n={{ outputs.nobody.x.y }}.", "n=.", "n=n/a."),
        ("e={{ context.empty }}.", "e=.", "e=."),
        ("b={{ outputs.words.braces }}", "b={{ context.name }}", "b={{ context.name }}"),
        ("é{{ context.name }}é", "édemoé", "édemoé"),
    ] {
        let run = run();
        let text = Text::parse(source).unwrap();
        assert_eq!(text.source(), source);
        assert_eq!(text.render(&run.scope(), Missing::Empty), empty, "{source}");
        assert_eq!(text.render(&run.scope(), Missing::NotAvailable), not_available, "{source}");
    }
}

#[test]
fn plus_joins_what_is_there() {
    for (source, expected) in [
        ("{{ outputs.tests.passed + outputs.tests.total }}", json!(39)),
        ("{{ outputs.tests.passed + 0.5 }}", json!(19.5)),
        ("{{ outputs.analyze.files + outputs.analyze.tags }}", json!(["a.rs", "b.rs", "x"])),
        ("{{ context.name + '-x' }}", json!("demo-x")),
        ("{{ '1' + '2' }}", json!("12")),
        ("{{ outputs.nobody.changes + outputs.analyze.files }}", json!(["a.rs", "b.rs"])),
        ("{{ outputs.analyze.files + outputs.nobody.changes }}", json!(["a.rs", "b.rs"])),
        ("{{ outputs.tests.note + 'x' }}", json!("x")),
        ("{{ outputs.nobody.a + outputs.nobody.b }}", json!(null)),
        ("{{ outputs.nobody.a + outputs.nobody.b + 'c' }}", json!("c")),
        ("{{ outputs.analyze.files + 'c.rs' }}", json!(["a.rs", "b.rs", "c.rs"])),
        ("{{ outputs.analyze.tags + 1 + true }}", json!(["x", 1, true])),
        ("{{ 1 + outputs.words.number }}", json!(6)),
        ("{{ outputs.words.number + 1.5 }}", json!(6.5)),
        ("{{ ' 7 ' + 1 }}", json!(8)),
    ] {
        assert_eq!(rendered(source), (expected, vec![]), "{source}");
    }
}

#[test]
fn a_failed_expression_is_null_and_reported() {
    for (source, problem) in [
        ("{{ 1 + 'x' }}", "1 + 'x': a number and text do not go together"),
        ("{{ 1 + 'inf' }}", "1 + 'inf': a number and text do not go together"),
        ("{{ true + 1 }}", "true + 1: true or false and a number do not go together"),
        (
            "{{ outputs.analyze.meta + 'x' }}",
            "outputs.analyze.meta + 'x': an object and text do not go together",
        ),
        (
            "{{ outputs.analyze.files + outputs.analyze.meta }}",
            "outputs.analyze.files + outputs.analyze.meta: a list and an object do not go together",
        ),
        ("{{ outputs.big.max + 1 }}", "outputs.big.max + 1 is too large a number"),
        ("{{ 1 / 0 }}", "1 / 0 divides by zero"),
        ("{{ outputs.nobody.x - 1 }}", "outputs.nobody.x is missing"),
        ("{{ outputs.nobody.x == null }}", "outputs.nobody.x is missing"),
    ] {
        assert_eq!(rendered(source), (Value::Null, vec![problem.to_owned()]), "{source}");
    }
    let inside = rendered("x={{ 1 + 'x' }}.");
    assert_eq!(inside.0, json!("x=."));
    assert_eq!(inside.1.len(), 1);
}

#[test]
fn payloads_render_lists_and_maps_element_by_element() {
    let source = json!({
        "pr": "{{ context.pr_number }}",
        "list": ["{{ context.name }}", 1, {"deep": "n {{ outputs.tests.total }}"}],
        "{{ key }}": true,
        "gone": ["{{ outputs.nobody.x }}"],
        "bad": "{{ 1 + 'x' }}",
    });
    let payload = Payload::compile(source.clone());
    assert_eq!(payload.source(), source);
    let Rendered { value, problems } = payload.render(&run().scope());
    let expected = json!({
        "pr": 42, "list": ["demo", 1, {"deep": "n 20"}], "{{ key }}": true, "gone": [null], "bad": null,
    });
    assert_eq!(value, expected);
    assert_eq!(problems.len(), 1);
}

#[test]
fn payloads_know_their_constants() {
    let payload = Payload::compile(json!({"action": "rollback", "id": "{{ context.name }}"}));
    assert_eq!(payload.constant("action"), Some(&json!("rollback")));
    assert_eq!(payload.constant("id"), None);
    assert_eq!(payload.constant("other"), None);
}

#[test]
fn texts_say_what_cannot_be_parsed_and_where() {
    for (source, offset, message) in [
        ("a {{ b", 2, "'{{' is never closed"),
        ("a {{ }}", 2, "there is no expression between '{{' and '}}'"),
        ("a {{ x | upper }}", 7, "filters such as '| upper' are not part of the language"),
        ("a {{- x }}", 2, "'{{-' and '-}}' are not part of the language"),
        ("a {{ don't }} b", 8, "the closing ' is missing"),
        ("{{ {{ a }} }}", 3, "'{' cannot stand inside an expression"),
        ("{{\"a\": 1}}", 5, "':' means nothing in an expression"),
    ] {
        let expected = ParseError { offset, message: message.to_owned() };
        assert_eq!(Text::parse(source), Err(expected), "{source}");
    }
    let all = Text::parse_all("{{ a | b }} {{ }} {{ ok }} {{").unwrap_err();
    assert_eq!(all.iter().map(|e| e.offset).collect::<Vec<_>>(), [5, 12, 27]);
}

#[test]
fn rendering_is_bounded() {
    let mut run = run();
    run.context = json!({"big": "x".repeat(1024 * 1024)});
    let text = "{{ context.big }}".repeat(40);
    let mut problems = Vec::new();
    let shown =
        Text::parse(&text).unwrap().render_into(&run.scope(), Missing::Empty, &mut problems);
    assert!(shown.len() <= MAX_RENDERED_BYTES);
    assert_eq!(problems.len(), 1);
    let list = Payload::compile(Value::from(vec!["{{ context.big }}"; 40]));
    let Rendered { value, problems } = list.render(&run.scope());
    assert!(value.to_string().len() <= MAX_RENDERED_BYTES + 1024);
    assert_eq!(problems.len(), 1);
}

const PIECES: &str = r#"(outputs|context|\.tests|\.passed|\.0|\['x'\]|\(|\)|\[|\]|,|and|or|not|in| |==|!=|<|<=|\+|-|\*|/|1|0\.5|9223372036854775807|'a'|"b"|true|null|é|\{\{|\}\}|\|){0,40}"#;

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_text_never_panics(text in any::<String>()) {
        let run = run();
        if let Ok(condition) = Condition::parse(&text) {
            let _ = condition.check(&run.scope());
        }
        let _ = Payload::compile(json!({"k": [text]})).render(&run.scope());
    }

    #[test]
    fn what_looks_like_an_expression_never_panics(text in PIECES) {
        let run = run();
        if let Ok(condition) = Condition::parse(&text) {
            let check = condition.check(&run.scope());
            prop_assert!(!(check.holds && check.reason.is_some()));
        }
        let wrapped = format!("a {{{{ {text} }}}} b");
        if let Ok(text) = Text::parse(&wrapped) {
            let _ = text.render(&run.scope(), Missing::NotAvailable);
        }
        let _ = Text::parse(&text);
    }

    #[test]
    fn missing_operands_never_make_a_condition_hold(text in PIECES) {
        let empty = IndexMap::new();
        let scope = Scope { context: &Value::Null, outputs: &empty, workflow: &Value::Null, within: vec![], extra: vec![] };
        if let Ok(condition) = Condition::parse(&text) {
            let mut paths = 0;
            condition.visit_paths(&mut |path| paths += usize::from(!(path.segments.is_empty() && ["outputs", "context"].contains(&path.root.as_str()))));
            prop_assert!(paths == 0 || !condition.check(&scope).holds);
        }
    }

    #[test]
    fn numbers_compare_as_numbers(a in any::<i32>(), b in any::<i32>()) {
        let run = run();
        let holds = |operator: &str| {
            Condition::parse(&format!("{a} {operator} {b}")).unwrap().check(&run.scope()).holds
        };
        prop_assert_eq!(holds("<"), a < b);
        prop_assert_eq!(holds(">="), a >= b);
        prop_assert_eq!(holds("=="), a == b);
        prop_assert_eq!(holds("!="), a != b);
    }
}
