//! The mailbox around the [`Table`]. Its answers rest on memory alone, so they are not sealed.

use std::net::IpAddr;

use actix::{Actor, Context, Handler, Message, MessageResult};

use super::gcra::Throttled;
use super::table::{Charge, Class, Granted, Standing, Table};
use crate::clock::Clock;
use crate::fail_stop::FailStop;

/// The owner of the limiter.
pub struct Throttle {
    table: Table,
    clock: Clock,
    fail_stop: FailStop,
}

impl Throttle {
    /// Around a table.
    pub const fn new(table: Table, clock: Clock, fail_stop: FailStop) -> Self {
        Self { table, clock, fail_stop }
    }
}

impl Actor for Throttle {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
        context.set_mailbox_capacity(4096);
    }
}

/// Charges a request to the networks of an address.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<Granted, (Throttled, Standing)>")]
pub struct Take(pub Class, pub IpAddr);

/// Gives back one charge.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct Refund(pub Charge);

impl Handler<Take> for Throttle {
    type Result = MessageResult<Take>;

    fn handle(&mut self, take: Take, _: &mut Context<Self>) -> Self::Result {
        let now = self.clock.now();
        MessageResult(self.fail_stop.guard("throttle", || self.table.take(take.0, take.1, now)))
    }
}

impl Handler<Refund> for Throttle {
    type Result = ();

    fn handle(&mut self, refund: Refund, _: &mut Context<Self>) {
        self.fail_stop.guard("throttle", || self.table.refund(refund.0));
    }
}
