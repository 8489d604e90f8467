//! Orders of the queue tools on their way: from a client to all workers, and their answers back.
//!
//! The master does not know who owns what: it asks all workers and puts together what they say. The
//! queue itself it never touches.

use std::time::{Duration, Instant};

use haraka_shared::ipc::ToWorker;
use haraka_shared::queue_order::{Order, Outcome};

use super::Hub;
use crate::control::{ClientId, ORDER_TIME};

/// Time for the workers to carry an order out; less than the client has.
const LIMIT: Duration = ORDER_TIME.saturating_sub(Duration::from_secs(10));

/// An order that workers have.
#[derive(Debug)]
pub struct OrderQuery {
    client: ClientId,
    request: u64,
    /// Incarnations that have not answered.
    waiting: Vec<String>,
    /// What became of each name, by its place.
    outcomes: Vec<Option<Outcome>>,
    /// It is answered then with what is known.
    pub until: Instant,
}

impl Hub {
    /// Hands an order to all workers that serve.
    pub(super) fn order(&mut self, client: ClientId, order: Order) {
        self.asked += 1;
        let request = self.asked;
        let ready: Vec<usize> = (0..)
            .zip(&self.workers)
            .filter(|(_, w)| w.ready)
            .map(|(index, _)| index)
            .collect();
        let asked = ready.iter().filter_map(|index| self.workers.get(*index));
        self.orders.push(OrderQuery {
            client,
            request,
            waiting: asked.map(|w| w.incarnation.clone()).collect(),
            outcomes: vec![None; order.names.len()],
            until: Instant::now() + LIMIT,
        });
        let frame = ToWorker::Order { request, order };
        for index in ready {
            self.send(index, &frame);
        }
        self.answer_orders(|o| o.waiting.is_empty());
    }

    pub(super) fn on_order_done(
        &mut self,
        request: u64,
        from: &str,
        outcomes: Vec<(u32, Outcome)>,
    ) {
        let Some(order) = self.orders.iter_mut().find(|o| o.request == request) else {
            return;
        };
        let Some(place) = order.waiting.iter().position(|i| i == from) else {
            return;
        };
        order.waiting.swap_remove(place);
        for (place, outcome) in outcomes {
            let place = usize::try_from(place).unwrap_or(usize::MAX);
            if let Some(known) = order.outcomes.get_mut(place) {
                *known = Some(outcome);
            }
        }
        self.answer_orders(|o| o.waiting.is_empty());
    }

    /// A worker died: nobody waits for it.
    pub(super) fn forget_in_orders(&mut self, incarnation: &str) {
        for order in &mut self.orders {
            order.waiting.retain(|i| i != incarnation);
        }
        self.answer_orders(|o| o.waiting.is_empty());
    }

    pub(super) fn answer_late_orders(&mut self, now: Instant) {
        self.answer_orders(|o| now >= o.until);
    }

    fn answer_orders(&mut self, mut over: impl FnMut(&OrderQuery) -> bool) {
        let over: Vec<OrderQuery> = self.orders.extract_if(.., |o| over(o)).collect();
        for order in over {
            let silent = !order.waiting.is_empty();
            let unknown = || match silent {
                true => Outcome::Failed("its worker did not answer in time".to_owned()),
                false => Outcome::NotYet,
            };
            let outcomes = order.outcomes.into_iter();
            let outcomes: Vec<Outcome> = outcomes.map(|o| o.unwrap_or_else(unknown)).collect();
            let answer = match serde_json::to_string(&outcomes) {
                Ok(outcomes) => format!("ok {outcomes}"),
                Err(e) => format!("error {e}"),
            };
            self.answer(order.client, &answer);
        }
    }
}
