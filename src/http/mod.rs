//! The HTTP server and its routes. A handler authenticates, parses the body into a command, passes it
//! to the engine and renders the reply.
//!
//! The only code that knows actix-web. Must not know: what a decision is made of, or where rows live.

mod audit;
mod authentication;
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
mod state;
mod tenants;
mod trace;
mod usage;

use std::net::TcpListener;
use std::time::Duration;

use actix_http::HttpService;
use actix_http::error::DispatchError;
use actix_service::{IntoServiceFactory as _, ServiceFactoryExt as _, map_config};
use actix_web::dev::{AppConfig, Server, ServerHandle, fn_service};
use actix_web::http::Method;
use actix_web::middleware::from_fn;
use actix_web::rt::net::TcpStream;
use actix_web::rt::task::JoinHandle;
use actix_web::web::{self, ServiceConfig};
use actix_web::{App, HttpRequest};

use crate::api::problem::Problem;
use crate::tenant::key::Scope;
use limits::Limits;
use reply::Reply;

pub use state::AppState;

#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// Worker threads; tenants run on them too.
    pub workers: usize,
    /// Connections of all threads. A reserve beyond them is for operators.
    pub connections: usize,
    /// The timeout of a request's head, and of its body.
    pub request: Duration,
    /// How long a connection without progress is kept.
    pub keep_alive: Duration,
    /// The timeout of a graceful shutdown.
    pub shutdown: Duration,
}

/// A running server.
pub struct HttpServer {
    handle: ServerHandle,
    task: JoinHandle<std::io::Result<()>>,
    close_idle: JoinHandle<()>,
    limits: Limits,
}

impl HttpServer {
    /// Accepts no further connection and waits until the last one is closed.
    pub async fn stop(self) {
        self.limits.stop();
        self.handle.stop(true).await;
        let _ = self.task.await;
        self.close_idle.abort();
    }
}

/// Starts to serve on `listener`.
pub fn serve(
    listener: TcpListener,
    state: AppState,
    config: Config,
) -> std::io::Result<HttpServer> {
    let limits = Limits::new(config.connections, config.keep_alive, operations());
    let close_idle = actix_web::rt::spawn(limits.clone().close_idle());
    let shared = limits.clone();
    let server = Server::build()
        .workers(config.workers)
        // actix's limit is per thread; the limit of all of them is checked in `limits`.
        .max_concurrent_connections(limits.connections())
        .shutdown_timeout(config.shutdown.as_secs().max(1))
        .disable_signals()
        .listen("http", listener, move || {
            let app = App::new()
                // Tenants run on the worker threads.
                .app_data(state.engine.join_thread())
                .app_data(web::Data::new(state.clone()))
                .app_data(web::Data::new(body::BodyTimeout(config.request)))
                .app_data(web::Data::new(shared.clone()))
                .wrap(from_fn(limits::admit))
                .wrap(from_fn(trace::trace))
                .configure(routes)
                .default_service(web::to(not_found))
                .into_factory()
                .map_err(|error| error.error_response());
            let (first, on_connect, stop) = (shared.clone(), shared.clone(), shared.clone());
            let http = HttpService::build()
                .client_request_timeout(config.request)
                .client_disconnect_timeout(Duration::from_secs(1))
                .keep_alive(config.keep_alive)
                // Flow control: a client that sends faster than handlers read has to wait.
                .h2_initial_window_size(64 << 10)
                .h2_initial_connection_window_size(128 << 10)
                .graceful_shutdown_signal(move || stop.clone().stopping())
                .on_connect_ext(move |io: &TcpStream, extensions| {
                    on_connect.track(io, extensions);
                })
                .finish(map_config(app, |()| AppConfig::default()))
                .tcp_auto_h2c();
            // Protocol detection, and so every timeout above, starts at the first byte.
            let first_byte = fn_service(move |io: TcpStream| {
                let first = first.clone();
                async move {
                    let received = first.first_byte(&io, config.request).await;
                    received
                        .then_some(io)
                        .ok_or(DispatchError::SlowRequestTimeout)
                }
            });
            first_byte.and_then(http)
        })?
        .run();
    Ok(HttpServer {
        handle: server.handle(),
        task: actix_web::rt::spawn(server),
        close_idle,
        limits,
    })
}

/// There is no such path, or not with this method. Below `/api` the caller needs a key to learn that.
async fn not_found(state: web::Data<AppState>, http: HttpRequest) -> Reply {
    if http.path().starts_with("/api/") {
        authentication::authenticate(&state, &http, Scope::Read)?;
    }
    let what = format!("{} {}", http.method(), http.path());
    Err(Problem::not_found(&what).into())
}

/// Declares the routes, in the order of the contract. One path may have several methods; the first
/// route that matches method and path handles a request, so an intent that is named `evaluate` can be
/// read.
macro_rules! routes {
    ($($method:ident $path:literal => $handler:path,)+) => {
        /// Method and path of every route.
        pub const ROUTES: &[(&str, &str)] = &[$((stringify!($method), $path)),+];

        fn routes(config: &mut ServiceConfig) {
            $(config.route($path, web::method(Method::$method).to($handler));)+
        }
    };
}

routes! {
    POST "/api/v1/intents/evaluate" => intents::evaluate,
    POST "/api/v1/intents/outcome" => outcome::record,
    GET "/api/v1/intents" => intents::list,
    GET "/api/v1/intents/{deterministic_id}" => intents::get,
    GET "/api/v1/beta-state" => beta_state::list,
    GET "/api/v1/usage" => usage::get,
    GET "/api/v1/audit" => audit::list,
    GET "/api/v1/audit/{decision_id}" => audit::get,
    POST "/api/v1/admin/tenants" => tenants::create,
    GET "/api/v1/admin/tenants" => tenants::list,
    GET "/api/v1/admin/tenants/{tenant_id}" => tenants::get,
    POST "/api/v1/admin/tenants/{tenant_id}/keys" => keys::create,
    GET "/api/v1/admin/tenants/{tenant_id}/keys" => keys::list,
    DELETE "/api/v1/admin/tenants/{tenant_id}/keys/{key_id}" => keys::revoke,
    POST "/api/v1/admin/tenants/{tenant_id}/keys/{key_id}/rotate" => keys::rotate,
    GET "/api/v1/admin/tenants/{tenant_id}/usage" => usage::list,
    POST "/api/v1/admin/backup" => backup::create,
    GET "/health" => operations::health,
    GET "/livez" => operations::live,
    GET "/readyz" => operations::ready,
    GET "/metrics" => operations::metrics,
}

/// Routes for operators, which count against no limit.
fn operations() -> Vec<&'static str> {
    let paths = ROUTES.iter().map(|(_, path)| *path);
    paths.filter(|path| !path.starts_with("/api/")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The routes in the table of the section "API".
    fn readme_routes() -> Vec<String> {
        let readme = include_str!("../../README.md");
        let (_, section) = readme.split_once("\n## API\n").unwrap();
        let (section, _) = section.split_once("\n## ").unwrap();
        let rows = section.lines().filter(|line| line.starts_with("| `"));
        let cells = rows.filter_map(|row| row.split('|').nth(1));
        let mut routes: Vec<_> = cells
            .flat_map(|cell| cell.split('`').skip(1).step_by(2))
            .map(str::to_owned)
            .collect();
        routes.sort_unstable();
        routes
    }

    #[test]
    fn operations_are_the_routes_outside_of_the_api() {
        assert_eq!(operations(), ["/health", "/livez", "/readyz", "/metrics"]);
    }

    #[test]
    fn the_readme_lists_every_route() {
        let mut routes: Vec<_> = ROUTES
            .iter()
            .map(|(method, path)| format!("{method} {path}"))
            .collect();
        routes.sort_unstable();
        assert_eq!(readme_routes(), routes);
    }
}
