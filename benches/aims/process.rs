//! Processes under measurement: on a core of their own, and what the kernel says of them.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::{Result, http};

/// One core for the server, and another for this process and the upstream.
pub(crate) struct Cores {
    server: CpuSet,
    load: CpuSet,
}

impl Cores {
    /// Puts this process on its core. Where there is only one the server shares it, and no figure
    /// is worth much.
    pub(crate) fn claim() -> Result<Self> {
        let allowed = sched_getaffinity(None)?;
        let mut cores = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
        let first = cores.next().ok_or("this process may run on no core")?;
        let second = cores.next().unwrap_or(first);
        let only = |core| {
            let mut set = CpuSet::new();
            set.set(core);
            set
        };
        let cores = Self { server: only(second), load: only(first) };
        sched_setaffinity(None, &cores.load)?;
        Ok(cores)
    }

    /// Starts a child on the server's core: it inherits the core of the thread that starts it.
    fn spawn(&self, command: &mut Command) -> Result<Child> {
        sched_setaffinity(None, &self.server)?;
        let child = command.spawn();
        sched_setaffinity(None, &self.load)?;
        Ok(child.map_err(|error| format!("{}: {error}", command.get_program().display()))?)
    }
}

/// A loopback address whose port is free at the moment.
pub(crate) fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

/// A child that ends with this value.
pub(crate) struct Running(Child);

impl Running {
    /// Starts it on this process's core.
    pub(crate) fn beside(command: &mut Command) -> Result<Self> {
        Ok(Self(command.spawn()?))
    }

    pub(crate) fn stdout(&mut self) -> Option<std::process::ChildStdout> {
        self.0.stdout.take()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Memory in bytes.
#[derive(Clone, Copy)]
pub(crate) struct Memory {
    /// All that is resident. Most of a small process is pages of its binary and of libc.
    pub(crate) resident: f64,
    /// What no file has: heap, stacks and relocated data.
    pub(crate) own: f64,
}

/// A server under measurement.
pub(crate) struct Server {
    running: Running,
    pub(crate) at: SocketAddr,
    /// What is asked of it.
    pub(crate) request: Vec<u8>,
    /// From before it was started until it had given a good answer.
    pub(crate) first_answer: Duration,
    /// How many bytes of body that answer had.
    pub(crate) body_length: usize,
}

impl Server {
    /// Starts it on the server's core and asks until a good answer comes.
    pub(crate) fn start(
        cores: &Cores,
        command: &mut Command,
        at: SocketAddr,
        request: Vec<u8>,
    ) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let begun = Instant::now();
        let mut running = Running(cores.spawn(command)?);
        let body = loop {
            match http::get(at, &request) {
                Ok(Some(body)) => break body,
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                Err(error) => return Err(error.into()),
            }
            if let Some(status) = running.0.try_wait()? {
                return Err(format!("{} ended: {status}", command.get_program().display()).into());
            }
            if begun.elapsed() > Duration::from_secs(60) {
                return Err("a server gave no good answer for a minute".into());
            }
        };
        let first_answer = begun.elapsed();
        Ok(Self { running, at, request, first_answer, body_length: body.len() })
    }

    /// What it has of memory. VmRSS may lag behind; this does not.
    pub(crate) fn memory(&self) -> Result<Memory> {
        let path = format!("/proc/{}/smaps_rollup", self.running.0.id());
        let text = std::fs::read_to_string(path)?;
        let field = |name: &str| -> Result<f64> {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
            Ok(kib.ok_or("a field is not in smaps_rollup")?.trim().parse::<f64>()? * 1024.0)
        };
        Ok(Memory { resident: field("Rss:")?, own: field("Anonymous:")? })
    }

    /// How long its threads have run on a core so far.
    pub(crate) fn cpu_time(&self) -> Result<Duration> {
        let mut total = Duration::ZERO;
        for task in std::fs::read_dir(format!("/proc/{}/task", self.running.0.id()))? {
            let text = std::fs::read_to_string(task?.path().join("schedstat"))?;
            let nanos = text.split_ascii_whitespace().next().ok_or("schedstat is empty")?;
            total += Duration::from_nanos(nanos.parse()?);
        }
        Ok(total)
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn end(mut self) -> Result<()> {
        let child = &mut self.running.0;
        rustix::process::kill_process(Pid::from_child(child), Signal::TERM)?;
        child.wait()?;
        Ok(())
    }
}
