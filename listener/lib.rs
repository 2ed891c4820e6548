//! What all HTTP listeners share: bind first, serve later, and no client that can starve another.
//!
//! A server holds a bounded number of connections. When a further one comes, the connection that
//! has been idle for longest makes room; a connection is idle while no request of it is being
//! answered, so one that sends its head or its body slowly, or that does not read its answers, is idle
//! too. One that was accepted just now, or whose head has just come, is spared for a moment: a burst must
//! not cost a request on its way. Idleness is kept as a number drawn from a counter when an answer ends: a
//! request without a body costs two atomic stores for it, and no timer and no clock.
//!
//! It is a package of its own so that hyper's code, which is made where a connection is served, can be compiled for speed
//! while the relay's own is compiled for size.

mod answer;
pub mod body;
mod connections;
pub mod reply;
pub mod shutdown;
mod stream;
pub mod tls;

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use tokio::net::{TcpListener, TcpSocket, UnixListener};
use tokio::time::Instant;
use tracing::{debug, warn};

pub use answer::{Answer, Answered, Closed, Peer, Reply};
use connections::Connections;
use shutdown::Signal;
pub use stream::{Io, Stream};

/// The largest head of a request, in bytes; a larger one is answered 431. The heads that SDKs send
/// have a few hundred; this leaves room for a service account's JWT as access token.
pub const LARGEST_HEAD: usize = 16 * 1024;

/// How long nothing is accepted at most after an error such as too many open files, which ends only
/// when something was closed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How long no further failure to accept is logged: where files are short they come and go with
/// each connection.
const FAILURE_LOG_INTERVAL: Duration = Duration::from_secs(60);

/// As many connections may wait to be accepted; the kernel lowers it to its own limit.
const BACKLOG: u32 = 1024;

/// What a server allows, and where it counts.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at one time; at least one is allowed.
    pub connections: usize,
    /// Follows the number of open connections.
    pub open: Gauge,
    /// Counts the connections that were closed to make room.
    pub evicted: Counter,
}

impl Limits {
    /// A number of connections that no metric follows.
    pub fn uncounted(connections: usize) -> Self {
        Self { connections, open: Gauge::default(), evicted: Counter::default() }
    }
}

/// A connection on which no request was completed for this long is closed, and for twice as long at most it
/// stays. As it is, it lies between the keep-alive times of the SDKs' pools (a minute or so) and for ever.
const IDLE_LIMIT: Duration = Duration::from_secs(60);

/// Something that accepts connections.
pub trait Accept: Send + Sync + 'static {
    /// Accepts one connection.
    ///
    /// # Errors
    /// As the operating system's `accept`.
    fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<Stream>>;

    /// After how long a connection is idle.
    fn idle_limit(&self) -> Duration {
        IDLE_LIMIT
    }
}

impl Accept for TcpListener {
    fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<Stream>> {
        self.poll_accept(context).map_ok(|(stream, _)| Stream::Tcp(stream))
    }
}

impl Accept for UnixListener {
    fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<Stream>> {
        self.poll_accept(context).map_ok(|(stream, _)| Stream::Unix(stream))
    }
}

/// An address that could not be bound.
#[derive(Debug)]
pub struct BindError {
    setting: &'static str,
    address: SocketAddr,
    cause: io::Error,
}

impl BindError {
    /// What kind of error the operating system gave.
    pub fn kind(&self) -> io::ErrorKind {
        self.cause.kind()
    }
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { setting, address, cause } = self;
        write!(f, "{setting}: cannot listen on {address}: {cause}")?;
        f.write_str(match cause.kind() {
            io::ErrorKind::AddrInUse => {
                "; another process of this pod has that port: stop it, or choose another port"
            }
            io::ErrorKind::PermissionDenied => "; choose a port from 1024 on",
            io::ErrorKind::AddrNotAvailable => {
                "; no interface of this pod has that address: 127.0.0.1 is always there"
            }
            _ => "",
        })
    }
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.cause)
    }
}

/// Binds a TCP address, port 0 for any that is free. Nothing is accepted before [`serve`]. It must
/// be called within a tokio runtime.
///
/// # Errors
/// A [`BindError`] that names `setting`.
pub fn bind(setting: &'static str, address: SocketAddr) -> Result<TcpListener, BindError> {
    listen(address).map_err(|cause| BindError { setting, address, cause })
}

/// The same, where every IPv4 address means every IPv6 address too, if there are any: in a cluster of
/// IPv6 alone that is where the kubelet and the API server ask.
///
/// # Errors
/// A [`BindError`] that names `setting`.
pub fn bind_everywhere(
    setting: &'static str,
    address: SocketAddr,
) -> Result<TcpListener, BindError> {
    match also_over_ipv6(address).map(|both| bind(setting, both)) {
        Some(Ok(listener)) => Ok(listener),
        Some(Err(_)) | None => bind(setting, address),
    }
}

fn also_over_ipv6(address: SocketAddr) -> Option<SocketAddr> {
    let every = address.ip() == IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    every.then(|| SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), address.port()))
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    // Linux hands it on to every connection that is accepted, which saves a call for each.
    socket.set_nodelay(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves HTTP/1.1 and 1.0 on `listeners`, which share the limits, until `signal` says stop; then
/// every connection is dropped. While it drains, each answer closes its connection, and new
/// connections are still served: the applications are still there. Idle connections are left
/// alone then, since a request may be on its way on any of them.
///
/// It must be polled within a tokio runtime, on which it spawns a task for each connection.
pub fn serve<L: Accept, A: Answer>(
    listeners: Vec<L>,
    answer: A,
    limits: Limits,
    signal: Signal,
) -> impl Future<Output = ()> + Send + use<L, A> {
    let listeners =
        listeners.into_iter().map(|listener| Box::new(listener) as Box<dyn Accept>).collect();
    serve_any(listeners, Connections::new(Arc::new(answer), limits), signal)
}

async fn serve_any(listeners: Vec<Box<dyn Accept>>, connections: Connections, mut signal: Signal) {
    let draining = connections.drain_switch();
    let mut stop = signal.clone();
    tokio::select! {
        () = stop.stopping() => {}
        () = async {
            signal.draining().await;
            draining.turn_on();
            std::future::pending::<()>().await;
        } => {}
        () = run(listeners, connections) => {}
    }
}

/// Accepts for ever.
async fn run(mut listeners: Vec<Box<dyn Accept>>, mut connections: Connections) {
    let idle_limit = listeners.iter().map(|listener| listener.idle_limit()).max();
    let mut sweep = tokio::time::interval(idle_limit.unwrap_or(IDLE_LIMIT));
    let mut warned_at: Option<Instant> = None;
    loop {
        let accepted = tokio::select! {
            () = connections.ended() => continue,
            _ = sweep.tick() => {
                connections.close_idle();
                continue;
            }
            accepted = accept(&listeners) => accepted,
        };
        // Another one comes first now, so that a flood on one cannot starve the others.
        listeners.rotate_left(1);
        match accepted {
            Ok(stream) => {
                connections.make_room().await;
                connections.open(stream);
            }
            Err(error) if is_the_clients(&error) => debug!(%error, "a connection ended unaccepted"),
            Err(error) => {
                if warned_at.is_none_or(|at| at.elapsed() >= FAILURE_LOG_INTERVAL) {
                    warn!(%error, "no connection can be accepted, so an idle one is closed; more of this is not logged for a minute");
                    warned_at = Some(Instant::now());
                }
                connections.make_room_for_a_file(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Accepts from the first of the listeners that has a connection.
async fn accept(listeners: &[Box<dyn Accept>]) -> io::Result<Stream> {
    std::future::poll_fn(|context| {
        listeners
            .iter()
            .map(|listener| listener.poll_accept(context))
            .find(Poll::is_ready)
            .unwrap_or(Poll::Pending)
    })
    .await
}

/// Whether an error of `accept` concerns one connection alone, which its client gave up.
fn is_the_clients(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Mutex;

    use hyper::body::Incoming;
    use hyper::{Request, Response};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn a_taken_port_is_told_with_its_setting_and_what_to_do() {
        let first = bind("endpoint.listen", ([127, 0, 0, 1], 0).into()).unwrap();
        let address = first.local_addr().unwrap();
        let error = bind("endpoint.listen", address).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("endpoint.listen: cannot listen on {address}: ")),
            "{error}"
        );
        assert!(error.ends_with("choose another port"), "{error}");
    }

    #[tokio::test]
    async fn accepted_connections_send_without_delay() {
        let listener = bind("endpoint.listen", ([127, 0, 0, 1], 0).into()).unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let accepted = accept(&[Box::new(listener)]).await.unwrap();
        let Stream::Tcp(accepted) = accepted else { panic!("{accepted:?}") };
        assert!(accepted.nodelay().unwrap());
    }

    #[test]
    fn every_address_means_those_of_ipv6_too() {
        let every: SocketAddr = ([0, 0, 0, 0], 9532).into();
        assert_eq!(also_over_ipv6(every), Some("[::]:9532".parse().unwrap()));
        assert_eq!(also_over_ipv6(([127, 0, 0, 1], 9532).into()), None);
    }

    type Script = VecDeque<io::Result<DuplexStream>>;

    /// Accepts what it was given, then nothing.
    #[derive(Clone)]
    struct Scripted(Arc<Mutex<Script>>);

    impl Scripted {
        fn new(script: impl IntoIterator<Item = io::Result<DuplexStream>>) -> Self {
            Self(Arc::new(Mutex::new(script.into_iter().collect())))
        }
    }

    impl Accept for Scripted {
        fn poll_accept(&self, _: &mut Context<'_>) -> Poll<io::Result<Stream>> {
            let next = self.0.lock().unwrap().pop_front();
            next.map_or(Poll::Pending, Poll::Ready).map_ok(|end| Stream::Other(Box::new(end)))
        }
    }

    struct Silent;

    impl Answer for Silent {
        fn answer(&self, _: Request<Incoming>, _: Peer) -> Answered {
            Answered::now(Response::default())
        }
    }

    /// Connections, and the clients' ends of them.
    fn connections(count: usize) -> (Vec<DuplexStream>, Script) {
        let ends = (0..count).map(|_| duplex(1024));
        ends.map(|(client, server)| (client, Ok(server))).unzip()
    }

    /// Asks, and returns the status line; an empty one if the connection was closed.
    async fn asked(client: &mut DuplexStream) -> String {
        let mut answer = String::new();
        if client.write_all(b"GET / HTTP/1.0\r\n\r\n").await.is_ok() {
            client.read_to_string(&mut answer).await.unwrap();
        }
        answer.lines().next().unwrap_or_default().to_owned()
    }

    const ANSWERED: &str = "HTTP/1.0 200 OK";

    // No other test may come to the line that is logged here: `tracing` asks the subscriber of the
    // first thread that comes whether it is wanted, and remembers that.
    #[tokio::test(start_paused = true)]
    async fn without_files_an_idle_connection_is_closed_which_is_logged_once_a_minute() {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
        let _guard = tracing::subscriber::set_default(subscriber);
        const TOO_MANY_OPEN_FILES: i32 = 24;
        let failure = || Err(io::Error::from_raw_os_error(TOO_MANY_OPEN_FILES));
        let (mut clients, script) = connections(1000);
        // There is never a file for one more.
        let mut script: Script =
            script.into_iter().flat_map(|connection| [connection, failure()]).collect();
        script.push_front(Err(io::ErrorKind::ConnectionAborted.into()));
        // Nor where there is nothing to close, for almost two minutes.
        const TIMES: u32 = 2300;
        script.extend((0..TIMES).map(|_| failure()));
        let started = Instant::now();
        let limits = Limits::uncounted(2000);
        let (_trigger, signal) = shutdown::channel();
        tokio::spawn(serve(vec![Scripted::new(script)], Silent, limits.clone(), signal));

        assert_eq!(asked(&mut clients[999]).await, ANSWERED);
        assert!(started.elapsed() <= Duration::from_millis(100), "{:?}", started.elapsed());
        assert_eq!(clients[0].read(&mut [0]).await.unwrap(), 0);
        // The first ones were spared for being new.
        assert!(limits.evicted.get() > 900, "{}", limits.evicted.get());
        tokio::time::sleep(ACCEPT_PAUSE * TIMES).await;
        let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.matches("no connection can be accepted").count(), 2, "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_closes_no_connection_whose_request_is_on_its_way() {
        let (mut clients, burst) = connections(20);
        let limits = Limits::uncounted(2);
        let (_trigger, signal) = shutdown::channel();
        tokio::spawn(serve(vec![Scripted::new(burst)], Silent, limits.clone(), signal));
        for client in &mut clients {
            tokio::time::sleep(Duration::from_millis(40)).await;
            assert_eq!(asked(client).await, ANSWERED);
        }
        assert_eq!(limits.evicted.get(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_was_answered_makes_room_before_a_new_one() {
        let (mut clients, burst) = connections(3);
        clients[0].write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let (_trigger, signal) = shutdown::channel();
        let listener = Scripted::new(burst);
        tokio::spawn(serve(vec![listener], Silent, Limits::uncounted(2), signal));
        let mut answer = String::new();
        clients[0].read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        assert_eq!(asked(&mut clients[1]).await, ANSWERED);
        assert_eq!(asked(&mut clients[2]).await, ANSWERED);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_silent_connections_holds_others_up_only_once() {
        let (mut clients, flood) = connections(1000);
        let (_trigger, signal) = shutdown::channel();
        let started = Instant::now();
        tokio::spawn(serve(vec![Scripted::new(flood)], Silent, Limits::uncounted(4), signal));
        assert_eq!(asked(&mut clients[999]).await, ANSWERED);
        assert_eq!(started.elapsed(), Duration::from_millis(100));
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_on_one_listener_does_not_starve_another() {
        let (_flooding, flood) = connections(1000);
        let (mut clients, single) = connections(1);
        let flooded = Scripted::new(flood);
        let listeners = vec![flooded.clone(), Scripted::new(single)];
        let (_trigger, signal) = shutdown::channel();
        tokio::spawn(serve(listeners, Silent, Limits::uncounted(4), signal));
        assert_eq!(asked(&mut clients[0]).await, ANSWERED);
        assert!(flooded.0.lock().unwrap().len() > 900);
    }

    /// What is logged on this thread.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
}
