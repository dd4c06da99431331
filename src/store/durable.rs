//! A record on its way to disk.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use thiserror::Error;
use tokio::sync::oneshot;

/// Why a record was not acknowledged. Its tenant has to be claimed again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Lost {
    /// It was refused: the tenant was claimed again, or a record before it was lost.
    #[error("the record was refused: its tenant has another owner, or lost the record before it")]
    Fenced,
    /// Whether it is durable is not known.
    #[error("the store ended before the record was acknowledged")]
    Unknown,
    /// It was refused: there is no space for it.
    #[error("the record was refused: no space left for the log")]
    Full,
}

/// The proof that a record is durable. Only the store makes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// The record's place in the order of all records.
    #[cfg(test)]
    pub(super) place: u64,
}

impl Mark {
    pub(super) const fn new(_place: u64) -> Self {
        Self {
            #[cfg(test)]
            place: _place,
        }
    }

    /// Of a log that is only played.
    #[cfg(all(test, feature = "shuttle"))]
    pub(crate) const fn played() -> Self {
        Self::new(0)
    }
}

/// What a record becomes: durable, or lost.
pub(super) type Outcome = Result<Mark, Lost>;

/// Resolves once the record is durable, or lost.
#[derive(Debug)]
#[must_use = "without waiting, it is unknown when the record is durable, or whether it is lost"]
pub struct Durable(pub(super) oneshot::Receiver<Outcome>);

impl Future for Durable {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = Pin::new(&mut self.0).poll(cx);
        outcome.map(|outcome| outcome.unwrap_or(Err(Lost::Unknown)))
    }
}

impl Durable {
    /// Waits on this thread, which must not be one of an async runtime.
    pub fn wait(self) -> Outcome {
        self.0.blocking_recv().unwrap_or(Err(Lost::Unknown))
    }
}
