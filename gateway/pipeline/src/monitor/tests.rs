use std::{cell::RefCell, collections::VecDeque};

use super::{fixture::sample, *};

#[tokio::test(start_paused = true)]
async fn each_row_is_due_three_times_in_order() {
    let mut due = Due::default();
    due.add(&sample(1));
    tokio::time::advance(Duration::from_millis(500)).await;
    due.add(&sample(2));
    let mut seen = Vec::new();
    while let Some(at) = due.next() {
        sleep_until(at).await;
        while let Some((after, row)) = due.take() {
            seen.push((after, row.key.to_string()));
        }
    }
    let expected = [(0, "1,en"), (0, "2,en"), (1, "1,en"), (1, "2,en"), (2, "1,en"), (2, "2,en")];
    assert_eq!(seen, expected.map(|(after, key)| (after, key.to_owned())));
}

#[tokio::test(start_paused = true)]
async fn rows_that_wait_are_bounded() {
    let mut due = Due::default();
    while due.has_room() {
        due.add(&sample(1));
    }
    assert!(due.0.iter().all(|queue| queue.len() == FOLLOWED));
    tokio::time::advance(AFTER[0]).await;
    due.take();
    assert!(!due.has_room(), "it waits for its last look");
}

/// What a comparison came to, and how often the shard was asked.
async fn compared<const P: usize>(
    peeks: [&[(Tier, Peeked)]; P],
    rows: &[Option<Option<&'static str>>],
) -> (Vec<(Tier, Checked)>, usize) {
    let peeks = RefCell::new(VecDeque::from(peeks.map(<[_]>::to_vec)));
    let left = RefCell::new(rows.iter().copied().collect::<VecDeque<_>>());
    let peek = || async { peeks.borrow_mut().pop_front().expect("another look") };
    let ask = || async { left.borrow_mut().pop_front().expect("another question").map(|row| row.map(Bytes::from)) };
    let seen = compare(peek, ask).await;
    let asked = rows.len() - left.borrow().len();
    (seen, asked)
}

fn served(row: &'static str) -> Peeked {
    Peeked::Served(Some(Bytes::from_static(row.as_bytes())))
}

fn row(json: &'static str) -> Option<Option<&'static str>> {
    Some(Some(json))
}

use Checked::{Absent, Consistent, Refused, Stale, Unsure};
use Tier::{L1, L2};

#[tokio::test]
async fn the_shard_is_not_asked_for_what_is_not_kept_and_once_for_what_is_right() {
    let nothing = [(L1, Peeked::Absent), (L2, Peeked::Refused)];
    assert_eq!(compared([&nothing], &[]).await, (vec![(L1, Absent), (L2, Refused)], 0));
    let right = [(L1, served("new")), (L2, Peeked::Refused)];
    assert_eq!(compared([&right], &[row("new")]).await, (vec![(L1, Consistent), (L2, Refused)], 1));
    let gone = [(L1, Peeked::Served(None))];
    assert_eq!(compared([&gone], &[Some(None)]).await, (vec![(L1, Consistent)], 1), "known to be absent");
}

#[tokio::test]
async fn only_a_row_that_stood_still_is_called_stale() {
    let kept = [(L1, served("new")), (L2, served("old"))];
    let twice = [&kept[..], &kept];
    assert_eq!(compared(twice, &[row("new"), row("new")]).await, (vec![(L1, Consistent), (L2, Stale)], 2));
    assert_eq!(compared(twice, &[row("new"), row("newer")]).await.0, [(L1, Consistent), (L2, Unsure)]);
    assert_eq!(compared(twice, &[row("old"), row("new")]).await.0, [(L1, Consistent), (L2, Consistent)]);
    assert_eq!(compared(twice, &[Some(None), Some(None)]).await.0, [(L1, Stale), (L2, Stale)], "deleted");
    let dropped = [(L1, Peeked::Refused), (L2, Peeked::Absent)];
    let seen = compared([&kept, &dropped], &[row("newer"), row("newer")]).await.0;
    assert_eq!(seen, [(L1, Refused), (L2, Absent)], "a write or its feed came just before the second look");
}

#[tokio::test]
async fn where_the_shard_does_not_answer_nothing_is_concluded() {
    let kept = [(L1, served("old")), (L2, Peeked::Absent)];
    assert_eq!(compared([&kept], &[None]).await.0, [(L1, Unsure), (L2, Absent)]);
    assert_eq!(compared([&kept, &kept], &[row("new"), None]).await.0, [(L1, Unsure), (L2, Absent)]);
}

#[tokio::test]
async fn of_several_tenants_copies_the_worst_counts() {
    let kept = [(L1, Peeked::Absent), (L1, served("old")), (L1, served("new"))];
    assert_eq!(compared([&kept, &kept], &[row("new"), row("new")]).await.0, [(L1, Stale)]);
}
