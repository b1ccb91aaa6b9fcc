//! The command line: every command and its arguments.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use jiff::{Span, SpanRelativeTo};
use layercache::core::Digest;
use layercache::registry::{ImageLocation, Platform};

/// Reads files out of container images; inflates each layer once and keeps it on the local disk.
#[derive(Debug, Parser)]
#[command(name = "layercache", version, propagate_version = true, after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "\
An IMAGE is a reference as Docker and containerd write it (debian, ghcr.io/owner/app:1.2, host:5000/app@sha256:...),
or oci:DIR[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE[:NAME:TAG].

Examples:
  layercache demo                                   see what the cache is for; needs nothing
  layercache pull debian:12                         fetch and inflate every layer once
  layercache ls -l debian:12 /etc                   list a directory of the image
  layercache cat debian:12 /etc/os-release          print a file of the image
  layercache read debian:12 0 --length 512          raw bytes of the base layer
  layercache cache usage                            how much the cache takes
  layercache config check                           whether every tier answers

The global options are told by --help, and left out by -h.";

const PULL_EXAMPLES: &str = "\
Examples:
  layercache pull debian:12 ghcr.io/owner/app:1.2   several images
  layercache pull --platform linux/arm64 debian:12  for another machine
  layercache pull oci:image:v1                      from an OCI layout in a directory
  layercache pull --metrics 127.0.0.1:9190 app      while it runs, Prometheus can watch it
  layercache pull --json debian:12                  what each layer took, for programs";

const EXPLAIN_EXAMPLES: &str = "\
Examples:
  layercache explain debian:12                      where each layer would come from, and why from there
  layercache explain debian:12 /usr/bin/perl        what a read of this file would move
  layercache explain --json debian:12               the same for programs";

const WARM_EXAMPLES: &str = "\
The list has one IMAGE a line; empty lines and what follows a # are passed over.

Examples:
  layercache warm -f images.txt                     every image that a worker will need
  kubectl get pods -A -o jsonpath='{.items[*].spec.containers[*].image}' | tr ' ' '\\n' | layercache warm -f -";

const PUSH_EXAMPLES: &str = "\
Examples:
  layercache push debian:12                         to every shared tier of the configuration
  layercache push --json debian:12                  what came of each layer, for programs";

const CACHE_EXAMPLES: &str = "\
Examples:
  layercache cache usage                            how much each image takes, and what would be evicted next
  layercache cache verify --refetch                 hash every layer again, and fetch anew what is wrong
  layercache cache gc --max-bytes 20GiB             evict the least recently used
  layercache cache gc --older-than 7d --dry-run     what has not been used for a week
  layercache cache gc --keep debian:12 app:1        all but these images
  layercache cache pin debian:12                    evict its layers after all others";

const CONFIG_EXAMPLES: &str = "\
Examples:
  layercache config check                           what is composed, and whether each part answers
  layercache config check --json                    the same for programs
  layercache config show                            what is in effect, and who has set it
  layercache config example > layercache.toml       every key, with what it means and its default";

const LS_EXAMPLES: &str = "\
Examples:
  layercache ls debian:12                           the root directory
  layercache ls -l debian:12 /usr/bin/perl          one file: type, mode, owner, size and time
  layercache ls -R --json debian:12 /etc            everything below a directory, for programs";

const CAT_EXAMPLES: &str = "\
Examples:
  layercache cat debian:12 /etc/os-release /etc/hostname
  layercache cat debian:12 /usr/bin/perl --offset 4096 --length 512";

const READ_EXAMPLES: &str = "\
Examples:
  layercache read debian:12 0 > base.tar            the base layer as a tar
  layercache read debian:12 0 --offset 512 --length 512";

#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Read which sources to use from this TOML file: one [[tier]] table each, in fallback order
    /// [env: LAYERCACHE_CONFIG]
    #[arg(long, global = true, hide_short_help = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) config: Option<PathBuf>,
    /// Keep layers in this directory [env: LAYERCACHE_DIR] [default: $XDG_CACHE_HOME/clip or ~/.cache/clip]
    #[arg(long, global = true, hide_short_help = true, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) cache_dir: Option<PathBuf>,
    /// Choose from images for several platforms [default: linux on this machine's architecture]
    #[arg(long, global = true, hide_short_help = true, value_name = "OS/ARCH[/VARIANT]")]
    pub(crate) platform: Option<Platform>,
    /// Talk to every registry over plain HTTP; loopback addresses always are
    #[arg(long, global = true, hide_short_help = true)]
    pub(crate) plain_http: bool,
    /// Serve bytes before their layer has arrived in full and was verified
    #[arg(long, global = true, hide_short_help = true)]
    pub(crate) early_reads: bool,
    /// Log to standard error in this format, and as much as an operator greps for; RUST_LOG selects what
    #[arg(long, global = true, hide_short_help = true, value_enum)]
    pub(crate) log_format: Option<LogFormat>,
    /// Show progress bars on standard error
    #[arg(long, global = true, hide_short_help = true, value_enum, default_value_t = Progress::Auto)]
    pub(crate) progress: Progress,
    /// At exit, write what it cost to this file as JSON; of `demo`, once it is done, what each way cost
    #[arg(long, global = true, hide_short_help = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) stats: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Progress {
    /// On a terminal only
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Bring every layer of images into the cache, and stop at the first image that fails
    #[command(after_help = PULL_EXAMPLES)]
    Pull(Pull),
    /// Bring every layer of a list of images into the cache, whatever becomes of some of them
    #[command(after_help = WARM_EXAMPLES, override_usage = "layercache warm [OPTIONS] [--file <FILE>] [IMAGE]...")]
    Warm(Warm),
    /// Tell which tier would serve each layer of an image, and why, without fetching or changing anything
    #[command(after_help = EXPLAIN_EXAMPLES)]
    Explain(Explain),
    /// Copy layers of images that are cached here to the tiers that workers share
    #[command(after_help = PUSH_EXAMPLES)]
    Push(Push),
    /// Show what an image consists of
    Inspect(Inspect),
    /// List files of an image
    #[command(after_help = LS_EXAMPLES)]
    Ls(Ls),
    /// Print files of an image
    #[command(after_help = CAT_EXAMPLES)]
    Cat(Cat),
    /// Print raw bytes of a decompressed layer
    #[command(after_help = READ_EXAMPLES)]
    Read(Read),
    /// Look after the cache directory
    #[command(subcommand, after_help = CACHE_EXAMPLES)]
    Cache(Cache),
    /// Look at the configuration
    #[command(subcommand, after_help = CONFIG_EXAMPLES)]
    Config(Config),
    /// Print a completion script for a shell
    Completions { shell: clap_complete::Shell },
    /// Write a manual page for each command
    Man {
        /// The directory that they are written to, which has to be there
        #[arg(value_hint = ValueHint::DirPath)]
        dir: PathBuf,
    },
    /// Measure the cache against reading straight from a registry
    Demo(Demo),
}

impl Command {
    /// Whether it is about what is there, or takes some of that away: nothing is brought into a directory that is not there.
    pub(crate) fn only_looks(&self) -> bool {
        match self {
            Self::Explain(_) | Self::Inspect(_) | Self::Config(_) => true,
            Self::Cache(command) => !matches!(command, Cache::Pin(_)),
            _ => false,
        }
    }

    /// Where it is to serve metrics.
    pub(crate) fn metrics(&self) -> Option<SocketAddr> {
        match self {
            Self::Pull(Pull { scrape, .. })
            | Self::Warm(Warm { scrape, .. })
            | Self::Push(Push { scrape, .. }) => scrape.metrics,
            _ => None,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Pull {
    /// The images
    #[arg(required = true, value_name = "IMAGE")]
    pub(crate) images: Vec<ImageLocation>,
    /// Print JSON, one object per layer and line
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) scrape: Scrape,
}

#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// The image
    pub(crate) image: ImageLocation,
    /// A file of the image: tell what reading it moves. Where no tree of a layer is kept, its headers are read from a tier that has the
    /// layer; an origin is not asked for that
    pub(crate) path: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Warm {
    /// Images beside those of the list
    #[arg(value_name = "IMAGE", required_unless_present = "file")]
    pub(crate) images: Vec<ImageLocation>,
    /// Read a list of images from this file, or from standard input where it is -
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) file: Option<PathBuf>,
    /// How many images are brought at once
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) jobs: u16,
    /// Print JSON, one object per image and line
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) scrape: Scrape,
}

#[derive(Debug, Args)]
pub(crate) struct Push {
    /// The images
    #[arg(required = true, value_name = "IMAGE")]
    pub(crate) images: Vec<ImageLocation>,
    /// Print JSON, one object per layer and line
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) scrape: Scrape,
}

/// Of commands that may take long.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Scrape {
    /// While it runs, serve metrics at http://IP:PORT/metrics, as Prometheus reads them; port 0 is any that is free
    #[arg(long, value_name = "IP:PORT", value_parser = address)]
    pub(crate) metrics: Option<SocketAddr>,
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| "expected an IP address and a port, as in 127.0.0.1:9190 or [::1]:9190".to_owned())
}

#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// The image
    pub(crate) image: ImageLocation,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Ls {
    /// The image
    pub(crate) image: ImageLocation,
    /// A file or directory of the image
    #[arg(default_value = "/")]
    pub(crate) path: PathBuf,
    /// Show type, mode, owner, size and time
    #[arg(short, long)]
    pub(crate) long: bool,
    /// List everything below the directory
    #[arg(short = 'R', long)]
    pub(crate) recursive: bool,
    /// Print JSON, one object per line
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Cat {
    /// The image
    pub(crate) image: ImageLocation,
    /// Files of the image, printed one after another
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) range: Range,
}

#[derive(Debug, Args)]
pub(crate) struct Read {
    /// The image
    pub(crate) image: ImageLocation,
    /// The layer: its number from 0, the base, or its digest
    pub(crate) layer: LayerName,
    #[command(flatten)]
    pub(crate) range: Range,
}

#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Range {
    /// Begin at this byte, counted from 0
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) offset: u64,
    /// Print this many bytes at most [default: to the end]
    #[arg(long, value_name = "N")]
    pub(crate) length: Option<u64>,
}

/// How a layer of an image is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LayerName {
    Number(usize),
    Digest(Digest),
}

impl std::str::FromStr for LayerName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(number) = text.parse() {
            return Ok(Self::Number(number));
        }
        text.parse()
            .map(Self::Digest)
            .map_err(|error| format!("neither a number nor a digest: {error}"))
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    /// Show which sources are composed, in order, and ask each whether it can be used
    Check(Json),
    /// Show what is in effect, defaults included, and who has set it; secrets are hidden
    Show(Json),
    /// Print a configuration file with every key, what it means, and its default
    Example,
}

#[derive(Debug, Args)]
pub(crate) struct Json {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Use this image instead of one made for the occasion
    #[arg(long)]
    pub(crate) image: Option<ImageLocation>,
    /// How many files to read
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) files: u32,
    /// Run one phase in this process, as the plan in this file says
    #[arg(long, hide = true, value_name = "FILE")]
    pub(crate) phase: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Cache {
    /// List the layers
    List(Json),
    /// Show how much the layers and images take, and what would be evicted next
    Usage(Json),
    /// Hash every layer again, and remove what is wrong
    Verify(Verify),
    /// Remove what crashes have left, and layers: beyond a size, by age, or all but those of some images
    ///
    /// --older-than and --keep say which layers may go, --max-bytes says when enough are gone. With one of the former and without
    /// --max-bytes all go that may, except those of pinned images.
    Gc(Gc),
    /// Evict the layers of images after all others
    ///
    /// What is pinned is what the image was when it was pulled last; an image that never was is looked up.
    Pin(Images),
    /// Let the layers of images be evicted as others are
    Unpin(Images),
    /// Remove one layer
    Remove(Remove),
    /// Remove every layer
    Clear(Json),
}

#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// Keep what is wrong in the directory's `quarantine`, until there is no room, or until `gc` or `clear`
    #[arg(long)]
    pub(crate) quarantine: bool,
    /// Fetch the layers that were wrong anew, from wherever they can be had
    #[arg(long)]
    pub(crate) refetch: bool,
    /// Print JSON, one object per layer and line
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Gc {
    /// How much may stay [default: with --older-than or --keep, what these do not let go; else the limits of the configuration]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(crate) max_bytes: Option<ByteSize>,
    /// Remove only what was not used for so long, as in 36h or 7d, and what no process has open
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) older_than: Option<Duration>,
    /// Remove no layer of these images, as they were when they were pulled last
    #[arg(long, value_name = "IMAGE", num_args = 1..)]
    pub(crate) keep: Vec<ImageLocation>,
    /// Say what would be removed, and remove nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Images {
    /// The images
    #[arg(required = true, value_name = "IMAGE")]
    pub(crate) images: Vec<ImageLocation>,
    /// Print JSON, one object per image and line
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Remove {
    /// The layer's digest
    pub(crate) digest: Digest,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

fn size(text: &str) -> Result<ByteSize, String> {
    text.parse()
        .map_err(|_| "not a size: expected a number of bytes, or a text such as 20GiB".to_owned())
}

/// Days have 24 hours.
fn duration(text: &str) -> Result<Duration, String> {
    let span = text.parse::<Span>();
    let duration = span.and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()));
    duration
        .ok()
        .and_then(|duration| Duration::try_from(duration).ok())
        .ok_or_else(|| "expected a time such as 36h or 7d".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_layer_is_named_by_number_or_digest() {
        let digest = Digest::sha256_of(b"blob");
        assert_eq!("7".parse(), Ok(LayerName::Number(7)));
        assert_eq!(digest.to_string().parse(), Ok(LayerName::Digest(digest)));
        for wrong in ["", "-1", "sha256:../../etc/passwd", "latest"] {
            assert!(wrong.parse::<LayerName>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_time_has_a_unit() {
        for (text, seconds) in [
            ("7d", Some(7 * 86400)),
            ("36h", Some(36 * 3600)),
            ("1h 30m", Some(5400)),
            ("0s", Some(0)),
            ("7", None),
            ("-7d", None),
            ("1 month", None),
            ("", None),
        ] {
            assert_eq!(duration(text).ok().map(|time| time.as_secs()), seconds, "{text}");
        }
    }
}
