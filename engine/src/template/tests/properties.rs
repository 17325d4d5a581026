use proptest::prelude::*;

use super::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_files_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = load("t", &String::from_utf8_lossy(&bytes));
    }

    /// Replaces one piece of a good file by something else.
    #[test]
    fn damaged_files_never_panic(
        at in 0_usize..6000,
        length in 0_usize..40,
        with in "[a-z:{}\\[\\]&*'\"| \n-]{0,12}",
        fixture in 0_usize..4,
    ) {
        let text = [RELEASE, INFRASTRUCTURE, FIRST_GENERATION, EVERY_KEY][fixture];
        let start = at.min(text.len());
        let end = (start + length).min(text.len());
        prop_assume!(text.is_char_boundary(start) && text.is_char_boundary(end));
        let damaged = format!("{}{with}{}", &text[..start], &text[end..]);
        let Loaded { template, findings } = load("t", &damaged);
        let failed = findings.iter().any(|finding| finding.severity == Severity::Error);
        prop_assert_eq!(template.is_none(), failed);
        prop_assert!(findings.is_sorted_by_key(|finding| finding.at));
        let lines = u32::try_from(damaged.lines().count()).unwrap_or(u32::MAX);
        prop_assert!(findings.iter().all(|finding| finding.at.line >= 1 && finding.at.line <= lines + 1));
    }
}
