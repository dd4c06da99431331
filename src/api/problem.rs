//! Errors as callers read them: problem documents (RFC 9457).

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use serde_json::Value;
use thiserror::Error;

use super::json::ValidationError;
use crate::string_enum;

/// The content type of a problem document.
pub const MEDIA_TYPE: &str = "application/problem+json";

string_enum!(
    /// The kind of problem. The strings are part of the contract.
    Code {
        MalformedJson = "malformed_json",
        /// The key is missing, unknown, revoked or expired.
        Unauthenticated = "unauthenticated",
        /// The key lacks the scope.
        Forbidden = "forbidden",
        /// The key's claims do not allow this intent.
        ClaimNotAllowed = "claim_not_allowed",
        /// There is no such thing, or this caller may not know of it.
        NotFound = "not_found",
        /// The id was used for another request.
        IdempotencyConflict = "idempotency_conflict",
        OutcomeConflict = "outcome_conflict",
        ReviewConflict = "review_conflict",
        Redacted = "redacted",
        Expired = "expired",
        /// `If-Match` names another version.
        PreconditionFailed = "precondition_failed",
        PayloadTooLarge = "payload_too_large",
        UnsupportedMediaType = "unsupported_media_type",
        /// The body is valid JSON and not a valid request.
        InvalidRequest = "invalid_request",
        QuotaExceeded = "quota_exceeded",
        /// Too many requests per second.
        RateLimited = "rate_limited",
        TenantBusy = "tenant_busy",
        Overloaded = "overloaded",
        TenantCorrupt = "tenant_corrupt",
        /// The tenant is loaded again after a fault; the request may have been applied.
        TenantReloading = "tenant_reloading",
        Rebuilding = "rebuilding",
        ShuttingDown = "shutting_down",
        /// The request did not start in time.
        DeadlineExceeded = "deadline_exceeded",
        StorageFull = "storage_full",
    }
);

impl Code {
    /// The HTTP status: this is the only place that chooses one.
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

    /// True if the request did not start, and the same request may succeed later.
    pub const fn is_retryable(self) -> bool {
        matches!(
            self,
            Self::TenantBusy
                | Self::Overloaded
                | Self::RateLimited
                | Self::Rebuilding
                | Self::ShuttingDown
        )
    }

    /// The same for every problem with this code.
    pub const fn title(self) -> &'static str {
        match self {
            Self::MalformedJson => "The body is not valid JSON",
            Self::Unauthenticated => "A valid API key is required",
            Self::Forbidden => "The key does not allow this",
            Self::ClaimNotAllowed => "The key's claims do not allow this intent",
            Self::NotFound => "Not found",
            Self::IdempotencyConflict => "The id was used for another request",
            Self::OutcomeConflict => "Another outcome is already recorded",
            Self::ReviewConflict => "The review is already closed",
            Self::Redacted => "The content was erased",
            Self::Expired => "The resource has expired",
            Self::PreconditionFailed => "The resource has changed",
            Self::PayloadTooLarge => "The body is too large",
            Self::UnsupportedMediaType => "The body must be application/json",
            Self::InvalidRequest => "The request is invalid",
            Self::QuotaExceeded => "The monthly quota is exhausted",
            Self::RateLimited => "Too many requests",
            Self::TenantBusy => "Too many requests of this tenant are in flight",
            Self::Overloaded => "Too many requests are in flight",
            Self::TenantCorrupt => "The tenant's data is damaged",
            Self::TenantReloading => "The tenant is being reloaded",
            Self::Rebuilding => "The tables are being rebuilt",
            Self::ShuttingDown => "The server is shutting down",
            Self::DeadlineExceeded => "The deadline has passed",
            Self::StorageFull => "The disk is full",
        }
    }

    /// Seconds to wait where nothing more exact is known. Every 429 and 503 has it.
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

/// One error in a body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// A JSON Pointer (RFC 6901), empty for the whole body.
    pub pointer: String,
    /// Follows the pointer in a sentence, as in "must be a string".
    pub message: String,
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pointer, message } = self;
        if pointer.is_empty() {
            write!(f, "the body: {message}")
        } else {
            write!(f, "{pointer}: {message}")
        }
    }
}

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Error)]
#[error("{detail}")]
pub struct Problem {
    pub code: Code,
    /// What went wrong this time, for humans.
    pub detail: String,
    pub errors: Vec<FieldError>,
    /// Seconds: the `Retry-After` header.
    pub retry_after_s: Option<u64>,
    members: BTreeMap<&'static str, Value>,
}

impl Problem {
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            errors: Vec::new(),
            retry_after_s: code.retry_after_s(),
            members: BTreeMap::new(),
        }
    }

    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::new(Code::InvalidRequest, detail)
    }

    /// The value at `pointer` was parsed and is not acceptable.
    pub fn at(pointer: &str, message: &str) -> Self {
        let error = FieldError {
            pointer: pointer.to_owned(),
            message: message.to_owned(),
        };
        let detail = match pointer {
            "" => message.to_owned(),
            _ => error.to_string(),
        };
        Self {
            errors: vec![error],
            ..Self::invalid(detail)
        }
    }

    pub fn not_found(what: &str) -> Self {
        Self::new(Code::NotFound, format!("there is no {what}"))
    }

    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// Adds an extension member, such as `resets_at`.
    pub fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.members.insert(name, value.into());
        self
    }

    pub const fn status(&self) -> u16 {
        self.code.status()
    }

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

    pub fn to_json(&self, request_id: &str) -> Vec<u8> {
        serde_json::to_vec(&self.document(request_id)).expect("a document is JSON")
    }
}

impl From<ValidationError> for Problem {
    fn from(error: ValidationError) -> Self {
        let errors = error.into_errors();
        let detail = match errors.as_slice() {
            [] => String::from("the request is invalid"),
            [error] => error.to_string(),
            [error, ..] => format!("{error} (`errors` has more)"),
        };
        Self {
            errors,
            ..Self::invalid(detail)
        }
    }
}

/// A problem document. Its members are in the order of the contract.
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
    fn only_429_and_503_have_retry_after() {
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
            "type": "/guides/problems#quota_exceeded", "title": "The monthly quota is exhausted",
            "status": 429, "detail": "used up", "code": "quota_exceeded", "request_id": "r-1",
            "retry_after_s": 7, "resets_at": "2026-01-01T00:00:00.000000Z",
        });
        assert_eq!(document, expected);
    }
}
