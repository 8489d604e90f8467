//! Estates, doubts and tallies: what is left when processes die at any point of counting.

use super::page::About;
use super::*;
use crate::spool::{Incarnation, QueueName};

fn item(serial: u32) -> Item {
    Item::from(&QueueName::parse(&format!("1000_1000_0_7_AbCdEf_{serial}_h")).unwrap())
}

fn ledger() -> Ledger {
    let ledger = Ledger::new(3).unwrap();
    for seat in 0..3 {
        let name = format!("AbCdE{seat}");
        ledger
            .page(Seat(seat))
            .open(Incarnation::parse(&name).unwrap());
    }
    ledger
}

#[test]
fn what_a_dead_process_had_is_its_estate_until_another_takes_it_over() {
    let ledger = ledger();
    ledger.page(Seat(0)).took_over(5);
    ledger.found();
    let page = ledger.page(Seat(0));
    page.begin_batch(0);
    page.end_batch(3);
    page.went(Out::Delivered, 2);
    assert_eq!(page.left(), 6);
    ledger.vacate(Seat(0));
    assert_eq!((ledger.estate(), ledger.page(Seat(0)).left()), (6, 0));
    ledger.page(Seat(1)).took_over(6);
    let totals = ledger.totals();
    assert_eq!((totals.estate, totals.queued), (0, 6));
    assert!(totals.closes());
    ledger.page(Seat(1)).took_over(1);
    assert_eq!(ledger.estate(), -1);
    ledger.write_off(-1);
    assert_eq!((ledger.estate(), ledger.totals().drift), (0, 1));
}

#[test]
fn deaths_before_the_queue_was_found_once_count_nothing_twice() {
    let ledger = ledger();
    ledger.page(Seat(0)).took_over(5);
    ledger.page(Seat(0)).went(Out::Delivered, 1);
    ledger.vacate(Seat(0));
    ledger.page(Seat(1)).took_over(4);
    ledger.found();
    let totals = ledger.totals();
    assert_eq!((totals.ins[In::Found as usize], totals.queued), (5, 4));
    assert!(totals.closes());
}

#[test]
fn notes_of_a_dead_process_are_doubts_unless_they_were_counted() {
    let ledger = ledger();
    let page = ledger.page(Seat(0));
    page.note_leaving(0, &item(1), Out::Delivered);
    page.note_leaving(1, &item(2), Out::Bounced);
    page.note_returning(2, &item(3));
    page.note_leaving(3, &item(4), Out::Held);
    page.count_noted(1);
    page.forget(3);
    page.begin_batch(9);
    ledger.vacate(Seat(0));
    let doubts = ledger.doubts();
    let about: Vec<About> = doubts.iter().map(|d| d.about).collect();
    assert_eq!(
        about,
        [
            About::Accepting(Incarnation::parse("AbCdE0").unwrap(), 9),
            About::Leaving(item(1), Out::Delivered),
            About::Returning(item(3)),
        ]
    );
    assert!(ledger.settle_doubt(&doubts[1]));
    assert!(!ledger.settle_doubt(&doubts[1]));
    assert_eq!(ledger.doubts().len(), 2);
    assert_eq!(ledger.totals().outs[Out::Bounced as usize], 1);
}

#[test]
fn batch_that_is_being_committed_is_known_by_its_first_number() {
    let ledger = ledger();
    let page = ledger.page(Seat(0));
    assert_eq!(page.batch(), None);
    page.begin_batch(0);
    assert_eq!(page.batch(), Some(0));
    page.end_batch(3);
    assert_eq!(page.batch(), None);
}

#[test]
fn process_that_dies_between_counting_and_taking_its_note_back_leaves_no_doubt() {
    let ledger = ledger();
    let page = ledger.page(Seat(0));
    page.note_leaving(7, &item(1), Out::Delivered);
    ledger.pages[0].stop_after_counting(7);
    page.begin_batch(3);
    page.came(In::Accepted, 2);
    ledger.vacate(Seat(0));
    assert_eq!(ledger.doubts(), []);
    assert_eq!(ledger.totals().outs[Out::Delivered as usize], 1);
}

#[test]
fn recipients_are_tallied_by_name_the_busiest_first_and_the_rest_together() {
    let ledger = ledger();
    for n in 0..10_u64 {
        ledger.tally_domain(&format!("d{n}.test"), Outcome::Delivered, n + 1);
    }
    ledger.tally_domain(&"long".repeat(99), Outcome::Bounced, 4);
    ledger.tally_domain("d9.test", Outcome::Deferred, 1);
    let all = ledger.domains(2);
    let names: Vec<&str> = all.iter().map(|t| t.name.as_str()).collect();
    assert_eq!(names, ["d9.test", "d8.test", "(others)"]);
    assert_eq!(all[0].recipients, [0, 10, 1, 0, 0]);
    assert_eq!(all[2].recipients, [0, 36, 0, 4, 0]);
    for n in 0..20_000 {
        ledger.tally_provider(&format!("p{n}"), Outcome::Delivered, 1);
    }
    let sum = ledger.providers(1000);
    assert_eq!(sum.len(), 1001);
    assert_eq!(sum.iter().map(|t| t.recipients[1]).sum::<u64>(), 20_000);
}
