//! The load: closed loops over keep-alive connections, or a connection for each request.

use std::io::{ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::event::epoll;

use crate::Result;
use crate::http::Reader;

/// How the requests come.
#[derive(Clone, Copy)]
pub(crate) enum Shape {
    /// On this many connections, each with one request at a time.
    KeepAlive(usize),
    /// Each on a connection of its own, one after the other.
    Fresh,
}

/// What one round took.
pub(crate) struct Sample {
    /// Of each request, sorted.
    latencies: Vec<Duration>,
    elapsed: Duration,
}

impl Sample {
    fn new(mut latencies: Vec<Duration>, elapsed: Duration) -> Self {
        latencies.sort_unstable();
        Self { latencies, elapsed }
    }

    /// In microseconds; `share` is 0.5 for the median.
    pub(crate) fn percentile(&self, share: f64) -> f64 {
        let last = self.latencies.len().saturating_sub(1);
        let place = (last as f64 * share) as usize;
        self.latencies.get(place).map_or(f64::NAN, |latency| latency.as_secs_f64() * 1e6)
    }

    pub(crate) fn per_second(&self) -> f64 {
        self.latencies.len() as f64 / self.elapsed.as_secs_f64()
    }
}

/// Sends `request` for as long as `time`.
pub(crate) fn run(at: SocketAddr, request: &[u8], shape: Shape, time: Duration) -> Result<Sample> {
    match shape {
        Shape::KeepAlive(connections) => keep_alive(at, request, connections, time),
        Shape::Fresh => fresh(at, request, time),
    }
}

/// Sends `request` so many times on one connection.
pub(crate) fn repeat(at: SocketAddr, request: &[u8], times: usize) -> Result<()> {
    let mut stream = TcpStream::connect(at)?;
    stream.set_nodelay(true)?;
    let mut reader = Reader::new(ROOM);
    for _ in 0..times {
        stream.write_all(request)?;
        while !reader.read(&mut stream)? {}
        take(&mut reader)?;
    }
    Ok(())
}

/// An answer has less than 10,000 bytes of body.
const ROOM: usize = 16 << 10;

fn take(reader: &mut Reader) -> Result<()> {
    if !reader.is_ok() {
        return Err("an answer under load was not 200".into());
    }
    reader.reset();
    Ok(())
}

struct Connection {
    stream: TcpStream,
    reader: Reader,
    sent: Instant,
}

fn keep_alive(
    at: SocketAddr,
    request: &[u8],
    connections: usize,
    time: Duration,
) -> Result<Sample> {
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let mut open = Vec::with_capacity(connections);
    for number in 0..connections {
        let stream = TcpStream::connect(at)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let data = epoll::EventData::new_u64(number as u64);
        epoll::add(&poll, &stream, data, epoll::EventFlags::IN)?;
        open.push(Connection { stream, reader: Reader::new(ROOM), sent: Instant::now() });
    }
    let started = Instant::now();
    for connection in &mut open {
        connection.sent = Instant::now();
        connection.stream.write_all(request)?;
    }
    let mut latencies = Vec::with_capacity(1 << 20);
    let mut events = Vec::with_capacity(connections);
    while started.elapsed() < time {
        events.clear();
        epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), None)?;
        for event in &events {
            let Connection { stream, reader, sent } = &mut open[event.data.u64() as usize];
            match reader.read(stream) {
                Ok(false) => continue,
                Ok(true) => take(reader)?,
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error.into()),
            }
            let now = Instant::now();
            latencies.push(now - *sent);
            *sent = now;
            stream.write_all(request)?;
        }
    }
    Ok(Sample::new(latencies, started.elapsed()))
}

fn fresh(at: SocketAddr, request: &[u8], time: Duration) -> Result<Sample> {
    let mut latencies = Vec::with_capacity(1 << 16);
    let mut reader = Reader::new(ROOM);
    let started = Instant::now();
    while started.elapsed() < time {
        let begun = Instant::now();
        let mut stream = TcpStream::connect(at)?;
        stream.write_all(request)?;
        while !reader.read(&mut stream)? {}
        latencies.push(begun.elapsed());
        take(&mut reader)?;
    }
    Ok(Sample::new(latencies, started.elapsed()))
}
