//! Claims and heartbeats: one row, one transaction.

use sluice_proto::message::Refusal;
use sluice_proto::timestamp::Timestamp;

use super::breakage;
use super::worker::{Answer, Letter};
use super::world::{Happening, World};

impl World<'_> {
    pub(crate) fn deliver_letter(&mut self, letter: &Letter) {
        let Some(who) = self.any_coordinator() else { return };
        let until = self.coordinators[who].process.stopped_until;
        if until > self.now {
            return self.at(until, Happening::Letter(letter.clone()));
        }
        if self.rng.chance(self.weather.refuse) {
            return;
        }
        let now = self.moment();
        let Letter { key, fence, worker, is_claim, .. } = letter;
        let Some(stored) = self.database.attempts.get_mut(key) else {
            return self.answer_letter(letter, Err(Refusal::NotOutstanding));
        };
        let moved = if *is_claim {
            breakage::claim(self.breakage, &stored.row, *fence, worker, now)
        } else {
            breakage::heartbeat(self.breakage, &stored.row, *fence, worker, now)
        };
        let moved = moved.map(|row| {
            stored.row = row;
            (stored.row.fence, stored.row.lease_until.unwrap_or(now))
        });
        self.answer_letter(letter, moved);
    }

    fn answer_letter(&mut self, letter: &Letter, moved: Result<(u64, Timestamp), Refusal>) {
        let Letter { key, fence, worker, is_claim, reply_to } = letter;
        self.note(|| {
            let what = if *is_claim { "claims" } else { "keeps" };
            format!("{worker} {what} {key} under fence {fence}: {moved:?}")
        });
        if let Err(refusal) = moved {
            self.counts.refuse(refusal);
        }
        if *is_claim {
            let granted = |(fence, lease_until)| Answer::Granted { fence, lease_until };
            self.reply(*reply_to, moved.map_or_else(Answer::Refused, granted));
        }
    }
}
