//! `digits serve`: the model over HTTP, for programs and, on a page, for people.
//!
//! The way of a request: [`listen`] accepts its connection; [`observe`] counts and logs it; a handler
//! ([`models`], [`read`], [`page`]) reads its body within the [`limits`] and takes it apart ([`json`],
//! [`tensors`]), long ones on [`work`]'s threads; [`batch`] has the network read its images together
//! with those of others.

mod batch;
mod body;
mod error;
mod json;
mod limits;
mod listen;
mod log;
mod metrics;
mod models;
mod observe;
mod page;
mod patience;
mod read;
mod servable;
mod server;
mod tensors;
mod work;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{io, panic};

use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::spawn_blocking;

use self::batch::Batcher;
use self::limits::Limits;
use self::log::{Event, Log};
use self::metrics::Metrics;
use self::servable::{Servable, Shelf};
use self::server::Server;
use self::work::Workers;
use crate::cli::ServeOptions;
use crate::failure::Failure;
use crate::model_file;

/// Threads that read requests and write answers. The network and the decoders have their own.
const THREADS: usize = 2;
/// How long the end waits for work that nobody waits for any more.
const REST: Duration = Duration::from_secs(1);

pub fn run(options: &ServeOptions) -> Result<(), Failure> {
    let limits = Limits::new(options);
    let metrics = Arc::new(Metrics::new());
    let shelf = match &options.model {
        Some(path) => Shelf::open(path)?,
        None => Shelf::new(Servable::new(model_file::load(None)?, 1)?),
    };
    let (log, lines) = Log::new(options.json, options.quiet, metrics.clone());
    let log_writer = start("log", move || log::write_all(&lines))?;
    let (batcher, runner) = Batcher::new(limits.queue, metrics.clone());
    start("network", move || runner.run())?;
    log.tell_panics();
    let server = Arc::new(Server {
        limits,
        shelf,
        batcher,
        workers: Workers::new(limits.workers, limits.waiting),
        metrics,
        log,
        cors: options.cors.clone(),
        stopping: false.into(),
    });
    let runtime = Builder::new_multi_thread()
        .worker_threads(THREADS)
        // One is for looking at the model file.
        .max_blocking_threads(limits.workers + 1)
        .enable_all()
        .build()
        .map_err(not_started)?;
    let done = runtime.block_on(serve(server, options));
    runtime.shutdown_timeout(REST);
    // The log ends with the last who may tell something.
    let _ = panic::take_hook();
    wait_for(&log_writer);
    done
}

fn start(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, Failure> {
    thread::Builder::new().name(name.into()).spawn(work).map_err(not_started)
}

fn not_started(error: io::Error) -> Failure {
    Failure::Failed(format!("starting a thread: {error}"))
}

async fn serve(server: Arc<Server>, options: &ServeOptions) -> Result<(), Failure> {
    let address = options.addr;
    let cannot = |error: io::Error| {
        Failure::Failed(format!(
            "cannot listen on {address}: {error}; another address is chosen with --addr"
        ))
    };
    let listener = TcpListener::bind(address).await.map_err(cannot)?;
    let address: SocketAddr = listener.local_addr().map_err(cannot)?;
    let stop = stop_signal(server.clone())
        .map_err(|error| Failure::Failed(format!("cannot listen to signals: {error}")))?;
    let servable = server.shelf.current();
    server.log.tell(Event::Listening {
        address,
        model: model_file::name(options.model.as_deref()).display().to_string(),
        version: servable.version,
        architecture: servable.architecture,
    });
    drop(servable);
    if options.model.is_some() && !options.poll.is_zero() {
        tokio::spawn(watch(server.clone(), options.poll));
    }
    let router = server::router(server.clone());
    let answered = listen::serve(server.clone(), listener, router, stop).await;
    server.log.tell(Event::Stopped { answered });
    Ok(())
}

/// Looks at the model file now and then.
async fn watch(server: Arc<Server>, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        let server = server.clone();
        // A panic in there, which the log tells, must not end the watch.
        let _ = spawn_blocking(move || server.shelf.look(&server.log, &server.metrics)).await;
    }
}

/// Ready at the first signal to stop. The second ends the process where it is.
fn stop_signal(server: Arc<Server>) -> io::Result<impl Future<Output = &'static str>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        let name = tokio::select! {
            _ = interrupt.recv() => "SIGINT",
            _ = terminate.recv() => "SIGTERM",
        };
        tokio::spawn(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            server.log.tell(Event::Trouble { what: "stopped at once".into() });
            thread::sleep(Duration::from_millis(50));
            std::process::exit(130);
        });
        name
    })
}

/// Gives the last lines of the log a moment to be written.
fn wait_for(writer: &JoinHandle<()>) {
    let latest = Instant::now() + REST;
    while !writer.is_finished() && Instant::now() < latest {
        thread::sleep(Duration::from_millis(1));
    }
}
