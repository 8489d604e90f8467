//! Tools that change items: finding them, having it done in orders, and telling what came of it.

use std::io::Write;

use haraka_shared::queue_order::{Order, Outcome, Verb};
use haraka_shared::spool::StoredName;
use serde_json::json;

use super::args::Select;
use super::filter::Wait;
use super::owner::{carry_out_patiently, fits};
use super::select::{Finder, Found, Means};
use super::{Complete, Place, Progress, ToolError, items};

/// How often an item is looked for that has another name than a moment ago.
const LOOKS: usize = 4;

/// Passes over the queue at most: an item that is renamed during one may be met in the next.
const PASSES: usize = 4;

/// Runs a tool that changes items.
pub(super) fn run(
    place: &Place,
    verb: &Verb,
    select: &Select,
    json: bool,
    out: &mut impl Write,
) -> Result<Complete, ToolError> {
    let means = match verb {
        Verb::Release => Means::Held,
        Verb::Undo => Means::Trash,
        Verb::Hold | Verb::Retry | Verb::Why | Verb::Adopt { .. } => Means::Queued,
        Verb::Remove { .. } | Verb::Bounce { .. } => Means::Alive,
    };
    refuse_senseless_state(verb, select)?;
    let by_name = !select.names.is_empty() || select.stdin;
    let mut finder = Finder::open(place)?;
    let mut tally = Tally::default();
    let mut progress = Progress::new();
    // By conditions, what was done with an item takes it out of the next pass.
    let passes = match by_name || *verb == Verb::Retry {
        true => 1,
        false => PASSES,
    };
    let begun = finder.now;
    for pass in 0..passes {
        // Reports that bounces made, and mail that came meanwhile, are not meant.
        let limited = !by_name && (pass > 0 || matches!(verb, Verb::Bounce { .. }));
        tally.problems.clear();
        let before = tally.done;
        let mut order = Vec::new();
        let mut bytes = 0;
        finder.each(select, means, false, &mut |finder, found: Found| {
            if limited && found.item.name.arrival > begun {
                return Ok(());
            }
            if !fits(verb, order.len(), bytes) {
                let full = std::mem::take(&mut order);
                bytes = 0;
                give(place, finder, verb, full, &mut tally, (json, out))?;
                progress.tell(|| format!("{} {}", items(tally.done), verb.done()));
            }
            bytes += found.item.file().len() + 4;
            order.push(found.item);
            Ok(())
        })?;
        give(place, &finder, verb, order, &mut tally, (json, out))?;
        if tally.done == before {
            break;
        }
    }
    progress.clear();
    for problem in std::mem::take(&mut tally.problems) {
        finder.problem(problem);
    }
    out.flush()?;
    let complete = finder.tell_problems();
    if !json {
        tell(verb, tally.done, by_name, complete, place, out)?;
    }
    Ok(complete)
}

/// `--state` that takes nothing which the tool could do anything with is a mistake.
fn refuse_senseless_state(verb: &Verb, select: &Select) -> Result<(), ToolError> {
    let trash = select.filter.state == Some(Wait::Trash);
    let refused = match verb {
        Verb::Undo => !matches!(select.filter.state, None | Some(Wait::Trash | Wait::Any)),
        Verb::Release => !matches!(select.filter.state, None | Some(Wait::Held | Wait::Any)),
        _ => trash,
    };
    match refused {
        true => Err(ToolError::Refused(
            "no item of that --state can be dealt with like that".to_owned(),
        )),
        false => Ok(()),
    }
}

#[derive(Default)]
struct Tally {
    done: u64,
    problems: Vec<String>,
}

/// Has one order carried out, and looks again for items that have changed their names meanwhile.
fn give(
    place: &Place,
    finder: &Finder,
    verb: &Verb,
    mut wanted: Vec<StoredName>,
    tally: &mut Tally,
    (json, out): (bool, &mut impl Write),
) -> Result<(), ToolError> {
    for look in 0..LOOKS {
        if wanted.is_empty() {
            break;
        }
        let order = Order {
            verb: verb.clone(),
            names: wanted.iter().map(StoredName::file).collect(),
        };
        let outcomes = carry_out_patiently(place, &order)?;
        let mut gone = Vec::new();
        for (item, outcome) in wanted.into_iter().zip(outcomes) {
            if outcome == Outcome::Gone && look + 1 < LOOKS {
                gone.push(item);
            } else {
                tally.count(verb, &item, &outcome, (json, &mut *out))?;
            }
        }
        let found = match gone.is_empty() {
            true => std::collections::HashMap::new(),
            false => finder.find_again(&gone)?,
        };
        wanted = Vec::new();
        for item in gone {
            match found.get(&item.name.identity()) {
                Some(now) => wanted.push(now.clone()),
                None => tally.count(verb, &item, &Outcome::Gone, (json, &mut *out))?,
            }
        }
    }
    Ok(())
}

impl Tally {
    fn count(
        &mut self,
        verb: &Verb,
        item: &StoredName,
        outcome: &Outcome,
        (json, out): (bool, &mut impl Write),
    ) -> Result<(), ToolError> {
        let done = matches!(outcome, Outcome::Done | Outcome::Said(_));
        self.done += u64::from(done);
        if json {
            let line = json!({
                "file": item.file(),
                "done": done,
                "outcome": outcome.to_string(),
            });
            writeln!(out, "{line}")?;
        } else if let Outcome::Said(said) = outcome
            && *verb != Verb::Retry
        {
            writeln!(out, "{item}: {said}")?;
        }
        if !done {
            self.problems.push(format!("{item}: {outcome}"));
        }
        Ok(())
    }
}

fn tell(
    verb: &Verb,
    done: u64,
    by_name: bool,
    complete: bool,
    place: &Place,
    out: &mut impl Write,
) -> Result<(), ToolError> {
    match verb {
        // What was said on standard error is all there is to say.
        _ if done == 0 && !complete && by_name => {}
        Verb::Remove { at } if done > 0 => {
            writeln!(
                out,
                "{} removed, to be deleted after {} hours. To bring back: haraka queue undo {at} -c {}",
                items(done),
                place.trash_hours,
                place.install_dir.display()
            )?;
        }
        _ => writeln!(out, "{} {}", items(done), verb.done())?,
    }
    Ok(())
}

/// `why`: a line for each item.
pub(super) fn why(
    place: &Place,
    select: &Select,
    json: bool,
    out: &mut impl Write,
) -> Result<Complete, ToolError> {
    let mut finder = Finder::open(place)?;
    let mut problems = Vec::new();
    let mut count = 0u64;
    finder.each(select, Means::Alive, false, &mut |finder, found: Found| {
        let mut item = found.item;
        let mut outcome = Outcome::Gone;
        for _ in 0..LOOKS {
            let order = Order {
                verb: Verb::Why,
                names: vec![item.file()],
            };
            let answers = carry_out_patiently(place, &order)?;
            outcome = answers.into_iter().next().unwrap_or(Outcome::Gone);
            if outcome != Outcome::Gone {
                break;
            }
            let again = finder.find_again(std::slice::from_ref(&item))?;
            match again.into_values().next() {
                Some(now) => item = now,
                None => break,
            }
        }
        count += 1;
        match outcome {
            Outcome::Said(said) if json => {
                writeln!(out, "{}", json!({"file": item.file(), "why": said}))?;
            }
            Outcome::Said(said) => {
                let said = super::text::plain(&said);
                writeln!(out, "{}: {said}", super::text::id(&item))?;
            }
            Outcome::Gone => {
                problems.push(format!("{item}: was delivered or removed this moment"));
            }
            other => problems.push(format!("{item}: {other}")),
        }
        Ok(())
    })?;
    out.flush()?;
    for problem in problems {
        finder.problem(problem);
    }
    Ok(finder.tell_problems())
}
