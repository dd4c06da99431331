//! Query parameters of a request.

use actix_web::{HttpRequest, web};

use crate::api::parameters::Parameters;
use crate::api::problem::Problem;

/// Reads the parameters with `read`, and rejects those that it does not ask for.
pub fn read<T>(
    http: &HttpRequest,
    read: impl FnOnce(&mut Parameters) -> Result<T, Problem>,
) -> Result<T, Problem> {
    let given = web::Query::<Vec<(String, String)>>::from_query(http.query_string());
    let given = given.map_err(|error| Problem::invalid(format!("query string: {error}")))?;
    Parameters::read(given.into_inner(), read)
}

/// Rejects every parameter.
pub fn none(http: &HttpRequest) -> Result<(), Problem> {
    read(http, |_| Ok(()))
}
