//! Which machine an image is for, and which other machines' images it runs.

use std::fmt;
use std::str::FromStr;

use cache_core::Error;

use crate::excerpt::excerpt;

/// An operating system and a processor, in the names that containerd's `platforms` package normalises to:
/// `arm64/v8` is `arm64`, `arm` is `arm/v7`, `x86_64` is `amd64`.
///
/// ```
/// # use registry::Platform;
/// let platform: Platform = "linux/aarch64/v8".parse().unwrap();
/// assert_eq!(platform.to_string(), "linux/arm64");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Platform {
    os: String,
    architecture: String,
    variant: Option<String>,
}

impl Platform {
    /// A platform by its names, normalised. `variant` may be empty.
    pub fn new(os: &str, architecture: &str, variant: &str) -> Self {
        let (architecture, variant) = normalise(&architecture.to_lowercase(), &variant.to_lowercase());
        let os = match os.to_lowercase() {
            os if os == "macos" => "darwin".to_owned(),
            os => os,
        };
        Self {
            os,
            architecture,
            variant: Some(variant).filter(|variant| !variant.is_empty()),
        }
    }

    /// Linux on the processor that this program was built for: what containers on this host run as.
    pub fn host() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86" => "386",
            "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
            "loongarch64" => "loong64",
            other => other,
        };
        Self::new("linux", architecture, "")
    }

    /// The operating system: `linux`.
    pub fn os(&self) -> &str {
        &self.os
    }

    /// The processor: `amd64`.
    pub fn architecture(&self) -> &str {
        &self.architecture
    }

    /// The version of the processor: `v7`.
    pub fn variant(&self) -> Option<&str> {
        self.variant.as_deref()
    }

    /// Whether an image for `offered` runs here.
    pub fn runs(&self, offered: &Self) -> bool {
        self.rank(offered).is_some()
    }

    /// How well an image for `offered` runs here: lower is better, `None` is not at all. As in containerd, an older
    /// variant serves a newer one, and 64-bit processors run images for their 32-bit relatives as a last resort.
    pub(crate) fn rank(&self, offered: &Self) -> Option<usize> {
        self.runnable().iter().position(|platform| platform == offered)
    }

    /// What runs here, the best first.
    fn runnable(&self) -> Vec<Self> {
        let on = |architecture: &str, variant: u32| Self::new(&self.os, architecture, &format!("v{variant}"));
        let version = |default| {
            self.variant.as_deref().map_or(Some(default), |v| {
                v.strip_prefix('v').and_then(|v| v.parse().ok())
            })
        };
        let mut out = vec![self.clone()];
        match self.architecture.as_str() {
            "amd64" => {
                let version: u32 = version(1).unwrap_or(1);
                out.extend((1..version.min(16)).rev().map(|variant| on("amd64", variant)));
                out.push(Self::new(&self.os, "386", ""));
            }
            "arm64" => {
                let version: u32 = version(8).unwrap_or(8);
                out.extend((8..version.min(16)).rev().map(|variant| on("arm64", variant)));
                out.extend((5..=8).rev().map(|variant| on("arm", variant)));
            }
            "arm" => {
                let version: u32 = version(7).unwrap_or(5);
                out.extend((5..version.min(16)).rev().map(|variant| on("arm", variant)));
            }
            _ => {}
        }
        out
    }
}

fn normalise(architecture: &str, variant: &str) -> (String, String) {
    let (architecture, variant) = match (architecture, variant) {
        ("i386" | "386", _) => ("386", ""),
        ("x86_64" | "x86-64" | "amd64", "v1" | "") => ("amd64", ""),
        ("x86_64" | "x86-64", variant) => ("amd64", variant),
        ("aarch64" | "arm64", "8" | "v8" | "v8.0" | "") => ("arm64", ""),
        ("aarch64", variant) => ("arm64", variant),
        ("armhf", _) => ("arm", "v7"),
        ("armel", _) => ("arm", "v6"),
        ("arm", "" | "7") => ("arm", "v7"),
        ("arm", "5") => ("arm", "v5"),
        ("arm", "6") => ("arm", "v6"),
        ("arm", "8") => ("arm", "v8"),
        other => other,
    };
    (architecture.to_owned(), variant.to_owned())
}

impl FromStr for Platform {
    type Err = Error;

    /// Reads `OS/ARCHITECTURE[/VARIANT]`.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](cache_core::ErrorKind::Invalid) for anything else.
    fn from_str(text: &str) -> Result<Self, Error> {
        let parts: Vec<&str> = text.split('/').collect();
        let is_name = |name: &&str| {
            (1..=32).contains(&name.len())
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
        };
        match parts.as_slice() {
            [os, architecture, rest @ ..] if rest.len() <= 1 && parts.iter().all(is_name) => Ok(Self::new(
                os,
                architecture,
                rest.first().copied().unwrap_or_default(),
            )),
            _ => Err(Error::invalid(format!(
                "not a platform: \"{}\": expected OS/ARCHITECTURE[/VARIANT], as in linux/arm64",
                excerpt(text)
            ))),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant
            .iter()
            .try_for_each(|variant| write!(f, "/{variant}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        text.parse().unwrap()
    }

    #[test]
    fn names_are_normalised() {
        for (text, normal) in [
            ("linux/amd64", "linux/amd64"),
            ("Linux/x86_64", "linux/amd64"),
            ("linux/amd64/v1", "linux/amd64"),
            ("linux/amd64/v3", "linux/amd64/v3"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/arm/6", "linux/arm/v6"),
            ("linux/armel", "linux/arm/v6"),
            ("linux/i386", "linux/386"),
            ("macos/arm64", "darwin/arm64"),
        ] {
            assert_eq!(platform(text).to_string(), normal);
        }
        for text in [
            "",
            "linux",
            "linux/",
            "/amd64",
            "linux/amd64/v1/x",
            "linux/amd 64",
        ] {
            assert!(text.parse::<Platform>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn older_variants_and_32_bit_relatives_run_in_that_order() {
        let order = |text: &str| -> Vec<String> {
            platform(text)
                .runnable()
                .iter()
                .skip(1)
                .map(ToString::to_string)
                .collect()
        };
        assert_eq!(order("linux/arm/v7"), ["linux/arm/v6", "linux/arm/v5"]);
        assert_eq!(
            order("linux/amd64/v3"),
            ["linux/amd64/v2", "linux/amd64", "linux/386"]
        );
        let arm = ["linux/arm/v8", "linux/arm/v7", "linux/arm/v6", "linux/arm/v5"];
        assert_eq!(order("linux/arm64"), arm);
        assert_eq!(order("linux/riscv64"), [""; 0]);
        assert_eq!(platform("linux/arm/v6").rank(&platform("linux/arm/v7")), None);
        assert_eq!(platform("linux/arm64").rank(&platform("windows/arm64")), None);
    }
}
