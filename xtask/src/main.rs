//! Development tasks. `cargo xtask` without arguments lists them.

mod apt;
mod bench;
mod ci;
mod dirs;
mod dist;
mod environment;
mod features;
mod fuzz;
mod images;
mod instructions;
mod msrv;
mod mutants;
mod planted;
mod promtool;
mod schedules;
mod servers;
mod soak;
mod test;
mod tidy;
mod tools;
mod units;

use anyhow::{Result, bail};
use xshell::Shell;

use crate::servers::s3::S3Kind;

const HELP: &str = "\
usage: cargo xtask TASK

  test [--garage] [ARGS]
               install what the tests need, build the images, start the servers and run every test;
               ARGS go to `cargo test`, for example `cargo xtask test -p layercache-cli -- warm`;
               with --garage, S3 is Garage in place of s3s-fs
  images       build the image fixtures in target/images, or do nothing where they are up to date
  serve [--garage]
               start the servers of the tests, print their environment and stay until ctrl-c
  soak --minutes N [--seed N]
               read random images while tiers fail and recover; reports wrong bytes, leftovers and memory
  bench [--only ROW,...] [--json FILE] [--runs N] [--profile NAME] [--write]
               measure the library beside its references, in turns; --write puts the figures into docs/performance.md
  instructions count the instructions of a warm read, and hold them to a limit
  dist [--write]
               put what is installed on a host into target/dist: binary, manual pages, completions, units, example configuration;
               --write builds with nothing built before, and puts size and time into docs/packaging.md
  ci           every check that is not a test: tidy, fmt, clippy, rustdoc, features, licences and bans
  planted [BUG]
               plant bugs in cache-core and cache-disk, one after the other, and see that the tests catch each
  schedules [STORY] [--iterations N] [--replay FILE]
               tell the stories of crates/cache-core/src/cache/schedules under N schedules of each kind that the model checker
               shuttle tries, 1,000 unless told otherwise, or under the one that a failure has left in FILE
  mutants [-p PACKAGE] [ARGS]
               mutate cache-core and cache-disk, or PACKAGE, and list the mutants that no test of theirs catches, but for
               those that docs/mutants.md excuses; ARGS go to cargo-mutants, for example `-f '**/seal.rs'` or `--shard 1/8`
  tidy         the project's own rules about its source files and pages
  features     what a build with given features must not pull in
  msrv         no dependency needs a later Rust than the one that is declared
  units        the units in dist/systemd are ones that systemd takes
  fuzz [TARGET...] [--seconds N]
               look for input that breaks a property of crates/properties, 60 s per target unless told otherwise";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (task, rest) = match arguments.split_first() {
        Some((task, rest)) => (task.as_str(), rest),
        None => ("help", &[][..]),
    };
    let (s3, rest) = match rest.split_first() {
        Some((flag, rest)) if flag == "--garage" && matches!(task, "test" | "serve") => {
            (S3Kind::Garage, rest)
        }
        _ => (S3Kind::S3s, rest),
    };
    let takes_arguments = [
        "test",
        "bench",
        "dist",
        "soak",
        "fuzz",
        "planted",
        "schedules",
        "mutants",
        images::BUILD_TASK,
    ];
    if !rest.is_empty() && !takes_arguments.contains(&task) {
        bail!("`cargo xtask {task}` takes no such arguments\n\n{HELP}");
    }

    let sh = Shell::new()?;
    sh.change_dir(dirs::workspace());
    match task {
        "test" => test::run(&sh, s3, rest),
        "images" => images::ensure(&sh).map(drop),
        images::BUILD_TASK => images::build_task(&sh, rest),
        "serve" => servers::serve(&sh, s3),
        "bench" => bench::run(&sh, rest),
        "instructions" => instructions::run(&sh),
        "soak" => soak::run(&sh, rest),
        "ci" => ci::run(&sh),
        "planted" => planted::run(&sh, rest.first().map(String::as_str)),
        "schedules" => schedules::run(&sh, rest),
        "mutants" => mutants::run(&sh, rest),
        "tidy" => tidy::run(),
        "features" => features::run(&sh),
        "msrv" => msrv::run(&sh),
        "units" => units::run(&sh),
        "dist" => dist::run(&sh, rest),
        "fuzz" => fuzz::run(&sh, rest),
        "help" | "--help" | "-h" => {
            println!("{HELP}");
            Ok(())
        }
        unknown => bail!("no task `{unknown}`\n\n{HELP}"),
    }
}
