//! Verification of every tenant's audit log from its founding to its head: form, signatures, order, root.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use thiserror::Error;

use crate::audit::verify::{HistoryError, HistoryVerifier};
use crate::id::TenantId;
use crate::store::{ENTRIES, OpenError, Progress, ReadOnly};
use crate::tenant::restore::FormerLogRow;

#[derive(Debug, Error)]
pub enum AuditLogError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("the audit log of tenant {tenant} does not hold, entry {index}: {why}")]
    Entry {
        tenant: TenantId,
        /// Counted over all logs of the tenant.
        index: u64,
        why: HistoryError,
    },
    #[error("the audit log of tenant {tenant} does not end where its head says")]
    Head { tenant: TenantId },
}

pub fn verify(
    seen: &ReadOnly,
    progress: Progress<'_>,
) -> Result<BTreeMap<TenantId, FormerLogRow>, AuditLogError> {
    let mut verifiers: BTreeMap<TenantId, (u64, HistoryVerifier)> = BTreeMap::new();
    let mut failure = None;
    seen.walk(
        &mut |_, done, total| progress("checking the audit logs", done, total),
        &mut |op| {
            let tenant = op.tenant;
            let stored = (*op.table == ENTRIES).then(|| op.stored()).transpose()?;
            let Some(entry) = stored.flatten() else {
                return Ok(ControlFlow::Continue(()));
            };
            let (index, verifier) = verifiers.entry(tenant).or_default();
            if let Err(why) = verifier.push(&entry.payload) {
                let index = *index;
                failure = Some(AuditLogError::Entry { tenant, index, why });
                return Ok(ControlFlow::Break(()));
            }
            *index += 1;
            Ok(ControlFlow::Continue(()))
        },
    )?;
    if let Some(failure) = failure {
        return Err(failure);
    }
    let mut logs = BTreeMap::new();
    for (tenant, head) in seen.heads() {
        let (_, verifier) = verifiers.remove(&tenant).unwrap_or_default();
        let last = verifier.last().filter(|last| {
            let base = last.sequence.get() + 1 - verifier.size();
            last.tenant == tenant
                && (last.sequence, base) == (head.sequence, head.log_base.get())
                && (verifier.root(), last.at) == (head.root, head.at)
        });
        let log = last.ok_or(AuditLogError::Head { tenant })?.log.clone();
        let (size, root) = (verifier.size(), verifier.root());
        logs.insert(tenant, FormerLogRow { log, size, root });
    }
    Ok(logs)
}
