//! What went wrong, as a caller reads it: problem documents (RFC 9457).

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use thiserror::Error;

use super::json::Invalid;
use crate::string_enum;

/// The content type of a problem document.
pub const MEDIA_TYPE: &str = "application/problem+json";

string_enum!(
    /// What kind of thing went wrong. The words are part of the contract.
    Code {
        /// The body is not JSON.
        MalformedJson = "malformed_json",
        /// No key, or none that is known.
        Unauthenticated = "unauthenticated",
        /// The key's scopes do not allow this.
        Forbidden = "forbidden",
        /// The key's claims do not allow this intent.
        ClaimNotAllowed = "claim_not_allowed",
        /// There is no such thing for this caller.
        NotFound = "not_found",
        /// The id was used for something else.
        IdempotencyConflict = "idempotency_conflict",
        /// The other outcome is recorded already.
        OutcomeConflict = "outcome_conflict",
        /// The review has ended another way.
        ReviewConflict = "review_conflict",
        /// What was asked for has been erased.
        Redacted = "redacted",
        /// What was asked for has lapsed.
        Expired = "expired",
        /// The thing is not the one that `If-Match` names.
        PreconditionFailed = "precondition_failed",
        /// The body is too long.
        PayloadTooLarge = "payload_too_large",
        /// The body is not declared to be JSON.
        UnsupportedMediaType = "unsupported_media_type",
        /// The body is JSON, but does not say what it must.
        InvalidRequest = "invalid_request",
        /// The month's decisions are used up.
        QuotaExceeded = "quota_exceeded",
        /// Too many requests a second.
        RateLimited = "rate_limited",
        /// Too many commands of the tenant wait.
        TenantBusy = "tenant_busy",
        /// Too much waits in the whole node.
        Overloaded = "overloaded",
        /// A row of the tenant is damaged.
        TenantCorrupt = "tenant_corrupt",
        /// The tenant is being loaded again after a fault.
        TenantReloading = "tenant_reloading",
        /// The tables are being rebuilt from the log.
        Rebuilding = "rebuilding",
        /// The server stops.
        ShuttingDown = "shutting_down",
        /// The time ran out; nothing was begun.
        DeadlineExceeded = "deadline_exceeded",
        /// The disk is full.
        StorageFull = "storage_full",
    }
);

impl Code {
    /// The HTTP status. No other place decides one for a problem.
    pub const fn status(self) -> u16 {
        match self {
            Self::MalformedJson => 400,
            Self::Unauthenticated => 401,
            Self::Forbidden | Self::ClaimNotAllowed => 403,
            Self::NotFound => 404,
            Self::IdempotencyConflict | Self::OutcomeConflict | Self::ReviewConflict => 409,
            Self::Redacted | Self::Expired => 410,
            Self::PreconditionFailed => 412,
            Self::PayloadTooLarge => 413,
            Self::UnsupportedMediaType => 415,
            Self::InvalidRequest => 422,
            Self::QuotaExceeded | Self::RateLimited | Self::TenantBusy => 429,
            Self::Overloaded
            | Self::TenantCorrupt
            | Self::TenantReloading
            | Self::Rebuilding
            | Self::ShuttingDown => 503,
            Self::DeadlineExceeded => 504,
            Self::StorageFull => 507,
        }
    }

    /// The problem in a few words, the same for each of its kind.
    pub const fn title(self) -> &'static str {
        match self {
            Self::MalformedJson => "The body is not JSON",
            Self::Unauthenticated => "A valid API key is required",
            Self::Forbidden => "The key does not allow this",
            Self::ClaimNotAllowed => "The key's claims do not allow this intent",
            Self::NotFound => "Not found",
            Self::IdempotencyConflict => "The id was used for another request",
            Self::OutcomeConflict => "The other outcome is recorded already",
            Self::ReviewConflict => "The review has ended another way",
            Self::Redacted => "Erased",
            Self::Expired => "Expired",
            Self::PreconditionFailed => "Changed since it was read",
            Self::PayloadTooLarge => "The body is too large",
            Self::UnsupportedMediaType => "The body must be application/json",
            Self::InvalidRequest => "The request is not valid",
            Self::QuotaExceeded => "The month's quota is used up",
            Self::RateLimited => "Too many requests",
            Self::TenantBusy => "Too many requests of this tenant are waiting",
            Self::Overloaded => "Too many requests are waiting",
            Self::TenantCorrupt => "The tenant's data is damaged",
            Self::TenantReloading => "The tenant is being reloaded",
            Self::Rebuilding => "The tables are being rebuilt",
            Self::ShuttingDown => "The server is shutting down",
            Self::DeadlineExceeded => "The deadline has passed",
            Self::StorageFull => "The disk is full",
        }
    }

    /// How long a caller does well to wait where nothing more exact is known; every 429 and 503
    /// says so.
    const fn retry_after_s(self) -> Option<u64> {
        match self {
            Self::RateLimited | Self::TenantBusy | Self::Overloaded | Self::TenantReloading => {
                Some(1)
            }
            Self::ShuttingDown | Self::Rebuilding => Some(5),
            Self::TenantCorrupt => Some(60),
            Self::QuotaExceeded => Some(3_600),
            Self::MalformedJson
            | Self::Unauthenticated
            | Self::Forbidden
            | Self::ClaimNotAllowed
            | Self::NotFound
            | Self::IdempotencyConflict
            | Self::OutcomeConflict
            | Self::ReviewConflict
            | Self::Redacted
            | Self::Expired
            | Self::PreconditionFailed
            | Self::PayloadTooLarge
            | Self::UnsupportedMediaType
            | Self::InvalidRequest
            | Self::DeadlineExceeded
            | Self::StorageFull => None,
        }
    }
}

/// One thing that is wrong with a body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// Where: a JSON Pointer (RFC 6901), empty for the whole body.
    pub pointer: String,
    /// What, in words that follow the pointer in a sentence.
    pub message: String,
}

/// Why a request was not done.
#[derive(Debug, Clone, PartialEq, Error)]
#[error("{detail}")]
pub struct Problem {
    /// What kind of thing went wrong.
    pub code: Code,
    /// What went wrong this time, for people.
    pub detail: String,
    /// What is wrong with the body, if that is the problem.
    pub errors: Vec<FieldError>,
    /// Seconds after which asking again makes sense: the `Retry-After` header.
    pub retry_after_s: Option<u64>,
    members: BTreeMap<&'static str, Value>,
}

impl Problem {
    /// A problem of this kind.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            errors: Vec::new(),
            retry_after_s: code.retry_after_s(),
            members: BTreeMap::new(),
        }
    }

    /// The body is JSON, or there is none, but the request does not say what it must.
    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::new(Code::InvalidRequest, detail)
    }

    /// The value at `pointer` could be read but not accepted.
    pub fn at(pointer: &str, message: &str) -> Self {
        let error = FieldError {
            pointer: pointer.to_owned(),
            message: message.to_owned(),
        };
        let place = if pointer.is_empty() {
            "the request"
        } else {
            pointer
        };
        Self {
            errors: vec![error],
            ..Self::invalid(format!("{place}: {message}"))
        }
    }

    /// There is no `what` for this caller.
    pub fn not_found(what: &str) -> Self {
        Self::new(Code::NotFound, format!("there is no {what}"))
    }

    /// The same, to be tried again after so many seconds.
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// The same with a member of its own, such as `resets_at`.
    pub fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.members.insert(name, value.into());
        self
    }

    /// The HTTP status.
    pub const fn status(&self) -> u16 {
        self.code.status()
    }

    /// The document that answers the request with this id.
    pub fn document<'a>(&'a self, request_id: &'a str) -> Document<'a> {
        Document {
            kind: format!("/guides/problems#{}", self.code),
            title: self.code.title(),
            status: self.status(),
            detail: &self.detail,
            code: self.code,
            request_id,
            errors: &self.errors,
            retry_after_s: self.retry_after_s,
            members: &self.members,
        }
    }

    /// The bytes of that document.
    pub fn to_json(&self, request_id: &str) -> Vec<u8> {
        serde_json::to_vec(&self.document(request_id)).expect("a document is texts and numbers")
    }
}

impl From<Invalid> for Problem {
    fn from(invalid: Invalid) -> Self {
        let errors = invalid.into_errors();
        let detail = match errors.as_slice() {
            [] => String::from("the request is not valid"),
            [FieldError { pointer, message }, rest @ ..] => {
                let place = if pointer.is_empty() {
                    "the body"
                } else {
                    pointer
                };
                let others = if rest.is_empty() {
                    ""
                } else {
                    " (`errors` has more)"
                };
                format!("{place}: {message}{others}")
            }
        };
        Self {
            errors,
            ..Self::invalid(detail)
        }
    }
}

/// A problem as it is sent. Its members stand in the order of the contract.
#[derive(Debug, Serialize)]
pub struct Document<'a> {
    #[serde(rename = "type")]
    kind: String,
    title: &'static str,
    status: u16,
    detail: &'a str,
    code: Code,
    request_id: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [FieldError],
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_s: Option<u64>,
    #[serde(flatten)]
    members: &'a BTreeMap<&'static str, Value>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden;

    #[test]
    fn the_document_of_every_code_is_frozen() {
        let problems: Vec<_> = Code::ALL
            .iter()
            .map(|&code| Problem::new(code, "what happened"))
            .collect();
        let documents: Vec<_> = problems
            .iter()
            .map(|problem| problem.document("r-1"))
            .collect();
        let text = serde_json::to_string_pretty(&documents).unwrap() + "\n";
        golden::check("api_problems.json", &text);
    }

    #[test]
    fn every_429_and_503_says_when_to_come_back_and_nothing_else_does() {
        for &code in Code::ALL {
            let says = Problem::new(code, "").retry_after_s.is_some();
            assert_eq!(says, matches!(code.status(), 429 | 503), "{code}");
        }
    }

    #[test]
    fn members_of_its_own_stand_in_the_document() {
        let problem = Problem::new(Code::QuotaExceeded, "used up")
            .with("resets_at", "2026-01-01T00:00:00.000000Z")
            .retry_after(7);
        let document: Value = serde_json::from_slice(&problem.to_json("r-1")).unwrap();
        let expected = serde_json::json!({
            "type": "/guides/problems#quota_exceeded", "title": "The month's quota is used up",
            "status": 429, "detail": "used up", "code": "quota_exceeded", "request_id": "r-1",
            "retry_after_s": 7, "resets_at": "2026-01-01T00:00:00.000000Z",
        });
        assert_eq!(document, expected);
    }
}
