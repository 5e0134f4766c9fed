//! The zones of Gibbons and Korach (1997), for histories in which every write has a value of its own.
//!
//! The *zone* of a value spans from the earliest end to the latest start among its write and the
//! reads that returned it. Where the first lies before the second (a *forward* zone) the register
//! must have held the value all that time; so forward zones exclude each other, and no value may
//! come and go (a *backward* zone) inside the forward zone of another.

use std::{collections::HashMap, time::Duration};

use crate::{
    Value,
    contradiction::{Contradiction, Period},
    prepare::Prepared,
};

impl Period {
    fn is_forward(&self) -> bool {
        self.first_end < self.last_start
    }
}

pub(crate) fn check(history: &Prepared) -> Result<(), Contradiction> {
    let (mut forward, backward): (Vec<Period>, Vec<Period>) =
        zones(history).into_values().partition(Period::is_forward);
    forward.sort_by_key(|zone| zone.first_end);
    if let Some(pair) = forward.windows(2).find(|pair| pair[1].first_end < pair[0].last_start) {
        return Err(Contradiction::Overlap(pair[0], pair[1]));
    }
    for inner in backward {
        // Forward zones are apart and in order: only the last that begins before can enclose it.
        let after = forward.partition_point(|outer| outer.first_end < inner.last_start);
        let around = after.checked_sub(1).and_then(|at| forward.get(at));
        if let Some(outer) = around.filter(|outer| inner.first_end < outer.last_start) {
            return Err(Contradiction::Overlap(inner, *outer));
        }
    }
    Ok(())
}

fn zones(history: &Prepared) -> HashMap<Value, Period> {
    let initial = Period { value: history.initial, first_end: Duration::ZERO, last_start: Duration::ZERO };
    let mut zones = HashMap::from([(history.initial, initial)]);
    for write in &history.writes {
        zones.insert(write.value, Period { value: write.value, first_end: write.end, last_start: write.start });
    }
    for read in &history.reads {
        if let Some(zone) = zones.get_mut(&read.value) {
            zone.first_end = zone.first_end.min(read.end);
            zone.last_start = zone.last_start.max(read.start);
        }
    }
    zones
}
