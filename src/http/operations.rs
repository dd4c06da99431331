//! For those who run the node: is it alive, is it ready, what does it count. No key needed.

use actix_web::web::Data;
use actix_web::{HttpResponse, http::StatusCode};
use serde_json::json;

use super::Front;

/// `GET /health`, as upstream answers it.
pub async fn health() -> HttpResponse {
    HttpResponse::Ok().json(json!({"status": "ok"}))
}

/// `GET /livez`: the process answers.
pub async fn live() -> HttpResponse {
    HttpResponse::Ok().json(json!({"status": "alive"}))
}

/// `GET /readyz`: the log is recovered, the tables stand, and writes are taken.
pub async fn ready(front: Data<Front>) -> HttpResponse {
    let store = front.engine.store();
    let stats = store.stats();
    let (tenants, in_flight) = front.engine.load();
    let writable = store.writable();
    let status = if writable {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    HttpResponse::build(status).json(json!({
        "status": if writable { "ready" } else { "read_only" },
        "writable": writable,
        "durable": stats.durable.get(),
        "applied": stats.applied.get(),
        "lag_bytes": stats.lag_bytes,
        "active_tenants": tenants,
        "in_flight": in_flight,
    }))
}

/// `GET /metrics`, for Prometheus.
pub async fn metrics(front: Data<Front>) -> HttpResponse {
    let (tenants, in_flight) = front.engine.load();
    let text = front
        .metrics
        .render(&front.engine.store().stats(), tenants, in_flight);
    HttpResponse::Ok()
        .content_type("application/openmetrics-text; version=1.0.0; charset=utf-8")
        .body(text)
}
