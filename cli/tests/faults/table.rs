//! `docs/faults.md`: what a round of the suite has found.

use std::path::PathBuf;
use std::time::Duration;

use sluice_tests::processes::site::LEASE;

use super::check::Findings;
use super::fault::Fault;

const HEAD: &str = "\
| fault | struck after call | lasted, s | runs in flight | lost | committed twice | interrupted | effect calls repeated | attempts it struck | seconds until all had completed |
|---|---|---|---|---|---|---|---|---|---|";

const HEAD_COLUMNS: usize = 10;
const ABOUT: &str = "\
# Faults

What becomes of 300 runs when something breaks. The test suite in `cli/tests/faults/` writes this file:

    SLUICE_BLESS=1 cargo test -p sluice --test faults

Each line is an installation of its own: real processes, a real NATS and a real PostgreSQL, a TCP link between each
pair that the suite can hurt. 330 runs are begun, of eight kinds: a chain whose agents look, act where nothing may
happen twice, and act under a key; a lock that is held over a person's approval; one that is cancelled while it waits for
a person under its lock; a step that works at the second try, seconds later; a pause of a second; a change that is
found wrong and rolled back; two branches that take turns at a lock; and a run that waits under its lock for the end of
another that it starts. 20 more runs are asked for while the fault lasts.
The last three lines hold all runs in their only step, in one worker, a quarter of them in a child's step, and measure
nothing but the recovery.

*Interrupted* are runs that failed because their worker vanished in a call that nobody may repeat; every other run came
to the end that its template declares. *Effect calls repeated* are calls of agents with effects that were made before;
the agent that may not be called twice never was. *Attempts it struck* were under way on what was struck, or began
there while it lasted; no call of any other attempt was repeated. *Seconds* count from the moment at which all was well
again, or as well as it gets; the first line says what the load takes by itself.
";

/// One line of the table.
pub(crate) struct Row {
    pub(crate) fault: String,
    pub(crate) after_calls: usize,
    pub(crate) calls: usize,
    pub(crate) in_flight: i64,
    pub(crate) lasted: Duration,
    /// None when some never did.
    pub(crate) recovered: Option<Duration>,
    pub(crate) found: Findings,
}

impl Row {
    /// What is wrong, in sentences.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let stuck = self.recovered.is_none().then(|| "not every run came to its end".to_owned());
        let all = stuck.iter().chain(&self.found.broken);
        all.map(|what| format!("{}: {what}", self.fault)).collect()
    }
}

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let found = &self.found;
        let recovered = self
            .recovered
            .map_or_else(|| "never".to_owned(), |time| format!("{:.1}", time.as_secs_f64()));
        write!(
            f,
            "| {} | {} of {} | {:.1} | {} | {} | {} | {} | {} | {} | {recovered} |",
            self.fault,
            self.after_calls,
            self.calls,
            self.lasted.as_secs_f64(),
            self.in_flight,
            found.lost,
            found.committed_twice,
            found.interrupted,
            found.effects_repeated,
            found.running,
        )
    }
}

/// The table.
pub(crate) fn lines(rows: &[Row]) -> String {
    rows.iter().fold(HEAD.to_owned(), |text, row| format!("{text}\n{row}"))
}

/// Publishes a round.
pub(crate) fn write(rows: &[Row], seed: u64) {
    let build = if cfg!(debug_assertions) { "an unoptimised build" } else { "a release build" };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let text = format!(
        "{ABOUT}\nThis round: seed {seed}, {build}, {cores} cores shared by three installations with two \
         coordinators, two workers and a gateway each; a lease of {} s.\n\n{}\n",
        LEASE.as_secs(),
        lines(rows)
    );
    std::fs::create_dir_all(file().parent().unwrap()).unwrap();
    std::fs::write(file(), text).unwrap();
}

/// What is published has a line for every fault, in the order of the suite, and shows nothing lost,
/// nothing committed twice, and recoveries as fast as promised.
pub(crate) fn assert_published(faults: &[Fault]) {
    let text = std::fs::read_to_string(file()).unwrap();
    let (_, table) = text.split_once(HEAD).expect("docs/faults.md has another table: bless it");
    let lines: Vec<Vec<&str>> = table
        .lines()
        .filter(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    let published: Vec<&str> = lines.iter().map(|line| line[0]).collect();
    let known: Vec<&str> = faults.iter().map(|fault| fault.name.as_str()).collect();
    assert_eq!(published, known, "docs/faults.md is stale: bless it");
    for line in &lines {
        assert_eq!(line.len(), HEAD_COLUMNS, "{line:?}");
        assert_eq!((line[4], line[5]), ("0", "0"), "lost or committed twice: {line:?}");
        let number = |column: usize| line[column].parse::<f64>();
        assert!(
            number(7).unwrap() <= number(8).unwrap(),
            "more was repeated than struck: {line:?}"
        );
        let seconds = number(9).unwrap_or_else(|_| panic!("some runs never ended: {line:?}"));
        if let Some(fault) = faults.iter().find(|fault| fault.name == line[0])
            && let Some(bar) = fault.published_within()
        {
            assert!(seconds < bar.as_secs_f64(), "bless it on a quiet machine: {line:?}");
        }
    }
}

fn file() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/faults.md")
}
