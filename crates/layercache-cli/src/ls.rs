//! `ls`: lists files of an image.

use std::io::Write as _;
use std::os::unix::ffi::OsStrExt;

use anyhow::{Context as _, Result};
use layercache::ImageHandle;
use layercache::tree::{Entry, EntryKind, Follow, Node};
use serde::Serialize;

use super::args::Ls;
use super::context::Context;
use super::output;

pub(super) async fn run(context: &Context, command: Ls) -> Result<()> {
    let image = context.open_image(&command.image).await?;
    tokio::task::spawn_blocking(move || list(&image, &command)).await?
}

fn list(image: &ImageHandle, command: &Ls) -> Result<()> {
    let path = command.path.as_os_str().as_bytes();
    let missing = || format!("{} in {}: no such file", command.path.display(), command.image);
    // Like ls: a link is shown as itself with -l, and otherwise followed.
    let follow = if command.long || command.json {
        Follow::Parents
    } else {
        Follow::All
    };
    let node = image.stat(path, follow)?.with_context(missing)?;
    let mut printer = Printer {
        command,
        out: std::io::BufWriter::new(std::io::stdout().lock()),
    };
    if !node.entry().is_dir() {
        printer.print(path, &node)?;
    } else if command.recursive {
        for (path, node) in node.walk() {
            printer.print(&path, &node)?;
        }
    } else {
        for (name, node) in node.children() {
            printer.print(name, &node)?;
        }
    }
    printer.out.flush().context(output::STDOUT)
}

struct Printer<'a> {
    command: &'a Ls,
    out: std::io::BufWriter<std::io::StdoutLock<'static>>,
}

/// One line of `ls --json`. Bytes of a name that are not UTF-8 are shown as U+FFFD.
#[derive(Serialize)]
struct Line<'a> {
    path: String,
    r#type: &'a str,
    mode: String,
    uid: u64,
    gid: u64,
    size: u64,
    mtime: i64,
    layer: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
}

impl Printer<'_> {
    fn print(&mut self, name: &[u8], node: &Node<'_>) -> Result<()> {
        let entry = node.entry();
        if self.command.json {
            let line = Line {
                path: String::from_utf8_lossy(name).into_owned(),
                r#type: kind(entry),
                mode: format!("{:04o}", entry.mode),
                uid: entry.uid,
                gid: entry.gid,
                size: entry.size(),
                mtime: entry.mtime,
                layer: node.layer(),
                target: entry
                    .link_target()
                    .map(|target| String::from_utf8_lossy(target).into_owned()),
            };
            serde_json::to_writer(&mut self.out, &line)
                .map_err(std::io::Error::from)
                .context(output::STDOUT)?;
            return writeln!(self.out).context(output::STDOUT);
        }
        let mut line = Vec::new();
        if self.command.long {
            let (kind, mode) = (entry.kind_char(), permissions(entry.mode));
            let time = utc(entry.mtime);
            write!(
                line,
                "{kind}{mode} {:>5} {:>5} {:>11} {time} ",
                entry.uid,
                entry.gid,
                size(entry)
            )?;
        }
        escape(name, &mut line);
        if let (true, Some(target)) = (self.command.long, entry.link_target()) {
            line.extend_from_slice(b" -> ");
            escape(target, &mut line);
        }
        line.push(b'\n');
        self.out.write_all(&line).context(output::STDOUT)
    }
}

/// Names come from the image: control characters in them must not reach the terminal.
fn escape(name: &[u8], line: &mut Vec<u8>) {
    for &byte in name {
        if byte.is_ascii_control() {
            line.extend(byte.escape_ascii());
        } else {
            line.push(byte);
        }
    }
}

fn size(entry: &Entry) -> String {
    match entry.kind {
        EntryKind::CharDevice { major, minor } | EntryKind::BlockDevice { major, minor } => {
            format!("{major}, {minor}")
        }
        _ => entry.size().to_string(),
    }
}

/// `YYYY-MM-DD hh:mm` in UTC; the bare seconds for what no calendar has.
fn utc(seconds: i64) -> String {
    match jiff::Timestamp::from_second(seconds) {
        Ok(time) => time.strftime("%Y-%m-%d %H:%M").to_string(),
        Err(_) => seconds.to_string(),
    }
}

fn kind(entry: &Entry) -> &'static str {
    match entry.kind {
        EntryKind::File(_) => "file",
        EntryKind::Dir => "dir",
        EntryKind::Symlink(_) => "symlink",
        EntryKind::HardLink(_) => "hardlink",
        EntryKind::CharDevice { .. } => "char",
        EntryKind::BlockDevice { .. } => "block",
        EntryKind::Fifo => "fifo",
        _ => "other",
    }
}

/// `rwxr-xr-x`, with the letters of set-uid, set-gid and sticky.
fn permissions(mode: u32) -> String {
    let bit = |mask: u32, letter: char| if mode & mask != 0 { letter } else { '-' };
    let special = |special: u32, execute: u32, letter: char| match (mode & special != 0, mode & execute != 0)
    {
        (true, true) => letter,
        (true, false) => letter.to_ascii_uppercase(),
        (false, true) => 'x',
        (false, false) => '-',
    };
    [
        bit(0o400, 'r'),
        bit(0o200, 'w'),
        special(0o4000, 0o100, 's'),
        bit(0o040, 'r'),
        bit(0o020, 'w'),
        special(0o2000, 0o010, 's'),
        bit(0o004, 'r'),
        bit(0o002, 'w'),
        special(0o1000, 0o001, 't'),
    ]
    .iter()
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_are_shown_as_ls_shows_them() {
        assert_eq!(permissions(0o755), "rwxr-xr-x");
        assert_eq!(permissions(0o4755), "rwsr-xr-x");
        assert_eq!(permissions(0o2644), "rw-r-Sr--");
        assert_eq!(permissions(0o1777), "rwxrwxrwt");
    }

    #[test]
    fn times_are_shown_in_utc() {
        assert_eq!(utc(951_782_400), "2000-02-29 00:00");
        assert_eq!(utc(-1), "1969-12-31 23:59");
        assert_eq!(utc(i64::MIN), i64::MIN.to_string());
    }

    #[test]
    fn names_cannot_drive_the_terminal() {
        let mut line = Vec::new();
        escape(b"a\x1b[2J\nb\xff", &mut line);
        assert_eq!(line, b"a\\x1b[2J\\nb\xff");
    }
}
