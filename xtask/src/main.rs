//! Development tasks. `cargo xtask` without arguments lists them.

mod ci;
mod dist;
mod features;
mod fuzz;
mod instructions;
mod msrv;
mod mutants;
mod planted;
mod schedules;
mod test;
mod tidy;
mod units;

use std::num::NonZeroUsize;
use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use lab::servers::s3::S3Kind;
use lab::{bench, dirs, images, soak, tools};
use xshell::Shell;

/// Development tasks of layercache.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Install what the tests need, build the images, start the servers and run every test
    Test {
        #[command(flatten)]
        servers: Servers,
        /// Arguments of `cargo test`, for example `-p layercache-cli -- warm`
        #[arg(allow_hyphen_values = true)]
        arguments: Vec<String>,
        /// Arguments of the tests
        #[arg(last = true)]
        of_tests: Vec<String>,
    },
    /// Build the image fixtures in target/images, or do nothing where they are up to date
    Images,
    /// Build the image fixtures in a directory, as root
    #[command(name = images::BUILD_TASK, hide = true)]
    BuildImages { directory: PathBuf },
    /// Start the servers of the tests, print their environment and stay until ctrl-c
    Serve(Servers),
    /// Read random images while tiers fail and recover; reports wrong bytes, leftovers and memory
    Soak {
        /// How long it takes
        #[arg(long, value_name = "N")]
        minutes: f64,
        /// Repeats the run that printed this seed
        #[arg(long, value_name = "N")]
        seed: Option<u64>,
    },
    /// Measure the library beside its references, in turns
    Bench {
        /// Rows of the table; all of them by default
        #[arg(long, value_name = "ROW", value_delimiter = ',')]
        only: Vec<String>,
        /// The file that gets the figures as JSON
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
        /// Runs of each row
        #[arg(long, value_name = "N", default_value = "5")]
        runs: NonZeroUsize,
        /// Profile of cargo
        #[arg(long, value_name = "NAME", default_value = "release")]
        profile: String,
        /// Put the figures into docs/performance.md
        #[arg(long)]
        write: bool,
    },
    /// Count the instructions of a warm read, and hold them to a limit
    Instructions,
    /// Put what is installed on a host into target/dist: binary, manual pages, completions, units and
    /// example configuration
    Dist {
        /// Build with nothing built before, and put size and time into docs/packaging.md
        #[arg(long)]
        write: bool,
    },
    /// Run every check that is not a test: tidy, fmt, clippy, rustdoc, features, licences and bans
    Ci,
    /// Plant bugs in cache-core and cache-disk, one after the other, and see that the tests catch each
    Planted {
        /// The one bug to plant
        bug: Option<String>,
    },
    /// Tell the stories of crates/cache-core/tests/schedules under many schedules, which the model checker
    /// shuttle chooses
    Schedules(schedules::Order),
    /// Mutate cache-core and cache-disk, and list the mutants that no test of theirs catches
    ///
    /// Settings, and the mutants that may live, are in .cargo/mutants.toml.
    Mutants {
        /// Arguments of cargo-mutants, for example `-p registry`, `-f '**/seal.rs'` or `--shard 1/8`
        #[arg(allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Check the project's own rules about its source files and pages
    Tidy,
    /// Check what a build with given features must not pull in
    Features,
    /// Check that no dependency needs a later Rust than the one that is declared
    Msrv,
    /// Check that systemd takes the units in dist/systemd
    Units,
    /// Look for input that breaks a property of crates/properties
    Fuzz(fuzz::Order),
}

#[derive(Args, Clone, Copy, Debug)]
struct Servers {
    /// Take Garage as the S3 server in place of s3s-fs
    #[arg(long)]
    garage: bool,
}

impl Servers {
    fn s3(self) -> S3Kind {
        if self.garage { S3Kind::Garage } else { S3Kind::S3s }
    }
}

fn main() -> Result<()> {
    let task = Arguments::parse().task;
    let sh = Shell::new()?;
    sh.change_dir(dirs::workspace());
    match task {
        Task::Test {
            servers,
            mut arguments,
            of_tests,
        } => {
            if !of_tests.is_empty() {
                arguments.push("--".to_owned());
                arguments.extend(of_tests);
            }
            test::run(&sh, servers.s3(), &arguments)
        }
        Task::Images => images::ensure(&sh).map(drop),
        Task::BuildImages { directory } => images::build(&sh, &directory),
        Task::Serve(servers) => serve(&sh, servers.s3()),
        Task::Soak { minutes, seed } => soak::run(&sh, minutes, seed),
        Task::Bench {
            only,
            json,
            runs,
            profile,
            write,
        } => {
            let options = bench::Options {
                only,
                json,
                runs,
                profile,
                write,
            };
            bench::run(&sh, &options)
        }
        Task::Instructions => instructions::run(&sh),
        Task::Dist { write } => dist::run(&sh, write),
        Task::Ci => ci::run(&sh),
        Task::Planted { bug } => planted::run(&sh, bug.as_deref()),
        Task::Schedules(order) => schedules::run(&sh, &order),
        Task::Mutants { arguments } => mutants::run(&sh, &arguments),
        Task::Tidy => tidy::run(),
        Task::Features => features::run(&sh),
        Task::Msrv => msrv::run(&sh),
        Task::Units => units::run(&sh),
        Task::Fuzz(order) => fuzz::run(&sh, &order),
    }
}

fn serve(sh: &Shell, s3: S3Kind) -> Result<()> {
    let servers = lab::start(sh, s3)?;
    let promtool = (test::PROMTOOL, tools::promtool(sh)?.into());
    for (name, value) in servers.environment().into_iter().chain([promtool]) {
        println!("export {name}='{}'", value.to_string_lossy());
    }
    eprintln!("the servers run until ctrl-c");
    servers.wait_for_signal()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn parse(words: &str) -> Result<Task, clap::Error> {
        let words = ["cargo xtask"].into_iter().chain(words.split_whitespace());
        Arguments::try_parse_from(words).map(|arguments| arguments.task)
    }

    #[test]
    fn the_tasks_are_described_without_contradiction() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn arguments_are_handed_on_as_they_are() {
        for (words, wanted, wanted_of_tests) in [
            ("test", "", ""),
            ("test -p layercache-cli -- warm", "-p layercache-cli -- warm", ""),
            ("test --garage -p cache-core a_test", "-p cache-core a_test", ""),
            ("test -- --nocapture", "", "--nocapture"),
        ] {
            let Ok(Task::Test {
                servers,
                arguments,
                of_tests,
            }) = parse(words)
            else {
                panic!("{words}");
            };
            assert_eq!(servers.garage, words.contains("garage"));
            assert_eq!(
                (arguments.join(" ").as_str(), of_tests.join(" ").as_str()),
                (wanted, wanted_of_tests)
            );
        }
        let Ok(Task::Mutants { arguments }) = parse("mutants -p registry --shard 1/8") else {
            panic!();
        };
        assert_eq!(arguments, ["-p", "registry", "--shard", "1/8"]);
    }

    #[test]
    fn an_order_says_which_stories_are_told_and_how_often() {
        let order = |words: &str| match parse(words) {
            Ok(Task::Schedules(order)) => order,
            other => panic!("{words}: {other:?}"),
        };
        assert_eq!(order("schedules"), schedules::Order::default());
        let some = order("schedules leases --iterations 7");
        assert_eq!(
            (some.story.as_deref(), some.iterations),
            (Some("leases"), Some(7))
        );
        let one = order("schedules a_story --replay schedule000.txt");
        assert_eq!(one.replay, Some("schedule000.txt".into()));
    }

    #[test]
    fn contradictions_are_refused() {
        for words in [
            "schedules --replay schedule000.txt",
            "schedules --iterations",
            "schedules --iterations many",
            "schedules --seed 1",
            "fuzz --seconds",
            "fuzz --seconds x",
            "fuzz --seconds 0",
            "bench --runs 0",
            "soak",
            "tidy x",
        ] {
            assert!(parse(words).is_err(), "{words}");
        }
    }
}
