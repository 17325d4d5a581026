//! What processes and servers have used.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::Context;
use serde::Serialize;
use sqlx::PgPool;

/// Who is metered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Process {
    Coordinator,
    Worker,
    Nats,
    Postgres,
    Driver,
}

/// Counters that only grow, at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub(crate) at: Instant,
    pub(crate) cpu_seconds: BTreeMap<Process, f64>,
    /// Of one process; of PostgreSQL that of the postmaster, since the others share its memory.
    pub(crate) peak_rss_bytes: BTreeMap<Process, u64>,
    pub(crate) wal_bytes: f64,
    /// Whole pages in it, written when they are first changed after a checkpoint.
    pub(crate) full_page_images: f64,
    pub(crate) transactions: f64,
    /// Of the whole machine, without idleness.
    pub(crate) machine_cpu_seconds: f64,
}

impl Snapshot {
    pub(crate) async fn take(
        pool: &PgPool,
        processes: [(Process, u32); 5],
    ) -> anyhow::Result<Self> {
        // Sessions report what they did when they are idle, once a second at most.
        let (wal_bytes, full_page_images, transactions): (f64, f64, f64) = sqlx::query_as(
            "select (pg_current_wal_insert_lsn() - '0/0')::float8,
                    (select wal_fpi::float8 from pg_stat_wal),
                    (select sum(xact_commit + xact_rollback)::float8 from pg_stat_database)",
        )
        .fetch_one(pool)
        .await?;
        let table = ProcTable::read()?;
        let mut snapshot = Self {
            at: Instant::now(),
            cpu_seconds: BTreeMap::new(),
            peak_rss_bytes: BTreeMap::new(),
            wal_bytes,
            full_page_images,
            transactions,
            machine_cpu_seconds: machine_cpu_seconds()?,
        };
        for (process, pid) in processes {
            let used = match process {
                // Its sessions are processes of their own.
                Process::Postgres => table.with_children(pid),
                _ => table.own(pid),
            };
            snapshot.cpu_seconds.insert(process, used);
            snapshot.peak_rss_bytes.insert(process, peak_rss_bytes(pid)?);
        }
        Ok(snapshot)
    }
}

struct Entry {
    parent: u32,
    /// Of the process itself.
    own_ticks: u64,
    /// Of children that have ended.
    reaped_ticks: u64,
}

struct ProcTable(BTreeMap<u32, Entry>);

impl ProcTable {
    fn read() -> anyhow::Result<Self> {
        let mut table = BTreeMap::new();
        for entry in std::fs::read_dir("/proc").context("cannot read /proc")? {
            let name = entry?.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            // It may have ended meanwhile.
            let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
            if let Some(entry) = parse_stat(&stat) {
                table.insert(pid, entry);
            }
        }
        Ok(Self(table))
    }

    fn own(&self, pid: u32) -> f64 {
        seconds(self.0.get(&pid).map_or(0, |entry| entry.own_ticks))
    }

    /// Of a process and its children, also of those that have ended.
    fn with_children(&self, pid: u32) -> f64 {
        let own = self.0.get(&pid).map_or(0, |entry| entry.own_ticks + entry.reaped_ticks);
        let children = self.0.values().filter(|entry| entry.parent == pid);
        seconds(own + children.map(|entry| entry.own_ticks).sum::<u64>())
    }
}

/// proc(5): the name in parentheses may contain anything; behind it come state, parent and so on, utime as
/// the 14th field of the line, stime, cutime and cstime.
fn parse_stat(stat: &str) -> Option<Entry> {
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks = |index: usize| fields.get(index)?.parse::<u64>().ok();
    Some(Entry {
        parent: fields.get(1)?.parse().ok()?,
        own_ticks: ticks(11)? + ticks(12)?,
        reaped_ticks: ticks(13)? + ticks(14)?,
    })
}

/// The first line of /proc/stat: user, nice, system, idle, iowait, irq, softirq.
fn machine_cpu_seconds() -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().context("/proc/stat is empty")?;
    let fields: Vec<u64> = line.split_whitespace().filter_map(|field| field.parse().ok()).collect();
    let busy = [0, 1, 2, 5, 6].iter().filter_map(|index| fields.get(*index)).sum();
    Ok(seconds(busy))
}

#[expect(clippy::cast_precision_loss, reason = "ticks of a run fit into 52 bits")]
fn seconds(ticks: u64) -> f64 {
    ticks as f64 / rustix::param::clock_ticks_per_second() as f64
}

fn peak_rss_bytes(pid: u32) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))
        .with_context(|| format!("process {pid} has ended"))?;
    let kilobytes = status.lines().find_map(|line| {
        line.strip_prefix("VmHWM:")?.split_whitespace().next()?.parse::<u64>().ok()
    });
    Ok(kilobytes.context("no VmHWM")? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_is_no_trouble() {
        let line = "7 (a) b (c) S 3 7 7 0 -1 0 1 2 3 4 50 60 7 8 20 0 1 0";
        let entry = parse_stat(line).unwrap();
        assert_eq!((entry.parent, entry.own_ticks, entry.reaped_ticks), (3, 110, 15));
        assert!(parse_stat("7 (sh").is_none());
    }

    #[test]
    fn this_process_uses_something() {
        let mut n = 0_u64;
        while ProcTable::read().unwrap().own(std::process::id()) <= 0.0 {
            n += 1;
            assert!(n < 1_000_000);
        }
        let table = ProcTable::read().unwrap();
        assert!(table.with_children(std::process::id()) >= table.own(std::process::id()));
        assert!(peak_rss_bytes(std::process::id()).unwrap() > 0);
        assert!(machine_cpu_seconds().unwrap() > 0.0);
    }
}
