//! Request headers.

use actix_web::HttpRequest;

use crate::api::problem::Problem;

/// A header that must be visible ASCII.
pub fn text<'h>(http: &'h HttpRequest, name: &str) -> Result<Option<&'h str>, Problem> {
    let header = http.headers().get(name).map(|value| value.to_str());
    header
        .transpose()
        .map_err(|_| Problem::invalid(format!("header `{name}` is not visible ASCII")))
}

/// `Prefer: return=minimal` (RFC 7240).
pub fn prefers_minimal(http: &HttpRequest) -> bool {
    let prefer = http.headers().get_all("prefer");
    prefer
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(','))
        .any(|preference| {
            preference
                .replace(['"', ' '], "")
                .eq_ignore_ascii_case("return=minimal")
        })
}
