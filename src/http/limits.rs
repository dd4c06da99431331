//! Limits on clients: connections, requests in flight, memory for bodies, and time.
//!
//! Operators are answered under any load: beyond the last connection there is a reserve, on which only
//! health, readiness and metrics are answered, once, and every other request is rejected; and those
//! routes count against no limit.
//!
//! A connection without progress is closed after the idle timeout, whatever it does: idle, send a
//! request head byte by byte, or leave a response unread. A response that the server has not produced
//! yet is progress. (actix times the first head of a connection and keep-alive, and nothing else:
//! neither a connection without a first byte, nor the beginning of HTTP/2.) At shutdown the timeout is
//! short.

use std::collections::HashMap;
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::Error;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{Extensions, ServiceRequest, ServiceResponse};
use actix_web::http::ConnectionType;
use actix_web::middleware::Next;
use actix_web::rt::net;
use actix_web::web::{Bytes, Data};
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::sync::watch;

use super::reply::{error, with_problem};
use super::state::AppState;
use crate::api::problem::{Code, Problem};
use crate::engine::clock::{self, Stopwatch};

/// Connections beyond the limit, for operators.
const RESERVE: usize = 64;
/// Requests in flight: above the number of connections, so that only HTTP/2 streams can reach it.
const REQUESTS_MAX: usize = 8_192;
/// Memory for the bodies that are being read, bytes.
const BODY_BYTES_MAX: usize = 64 << 20;

/// The idle timeout at shutdown.
const SHUTDOWN_IDLE: Duration = Duration::from_secs(2);

/// The limits, shared by all worker threads.
#[derive(Debug, Clone)]
pub struct Limits(Arc<State>);

#[derive(Debug)]
struct State {
    connections_max: usize,
    idle: Duration,
    /// Paths of routes that count against no limit.
    operations: Vec<&'static str>,
    stopping: watch::Sender<bool>,
    open: Mutex<Open>,
    requests: Arc<AtomicUsize>,
    body_bytes: Arc<AtomicUsize>,
}

#[derive(Debug, Default)]
struct Open {
    connections: HashMap<u64, Arc<Connection>>,
    next: u64,
}

#[derive(Debug)]
struct Connection {
    /// A duplicate, to close the connection with; `None` if the system has no more descriptors.
    socket: Option<TcpStream>,
    /// It was opened beyond the limit.
    reserve: bool,
    /// Requests that the server is working on.
    busy: AtomicUsize,
    last_progress: Mutex<Stopwatch>,
}

impl Connection {
    fn progress(&self) {
        *lock(&self.last_progress) = clock::stopwatch();
    }

    fn is_idle(&self, timeout: Duration) -> bool {
        self.busy.load(Ordering::Relaxed) == 0 && lock(&self.last_progress).elapsed() >= timeout
    }
}

/// Removes the connection from the open ones when dropped.
struct ConnectionGuard {
    limits: Limits,
    number: u64,
    connection: Arc<Connection>,
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        lock(&self.limits.0.open).connections.remove(&self.number);
    }
}

/// A request in flight: from its head to the end of its response's body. The connection is busy while
/// the server works on the response, and not while the client has yet to read it.
struct InFlight {
    connection: Option<Arc<Connection>>,
    busy: bool,
    _request: Reservation,
}

impl InFlight {
    fn new(connection: Option<Arc<Connection>>, request: Reservation) -> Self {
        let mut guard = Self {
            connection,
            busy: false,
            _request: request,
        };
        guard.set_busy(true);
        guard
    }

    fn set_busy(&mut self, busy: bool) {
        if let Some(connection) = self.connection.as_ref().filter(|_| self.busy != busy) {
            connection.progress();
            match busy {
                true => connection.busy.fetch_add(1, Ordering::Relaxed),
                false => connection.busy.fetch_sub(1, Ordering::Relaxed),
            };
        }
        self.busy = busy;
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.set_busy(false);
    }
}

/// A response body whose request is in flight until the body is dropped.
pub struct InFlightBody {
    body: BoxBody,
    guard: InFlight,
}

impl MessageBody for InFlightBody {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let chunk = Pin::new(&mut self.body).poll_next(context);
        self.guard.set_busy(chunk.is_pending());
        chunk
    }
}

/// An amount of a total, returned when dropped.
pub struct Reservation {
    total: Arc<AtomicUsize>,
    max: usize,
    amount: usize,
}

impl Reservation {
    fn new(total: &Arc<AtomicUsize>, max: usize) -> Self {
        Self {
            total: total.clone(),
            max,
            amount: 0,
        }
    }

    /// Reserves more; false, and nothing is reserved, if the total would exceed its maximum.
    pub fn grow(&mut self, by: usize) -> bool {
        let grown = |total: usize| total.checked_add(by).filter(|total| *total <= self.max);
        let granted = self
            .total
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown)
            .is_ok();
        if granted {
            self.amount += by;
        }
        granted
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.total.fetch_sub(self.amount, Ordering::Relaxed);
    }
}

/// Descriptors for everything but connections: segments, tables, event loops.
const OTHER_FILES: u64 = 256;

/// At most `connections`, as the limit of open files allows at two descriptors each. Raises the soft
/// limit, because its usual 1,024 is meant for programs that use `select`.
fn affordable(connections: usize) -> usize {
    let wanted = 2 * (connections + RESERVE) as u64 + OTHER_FILES;
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < wanted) {
        let raised = limit.maximum.map_or(wanted, |max| max.min(wanted));
        limit.current = limit.current.map(|current| current.max(raised));
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            tracing::warn!(%error, "cannot raise the limit of open files");
        }
    }
    let current = getrlimit(Resource::Nofile).current;
    let Some(current) = current.filter(|current| *current < wanted) else {
        return connections;
    };
    let affordable = usize::try_from(current.saturating_sub(OTHER_FILES) / 2);
    let affordable = affordable.unwrap_or(usize::MAX).saturating_sub(RESERVE);
    let affordable = affordable.clamp(1, connections);
    tracing::warn!(
        connections = affordable,
        open_files = current,
        "the limit of open files allows fewer connections than configured"
    );
    affordable
}

impl Limits {
    /// `connections` at once, or fewer if the system allows fewer; each is closed after `idle` without
    /// progress.
    pub fn new(connections: usize, idle: Duration, operations: Vec<&'static str>) -> Self {
        Self(Arc::new(State {
            connections_max: affordable(connections),
            idle,
            operations,
            stopping: watch::Sender::new(false),
            open: Mutex::default(),
            requests: Arc::default(),
            body_bytes: Arc::default(),
        }))
    }

    /// All connections with the reserve: one thread may have all of them.
    pub fn connections(&self) -> usize {
        self.0.connections_max + RESERVE
    }

    /// Memory for a body that is being read.
    pub fn body(&self) -> Reservation {
        Reservation::new(&self.0.body_bytes, BODY_BYTES_MAX)
    }

    /// Tracks a new connection for as long as `extensions`, its own, exist.
    pub fn track(&self, io: &net::TcpStream, extensions: &mut Extensions) {
        let socket = io.as_fd().try_clone_to_owned().ok();
        let mut open = lock(&self.0.open);
        let connection = Arc::new(Connection {
            socket: socket.map(TcpStream::from),
            reserve: open.connections.len() >= self.0.connections_max,
            busy: AtomicUsize::new(0),
            last_progress: Mutex::new(clock::stopwatch()),
        });
        let number = open.next;
        open.next += 1;
        open.connections.insert(number, connection.clone());
        extensions.insert(ConnectionGuard {
            limits: self.clone(),
            number,
            connection,
        });
    }

    /// Waits for a connection's first byte; false on timeout or shutdown.
    pub async fn first_byte(&self, io: &net::TcpStream, timeout: Duration) -> bool {
        tokio::select! {
            ready = tokio::time::timeout(timeout, io.readable()) => matches!(ready, Ok(Ok(()))),
            () = self.clone().stopping() => false,
        }
    }

    /// From now on the idle timeout is short.
    pub fn stop(&self) {
        self.0.stopping.send_replace(true);
    }

    /// Resolves at [`Self::stop`].
    pub async fn stopping(self) {
        let mut stopping = self.0.stopping.subscribe();
        // The sender is not dropped while `self` holds it.
        let _ = stopping.wait_for(|stopping| *stopping).await;
    }

    /// Closes idle connections, forever.
    pub async fn close_idle(self) {
        let every = (self.0.idle / 8).clamp(Duration::from_millis(20), Duration::from_secs(1));
        loop {
            tokio::time::sleep(every).await;
            let timeout = match *self.0.stopping.borrow() {
                true => self.0.idle.min(SHUTDOWN_IDLE),
                false => self.0.idle,
            };
            for connection in lock(&self.0.open).connections.values() {
                let socket = connection.socket.as_ref();
                if let Some(socket) = socket.filter(|_| connection.is_idle(timeout)) {
                    // Fails only if the peer has closed it already.
                    let _ = socket.shutdown(Shutdown::Both);
                }
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // The value is consistent at every unlock, so a panic elsewhere cannot have torn it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The middleware that admits a request, or rejects it before it is read.
pub async fn admit(
    request: ServiceRequest,
    next: Next<BoxBody>,
) -> Result<ServiceResponse<InFlightBody>, Error> {
    let guard = request.request().conn_data::<ConnectionGuard>();
    let connection = guard.map(|guard| guard.connection.clone());
    let reserve = connection
        .as_ref()
        .is_some_and(|connection| connection.reserve);
    let state = request.app_data::<Data<AppState>>().cloned();
    let limits = request.app_data::<Data<Limits>>();
    let limits = limits.expect("every server has limits");
    let mut reservation = Reservation::new(&limits.0.requests, REQUESTS_MAX);
    let limited = !limits.0.operations.contains(&request.path());
    let rejected = match limited {
        true if reserve => Some("the server has too many connections"),
        true if !reservation.grow(1) => Some("the server has too many requests in flight"),
        _ => None,
    };
    let in_flight = InFlight::new(connection, reservation);
    let mut response = match rejected {
        Some(detail) => {
            let problem = Problem::new(Code::Overloaded, detail);
            let response = error(request.request(), &problem);
            request.into_response(response)
        }
        None => with_problem(next.call(request).await?),
    };
    // The reserve answers one request per connection; at shutdown every connection is closed.
    if reserve || state.is_some_and(|state| state.engine.is_stopping()) {
        let head = response.response_mut().head_mut();
        head.set_connection_type(ConnectionType::Close);
    }
    Ok(response.map_body(|_, body| InFlightBody {
        body,
        guard: in_flight,
    }))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::task::Waker;

    use super::*;

    #[test]
    fn a_rejected_reservation_is_not_counted() {
        let total = Arc::default();
        let mut first = Reservation::new(&total, 100);
        let mut second = Reservation::new(&total, 100);
        assert!(first.grow(60));
        assert!(!second.grow(41) && !second.grow(usize::MAX));
        assert!(second.grow(40), "what was rejected takes no room");
        drop(second);
        assert!(first.grow(40));
        drop(first);
        assert_eq!(total.load(Ordering::Relaxed), 0);
    }

    /// A body of chunks, which is pending where there is `None`.
    struct Chunks(Vec<Option<&'static str>>);

    impl MessageBody for Chunks {
        type Error = Infallible;

        fn size(&self) -> BodySize {
            BodySize::Stream
        }

        fn poll_next(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Bytes, Infallible>>> {
            match self.0.pop() {
                Some(Some(chunk)) => Poll::Ready(Some(Ok(Bytes::from_static(chunk.as_bytes())))),
                Some(None) => Poll::Pending,
                None => Poll::Ready(None),
            }
        }
    }

    #[test]
    fn a_request_is_in_flight_until_its_body_ends_and_idle_while_it_is_unread() {
        let requests = Arc::default();
        let mut request = Reservation::new(&requests, 1);
        assert!(request.grow(1));
        let connection = Arc::new(Connection {
            socket: None,
            reserve: false,
            busy: AtomicUsize::new(0),
            last_progress: Mutex::new(clock::stopwatch()),
        });
        let idle = || connection.is_idle(Duration::ZERO);
        assert!(idle());
        let mut body = Box::pin(InFlightBody {
            body: BoxBody::new(Chunks(vec![None, Some("b"), None, Some("a")])),
            guard: InFlight::new(Some(connection.clone()), request),
        });
        assert!(!idle(), "the server works on the response head");
        let mut poll = || {
            body.as_mut()
                .poll_next(&mut Context::from_waker(Waker::noop()))
        };
        for expected in ["a", "b"] {
            assert!(matches!(poll(), Poll::Ready(Some(Ok(chunk))) if chunk == expected));
            assert!(idle(), "the client has yet to read the chunk");
            assert!(poll().is_pending());
            assert!(!idle(), "the server works on the next chunk");
        }
        assert!(matches!(poll(), Poll::Ready(None)));
        assert!(idle());
        assert_eq!(requests.load(Ordering::Relaxed), 1);
        drop(body);
        assert!(idle());
        assert_eq!(requests.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_connection_is_idle_only_after_the_timeout() {
        let connection = Connection {
            socket: None,
            reserve: false,
            busy: AtomicUsize::new(0),
            last_progress: Mutex::new(clock::stopwatch()),
        };
        assert!(!connection.is_idle(Duration::from_secs(3_600)));
    }
}
