//! The mailbox around the [`Table`]. Answers depend on memory alone, so they are not sealed.

use std::net::IpAddr;
use std::sync::Arc;

use actix::{Actor, Context, Handler, Message, MessageResult};

use super::class::Class;
use super::gcra::Throttled;
use super::refunds::Refunds;
use super::refusal_cache::{Payer, RefusalCache};
use super::saved::Piece;
use super::table::{Charge, Granted, RateLimitState, Table};
use crate::system::clock::Clock;
use crate::system::fail_stop::FailStop;
use crate::value::network::Network;

/// The actor around the table.
pub struct Throttle {
    table: Table,
    refunds: Refunds,
    refusal_cache: Arc<RefusalCache>,
    clock: Clock,
    fail_stop: FailStop,
}

impl Throttle {
    /// Creates the actor around `table`. It invalidates `refusal_cache` when a refund may let a refused client in
    /// again.
    pub fn new(table: Table, refusal_cache: Arc<RefusalCache>, clock: Clock, fail_stop: FailStop) -> Self {
        Self { table, refunds: Refunds::default(), refusal_cache, clock, fail_stop }
    }
}

impl Actor for Throttle {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
        context.set_mailbox_capacity(crate::registry::MAILBOX);
    }
}

/// Charges a request to the networks of its client.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<Granted, (Throttled, RateLimitState)>")]
pub struct Take {
    /// The class of the request.
    pub class: Class,
    /// The client's address.
    pub address: IpAddr,
    /// The known device that is charged in place of the networks, if the client showed one.
    pub device: Option<u64>,
}

/// Charges a rejected request to the networks of its client. Once they are over their limit, the refusal cache says so:
/// nobody waits for the answer.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Reject {
    /// The client's address.
    pub address: IpAddr,
}

/// Gives back one charge.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Refund {
    /// The charge of the request.
    pub charge: Charge,
    /// The account that succeeded. Each is given back a few charges a minute.
    pub of: [u8; 16],
}

/// Makes log-ins of a network cost more for a while.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Suspect {
    /// The network.
    pub network: Network,
}

/// Reads figures of the table.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "TableStats")]
pub struct ReadStats;

/// The answer to [`ReadStats`].
#[derive(Clone, Copy, Debug, Default, actix::MessageResponse)]
pub struct TableStats {
    /// Cells that gave way to others since the start.
    pub evictions: u64,
    /// Networks whose log-ins cost more.
    pub suspects: usize,
    /// Bytes that the table takes.
    pub bytes: usize,
}

/// Reads a piece of the table, for the file that outlives a restart.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Piece")]
pub struct ReadPiece {
    /// Where the piece begins; 0 for the first.
    pub from: usize,
}

impl Handler<ReadPiece> for Throttle {
    type Result = MessageResult<ReadPiece>;

    fn handle(&mut self, read: ReadPiece, _: &mut Context<Self>) -> Self::Result {
        let now = self.clock.now();
        MessageResult(self.fail_stop.guard("throttle", || self.table.piece(read.from, now)))
    }
}

impl Handler<Take> for Throttle {
    type Result = MessageResult<Take>;

    fn handle(&mut self, take: Take, _: &mut Context<Self>) -> Self::Result {
        let now = self.clock.now();
        MessageResult(
            self.fail_stop
                .guard("throttle", || self.table.take_for(take.class, take.address, take.device, now)),
        )
    }
}

impl Handler<Reject> for Throttle {
    type Result = ();

    fn handle(&mut self, reject: Reject, _: &mut Context<Self>) {
        let now = self.clock.now();
        let eased = self.refusal_cache.eased();
        let taken =
            self.fail_stop.guard("throttle", || self.table.take(Class::Rejected, reject.address, now));
        if let Err(refused) = taken {
            let payer = Payer::Network(Network::of(reject.address));
            self.refusal_cache.keep(Class::Rejected, payer, refused, eased, now);
        }
    }
}

impl Handler<Refund> for Throttle {
    type Result = ();

    fn handle(&mut self, refund: Refund, _: &mut Context<Self>) {
        let now = self.clock.now();
        let is_given = self.fail_stop.guard("throttle", || {
            let is_given = self.refunds.allows(refund.of, now);
            if is_given {
                self.table.refund(refund.charge, now);
            }
            is_given
        });
        if is_given {
            self.refusal_cache.ease();
        }
    }
}

impl Handler<Suspect> for Throttle {
    type Result = ();

    fn handle(&mut self, suspect: Suspect, _: &mut Context<Self>) {
        let now = self.clock.now();
        self.fail_stop.guard("throttle", || self.table.suspect(suspect.network, now));
    }
}

impl Handler<ReadStats> for Throttle {
    type Result = TableStats;

    fn handle(&mut self, _: ReadStats, _: &mut Context<Self>) -> TableStats {
        let table = &self.table;
        TableStats { evictions: table.evictions(), suspects: table.suspects(), bytes: table.bytes() }
    }
}
