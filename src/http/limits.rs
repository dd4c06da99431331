//! What clients may take of the node: connections, requests at once, memory for bodies, and time.
//!
//! Who runs the node is answered whatever the load: behind the last connection there are some more,
//! on which only the operations' routes are answered, once, and everything else is refused at once;
//! and those routes take no place anywhere else.
//!
//! A connection on which nothing is done for as long as an idle one is kept is cut, whatever it is
//! doing: idling, sending the head of a request byte by byte, or leaving an answer unread. (The server
//! beneath times the first head of a connection and its idling, and nothing else: neither a connection
//! without a first byte, nor the beginning of HTTP/2.) When the node stops they are cut at once.

use std::collections::HashMap;
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actix_web::Error;
use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{Extensions, ServiceRequest, ServiceResponse};
use actix_web::http::ConnectionType;
use actix_web::middleware::Next;
use actix_web::rt::net;
use actix_web::web::Data;
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::sync::watch;

use super::AppState;
use super::reply::refuse;
use crate::api::problem::{Code, Problem};
use crate::engine::clock::{self, Stopwatch};

/// Connections behind the last, for those who run the node.
const RESERVE: usize = 64;
/// Requests at once: more than come by HTTP/1, one a connection, where nobody multiplies them.
const REQUESTS: usize = 8_192;
/// What the bodies that are being read may take together, bytes.
const BODIES: usize = 64 << 20;

/// How long a connection on which nothing is done is kept when the node stops.
const STOPPING: Duration = Duration::from_secs(2);

/// What is taken at the moment, by all threads that serve.
#[derive(Debug, Clone)]
pub struct Limits(Arc<Taken>);

#[derive(Debug)]
struct Taken {
    connections_max: usize,
    idle: Duration,
    stopping: watch::Sender<bool>,
    open: Mutex<Open>,
    requests: AtomicUsize,
    bodies: AtomicUsize,
}

#[derive(Debug, Default)]
struct Open {
    connections: HashMap<u64, Arc<Connection>>,
    next: u64,
}

#[derive(Debug)]
struct Connection {
    /// The same socket, to cut it by; none if the system has no more of them.
    socket: Option<TcpStream>,
    /// There were as many as there may be when it came.
    reserve: bool,
    /// Requests on it that are being handled.
    inside: AtomicUsize,
    /// When the last of them came or was answered.
    last: Mutex<Stopwatch>,
}

impl Connection {
    fn touch(&self) {
        *lock(&self.last) = clock::stopwatch();
    }
}

/// A connection's place; given back when the connection ends.
struct Place {
    limits: Limits,
    number: u64,
    connection: Arc<Connection>,
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.limits.0.open).connections.remove(&self.number);
    }
}

/// A request that is being handled.
struct Inside<'a>(Option<&'a Connection>);

impl<'a> Inside<'a> {
    fn of(connection: Option<&'a Connection>) -> Self {
        if let Some(connection) = connection {
            connection.inside.fetch_add(1, Ordering::Relaxed);
            connection.touch();
        }
        Self(connection)
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        if let Some(connection) = self.0 {
            connection.touch();
            connection.inside.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// So much of one of the totals; given back when dropped.
pub struct Share<'a> {
    total: &'a AtomicUsize,
    max: usize,
    taken: usize,
}

impl<'a> Share<'a> {
    fn of(total: &'a AtomicUsize, max: usize) -> Self {
        let taken = 0;
        Self { total, max, taken }
    }

    /// Takes more; false if there is no more.
    pub fn grow(&mut self, by: usize) -> bool {
        let before = self.total.fetch_add(by, Ordering::Relaxed);
        self.taken += by;
        before + by <= self.max
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.total.fetch_sub(self.taken, Ordering::Relaxed);
    }
}

/// Descriptors that everything but connections may need: segments, tables, event loops.
const OTHER_FILES: u64 = 256;

/// As many of these connections as the system gives descriptors for, two each: they are asked for, as
/// the usual limit of 1,024 is there for programs that know no better.
fn affordable(connections: usize) -> usize {
    let wanted = 2 * (connections + RESERVE) as u64 + OTHER_FILES;
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < wanted) {
        let raised = limit.maximum.map_or(wanted, |most| most.min(wanted));
        limit.current = limit.current.map(|current| current.max(raised));
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            tracing::warn!(%error, "the limit of open files cannot be raised");
        }
    }
    let Some(current) = getrlimit(Resource::Nofile)
        .current
        .filter(|it| *it < wanted)
    else {
        return connections;
    };
    let fewer = current.saturating_sub(OTHER_FILES) / 2;
    let fewer = usize::try_from(fewer)
        .unwrap_or(usize::MAX)
        .saturating_sub(RESERVE);
    let fewer = fewer.clamp(1, connections);
    tracing::warn!(
        connections = fewer,
        open_files = current,
        "fewer connections than configured"
    );
    fewer
}

impl Limits {
    /// So many connections, or as many as the system allows, each cut once nothing was done on it for
    /// `idle`.
    pub fn new(connections: usize, idle: Duration) -> Self {
        Self(Arc::new(Taken {
            connections_max: affordable(connections),
            idle,
            stopping: watch::Sender::new(false),
            open: Mutex::default(),
            requests: AtomicUsize::new(0),
            bodies: AtomicUsize::new(0),
        }))
    }

    /// Connections that one thread may have, if it has all of them.
    pub fn connections(&self) -> usize {
        self.0.connections_max + RESERVE
    }

    /// What a body that is being read takes.
    pub fn body(&self) -> Share<'_> {
        Share::of(&self.0.bodies, BODIES)
    }

    /// A connection came.
    pub fn connected(&self, io: &net::TcpStream, extensions: &mut Extensions) {
        let socket = io.as_fd().try_clone_to_owned().ok();
        let mut open = lock(&self.0.open);
        let connection = Arc::new(Connection {
            socket: socket.map(TcpStream::from),
            reserve: open.connections.len() >= self.0.connections_max,
            inside: AtomicUsize::new(0),
            last: Mutex::new(clock::stopwatch()),
        });
        let number = open.next;
        open.next += 1;
        open.connections.insert(number, connection.clone());
        extensions.insert(Place {
            limits: self.clone(),
            number,
            connection,
        });
    }

    /// Waits for a connection's first byte; false if it does not come in time, or the node stops.
    pub async fn spoke(&self, io: &net::TcpStream, patience: Duration) -> bool {
        tokio::select! {
            ready = tokio::time::timeout(patience, io.readable()) => matches!(ready, Ok(Ok(()))),
            () = self.clone().stopping() => false,
        }
    }

    /// The node stops: who does nothing is not waited for.
    pub fn stop(&self) {
        self.0.stopping.send_replace(true);
    }

    /// Ends when the node stops.
    pub async fn stopping(self) {
        // It is never closed while this holds it.
        let _ = self
            .0
            .stopping
            .subscribe()
            .wait_for(|stopping| *stopping)
            .await;
    }

    /// Cuts connections on which nothing is done, again and again; never ends.
    pub async fn cut(self) {
        let every = (self.0.idle / 8).clamp(Duration::from_millis(20), Duration::from_secs(1));
        loop {
            tokio::time::sleep(every).await;
            let patience = if *self.0.stopping.borrow() {
                self.0.idle.min(STOPPING)
            } else {
                self.0.idle
            };
            for connection in lock(&self.0.open).connections.values() {
                let idle = lock(&connection.last).elapsed() >= patience;
                if idle && connection.inside.load(Ordering::Relaxed) == 0 {
                    // It may have ended by itself.
                    let _ = connection
                        .socket
                        .as_ref()
                        .map(|it| it.shutdown(Shutdown::Both));
                }
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What it holds is whole at every unlock: a panic elsewhere cannot have torn it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The layer that lets requests in, or refuses them before anything of them is looked at.
pub async fn admit<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    let place = request.request().conn_data::<Place>();
    let connection = place.map(|place| place.connection.clone());
    let _inside = Inside::of(connection.as_deref());
    let reserve = connection
        .as_ref()
        .is_some_and(|connection| connection.reserve);
    let state = request.app_data::<Data<AppState>>().cloned();
    let limits = request.app_data::<Data<Limits>>().cloned();
    let operation = ["/health", "/livez", "/readyz", "/metrics"].contains(&request.path());

    let mut share = limits
        .as_ref()
        .map(|limits| Share::of(&limits.0.requests, REQUESTS));
    let full = share
        .as_mut()
        .is_some_and(|share| !operation && !share.grow(1));
    let mut response = if !operation && (reserve || full) {
        let what = if reserve {
            "connections"
        } else {
            "requests under way"
        };
        let problem = Problem::new(Code::Overloaded, format!("the node has too many {what}"));
        let refused = refuse(request.request(), &problem);
        request.into_response(refused).map_into_right_body()
    } else {
        next.call(request).await?.map_into_left_body()
    };
    // On a connection of the reserve, and when the node stops, nothing more is asked.
    if reserve || state.is_some_and(|state| state.engine.is_stopping()) {
        let head = response.response_mut().head_mut();
        head.set_connection_type(ConnectionType::Close);
    }
    Ok(response)
}
