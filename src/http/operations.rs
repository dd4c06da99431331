//! Health, readiness and metrics. No key needed.

use actix_web::web::Data;
use actix_web::{HttpResponse, http::StatusCode};
use serde_json::json;

use super::state::AppState;

/// `GET /health`, as upstream answers it.
pub async fn health() -> HttpResponse {
    HttpResponse::Ok().json(json!({"status": "ok"}))
}

/// `GET /livez`: the process responds.
pub async fn live() -> HttpResponse {
    HttpResponse::Ok().json(json!({"status": "alive"}))
}

/// `GET /readyz`: the log is recovered, the tables are open, writes are accepted, and the node is not
/// shutting down.
pub async fn ready(state: Data<AppState>) -> HttpResponse {
    let health = state.engine.health();
    let (status, state) = match (state.engine.is_stopping(), health.writable) {
        (true, _) => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
        (false, false) => (StatusCode::SERVICE_UNAVAILABLE, "read_only"),
        (false, true) => (StatusCode::OK, "ready"),
    };
    HttpResponse::build(status).json(json!({
        "status": state,
        "durable": health.store.durable.get(),
        "applied": health.store.applied.get(),
        "lag_bytes": health.store.memtable_bytes,
        "active_tenants": health.active_tenants,
        "in_flight": health.in_flight,
    }))
}

/// `GET /metrics`, for Prometheus.
pub async fn metrics(state: Data<AppState>) -> HttpResponse {
    let text = state.metrics.render(&state.engine.health());
    HttpResponse::Ok()
        .content_type("application/openmetrics-text; version=1.0.0; charset=utf-8")
        .body(text)
}
