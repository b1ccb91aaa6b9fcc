//! The program `layercache`: parses arguments, runs one command, and prints its report.

mod args;
mod cache;
mod cat;
mod config;
mod context;
mod demo;
mod explain;
mod inspect;
mod logging;
mod ls;
#[cfg(feature = "metrics")]
mod metrics;
#[cfg(not(feature = "metrics"))]
#[path = "no_metrics.rs"]
mod metrics;
mod output;
mod progress;
mod pull;
mod push;
mod read;
mod signals;
mod stats;
mod warm;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{CommandFactory, Parser};

use self::args::{Arguments, Command, Config, Demo};
use self::context::Context;
use self::logging::Mute;
use self::signals::{Signals, Stop};

/// How long threads that inflate or write may go on after the command has ended.
const SHUTDOWN: Duration = Duration::from_secs(2);

/// Runs the command that the arguments name. Exit codes: 0 success, 1 failure, 2 usage (by `clap`), 130 interrupted, 143
/// terminated.
fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&anyhow::Error::new(error).context("the runtime cannot be started")),
    };
    let code = match runtime.block_on(execute(arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if output::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    };
    // Dropping what is under way removes its locks and partial files.
    runtime.shutdown_timeout(SHUTDOWN);
    code
}

async fn execute(arguments: Arguments) -> Result<()> {
    let Arguments { global, command } = arguments;
    let mute = Mute::default();
    let signals = Signals::new(&mute)?;
    // What needs no cache does not touch the user's.
    match &command {
        Command::Completions { shell } => return completions(*shell),
        Command::Man { dir } => return man(dir),
        Command::Config(Config::Example) => return config::example(),
        Command::Config(Config::Show(format)) => return config::show(&global, format),
        Command::Demo(demo) if demo.phase.is_none() => {
            logging::start(global.log_format, &progress::Bars::new(global.progress), &mute);
            return signals.end(demo::run(&global, demo)).await;
        }
        _ => {}
    }
    if matches!(command, Command::Explain(_)) && !logging::is_asked_for(global.log_format) {
        // What there is to warn of is what it tells.
        mute.mute();
    }
    // Before there is anything to be counted.
    let metrics = command.metrics().map(metrics::Metrics::install).transpose()?;
    let context = Context::new(&global, command.only_looks(), &mute)?;
    let _serving = match metrics {
        Some(metrics) => Some(metrics.serve(&context, global.log_format).await?),
        None => None,
    };
    let ended = signals
        .end(async {
            let result = dispatch(&context, command).await;
            context.stack.cache().close().await;
            result
        })
        .await;
    // However it ended.
    let written = match &global.stats {
        Some(path) => stats::write_of(&context.stack, path),
        None => Ok(()),
    };
    ended.and(written)
}

async fn dispatch(context: &Context, command: Command) -> Result<()> {
    match command {
        Command::Pull(command) => pull::run(context, command).await,
        Command::Warm(command) => warm::run(context, command).await,
        Command::Explain(command) => explain::run(context, command).await,
        Command::Push(command) => push::run(context, command).await,
        Command::Inspect(command) => inspect::run(context, command).await,
        Command::Ls(command) => ls::run(context, command).await,
        Command::Cat(command) => cat::run(context, command).await,
        Command::Read(command) => read::run(context, command).await,
        Command::Cache(command) => cache::run(context, command).await,
        Command::Config(Config::Check(format)) => config::check(context, format).await,
        Command::Demo(Demo {
            phase: Some(plan), ..
        }) => demo::run_phase(context, &plan).await,
        Command::Demo(_) | Command::Completions { .. } | Command::Man { .. } | Command::Config(_) => Ok(()),
    }
}

fn completions(shell: clap_complete::Shell) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "layercache", &mut script);
    output::write(&script)
}

fn man(dir: &Path) -> Result<()> {
    clap_mangen::generate_to(with_all_told(Arguments::command()), dir)
        .with_context(|| dir.display().to_string())
}

/// A page leaves out what `-h` does.
fn with_all_told(command: clap::Command) -> clap::Command {
    command
        .mut_args(|argument| argument.hide_short_help(false))
        .mut_subcommands(with_all_told)
}

/// One line with all causes.
fn fail(error: &anyhow::Error) -> ExitCode {
    eprintln!("layercache: {}", layercache::ops::error_line(error.as_ref()));
    error.downcast_ref::<Stop>().map_or(ExitCode::FAILURE, Stop::code)
}
