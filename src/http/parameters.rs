//! Query parameters of a request.

use actix_web::{HttpRequest, web};

use crate::api::parameters::Parameters;
use crate::api::problem::Problem;

/// The parameters, of which the route knows these.
pub fn read(http: &HttpRequest, known: &[&'static str]) -> Result<Parameters, Problem> {
    let given = web::Query::<Vec<(String, String)>>::from_query(http.query_string());
    let given = given.map_err(|error| Problem::invalid(format!("the query string: {error}")))?;
    Parameters::new(given.into_inner(), known)
}

/// Refuses every parameter: the route knows none.
pub fn none(http: &HttpRequest) -> Result<(), Problem> {
    read(http, &[]).map(drop)
}
