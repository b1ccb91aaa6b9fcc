//! What strace has seen: its log, parsed.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// A system call, in the order in which they returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Of the thread that made it.
    pub thread: u32,
    /// Such as `openat`.
    pub name: String,
    /// What it was given, as strace writes it.
    pub arguments: Vec<String>,
    /// What it returned: a number, or the name of an error; `None` when the process died in it.
    pub result: Option<Result<i64, String>>,
}

impl Call {
    /// The log of `strace --follow-forks --decode-fds=path`. Lines about signals and ends are left out.
    pub(super) fn parse_all(log: &str) -> Vec<Self> {
        let mut calls = Vec::new();
        // Calls of other threads may be written before the end of one.
        let mut begun = HashMap::<u32, String>::new();
        for line in log.lines() {
            let (thread, line) = line
                .split_once(' ')
                .unwrap_or_else(|| panic!("no thread: {line}"));
            let thread = thread.parse().unwrap_or_else(|_| panic!("no thread: {thread}"));
            let line = line.trim_start();
            if line.starts_with("+++") || line.starts_with("---") {
                continue;
            }
            if let Some(head) = line.strip_suffix(" <unfinished ...>") {
                begun.insert(thread, head.to_owned());
            } else if let Some((_, rest)) = line
                .strip_prefix("<... ")
                .and_then(|line| line.split_once(" resumed>"))
            {
                let head = begun.remove(&thread).unwrap_or_default();
                calls.push(Self::parse(thread, &(head + rest)));
            } else {
                calls.push(Self::parse(thread, line));
            }
        }
        let died_in = begun
            .iter()
            .map(|(thread, head)| Self::parse(*thread, &format!("{head}) = ?")));
        calls.extend(died_in);
        calls
    }

    fn parse(thread: u32, line: &str) -> Self {
        let parsed = || {
            let (name, rest) = line.split_once('(')?;
            let (arguments, rest) = split_arguments(rest)?;
            let mut words = rest.trim_start().strip_prefix("= ")?.split(' ');
            // A descriptor has its path behind it.
            let number = words.next()?.split('<').next()?;
            let result = match number {
                "?" => None,
                "-1" => Some(Err(words.next()?.to_owned())),
                number => Some(Ok(number.parse().or_else(|_| hex(number)).ok()?)),
            };
            let name = name.to_owned();
            Some(Self {
                thread,
                name,
                arguments,
                result,
            })
        };
        parsed().unwrap_or_else(|| panic!("not a call: {line:.200}"))
    }

    /// Whether it did what it was asked for.
    pub fn succeeded(&self) -> bool {
        matches!(self.result, Some(Ok(_)))
    }

    /// The descriptor that is argument `n`, and the path of what it stands for. The working directory is descriptor -1.
    pub fn descriptor(&self, n: usize) -> Option<(i32, &Path)> {
        let (number, path) = self.arguments.get(n)?.split_once('<')?;
        let number = if number == "AT_FDCWD" {
            -1
        } else {
            number.parse().ok()?
        };
        let (path, _) = path.rsplit_once('>')?;
        Some((number, Path::new(path)))
    }

    /// The number that is argument `n`.
    pub fn number(&self, n: usize) -> Option<u64> {
        self.arguments.get(n)?.parse().ok()
    }

    /// The bytes that are argument `n`.
    pub fn bytes(&self, n: usize) -> Option<Vec<u8>> {
        let quoted = self.arguments.get(n)?.strip_prefix('"')?;
        // What was cut off has dots behind it.
        unescape(quoted.trim_end_matches('.').strip_suffix('"')?)
    }

    /// The path that argument `n` names, below the directory that argument `n - 1` is.
    pub fn path(&self, n: usize) -> Option<PathBuf> {
        let name = String::from_utf8(self.bytes(n)?).ok()?;
        match n.checked_sub(1).and_then(|dir| self.descriptor(dir)) {
            Some((_, dir)) => Some(dir.join(name)),
            None => Some(name.into()),
        }
    }
}

fn hex(number: &str) -> Result<i64, std::num::ParseIntError> {
    i64::from_str_radix(number.trim_start_matches("0x"), 16)
}

/// The arguments of a call, and what is behind the closing parenthesis.
fn split_arguments(text: &str) -> Option<(Vec<String>, &str)> {
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    let (mut arguments, mut start) = (Vec::new(), 0);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b'(' | b'[' | b'{' | b'<' => depth += 1,
            b')' if depth == 0 => {
                let last = text[start..at].trim();
                if !last.is_empty() {
                    arguments.push(last.to_owned());
                }
                return Some((arguments, &text[at + 1..]));
            }
            b')' | b']' | b'}' | b'>' => depth = depth.saturating_sub(1),
            b',' if depth == 0 => {
                arguments.push(text[start..at].trim().to_owned());
                start = at + 1;
            }
            _ => {}
        }
    }
    None
}

/// Undoes what strace does to bytes: escapes as in C, octal with as few digits as the next character allows.
fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes().peekable();
    let mut plain = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            plain.push(byte);
            continue;
        }
        plain.push(match bytes.next()? {
            b'n' => b'\n',
            b't' => b'\t',
            b'r' => b'\r',
            b'v' => 0x0b,
            b'f' => 0x0c,
            digit @ b'0'..=b'7' => {
                let mut value = u32::from(digit - b'0');
                for _ in 0..2 {
                    let Some(next) = bytes.next_if(|byte| (b'0'..=b'7').contains(byte)) else {
                        break;
                    };
                    value = value * 8 + u32::from(next - b'0');
                }
                u8::try_from(value).ok()?
            }
            other => other,
        });
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_understood() {
        let log = r#"7 openat(AT_FDCWD</home>, "/cache", O_RDONLY) = 9</cache>
8 pwrite64(19</cache/#12>(deleted), "f,2\0\0001\"\n)"..., 9, 262144 <unfinished ...>
7 linkat(AT_FDCWD</home>, "/proc/self/fd/19", 9</cache>, "layer", AT_SYMLINK_FOLLOW) = -1 EIO (Input/output error) (INJECTED)
8 <... pwrite64 resumed>) = 9
7 --- SIGCHLD {si_signo=SIGCHLD} ---
7 fsync(9</cache> <unfinished ...>
8 +++ killed by SIGKILL +++
"#;
        let calls = Call::parse_all(log);
        let names: Vec<_> = calls.iter().map(|call| &*call.name).collect();
        assert_eq!(names, ["openat", "linkat", "pwrite64", "fsync"]);
        assert_eq!(calls[0].result, Some(Ok(9)));
        assert_eq!(calls[0].path(1).unwrap(), Path::new("/cache"));
        assert_eq!(calls[1].result, Some(Err("EIO".into())));
        assert_eq!(calls[1].path(3).unwrap(), Path::new("/cache/layer"));
        let write = &calls[2];
        assert_eq!(write.descriptor(0).unwrap(), (19, Path::new("/cache/#12")));
        assert_eq!(write.bytes(1).unwrap(), b"f,2\0\x001\"\n)");
        assert_eq!(
            (write.number(3), write.result.clone()),
            (Some(262_144), Some(Ok(9)))
        );
        assert_eq!((calls[3].descriptor(0).unwrap().0, &calls[3].result), (9, &None));
    }
}
