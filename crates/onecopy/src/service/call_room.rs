//! Tasks of a client that wait for room for a request: in the ring to some server, or in the memory that its
//! requests take.

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;

use super::async_client::Shared;
use super::async_server::runtime_ended;
use super::error::CallError;
use super::exchange::Order;
use super::header::now_ns;
use super::link::lock;
use crate::broker::protocol::PortId;
use crate::error::LoanError;

impl Shared {
    /// Tries `attempt` until it does not fail for want of room at `server`, or at any, or the call's deadline has passed.
    pub(super) async fn when_possible<R>(
        &self,
        server: Option<PortId>,
        order: Order,
        mut attempt: impl FnMut() -> Result<R, CallError>,
    ) -> Result<R, CallError> {
        let attempted = attempt();
        if !is_for_want_of_space(&attempted) {
            return attempted;
        }
        let mut place = Place { shared: self, server, entries: Vec::new() };
        let attempts = poll_fn(|context| {
            if let Err(error) = place.wait(context) {
                return Poll::Ready(Err(error));
            }
            // After that: what has come before would wake nobody.
            let attempted = attempt();
            if is_for_want_of_space(&attempted) { Poll::Pending } else { Poll::Ready(attempted) }
        });
        match order.deadline {
            0 => attempts.await,
            deadline => {
                let left = Duration::from_nanos(deadline.saturating_sub(now_ns()));
                tokio::time::timeout(left, attempts).await.unwrap_or(Err(CallError::DeadlinePassed))
            }
        }
    }
}

/// Whether a server may still make it possible.
fn is_for_want_of_space<R>(called: &Result<R, CallError>) -> bool {
    match called {
        Err(CallError::Loan(LoanError::Full)) => true,
        Err(CallError::Loan(LoanError::Budget(budget))) => budget.requested_bytes <= budget.budget_bytes,
        _ => false,
    }
}

/// A task's places among those that wait for the servers to make space: one for each server.
struct Place<'s> {
    shared: &'s Shared,
    /// Who is waited for, if not any.
    server: Option<PortId>,
    entries: Vec<(PortId, u64)>,
}

impl Place<'_> {
    /// Has the task woken when a server has made space from now on, or is gone.
    fn wait(&mut self, context: &mut Context<'_>) -> Result<(), CallError> {
        self.leave();
        let mut exchange = lock(&self.shared.exchange);
        if !exchange.has_receiver {
            return Err(runtime_ended("client").into());
        }
        self.entries = exchange.enter_for_space(self.server, context.waker())?;
        Ok(())
    }

    fn leave(&mut self) {
        if !self.entries.is_empty() {
            let mut exchange = lock(&self.shared.exchange);
            self.entries.drain(..).for_each(|(server, key)| exchange.leave_for_space(server, key));
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}
