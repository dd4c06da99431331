//! HTTP: the route table and the config. A thin front: a handler says who asks, reads the body into a
//! command, hands it to the engine and renders what comes back.
//!
//! The only code that knows actix-web. Must not know: what a decision is made of, or where rows live.

mod audit;
mod auth;
mod backup;
mod beta_state;
mod body;
mod header;
mod intents;
mod keys;
mod limits;
mod operations;
mod outcome;
mod parameters;
mod reply;
mod tenants;
mod trace;
mod usage;

use std::net::TcpListener;
use std::time::Duration;

use actix_http::HttpService;
use actix_http::error::DispatchError;
use actix_service::{IntoServiceFactory as _, ServiceFactoryExt as _, map_config};
use actix_web::dev::{AppConfig, Server, ServerHandle, fn_service};
use actix_web::middleware::from_fn;
use actix_web::rt::net::TcpStream;
use actix_web::rt::task::JoinHandle;
use actix_web::web::{self, ServiceConfig};
use actix_web::{App, HttpRequest, HttpResponse, guard};

use crate::api::problem::Problem;
use crate::engine::Engine;
use crate::jobs::backup::Backups;
use crate::telemetry::Metrics;
use crate::tenant::key::Scope;
use limits::Limits;

/// What every handler can reach.
#[derive(Debug, Clone)]
pub struct AppState {
    /// The engine.
    pub engine: Engine,
    /// What is counted.
    pub metrics: Metrics,
    /// Makes backups.
    pub backups: Backups,
    /// What the name of a new tenant's log begins with.
    pub service: String,
}

/// How the front behaves towards its clients.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// Threads that serve; tenants live on them too.
    pub workers: usize,
    /// Connections of all of them. A few more are for those who run the node.
    pub connections: usize,
    /// How long a client may take for the head of a request, and for its body.
    pub request: Duration,
    /// How long a connection is kept on which nothing is done.
    pub keep_alive: Duration,
    /// How long a graceful stop may take.
    pub shutdown: Duration,
}

/// A front that serves.
pub struct Running {
    handle: ServerHandle,
    ended: JoinHandle<std::io::Result<()>>,
    cut: JoinHandle<()>,
    limits: Limits,
}

impl Running {
    /// Lets no connection in any more, and waits until the last has ended.
    pub async fn stop(self) {
        self.limits.stop();
        self.handle.stop(true).await;
        let _ = self.ended.await;
        self.cut.abort();
    }
}

/// Serves on `listener`.
pub fn serve(listener: TcpListener, state: AppState, config: Config) -> std::io::Result<Running> {
    let limits = Limits::new(config.connections, config.keep_alive);
    let cut = actix_web::rt::spawn(limits.clone().cut());
    let shared = limits.clone();
    let server = Server::build()
        .workers(config.workers)
        // Of each thread: what all of them may have is counted when they come.
        .max_concurrent_connections(limits.connections())
        .shutdown_timeout(config.shutdown.as_secs().max(1))
        .disable_signals()
        .listen("http", listener, move || {
            let app = App::new()
                // Tenants live on the threads that serve them.
                .app_data(state.engine.join_thread())
                .app_data(web::Data::new(state.clone()))
                .app_data(web::Data::new(body::BodyTimeout(config.request)))
                .app_data(web::Data::new(shared.clone()))
                .wrap(from_fn(limits::admit))
                .wrap(from_fn(trace::request))
                .configure(routes)
                .default_service(web::to(no_such_route))
                .into_factory()
                .map_err(|error| error.error_response());
            let (first, on_connect, stop) = (shared.clone(), shared.clone(), shared.clone());
            let http = HttpService::build()
                .client_request_timeout(config.request)
                .client_disconnect_timeout(Duration::from_secs(1))
                .keep_alive(config.keep_alive)
                // What a client sends beyond this waits on its side until somebody reads.
                .h2_initial_window_size(64 << 10)
                .h2_initial_connection_window_size(128 << 10)
                .graceful_shutdown_signal(move || stop.clone().stopping())
                .on_connect_ext(move |io: &TcpStream, extensions| {
                    on_connect.connected(io, extensions);
                })
                .finish(map_config(app, |()| AppConfig::default()))
                .tcp_auto_h2c();
            // Which protocol it is, and so everything above, waits for a first byte.
            let spoken = fn_service(move |io: TcpStream| {
                let first = first.clone();
                async move {
                    let spoke = first.spoke(&io, config.request).await;
                    spoke.then_some(io).ok_or(DispatchError::SlowRequestTimeout)
                }
            });
            spoken.and_then(http)
        })?
        .run();
    Ok(Running {
        handle: server.handle(),
        ended: actix_web::rt::spawn(server),
        cut,
        limits,
    })
}

/// No such path, or no such method on it; below `/api` only those with a key are told so.
async fn no_such_route(state: web::Data<AppState>, http: HttpRequest) -> HttpResponse {
    reply::answer(&http, async {
        if http.path().starts_with("/api/") {
            auth::authorize(&state, &http, Scope::Read)?;
        }
        let what = format!("{} {}", http.method(), http.path());
        Err(Problem::not_found(&what).into())
    })
    .await
}

/// Every route, in the order of the contract.
fn routes(config: &mut ServiceConfig) {
    let id = "/api/v1/admin/tenants/{tenant_id}";
    // Guarded, so that an intent that is called `evaluate` can still be read.
    let post =
        |path, handler: actix_web::Route| web::resource(path).guard(guard::Post()).route(handler);
    config.service(post("/api/v1/intents/evaluate", web::to(intents::evaluate)));
    config.service(post("/api/v1/intents/outcome", web::to(outcome::record)));
    let mut route = |path: &str, routes: Vec<actix_web::Route>| {
        let resource = web::resource(path).default_service(web::to(no_such_route));
        let all = routes.into_iter().fold(resource, |all, one| all.route(one));
        config.service(all);
    };
    route("/api/v1/intents", vec![web::get().to(intents::list)]);
    route(
        "/api/v1/intents/{deterministic_id}",
        vec![web::get().to(intents::one)],
    );
    route("/api/v1/beta-state", vec![web::get().to(beta_state::all)]);
    route("/api/v1/usage", vec![web::get().to(usage::own)]);
    route("/api/v1/audit", vec![web::get().to(audit::list)]);
    route(
        "/api/v1/audit/{decision_id}",
        vec![web::get().to(audit::one)],
    );
    route(
        "/api/v1/admin/tenants",
        vec![web::post().to(tenants::found), web::get().to(tenants::list)],
    );
    route(id, vec![web::get().to(tenants::one)]);
    route(
        &format!("{id}/keys"),
        vec![web::post().to(keys::create), web::get().to(keys::list)],
    );
    route(
        &format!("{id}/keys/{{key_id}}"),
        vec![web::delete().to(keys::revoke)],
    );
    route(
        &format!("{id}/keys/{{key_id}}/rotate"),
        vec![web::post().to(keys::rotate)],
    );
    route(
        &format!("{id}/usage"),
        vec![web::get().to(usage::of_tenant)],
    );
    route("/api/v1/admin/backup", vec![web::post().to(backup::make)]);
    route("/health", vec![web::get().to(operations::health)]);
    route("/livez", vec![web::get().to(operations::live)]);
    route("/readyz", vec![web::get().to(operations::ready)]);
    route("/metrics", vec![web::get().to(operations::metrics)]);
}
